//! What is refused before anything is touched, with the reason and the next command to type.

use std::collections::BTreeSet;

use dlmp_api::{AGGREGATION_ALIAS, Error, LOWER_ALIAS, PORT_VLAN_ALIAS, VNIC_ALIAS};
use dlmp_datapath::MAX_PORTS;
use dlmp_netlink::ethtool::Ethtool;
use dlmp_netlink::{Address, Link};
use dlmp_wire::MacAddr;

use crate::vnet;

/// The longest name that the kernel takes for a link, in bytes.
const NAME_MAX: usize = 15;

/// The links and addresses of the namespace, as they are at the request.
#[derive(Debug)]
pub struct Ground<'a> {
    /// All links.
    pub links: &'a [Link],
    /// All addresses.
    pub addresses: &'a [Address],
    /// Asks for speed and carrier.
    pub ethtool: &'a Ethtool,
}

/// Checks the name of a link to make.
///
/// # Errors
/// It is not a name, too long, or taken.
pub fn name(ground: &Ground<'_>, name: &str) -> Result<(), Error> {
    if name.len() > NAME_MAX {
        return Err(refused(
            format!("{name}: a link's name has at most {NAME_MAX} characters, this has {}", name.len()),
            "",
        ));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(allowed) {
        return Err(refused(
            format!(
                "{name:?} is no name for a link: it starts with a letter and goes on with letters, digits, '_', '-' and '.'"
            ),
            "",
        ));
    }
    match ground.links.iter().find(|link| link.name == name) {
        Some(link) if is_aggregation(link) => {
            Err(refused(format!("the aggregation {name} exists already"), format!("dladm show-aggr {name}")))
        }
        Some(_) => Err(refused(format!("the name {name} is taken by another link"), "dladm show-link")),
        None => Ok(()),
    }
}

/// Checks the MAC address of a link to make.
///
/// # Errors
/// It is not a unicast address.
pub fn mac(text: &str) -> Result<MacAddr, Error> {
    let mac: MacAddr = text.parse().map_err(|error| refused(format!("{text:?} is {error}"), ""))?;
    if mac.is_group() {
        return Err(refused(format!("{mac} is a multicast address: a link needs a unicast one"), ""));
    }
    if mac.is_zero() {
        return Err(refused("00:00:00:00:00:00 is no address that a link can have", ""));
    }
    Ok(mac)
}

/// Checks links that are to become ports, beside those that the aggregation has already.
///
/// # Errors
/// The first of them that cannot be a port, and why.
pub fn ports(
    ground: &Ground<'_>,
    aggregation: &str,
    new: &[String],
    existing: &[String],
    force: bool,
) -> Result<(), Error> {
    if new.is_empty() {
        return Err(refused(
            "an aggregation needs at least one port",
            format!("dladm create-aggr -l net0 -l net1 {aggregation}"),
        ));
    }
    if new.len() + existing.len() > MAX_PORTS {
        return Err(refused(format!("an aggregation has at most {MAX_PORTS} ports"), ""));
    }
    let mut seen = BTreeSet::new();
    for name in new {
        if !seen.insert(name) {
            return Err(refused(format!("the port {name} is named twice"), ""));
        }
        port(ground, name)?;
    }
    if !force {
        link_reports(ground, new)?;
        speeds(ground, new.iter().chain(existing))?;
    }
    Ok(())
}

fn port(ground: &Ground<'_>, name: &str) -> Result<(), Error> {
    let Some(link) = ground.links.iter().find(|link| link.name == name) else {
        return Err(refused(format!("there is no link {name}"), "dladm show-phys"));
    };
    if link.loopback {
        return Err(refused(format!("{name} is the loopback: it cannot be a port"), "dladm show-phys"));
    }
    if is_aggregation(link) || is_vnic(link) || is_lower_end(link) {
        return Err(refused(
            format!("{name} belongs to an aggregation itself: it cannot be a port of one"),
            "dladm show-phys",
        ));
    }
    if !link.ethernet || link.mac.is_none() {
        return Err(refused(format!("{name} is not an Ethernet link: it cannot be a port"), "dladm show-phys"));
    }
    if let Some(master) = link.master {
        let kind = link.master_kind.as_deref().unwrap_or("link");
        let master = (ground.links.iter().find(|link| link.index == master)).map_or("?", |link| &link.name);
        return Err(refused(
            format!("{name} is a port of the {kind} {master}"),
            format!("ip link set {name} nomaster"),
        ));
    }
    let above = ground.links.iter().find(|above| {
        above.peer_index == Some(link.index)
            && !is_port_vlan(above)
            && matches!(above.kind.as_deref(), Some("vlan" | "macvlan" | "macvtap" | "ipvlan" | "ipvtap"))
    });
    if let Some(above) = above {
        return Err(refused(
            format!("{name} is in use by {} above it", above.name),
            format!("ip link delete {}", above.name),
        ));
    }
    // A link that is up always has a link-local address of the kernel's; that one is no reason.
    let address = (ground.addresses.iter()).find(|address| address.index == link.index && !address.kernel_made);
    if let Some(address) = address {
        let text = format!("{}/{}", address.address, address.prefix_len);
        return Err(refused(
            format!("{name} has the address {text}: a port keeps no addresses"),
            format!("ip address delete {text} dev {name}"),
        ));
    }
    if let Some(vnet::Inoperable { reason, remedy }) = vnet::of(link).and_then(|alias| vnet::inoperable(name, &alias)) {
        return Err(refused(reason, remedy));
    }
    Ok(())
}

/// Without a link state to watch, nothing would notice that the port died.
fn link_reports(ground: &Ground<'_>, names: &[String]) -> Result<(), Error> {
    for name in names {
        if matches!(ground.ethtool.carrier(name), Ok(None)) {
            return Err(refused(
                format!(
                    "{name} cannot report its link state, so nothing would notice its failure; -f takes it all the same"
                ),
                "",
            ));
        }
    }
    Ok(())
}

fn speeds<'a>(ground: &Ground<'_>, names: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let links = names.filter_map(|name| ground.links.iter().find(|link| link.name == *name));
    let speeds = links.map(|link| {
        let speed = vnet::settings(link, ground.ethtool).and_then(|settings| settings.speed);
        (vnet::described(&link.name, vnet::of(link).as_ref()), speed)
    });
    match vnet::unequal(speeds) {
        Some(reason) => Err(refused(format!("{reason}; -f takes them all the same"), "dladm show-phys")),
        None => Ok(()),
    }
}

