//! Ports that are virtual network devices: what `ldmd` says of them in the alias of their links, and the rules for
//! aggregations over them (seed 002, "DLMP Over a Virtual Network").

mod heard;

use dlmp_api::VnetAlias;
use dlmp_netlink::Link;
use dlmp_netlink::ethtool::{Duplex, Ethtool, Settings};

pub use heard::Listener;

/// Why no aggregation is operable over a vnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inoperable {
    /// What it is that the vnet or its switch lacks.
    pub reason: String,
    /// The command to type on the host against it.
    pub remedy: String,
}

/// The vnet that a link is, if it is one.
pub fn of(link: &Link) -> Option<VnetAlias> {
    link.alias.as_deref()?.parse().ok()
}

/// Speed and duplex of a link. Those of a vnet are its switch's uplink's: its own device knows only the way to the
/// switch. Absent when the link does not exist.
pub fn settings(link: &Link, ethtool: &Ethtool) -> Option<Settings> {
    match of(link) {
        Some(VnetAlias { speed, duplex, .. }) => {
            Some(Settings { speed, duplex: duplex.as_deref().map_or(Duplex::Unknown, Duplex::named) })
        }
        None => ethtool.settings(&link.name).ok(),
    }
}

/// A link for messages: with its vnet and switch, if it is a vnet.
pub fn described(link: &str, vnet: Option<&VnetAlias>) -> String {
    match vnet {
        Some(VnetAlias { vnet, switch, .. }) => format!("{link} (vnet {vnet} of the switch {switch})"),
        None => link.to_owned(),
    }
}

/// Whether something keeps an aggregation over this vnet from being operable.
pub fn inoperable(link: &str, vnet: &VnetAlias) -> Option<Inoperable> {
    let (who, name, switch) = (described(link, Some(vnet)), &vnet.vnet, &vnet.switch);
    if vnet.net_dev.is_none() {
        return Some(Inoperable {
            reason: format!("{who}: its switch is an Ethernet stub, and an aggregation over one is not operable"),
            remedy: format!("ldm set-vsw net-dev=LINK {switch} (on the host)"),
        });
    }
    let wanted = [
        (vnet.phys_state, "linkprop=phys-state", "nothing would notice that its uplink fails"),
        (vnet.custom, "custom=enable", "it can send from no address but its own"),
    ];
    let missing: Vec<_> = wanted.into_iter().filter(|(set, ..)| !set).collect();
    if missing.is_empty() {
        return None;
    }
    let reasons: Vec<_> = missing.iter().map(|(_, property, why)| format!("without {property} {why}")).collect();
    let properties: Vec<_> = missing.iter().map(|(_, property, _)| *property).collect();
    Some(Inoperable {
        reason: format!("{who}: {}; an aggregation over it is not operable", reasons.join(", and ")),
        remedy: format!(
            "ldm set-vnet {} {name} DOMAIN (on the host; DOMAIN is this domain's name there)",
            properties.join(" ")
        ),
    })
}

/// Says which two of these links differ in speed, if any do. Speeds are in Mb/s; unknown ones are not compared: a link
/// without a carrier often has none.
pub fn unequal(speeds: impl Iterator<Item = (String, Option<u32>)>) -> Option<String> {
    let mut known = speeds.filter_map(|(link, speed)| Some((link, speed?)));
    let (first, its) = known.next()?;
    let (other, speed) = known.find(|(_, speed)| *speed != its)?;
    Some(format!(
        "{first} runs at {its} Mb/s and {other} at {speed} Mb/s: the ports of an aggregation have the same speed"
    ))
}

/// All that is wrong with the vnets among an aggregation's ports.
pub fn problems<'a>(ports: impl Iterator<Item = (&'a str, &'a VnetAlias)> + Clone) -> Vec<String> {
    let inoperable = ports.clone().filter_map(|(link, vnet)| Some(inoperable(link, vnet)?.reason));
    let speeds = ports.clone().map(|(link, vnet)| (described(link, Some(vnet)), vnet.speed));
    inoperable.chain(unequal(speeds)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "dlmp vnet vnet6 sw0 net-dev=eth0 speed=1000 duplex=full linkprop=phys-state custom=enable";

    fn alias(text: &str) -> VnetAlias {
        text.parse().unwrap()
    }

    #[test]
    fn a_vnet_is_operable_with_an_uplink_its_state_and_more_addresses() {
        assert_eq!(inoperable("net0", &alias(GOOD)), None);
        let cases: [(&str, &[&str], &str); 5] = [
            ("linkprop=phys-state custom=enable", &["Ethernet stub"], "ldm set-vsw net-dev=LINK sw0 "),
            ("", &["Ethernet stub"], "ldm set-vsw net-dev=LINK sw0 "),
            ("net-dev=eth0 custom=enable", &["without linkprop=phys-state"], "ldm set-vnet linkprop=phys-state vnet6 "),
            ("net-dev=eth0 linkprop=phys-state", &["without custom=enable"], "ldm set-vnet custom=enable vnet6 "),
            (
                "net-dev=eth0",
                &["without linkprop=phys-state", "without custom=enable"],
                "ldm set-vnet linkprop=phys-state custom=enable vnet6 ",
            ),
        ];
        for (properties, words, command) in cases {
            let Inoperable { reason, remedy } =
                inoperable("net0", &alias(&format!("dlmp vnet vnet6 sw0 {properties}"))).unwrap();
            assert!(reason.starts_with("net0 (vnet vnet6 of the switch sw0): "), "{reason}");
            assert!(reason.contains("not operable") && words.iter().all(|word| reason.contains(word)), "{reason}");
            assert!(remedy.starts_with(command), "{remedy}");
        }
    }

    #[test]
    fn problems_are_of_each_vnet_and_of_speeds_that_differ() {
        let good = alias(GOOD);
        let fast = VnetAlias { vnet: "vnet1".into(), switch: "sw1".into(), speed: Some(10_000), ..good.clone() };
        let dark = VnetAlias { speed: None, ..good.clone() };
        let stub = VnetAlias { net_dev: None, ..dark.clone() };
        let of = |vnets: &[&VnetAlias]| problems(["net0", "net1"].into_iter().zip(vnets.iter().copied()));
        assert_eq!(of(&[&good, &good]), [""; 0]);
        assert_eq!(of(&[&dark, &fast]), [""; 0]);
        assert_eq!(
            of(&[&good, &fast]),
            [
                "net0 (vnet vnet6 of the switch sw0) runs at 1000 Mb/s and net1 (vnet vnet1 of the switch sw1) at 10000 Mb/s: \
              the ports of an aggregation have the same speed"
            ]
        );
        assert_eq!(of(&[&stub, &stub]).len(), 2);
    }
}
