//! Properties of a virtual network device.

use std::net::IpAddr;

use dlmp_api::ldm::{Error, Setting};

use super::switch::{id, parsed, phys_state, vids};
use super::value::Protection;
use super::{Taken, impossible, refused, unknown};
use crate::config::{VnetConfig, VnetKey};

/// Alternate MAC addresses of a vnet at most: what its guard holds beside the custom ones.
const ALTERNATES_MAX: usize = 64;
/// Allowed IP addresses of a vnet at most.
const IPS_MAX: usize = 256;
/// The least limit of bandwidth: what a TCP connection needs to go on at all, in bits a second.
const MAXBW_MIN: u64 = 64_000;

const KNOWN: [&str; 18] = [
    "mac-addr",
    "alt-mac-addrs",
    "auto-alt-mac-addrs",
    "pvid",
    "vid",
    "mtu",
    "maxbw",
    "linkprop",
    "custom",
    "custom/max-mac-addrs",
    "custom/max-vlans",
    "protection",
    "allowed-ips",
    "priority",
    "cos",
    "id",
    "vswitch",
    "vsw",
];

/// Sets properties; an empty value resets one.
///
/// # Errors
/// The first that cannot be set, or what does not go together. The vnet may be half changed then: change a copy.
pub fn set_vnet(key: &VnetKey, vnet: &mut VnetConfig, taken: &mut Taken, settings: &[Setting]) -> Result<(), Error> {
    for Setting { property, value } in settings {
        set(key, vnet, taken, property, value)?;
    }
    taken.choose_missing(&mut vnet.mac_addr, &key.to_string());
    agree(vnet)
}

fn set(key: &VnetKey, vnet: &mut VnetConfig, taken: &mut Taken, property: &str, value: &str) -> Result<(), Error> {
    let owner = format!("the vnet {} of {}", key.name, key.domain);
    match (property, value) {
        ("mac-addr", value) => (vnet.mac_addr, vnet.auto_mac) = taken.instead_of(vnet.mac_addr, value, &owner)?,
        ("alt-mac-addrs", value) => {
            release_alternates(vnet, taken);
            for text in value.split(',').filter(|_| !value.is_empty()) {
                room_for_alternate(vnet)?;
                let mac = if text == "auto" { taken.choose(&owner) } else { taken.take(text, &owner)? };
                vnet.alt_mac_addrs.push(mac);
            }
        }
        ("auto-alt-mac-addrs", value) => {
            let count = match value {
                "" => 0,
                text => text.parse::<usize>().map_err(|_| impossible(property, value, "a number from 0 to 64"))?,
            };
            release_alternates(vnet, taken);
            for _ in 0..count {
                room_for_alternate(vnet)?;
                vnet.alt_mac_addrs.push(taken.choose(&owner));
            }
        }
        ("pvid", "") => vnet.pvid = None,
        ("pvid", value) => vnet.pvid = Some(parsed(property, value)?),
        ("vid", value) => vnet.vid = vids(&vnet.vid, value)?,
        ("mtu", "") => vnet.mtu = None,
        ("mtu", value) => vnet.mtu = Some(parsed(property, value)?),
        ("maxbw", "") => vnet.maxbw = None,
        ("maxbw", value) => vnet.maxbw = Some(bandwidth(value)?),
        ("linkprop", value) => vnet.phys_state = phys_state(value)?,
        ("custom", "" | "disable") => vnet.custom = false,
        ("custom", "enable") => vnet.custom = true,
        ("custom", value) => return Err(impossible(property, value, "enable or disable")),
        ("custom/max-mac-addrs", "") => vnet.max_mac_addrs = Default::default(),
        ("custom/max-mac-addrs", value) => vnet.max_mac_addrs = parsed(property, value)?,
        ("custom/max-vlans", "") => vnet.max_vlans = Default::default(),
        ("custom/max-vlans", value) => vnet.max_vlans = parsed(property, value)?,
        ("protection", value) => {
            let words = value.split(',').filter(|_| !value.is_empty());
            vnet.protection = words.map(|word| parsed(property, word)).collect::<Result<_, _>>()?;
        }
        ("allowed-ips", value) => {
            let texts = value.split(',').filter(|_| !value.is_empty());
            let address = |text: &str| {
                text.parse::<IpAddr>().map_err(|_| impossible(property, text, "a list of IP addresses without prefix"))
            };
            vnet.allowed_ips = texts.map(address).collect::<Result<_, _>>()?;
            if vnet.allowed_ips.len() > IPS_MAX {
                return Err(refused(format!("allowed-ips has at most {IPS_MAX} addresses")));
            }
        }
        ("priority", "") => vnet.priority = None,
        ("priority", value) => vnet.priority = Some(parsed(property, value)?),
        ("cos", "") => vnet.cos = None,
        ("cos", value) => {
            let cos = value.parse().ok().filter(|cos| *cos <= 7);
            vnet.cos = Some(cos.ok_or_else(|| impossible(property, value, "a number from 0 to 7"))?);
        }
        ("id", value) => vnet.id = id(value)?,
        ("vswitch" | "vsw", "") => return Err(refused("a vnet needs a switch".into())),
        ("vswitch" | "vsw", value) => vnet.switch = value.to_owned(),
        _ => return Err(unknown(property, &KNOWN)),
    }
    Ok(())
}

