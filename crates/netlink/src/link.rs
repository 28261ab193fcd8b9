//! Links: what they are, and making, changing and deleting them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use dlmp_wire::MacAddr;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkLayerType, LinkMessage, LinkMode, State, Stats64, VlanProtocol,
};
use rtnetlink::LinkUnspec;

use crate::error::{Error, Result, explain, tolerate};
use crate::{Namespace, Netlink};

/// A link, as the kernel describes it at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Interface index, unique in the namespace.
    pub index: u32,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Its MAC address; absent for links without one.
    pub mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Brought up by the administrator (`IFF_UP`).
    pub admin_up: bool,
    /// The carrier is there (`IFF_LOWER_UP`); always false while the link is administratively down.
    pub lower_up: bool,
    /// It receives every multicast frame, whoever asked for that: the administrator (`IFF_ALLMULTI`), or a program
    /// or a link above where the kernel tells of those (`IFLA_ALLMULTI`). No event reports the latter.
    pub all_multicast: bool,
    /// It receives every frame, whoever asked for that: the administrator (`IFF_PROMISC`), a capture or a
    /// bridge.
    pub promiscuous: bool,
    /// The administrator asked for that.
    pub promiscuous_flag: bool,
    /// The loopback.
    pub loopback: bool,
    /// It can carry multicast (`IFF_MULTICAST`), which says nothing of what is behind it.
    pub multicast: bool,
    /// An Ethernet link (`ARPHRD_ETHER`).
    pub ethernet: bool,
    /// Kind of a virtual link: `veth`, `bridge`, `tun`...; absent for hardware.
    pub kind: Option<String>,
    /// The 802.1Q VLAN of a VLAN device; 0 of one with other tags (802.1ad), which are no VLANs of the link below.
    pub vlan: Option<u16>,
    /// A bridge that filters VLANs.
    pub vlan_filtering: bool,
    /// Index of the bridge (or bond...) that it is a port of.
    pub master: Option<u32>,
    /// Kind of that: `bridge`, `bond`...
    pub master_kind: Option<String>,
    /// Free text that administrators and programs put on a link.
    pub alias: Option<String>,
    /// Index of the other end of a veth, or of the link under a VLAN or macvlan; absent when that
    /// is in another namespace, where the number would mean another link.
    pub peer_index: Option<u32>,
    /// Traffic counters of the device.
    pub statistics: LinkStatistics,
}

/// The device's own counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStatistics {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

impl Link {
    /// Whether what it receives is another link's: it is the port of a bridge or a bond. A VRF only chooses the routes.
    #[must_use]
    pub fn is_port(&self) -> bool {
        self.master.is_some() && self.master_kind.as_deref() != Some("vrf")
    }

    pub(crate) fn from_object(object: &RouteNetlinkMessage) -> Option<Self> {
        match object {
            RouteNetlinkMessage::NewLink(message) => Self::from_message(message),
            _ => None,
        }
    }

    /// Reads a message of the kernel; absent for messages that do not describe a whole link.
    pub(crate) fn from_message(message: &LinkMessage) -> Option<Self> {
        // Bridges send messages of their own family about their ports: not the link itself.
        if message.header.interface_family != netlink_packet_route::AddressFamily::Unspec {
            return None;
        }
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            admin_up: flags.contains(LinkFlags::Up),
            lower_up: flags.contains(LinkFlags::LowerUp),
            all_multicast: flags.contains(LinkFlags::Allmulti),
            promiscuous: flags.contains(LinkFlags::Promisc),
            promiscuous_flag: flags.contains(LinkFlags::Promisc),
            loopback: flags.contains(LinkFlags::Loopback),
            multicast: flags.contains(LinkFlags::Multicast),
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            ..Self::default()
        };
        let mut peer_elsewhere = false;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => {
                    link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr);
                }
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                // The flags tell only what the administrator asked for (dev_get_flags in net/core/dev.c).
                LinkAttribute::AllMulticast(users) => link.all_multicast |= *users > 0,
                LinkAttribute::Promiscuity(users) => link.promiscuous |= *users > 0,
                LinkAttribute::Controller(index) => link.master = Some(*index),
                LinkAttribute::IfAlias(alias) if !alias.is_empty() => link.alias = Some(alias.clone()),
                LinkAttribute::Link(index) => link.peer_index = Some(*index),
                LinkAttribute::LinkNetNsId(_) => peer_elsewhere = true,
                LinkAttribute::Stats64(stats) => link.statistics = stats.into(),
                LinkAttribute::LinkInfo(infos) => link.read_info(infos),
                _ => {}
            }
        }
        if peer_elsewhere {
            link.peer_index = None;
        }
        (!link.name.is_empty()).then_some(link)
    }

    fn read_info(&mut self, infos: &[LinkInfo]) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind.to_string()),
                LinkInfo::Data(InfoData::Vlan(vlan)) => {
                    let has_other_tags = |info: &InfoVlan| matches!(info, InfoVlan::Protocol(protocol) if *protocol != VlanProtocol::Ieee8021Q);
                    let id = vlan.iter().find_map(|info| if let InfoVlan::Id(id) = info { Some(*id) } else { None });
                    self.vlan = id.map(|id| if vlan.iter().any(has_other_tags) { 0 } else { id });
                }
                LinkInfo::Data(InfoData::Bridge(bridge)) => {
                    self.vlan_filtering = bridge.contains(&InfoBridge::VlanFiltering(true));
                }
                LinkInfo::PortKind(kind) => self.master_kind = Some(kind.to_string()),
                _ => {}
            }
        }
    }
}