/// Whether a link is the upper end of an aggregation.
pub fn is_aggregation(link: &Link) -> bool {
    link.alias.as_deref() == Some(AGGREGATION_ALIAS)
}

/// Whether a link is the upper end of a VNIC of ours. One whose lower end is elsewhere is a link as any other.
pub fn is_vnic(link: &Link) -> bool {
    link.peer_index.is_some() && link.alias.as_deref().is_some_and(|alias| alias.starts_with(VNIC_ALIAS))
}

fn is_lower_end(link: &Link) -> bool {
    link.alias.as_deref().is_some_and(|alias| alias.starts_with(LOWER_ALIAS))
}

/// Whether a link is a device of ours that only registers a VLAN with a port's driver. It gets its alias right after it was
/// made: one that has none when its daemon was killed is known by its name.
pub fn is_port_vlan(link: &Link) -> bool {
    let numbered = |name: &str| name.strip_prefix("dlmpv").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let ours = |alias: &String| alias.starts_with(PORT_VLAN_ALIAS);
    link.kind.as_deref() == Some("vlan") && link.alias.as_ref().map_or_else(|| numbered(&link.name), ours)
}

fn refused(reason: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::refused(reason, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: &str = "net-dev=eth0 duplex=full linkprop=phys-state custom=enable";

    /// Asks for an aggregation of `net0` and `net1`, which are vnets with these properties.
    fn asked(net0: &str, net1: &str, force: bool) -> Result<(), Error> {
        let link = |index: u32, properties: &str| Link {
            index: index + 2,
            name: format!("net{index}"),
            mac: Some(MacAddr([0, 0x14, 0x4f, 0xf8, 0, 1])),
            ethernet: true,
            alias: Some(format!("dlmp vnet vnet{index} sw{index} {properties}")),
            ..Link::default()
        };
        let ground =
            Ground { links: &[link(0, net0), link(1, net1)], addresses: &[], ethtool: &Ethtool::open().unwrap() };
        ports(&ground, "aggr0", &["net0".into(), "net1".into()], &[], force)
    }

    #[test]
    fn vnets_are_ports_when_they_and_their_switches_are_set_up_for_it() {
        assert_eq!(asked(READY, READY, false), Ok(()));
        for lacking in
            ["linkprop=phys-state custom=enable", "net-dev=eth0 custom=enable", "net-dev=eth0 linkprop=phys-state"]
        {
            for force in [false, true] {
                let Err(Error::Refused { reason, remedy }) = asked(READY, lacking, force) else { panic!("{lacking}") };
                assert!(reason.starts_with("net1 (vnet vnet1 of the switch sw1): "), "{reason}");
                assert!(remedy.starts_with("ldm set-"), "{remedy}");
            }
        }
    }

    #[test]
    fn only_our_own_devices_for_vlans_are_no_use_of_a_port() {
        let link = |index, name: &str, kind: Option<&str>, alias: Option<&str>| Link {
            index,
            name: name.into(),
            mac: Some(MacAddr([0, 0x14, 0x4f, 0xf8, 0, 1])),
            ethernet: true,
            kind: kind.map(Into::into),
            alias: alias.map(Into::into),
            peer_index: kind.map(|_| 2),
            ..Link::default()
        };
        let ours = format!("{PORT_VLAN_ALIAS} net0");
        for (name, kind, alias, is_ours) in [
            ("dlmpv0", "vlan", Some(ours.as_str()), true),
            ("renamed", "vlan", Some(ours.as_str()), true),
            ("dlmpv12", "vlan", None, true),
            ("dlmpv12", "vlan", Some("mine"), false),
            ("dlmpvx", "vlan", None, false),
            ("net0.7", "vlan", None, false),
            ("dlmpv0", "macvlan", None, false),
        ] {
            let above = link(3, name, Some(kind), alias);
            assert_eq!(is_port_vlan(&above), is_ours, "{above:?}");
            let links = [link(2, "net0", None, None), above];
            let ground = Ground { links: &links, addresses: &[], ethtool: &Ethtool::open().unwrap() };
            let checked = ports(&ground, "aggr0", &["net0".into()], &[], true);
            assert_eq!(checked.is_ok(), is_ours, "{checked:?}");
        }
    }

    #[test]
    fn the_uplinks_of_vnets_have_the_same_speed_unless_forced() {
        let at = |speed: &str| format!("{READY} {speed}");
        assert_eq!(asked(&at("speed=1000"), &at("speed=1000"), false), Ok(()));
        assert_eq!(asked(&at("speed=1000"), &at(""), false), Ok(()));
        assert_eq!(asked(&at("speed=1000"), &at("speed=100"), true), Ok(()));
        let Err(Error::Refused { reason, .. }) = asked(&at("speed=1000"), &at("speed=100"), false) else { panic!() };
        for words in
            ["net0 (vnet vnet0 of the switch sw0) runs at 1000", "net1 (vnet vnet1 of the switch sw1) at 100", "-f"]
        {
            assert!(reason.contains(words), "{reason}");
        }
    }
}
