//! Bridges and their ports.

use dlmp_wire::MacAddr;
use netlink_packet_route::link::{BridgeStpState, InfoBridge, InfoData, InfoKind};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec};

use crate::error::{Error, Result, explain};
use crate::{Link, Netlink};

/// A bridge to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBridge {
    /// Its MAC address, which then stays, whatever ports it gets.
    pub mac: MacAddr,
    /// Its MTU in bytes, which then stays, whatever ports it gets.
    pub mtu: u32,
    /// Frames pass only between ports with their VLAN.
    pub vlan_filtering: bool,
    /// The VLAN that new ports are in, untagged (1 to 4094); none when absent.
    pub default_pvid: Option<u16>,
}

impl Netlink {
    /// Makes a bridge, down, and returns it. It has no spanning tree, forwards at once, and floods multicast.
    ///
    /// # Errors
    /// The kernel's refusal, such as a name that is taken; `EOPNOTSUPP` when VLAN filtering is asked for and the
    /// kernel was built without it. Nothing is left behind then.
    pub async fn create_bridge(&self, name: &str, new: NewBridge) -> Result<Link> {
        let what = || format!("create the bridge {name}");
        // A bridge follows the MTUs of its ports until it is given another than it has (br_change_mtu in
        // net/bridge/br_device.c): so it starts with another.
        let other_mtu = if new.mtu == 1500 { 1501 } else { 1500 };
        let mut message = LinkMessageBuilder::<LinkBridge>::new(name)
            .address(new.mac.0.to_vec())
            .mtu(other_mtu)
            .stp_state(BridgeStpState::Disabled)
            .forward_delay(0)
            .mcast_snooping(false)
            .vlan_default_pvid(new.default_pvid.unwrap_or(0));
        if new.vlan_filtering {
            message = message.vlan_filtering(true);
        }
        (self.handle.link().add(message.build()).execute()).await.map_err(explain(what()))?;

        let vanished = || Error::new(what(), std::io::Error::from_raw_os_error(libc::ENODEV));
        let bridge = self.link(name).await?.ok_or_else(vanished)?;
        match self.set_mtu(bridge.index, new.mtu).await {
            Ok(()) => Ok(Link { mtu: new.mtu, ..bridge }),
            Err(error) => {
                // The first error is the one to tell: a bridge that is gone already is no second.
                let _ = self.delete_link(bridge.index).await;
                Err(error)
            }
        }
    }

    /// Switches the VLAN filtering of a bridge on or off.
    ///
    /// # Errors
    /// The kernel's refusal: `EOPNOTSUPP` when it was built without it.
    pub async fn set_vlan_filtering(&self, bridge: u32, on: bool) -> Result<()> {
        let message = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Bridge)
            .index(bridge)
            .set_info_data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(on)]))
            .build();
        let direction = if on { "on" } else { "off" };
        self.change_link(message, format!("switch the VLAN filtering of link {bridge} {direction}")).await
    }

    /// Makes a link a port of a bridge, or of none.
    ///
    /// # Errors
    /// The kernel's refusal: a link that is a port of another already (`EBUSY`), or that cannot be one.
    pub async fn set_master(&self, index: u32, bridge: Option<u32>) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).controller(bridge.unwrap_or(0)).build();
        let what = match bridge {
            Some(bridge) => format!("make link {index} a port of link {bridge}"),
            None => format!("take link {index} out of its bridge"),
        };
        self.change_link(message, what).await
    }

    /// Whether a bridge's port is isolated: isolated ports do not reach each other (`IFLA_BRPORT_ISOLATED`).
    ///
    /// # Errors
    /// The kernel's refusal, such as a link that is no port of a bridge.
    pub async fn set_isolated(&self, port: u32, isolated: bool) -> Result<()> {
        let message = LinkBridgePort::new(port).isolated(isolated).build();
        let what = if isolated { "isolate" } else { "stop isolating" };
        self.change_link(message, format!("{what} the bridge port {port}")).await
    }
}
