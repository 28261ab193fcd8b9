//! Properties of a virtual switch.

use std::collections::BTreeSet;

use dlmp_api::ldm::{Error, Setting};

use super::value::VlanId;
use super::{Taken, impossible, refused, unknown};
use crate::config::SwitchConfig;

const KNOWN: [&str; 9] =
    ["net-dev", "mtu", "mac-addr", "default-vlan-id", "pvid", "vid", "linkprop", "inter-vnet-link", "id"];

/// Sets properties; an empty value resets one.
///
/// # Errors
/// The first that cannot be set, and why. The switch may be half changed then: change a copy.
pub fn set_switch(name: &str, switch: &mut SwitchConfig, taken: &mut Taken, settings: &[Setting]) -> Result<(), Error> {
    for Setting { property, value } in settings {
        set(name, switch, taken, property, value)?;
    }
    taken.choose_missing(&mut switch.mac_addr, name);
    Ok(())
}

fn set(name: &str, switch: &mut SwitchConfig, taken: &mut Taken, property: &str, value: &str) -> Result<(), Error> {
    let owner = format!("the virtual switch {name}");
    match (property, value) {
        ("net-dev", "") => switch.net_dev = None,
        ("net-dev", value) => switch.net_dev = Some(value.to_owned()),
        ("mtu", "") => switch.mtu = Default::default(),
        ("mtu", value) => switch.mtu = parsed(property, value)?,
        ("mac-addr", value) => (switch.mac_addr, switch.auto_mac) = taken.instead_of(switch.mac_addr, value, &owner)?,
        ("default-vlan-id", "") => switch.default_vlan_id = VlanId::default(),
        ("default-vlan-id", value) => switch.default_vlan_id = parsed(property, value)?,
        ("pvid", "") => switch.pvid = None,
        ("pvid", value) => switch.pvid = Some(parsed(property, value)?),
        ("vid", value) => switch.vid = vids(&switch.vid, value)?,
        ("linkprop", value) => switch.phys_state = phys_state(value)?,
        ("inter-vnet-link", "") => return Err(refused("inter-vnet-link cannot be reset; its default is auto".into())),
        ("inter-vnet-link", value) => switch.inter_vnet_link = parsed(property, value)?,
        ("id", value) => switch.id = id(value)?,
        _ => return Err(unknown(property, &KNOWN)),
    }
    Ok(())
}

/// Whether `linkprop` says phys-state.
pub(super) fn phys_state(value: &str) -> Result<bool, Error> {
    match value {
        "" => Ok(false),
        "phys-state" => Ok(true),
        _ => Err(impossible("linkprop", value, "phys-state or empty")),
    }
}

/// A list of VLANs, or with a sign what is to be added to or taken from those that there are.
pub(super) fn vids(old: &BTreeSet<VlanId>, value: &str) -> Result<BTreeSet<VlanId>, Error> {
    let list = |text: &str| -> Result<BTreeSet<VlanId>, Error> {
        (text.split(',').filter(|_| !text.is_empty())).map(|one| parsed("vid", one)).collect()
    };
    Ok(match value.as_bytes().first() {
        Some(b'+') => old.union(&list(&value[1..])?).copied().collect(),
        Some(b'-') => old.difference(&list(&value[1..])?).copied().collect(),
        _ => list(value)?,
    })
}

/// A device number.
pub(super) fn id(value: &str) -> Result<u32, Error> {
    // The guest's link is named after it, in at most 15 bytes.
    value.parse().ok().filter(|id| *id < 10_000).ok_or_else(|| impossible("id", value, "a number from 0 to 9999"))
}

/// A value that its type can read.
pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(property: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|error: T::Err| impossible(property, value, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::InterVnet;
    use dlmp_wire::MacAddr;

    fn switch() -> SwitchConfig {
        SwitchConfig { mac_addr: MacAddr([0, 0x14, 0x4f, 0xf8, 0, 1]), ..SwitchConfig::new("primary", 0) }
    }

    fn after(lines: &[&str]) -> Result<SwitchConfig, Error> {
        let (mut switch, mut taken) = (switch(), Taken::default());
        let settings: Vec<_> = (lines.iter())
            .map(|line| line.split_once('=').unwrap())
            .map(|(property, value)| Setting { property: property.into(), value: value.into() })
            .collect();
        set_switch("primary-vsw0", &mut switch, &mut taken, &settings).map(|()| switch)
    }

    #[test]
    fn every_property_is_set_and_an_empty_value_resets_it() {
        let set = [
            "net-dev=net0",
            "mtu=9000",
            "mac-addr=0:14:4f:0:0:1",
            "default-vlan-id=5",
            "pvid=20",
            "vid=21,22",
            "linkprop=phys-state",
            "inter-vnet-link=off",
            "id=3",
        ];
        let full = after(&set).unwrap();
        assert_eq!(full.net_dev.as_deref(), Some("net0"));
        assert_eq!((full.mtu.number(), full.id, full.phys_state, full.auto_mac), (9000, 3, true, false));
        assert_eq!(full.vid.iter().map(|vid| vid.number()).collect::<Vec<_>>(), [21, 22]);
        assert_eq!(full.inter_vnet_link, InterVnet::Off);
        let reset =
            ["net-dev=", "mtu=", "default-vlan-id=", "pvid=", "vid=", "linkprop=", "inter-vnet-link=auto", "id=0"];
        let empty = after(&[&set[..], &reset].concat()).unwrap();
        assert_eq!(SwitchConfig { mac_addr: switch().mac_addr, auto_mac: true, ..empty }, switch());
        assert!(after(&["mac-addr=0:14:4f:0:0:1", "mac-addr="]).unwrap().auto_mac);
    }

    #[test]
    fn lists_of_vlans_grow_and_shrink_by_a_sign() {
        let vids = |lines: &[&str]| after(lines).unwrap().vid.iter().map(|vid| vid.number()).collect::<Vec<_>>();
        assert_eq!(vids(&["vid=7,5", "vid=+6,7"]), [5, 6, 7]);
        assert_eq!(vids(&["vid=7,5", "vid=-5,9"]), [7]);
    }

    #[test]
    fn what_is_out_of_range_or_has_no_equivalent_is_refused_by_name() {
        for (line, what) in [
            ("mtu=1499", "1500 to 16000"),
            ("mtu=16001", "1500 to 16000"),
            ("mtu=big", "1500 to 16000"),
            ("pvid=0", "1 to 4094"),
            ("pvid=4095", "1 to 4094"),
            ("vid=1,,2", "1 to 4094"),
            ("default-vlan-id=70000", "1 to 4094"),
            ("linkprop=physstate", "phys-state or empty"),
            ("inter-vnet-link=", "cannot be reset"),
            ("inter-vnet-link=maybe", "auto, on, off"),
            ("id=-1", "0 to 9999"),
            ("mac-addr=1:0:0:0:0:0", "multicast"),
            ("mode=sc", "SPARC"),
            ("vsw-relay-mode=remote", "never sends a frame back"),
            ("colour=red", "there is no property colour"),
        ] {
            let error = after(&[line]).unwrap_err().to_string();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
