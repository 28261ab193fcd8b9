//! VLANs of a switch's ports: by the bridge's own filtering, which is on once anything about VLANs is set.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use dlmp_netlink::{Error, Link, Netlink, PortVlan};

use super::Built;
use crate::config::{SwitchConfig, VnetConfig, VnetKey};
use crate::control::Control;
use crate::place::Place;

/// Why nothing about VLANs can be set.
const NO_VLANS: &str = "this kernel's bridges have no VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING), which pvid, vid and default-vlan-id need";

/// The VLANs of a port: which one untagged frames belong to, and those of tagged ones.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    pvid: u16,
    tagged: BTreeSet<u16>,
}

impl Control {
    /// Whether a switch or one of its vnets has anything about VLANs set.
    fn needs_vlans(&self, name: &str, switch: &SwitchConfig) -> bool {
        let own = switch.default_vlan_id != Default::default() || switch.pvid.is_some() || !switch.vid.is_empty();
        own || self.connected(name).any(|(_, vnet)| vnet.pvid.is_some() || !vnet.vid.is_empty())
    }

    /// Brings the VLANs of a switch in line: of the bridge itself, of the uplink and of one vnet's switch end. While nothing
    /// about VLANs is set they are not filtered. Before they are, every switch end is brought in line, so that no frame
    /// is lost.
    ///
    /// # Errors
    /// The kernel's refusal in words, such as that it has no VLAN filtering.
    pub(super) async fn build_vlans(
        &self,
        name: &str,
        switch: &SwitchConfig,
        bridge: &Link,
        uplink: Option<&Link>,
        end: Option<(&VnetConfig, u32)>,
    ) -> Result<(), String> {
        let Some(Place { netlink, .. }) = self.places.get(&switch.domain) else { return Ok(()) };
        if !self.needs_vlans(name, switch) {
            return match bridge.vlan_filtering {
                true => netlink.set_vlan_filtering(bridge.index, false).await.map_err(reason),
                false => Ok(()),
            };
        }
        let default = switch.default_vlan_id.number();
        let own = Wanted {
            pvid: switch.pvid.unwrap_or(switch.default_vlan_id).number(),
            tagged: switch.vid.iter().map(|vid| vid.number()).collect(),
        };
        bring_in_line(netlink, bridge.index, &own).await?;
        if let Some(uplink) = uplink {
            let mut used: BTreeSet<u16> = own.tagged.iter().copied().chain([own.pvid]).collect();
            for (_, vnet) in self.connected(name) {
                let wanted = wanted(vnet, switch);
                used.extend(wanted.tagged);
                used.insert(wanted.pvid);
            }
            used.remove(&default);
            bring_in_line(netlink, uplink.index, &Wanted { pvid: default, tagged: used }).await?;
        }
        if let Some((vnet, end)) = end {
            bring_in_line(netlink, end, &wanted(vnet, switch)).await?;
        }
        if bridge.vlan_filtering {
            return Ok(());
        }
        // Those that are no ports yet, of a bridge that was just made, become ones later.
        let ports = netlink.links().await.map_err(reason)?.into_iter();
        let ports: BTreeSet<u32> =
            ports.filter(|link| link.master == Some(bridge.index)).map(|link| link.index).collect();
        for (key, vnet) in self.connected(name) {
            let is_port = |built: &&Built| built.domain == switch.domain && ports.contains(&built.index);
            if let Some(built) = self.built.get(key).filter(is_port) {
                bring_in_line(netlink, built.index, &wanted(vnet, switch)).await?;
            }
        }
        netlink.set_vlan_filtering(bridge.index, true).await.map_err(reason)
    }

    fn connected(&self, switch: &str) -> impl Iterator<Item = (&VnetKey, &VnetConfig)> {
        self.config.vnets.iter().filter(move |(_, vnet)| vnet.switch == switch)
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
        netlink.port_vlans(port).await.map_err(reason)?.into_iter().map(|vlan| (vlan.vid, vlan)).collect();
    let gone = there.keys().copied().filter(|vid| *vid != wanted.pvid && !wanted.tagged.contains(vid));
    for vids in rows(gone) {
        netlink.delete_port_vlans(port, vids).await.map_err(reason)?;
    }
    let untagged = PortVlan { vid: wanted.pvid, pvid: true, untagged: true };
    if there.get(&wanted.pvid) != Some(&untagged) {
        netlink.add_port_vlan(port, untagged).await.map_err(reason)?;
    }
    let is_tagged = |vid: &u16| there.get(vid).is_some_and(|vlan| !vlan.pvid && !vlan.untagged);
    let missing = wanted.tagged.iter().copied().filter(|vid| *vid != wanted.pvid && !is_tagged(vid));
    for vids in rows(missing) {
        netlink.add_port_vlans(port, vids).await.map_err(reason)?;
    }
    Ok(())
}

/// Ascending numbers as ranges: one request for each of the thousands that custom=enable allows would take seconds.
fn rows(numbers: impl Iterator<Item = u16>) -> Vec<RangeInclusive<u16>> {
    let mut rows: Vec<RangeInclusive<u16>> = Vec::new();
    for number in numbers {
        match rows.last_mut().filter(|row| *row.end() + 1 == number) {
            Some(row) => *row = *row.start()..=number,
            None => rows.push(number..=number),
        }
    }
    rows
}

/// Why VLANs of a port could not be set.
fn reason(error: Error) -> String {
    match error.errno() {
        Some(libc::EOPNOTSUPP) => NO_VLANS.into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_in_a_row_are_one_range() {
        assert_eq!(super::rows([1, 2, 3, 5, 7, 8].into_iter()), [1..=3, 5..=5, 7..=8]);
        assert_eq!(super::rows([].into_iter()), []);
    }
}
