//! Links: what they are, and making, changing and deleting them.

use dlmp_wire::MacAddr;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, InfoVlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkLayerType, LinkMessage, Stats64,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::Netlink;
use crate::error::{Error, Result, explain, tolerate};

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
    /// The loopback.
    pub loopback: bool,
    /// An Ethernet link (`ARPHRD_ETHER`).
    pub ethernet: bool,
    /// Kind of a virtual link: `veth`, `bridge`, `tun`...; absent for hardware.
    pub kind: Option<String>,
    /// VLAN id of a VLAN device.
    pub vlan: Option<u16>,
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

/// A pair of veth ends to make.
#[derive(Debug, Clone)]
pub struct NewVeth<'a> {
    /// Name of the first end.
    pub name: &'a str,
    /// Name of the other end; `%d` in it is replaced by a free number by the kernel.
    pub peer: &'a str,
    /// MAC address of the first end.
    pub mac: MacAddr,
    /// MTU of both ends in bytes.
    pub mtu: u32,
}

impl Link {
    fn from_object(object: &RouteNetlinkMessage) -> Option<Self> {
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
            loopback: flags.contains(LinkFlags::Loopback),
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
                    self.vlan = vlan.iter().find_map(|info| if let InfoVlan::Id(id) = info { Some(*id) } else { None });
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

    /// Makes a pair of veth ends, both down, and returns them: the named end, then its peer.
    ///
    /// The peer gets no IPv6 address of its own when it comes up.
    ///
    /// # Errors
    /// The kernel's refusal, such as a name that is taken. Nothing is left behind then.
    pub async fn create_veth(&self, new: NewVeth<'_>) -> Result<(Link, Link)> {
        let what = || format!("create the link {}", new.name);
        let peer = LinkMessageBuilder::<LinkUnspec>::default().name(new.peer).mtu(new.mtu).build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(new.name)
            .address(new.mac.0.to_vec())
            .mtu(new.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        (self.handle.link().add(message).execute()).await.map_err(explain(what()))?;

        let vanished = || Error::new(what(), std::io::Error::from_raw_os_error(libc::ENODEV));
        let link = self.link(new.name).await?.ok_or_else(vanished)?;
        let finish = async {
            let peer_index = link.peer_index.ok_or_else(vanished)?;
            self.silence(peer_index).await?;
            self.link_by_index(peer_index).await?.ok_or_else(vanished)
        };
        match finish.await {
            Ok(peer) => Ok((link, peer)),
            Err(error) => {
                // The first error is the one to tell: a pair that is gone already is no second.
                let _ = self.delete_link(link.index).await;
                Err(error)
            }
        }
    }

    /// Keeps the kernel from giving a link IPv6 addresses of its own. The kernel takes this only
    /// for a link that is there already; for one without IPv6 there is nothing to do.
    async fn silence(&self, index: u32) -> Result<()> {
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

    /// Sets the alias, at most 255 bytes.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn set_alias(&self, index: u32, alias: &str) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).alias(alias).build();
        self.change_link(message, format!("set the alias of link {index}")).await
    }

    pub(crate) async fn change_link(&self, message: LinkMessage, what: String) -> Result<()> {
        (self.handle.link().change(message).execute()).await.map_err(explain(what))
    }
}