/// Refuses what does not go together.
fn agree(vnet: &VnetConfig) -> Result<(), Error> {
    if vnet.custom && !vnet.alt_mac_addrs.is_empty() {
        return Err(Error::refused(
            "with custom=enable the guest makes MAC addresses by itself, so there are no alternate ones",
            "alt-mac-addrs= beside it",
        ));
    }
    if vnet.custom && !vnet.vid.is_empty() {
        return Err(Error::refused(
            "with custom=enable the guest makes VLANs by itself, so there is no list of them",
            "vid= beside it",
        ));
    }
    let ip_nospoof = vnet.protection.contains(&Protection::IpNospoof);
    if ip_nospoof && vnet.allowed_ips.is_empty() {
        return Err(Error::refused(
            "protection=ip-nospoof needs to know the addresses that the guest may use",
            "allowed-ips=ADDRESS,... beside it",
        ));
    }
    if !ip_nospoof && !vnet.allowed_ips.is_empty() {
        return Err(Error::refused(
            "allowed-ips means nothing without protection=ip-nospoof",
            "protection=ip-nospoof beside it, or allowed-ips=",
        ));
    }
    if let Some(pvid) = vnet.pvid.filter(|pvid| vnet.vid.contains(pvid)) {
        return Err(refused(format!(
            "VLAN {} is the one of untagged frames (pvid), so it is not in the list of tagged ones (vid)",
            pvid.number()
        )));
    }
    Ok(())
}

fn release_alternates(vnet: &mut VnetConfig, taken: &mut Taken) {
    vnet.alt_mac_addrs.drain(..).for_each(|mac| taken.release(mac));
}

fn room_for_alternate(vnet: &VnetConfig) -> Result<(), Error> {
    match vnet.alt_mac_addrs.len() < ALTERNATES_MAX {
        true => Ok(()),
        false => Err(refused(format!("a vnet has at most {ALTERNATES_MAX} alternate MAC addresses"))),
    }
}

