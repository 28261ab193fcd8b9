//! The bridge of a virtual switch, and its uplink.

use dlmp_api::SWITCH_ALIAS;
use dlmp_netlink::{Link, NewBridge};

use super::is_bridge;
use crate::carrier::Uplink;
use crate::config::SwitchConfig;
use crate::control::Control;

impl Control {
    /// Makes the switch's bridge, or brings it in line.
    ///
    /// # Errors
    /// What is in the way, in words. A bridge that was made is removed then.
    pub(crate) async fn build_switch(&mut self, name: &str, switch: &SwitchConfig) -> Result<(), String> {
        let uplink_before = self.uplink_and_namespace(switch).await;
        let place = self.place_of(&switch.domain)?;
        let netlink = &place.netlink;
        let mtu = u32::from(switch.mtu.number());
        let (bridge, new) = match netlink.link(name).await.map_err(text)? {
            Some(link) if is_ours(&link) => (link, false),
            Some(_) => {
                return Err(format!("the name {name} is taken by another link of the domain {}", switch.domain));
            }
            None => {
                let new = NewBridge { mac: switch.mac_addr, mtu, vlan_filtering: false, default_pvid: None };
                (netlink.create_bridge(name, new).await.map_err(text)?, true)
            }
        };
        let finished = async {
            if new {
                netlink.set_alias(bridge.index, SWITCH_ALIAS).await.map_err(text)?;
            }
            if bridge.mac != Some(switch.mac_addr) {
                netlink.set_mac(bridge.index, switch.mac_addr).await.map_err(text)?;
            }
            let uplink = match &switch.net_dev {
                Some(net_dev) => netlink.link(net_dev).await.map_err(text)?,
                None => None,
            };
            if let Some(uplink) = &uplink {
                join(netlink, uplink, &bridge, mtu).await?;
            }
            // After the uplink, whose MTU limits that of the bridge.
            if bridge.mtu != mtu {
                netlink.set_mtu(bridge.index, mtu).await.map_err(text)?;
            }
            self.build_vlans(name, switch, &bridge, uplink.as_ref(), None).await?;
            netlink.set_up(bridge.index, true).await.map_err(text)
        };
        if let Err(error) = finished.await {
            if new {
                // The first error is the one to tell.
                let _ = netlink.delete_link(bridge.index).await;
            }
            return Err(error);
        }
        let uplink = switch.net_dev.clone().map_or(Uplink::Stub, Uplink::Link);
        let links = place.links.clone();
        self.note_mtu(name, uplink_before, mtu);
        self.carriers.switch(name, links, uplink).await;
        self.show_switch(name, switch).await
    }

    /// With `linkprop=phys-state` on the switch itself its bridge shows the state of the uplink; a bridge has no
    /// carrier to take away as long as one of its ports is up.
    ///
    /// # Errors
    /// The kernel's refusal, in words.
    pub(crate) async fn show_switch(&self, name: &str, switch: &SwitchConfig) -> Result<(), String> {
        let Some(place) = self.places.get(&switch.domain) else { return Ok(()) };
        let Some(bridge) = place.netlink.link(name).await.map_err(text)? else { return Ok(()) };
        let shown = switch.phys_state.then(|| self.carriers.carrier(name).unwrap_or(false));
        place.netlink.show_state(bridge.index, shown).await.map_err(text)
    }

    /// Brings a switch from one configuration to another.
    ///
    /// # Errors
    /// What is in the way, in words; call it the other way round then.
    pub(crate) async fn rebuild_switch(
        &mut self,
        name: &str,
        before: &SwitchConfig,
        after: &SwitchConfig,
    ) -> Result<(), String> {
        if before.net_dev != after.net_dev {
            self.leave_uplink(name, before).await?;
            self.lower_mtu(name, before, 0).await;
        } else {
            self.lower_mtu(name, before, after.mtu.number().into()).await;
        }
        self.build_switch(name, after).await
    }

    /// Takes the bridge of a switch away; what stays is logged. Its ports are left as they are, but for an MTU that it raised.
    pub(crate) async fn unbuild_switch(&mut self, name: &str, switch: &SwitchConfig) {
        self.carriers.forget_switch(name).await;
        let Some(place) = self.places.get(&switch.domain) else { return self.keep_raised(name, None) };
        let removed = async {
            match place.netlink.link(name).await? {
                Some(link) if is_ours(&link) => place.netlink.delete_link(link.index).await,
                _ => Ok(()),
            }
        };
        if let Err(error) = removed.await {
            tracing::warn!(switch = name, %error, "the bridge stays");
        }
        self.lower_mtu(name, switch, 0).await;
    }

    /// The uplink of a switch as it is now, to be [put back](Self::put_back).
    pub(crate) async fn uplink(&self, switch: &SwitchConfig) -> Option<Link> {
        let (net_dev, place) = (switch.net_dev.as_ref()?, self.places.get(&switch.domain)?);
        place.netlink.link(net_dev).await.ok()?
    }

    /// Gives an uplink what it had before a switch took it, when that came to nothing: its MTU, and whether it was up.
    pub(crate) async fn put_back(&self, domain: &str, uplink: Option<Link>) {
        let (Some(before), Some(place)) = (uplink, self.places.get(domain)) else { return };
        let put_back = async {
            place.netlink.set_mtu(before.index, before.mtu).await?;
            place.netlink.set_up(before.index, before.admin_up).await
        };
        if let Err(error) = put_back.await {
            tracing::warn!(link = before.name, %error, "the link is not as it was");
        }
    }

    async fn leave_uplink(&self, name: &str, switch: &SwitchConfig) -> Result<(), String> {
        let (Some(net_dev), Some(place)) = (&switch.net_dev, self.places.get(&switch.domain)) else { return Ok(()) };
        let bridge = place.netlink.link(name).await.map_err(text)?;
        let uplink = place.netlink.link(net_dev).await.map_err(text)?;
        match (bridge, uplink) {
            (Some(bridge), Some(uplink)) if uplink.master == Some(bridge.index) => {
                place.netlink.set_master(uplink.index, None).await.map_err(text)
            }
            _ => Ok(()),
        }
    }
}

/// Whether a link is the bridge of a virtual switch.
fn is_ours(link: &Link) -> bool {
    is_bridge(link) && link.alias.as_deref() == Some(SWITCH_ALIAS)
}

/// Makes the uplink a port of the bridge, up, with room for the switch's frames.
async fn join(netlink: &dlmp_netlink::Netlink, uplink: &Link, bridge: &Link, mtu: u32) -> Result<(), String> {
    match uplink.master {
        Some(master) if master == bridge.index => {}
        Some(_) => {
            let kind = uplink.master_kind.as_deref().unwrap_or("link");
            return Err(format!("{} is a port of another {kind}", uplink.name));
        }
        None => netlink.set_master(uplink.index, Some(bridge.index)).await.map_err(text)?,
    }
    if uplink.mtu < mtu {
        netlink.set_mtu(uplink.index, mtu).await.map_err(text)?;
    }
    if !uplink.admin_up {
        netlink.set_up(uplink.index, true).await.map_err(text)?;
    }
    Ok(())
}

pub(super) fn text(error: dlmp_netlink::Error) -> String {
    error.to_string()
}