impl From<&Stats64> for LinkStatistics {
    fn from(stats: &Stats64) -> Self {
        Self {
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
        }
    }
}

impl Netlink {
    /// All links of the namespace, by index.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn links(&self) -> Result<Vec<Link>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let objects = self.dump(request, "list the links").await?;
        Ok(objects.iter().filter_map(Link::from_object).collect())
    }

    /// The link of this name, if there is one.
    ///
    /// # Errors
    /// The kernel's refusal, other than that the link does not exist.
    pub async fn link(&self, name: &str) -> Result<Option<Link>> {
        let request = LinkUnspec::new_with_name(name).build();
        self.one(request, format!("look up the link {name}")).await
    }

    /// The link of this index, if there is one.
    ///
    /// # Errors
    /// The kernel's refusal, other than that the link does not exist.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>> {
        let request = LinkUnspec::new_with_index(index).build();
        self.one(request, format!("look up link {index}")).await
    }

    async fn one(&self, request: LinkMessage, what: String) -> Result<Option<Link>> {
        match self.get(RouteNetlinkMessage::GetLink(request), &what).await {
            Ok(object) => Ok(Link::from_object(&object)),
            // A name that no link can have is as absent as any other.
            Err(error) if matches!(error.errno(), Some(libc::ENODEV | libc::ERANGE | libc::EINVAL)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has a link that has no carrier of its own to set show one all the same: as its operational state (RFC 2863),
    /// `up` or `dormant`, which the programs above it go by (Documentation/networking/operstates.rst). Absent: its own again.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn show_state(&self, index: u32, up: Option<bool>) -> Result<()> {
        // In this mode the kernel itself goes up to `dormant` only.
        let mode = if up.is_some() { LinkMode::Dormant } else { LinkMode::Default };
        let state = if up.unwrap_or(true) { State::Up } else { State::Dormant };
        let message = LinkUnspec::new_with_index(index)
            .append_extra_attribute(LinkAttribute::Mode(mode))
            .append_extra_attribute(LinkAttribute::OperState(state))
            .build();
        self.change_link(message, format!("set the operational state of link {index}")).await
    }

    /// Keeps the kernel from giving a link IPv6 addresses of its own, until the link moves to another namespace.
    /// Without IPv6 there is nothing to do.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn silence(&self, index: u32) -> Result<()> {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let message = LinkUnspec::new_with_index(index)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]))
            .build();
        let what = format!("switch off IPv6 addresses on link {index}");
        tolerate(self.change_link(message, what).await, libc::EAFNOSUPPORT)
    }

    /// Deletes a link (both ends of a veth).
    ///
    /// # Errors
    /// The kernel's refusal, such as a link that does not exist or is hardware.
    pub async fn delete_link(&self, index: u32) -> Result<()> {
        (self.handle.link().del(index).execute()).await.map_err(explain(format!("delete link {index}")))
    }

    /// Brings a link up or down.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn set_up(&self, index: u32, up: bool) -> Result<()> {
        let message = LinkUnspec::new_with_index(index);
        let message = if up { message.up() } else { message.down() };
        let direction = if up { "up" } else { "down" };
        self.change_link(message.build(), format!("bring link {index} {direction}")).await
    }

    /// Sets the MTU in bytes.
    ///
    /// # Errors
    /// The kernel's refusal, such as an MTU outside the device's range.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
        self.change_link(message, format!("set the MTU of link {index} to {mtu}")).await
    }

    /// Sets the MAC address.
    ///
    /// # Errors
    /// The kernel's or the driver's refusal: a multicast address, or a device that must be down for this.
    pub async fn set_mac(&self, index: u32, mac: MacAddr) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).address(mac.0.to_vec()).build();
        self.change_link(message, format!("set the MAC address of link {index} to {mac}")).await
    }

    /// Sets the alias, at most 255 bytes.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn set_alias(&self, index: u32, alias: &str) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).alias(alias).build();
        self.change_link(message, format!("set the alias of link {index}")).await
    }

    /// Moves a link to another namespace, where its name is `pattern` with a free number for the `%d` in it.
    ///
    /// It keeps its MAC address, MTU, alias and, as a veth, its other end. It arrives down and as no port of a bridge,
    /// without addresses and tc filters, perhaps with another index. In its old namespace that is the same as deleting it.
    ///
    /// # Errors
    /// A pattern other than ASCII letters and digits with `%d` behind them: if the kernel did not like the name, or it
    /// were taken, it would complain after it has moved the link under its old name. The kernel's refusal, such as of a
    /// device that cannot move.
    pub async fn move_link(&self, index: u32, namespace: &Namespace, pattern: &str) -> Result<()> {
        let what = format!("move link {index} to another network namespace as {pattern}");
        let plain = |start: &str| start.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !pattern.strip_suffix("%d").is_some_and(plain) {
            let reason = "the name must be letters and digits with %d behind them, for a number that is free there";
            return Err(Error::new(what, io::Error::new(io::ErrorKind::InvalidInput, reason)));
        }
        let descriptor = namespace.as_fd().as_raw_fd();
        self.change_link(LinkUnspec::new_with_index(index).setns_by_fd(descriptor).name(pattern).build(), what).await
    }

    pub(crate) async fn change_link(&self, message: LinkMessage, what: String) -> Result<()> {
        (self.handle.link().change(message).execute()).await.map_err(explain(what))
    }
}
