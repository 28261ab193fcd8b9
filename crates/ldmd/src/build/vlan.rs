//! VLANs of a switch's ports: by the bridge's own filtering, which is on once anything about VLANs is set.

use std::collections::{BTreeMap, BTreeSet};

use dlmp_netlink::{Link, Netlink, PortVlan};

use super::switch::text;
use crate::config::{SwitchConfig, VnetConfig};
use crate::control::Control;

/// The VLANs of a port: which one untagged frames belong to, and those of tagged ones.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    pvid: u16,
    tagged: BTreeSet<u16>,
}

impl Control {
    /// Whether a switch or one of its vnets has anything about VLANs set.
    pub(super) fn needs_vlans(&self, name: &str, switch: &SwitchConfig) -> bool {
        let own = switch.default_vlan_id != Default::default() || switch.pvid.is_some() || !switch.vid.is_empty();
        own || self.connected(name).any(|vnet| vnet.pvid.is_some() || !vnet.vid.is_empty())
    }

    /// Brings the VLANs of the bridge itself and of the uplink in line.
    pub(super) async fn build_switch_vlans(
        &self,
        name: &str,
        switch: &SwitchConfig,
        bridge: &Link,
        uplink: Option<&Link>,
    ) -> Result<(), String> {
        let Some(place) = self.places.get(&switch.domain) else { return Ok(()) };
        let default = switch.default_vlan_id.number();
        let own = Wanted {
            pvid: switch.pvid.unwrap_or(switch.default_vlan_id).number(),
            tagged: switch.vid.iter().map(|vid| vid.number()).collect(),
        };
        bring_in_line(&place.netlink, bridge.index, &own).await?;
        if let Some(uplink) = uplink {
            let mut used: BTreeSet<u16> = own.tagged.iter().copied().chain([own.pvid]).collect();
            for vnet in self.connected(name) {
                let wanted = wanted(vnet, switch);
                used.extend(wanted.tagged);
                used.insert(wanted.pvid);
            }
            used.remove(&default);
            bring_in_line(&place.netlink, uplink.index, &Wanted { pvid: default, tagged: used }).await?;
        }
        Ok(())
    }

    /// Brings the VLANs of a vnet's switch end in line.
    pub(super) async fn build_vnet_vlans(
        &self,
        vnet: &VnetConfig,
        switch: &SwitchConfig,
        end: u32,
    ) -> Result<(), String> {
        match self.places.get(&switch.domain) {
            Some(place) => bring_in_line(&place.netlink, end, &wanted(vnet, switch)).await,
            None => Ok(()),
        }
    }

    fn connected(&self, switch: &str) -> impl Iterator<Item = &VnetConfig> {
        self.config.vnets.values().filter(move |vnet| vnet.switch == switch)
    }
}

/// The VLANs of a vnet. With custom=enable all: how many of them the guest may use is the guard's to hold.
fn wanted(vnet: &VnetConfig, switch: &SwitchConfig) -> Wanted {
    let pvid = vnet.pvid.unwrap_or(switch.default_vlan_id).number();
    let tagged = match vnet.custom {
        true => (1..=4094).filter(|vid| *vid != pvid).collect(),
        false => vnet.vid.iter().map(|vid| vid.number()).collect(),
    };
    Wanted { pvid, tagged }
}

async fn bring_in_line(netlink: &Netlink, port: u32, wanted: &Wanted) -> Result<(), String> {
    let there: BTreeMap<u16, PortVlan> =
        netlink.port_vlans(port).await.map_err(text)?.into_iter().map(|vlan| (vlan.vid, vlan)).collect();
    for vid in there.keys().filter(|vid| **vid != wanted.pvid && !wanted.tagged.contains(vid)) {
        netlink.delete_port_vlan(port, *vid).await.map_err(text)?;
    }
    let untagged = [PortVlan { vid: wanted.pvid, pvid: true, untagged: true }];
    let tagged = wanted.tagged.iter().filter(|vid| **vid != wanted.pvid);
    let tagged = tagged.map(|vid| PortVlan { vid: *vid, pvid: false, untagged: false });
    for vlan in untagged.into_iter().chain(tagged).filter(|vlan| there.get(&vlan.vid) != Some(vlan)) {
        netlink.add_port_vlan(port, vlan).await.map_err(text)?;
    }
    Ok(())
}