/// A bandwidth: a number with K, M or G for thousands of bits a second; without a letter millions, as in `dladm`(8).
fn bandwidth(text: &str) -> Result<u64, Error> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1000),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1_000_000),
    };
    (number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)))
        .filter(|bits| *bits >= MAXBW_MIN)
        .ok_or_else(|| impossible("maxbw", text, "64K or more, a number with K, M (if nothing is said) or G"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlmp_wire::MacAddr;

    fn vnet() -> VnetConfig {
        VnetConfig { mac_addr: MacAddr([0, 0x14, 0x4f, 0xf8, 0, 1]), ..VnetConfig::new("primary-vsw0", 0) }
    }

    fn after(line: &str) -> Result<VnetConfig, Error> {
        let (mut vnet, mut taken) = (vnet(), Taken::default());
        let settings: Vec<_> = (line.split(' '))
            .map(|word| word.split_once('=').unwrap())
            .map(|(property, value)| Setting { property: property.into(), value: value.into() })
            .collect();
        set_vnet(&VnetKey::new("ldg6", "vnet6"), &mut vnet, &mut taken, &settings).map(|()| vnet)
    }

    #[test]
    fn every_property_is_set_and_an_empty_value_resets_it() {
        let full = after(
            "mac-addr=0:14:4f:0:0:1 alt-mac-addrs=0:14:4f:0:0:2,auto pvid=2 vid=3,4 mtu=9000 maxbw=100M linkprop=phys-state \
             protection=mac-nospoof,ip-nospoof allowed-ips=192.0.2.1,2001:db8::1 priority=high cos=7 id=5 vswitch=vsw1",
        )
        .unwrap();
        assert_eq!((full.id, full.cos, full.maxbw), (5, Some(7), Some(100_000_000)));
        assert_eq!((full.alt_mac_addrs.len(), full.allowed_ips.len(), full.protection.len()), (2, 2, 2));
        assert_eq!((full.switch.as_str(), full.phys_state, full.auto_mac), ("vsw1", true, false));
        let custom = after("custom=enable custom/max-mac-addrs=16 custom/max-vlans=2").unwrap();
        assert_eq!((custom.custom, custom.max_mac_addrs.number(), custom.max_vlans.number()), (true, 16, 2));
        let reset = after(
            "alt-mac-addrs=auto,auto vid=3 alt-mac-addrs= pvid= vid= mtu= maxbw= linkprop= custom=enable custom= custom/max-mac-addrs=7 custom/max-mac-addrs= \
             custom/max-vlans= protection= allowed-ips= priority= cos=1 cos=",
        );
        assert_eq!(reset.unwrap(), vnet());
        assert_eq!(after("auto-alt-mac-addrs=3").unwrap().alt_mac_addrs.len(), 3);
    }

    #[test]
    fn bandwidths_are_bits_a_second_in_thousands() {
        for (text, bits) in [("1", 1_000_000), ("64K", 64_000), ("2500M", 2_500_000_000), ("10g", 10_000_000_000)] {
            assert_eq!(after(&format!("maxbw={text}")).unwrap().maxbw, Some(bits), "{text}");
        }
    }

    #[test]
    fn what_is_impossible_or_does_not_go_together_is_refused_by_name() {
        for (line, what) in [
            ("alt-mac-addrs=auto,1:0:0:0:0:0", "multicast"),
            ("alt-mac-addrs=0:0:5e:0:0:1,0:0:5e:0:0:1", "is the address of"),
            ("auto-alt-mac-addrs=65", "at most 64"),
            ("auto-alt-mac-addrs=many", "0 to 64"),
            ("maxbw=63K", "64K or more"),
            ("maxbw=99999999999999999999G", "64K or more"),
            ("custom=yes", "enable or disable"),
            ("custom/max-mac-addrs=0", "1 to 4096"),
            ("custom/max-vlans=4097", "1 to 4096"),
            ("protection=mac-nospoof,spoof", "one of mac-nospoof"),
            ("protection=ip-nospoof", "allowed-ips"),
            ("allowed-ips=192.0.2.1", "ip-nospoof"),
            ("protection=ip-nospoof allowed-ips=192.0.2.0/24", "without prefix"),
            ("priority=highest", "high, medium, low"),
            ("cos=8", "0 to 7"),
            ("custom=enable alt-mac-addrs=auto", "custom=enable"),
            ("custom=enable vid=3", "custom=enable"),
            ("pvid=3 vid=3", "VLAN 3"),
            ("vswitch=", "needs a switch"),
            ("pvlan=3,isolated", "inter-vnet-link=off"),
            ("mode=hybrid", "SPARC"),
            ("allowed-dhcp-cids=x", "dhcp-nospoof"),
            ("net-dev=net0", "there is no property net-dev"),
        ] {
            let error = after(line).unwrap_err().to_string();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
