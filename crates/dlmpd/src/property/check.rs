//! What is refused in `probe-ip` because of what is on the machine: sources that there are none of, and
//! targets that can never answer.

use std::net::{IpAddr, Ipv4Addr};

use dlmp_api::Error;
use dlmp_engine::{SlotIndex, Source as Near};
use dlmp_netlink::{Address, Link};

use super::{ProbeIp, Source, Target};
use crate::object::interface_of;

/// Refuses interfaces and address objects that are on none of the aggregation's `interfaces`: its own, which is
/// the first, and those of the VNICs over it.
///
/// # Errors
/// Which it is, and why it cannot be a source.
pub fn sources(interfaces: &[String], probe_ip: &ProbeIp, is_object: impl Fn(&str) -> bool) -> Result<(), Error> {
    for (source, _) in probe_ip.entries() {
        let (interface, object) = match source {
            Source::Interface(interface) => (interface.as_str(), None),
            Source::Object(object) => (interface_of(object), Some(object)),
            _ => continue,
        };
        if !interfaces.iter().any(|own| own == interface) {
            let aggregation = interfaces.first().map_or("", String::as_str);
            return Err(Error::refused(
                format!("the source {interface} is neither {aggregation} nor a VNIC over it"),
                "dladm show-vnic",
            ));
        }
        if let Some(object) = object.filter(|object| !is_object(object)) {
            return Err(Error::refused(format!("there is no address object {object}"), "ipadm show-addr"));
        }
    }
    Ok(())
}

/// Refuses our own addresses as targets, and IPv4 ones off the networks of the aggregation's interfaces, as far as
/// they have any.
///
/// # Errors
/// Which it is, and why it can never answer.
pub fn targets(interfaces: &[String], probe_ip: &ProbeIp, links: &[Link], addresses: &[Address]) -> Result<(), Error> {
    let on_own =
        |address: &Address| links.iter().any(|link| link.index == address.index && interfaces.contains(&link.name));
    let networks: Vec<Near> = (addresses.iter())
        .filter(|address| address.address.is_ipv4() && on_own(address))
        .map(|own| Near { address: own.address, prefix: own.prefix_len, slot: SlotIndex::PRIMARY })
        .collect();
    for (_, target) in probe_ip.entries() {
        let Target::Address(target) = target else { continue };
        if let Some(own) = addresses.iter().find(|own| own.address == *target) {
            let on = links.iter().find(|link| link.index == own.index).map_or("a link", |link| &link.name);
            return Err(Error::refused(
                format!("the target {target} is our own address, on {on}: it would answer whatever happens"),
                "ip route (for the address of a router)",
            ));
        }
        if target.is_ipv4() && !networks.is_empty() && !networks.iter().any(|network| network.is_near(*target)) {
            let shown: Vec<String> = networks.iter().map(network_text).collect();
            let names = interfaces.join(", ");
            return Err(Error::refused(
                format!("the target {target} is on no network of {names}: there is {}", shown.join(", ")),
                "ipadm show-addr",
            ));
        }
    }
    Ok(())
}

fn network_text(network: &Near) -> String {
    match network.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(network.prefix)).unwrap_or(0);
            format!("{}/{}", Ipv4Addr::from_bits(address.to_bits() & mask), network.prefix)
        }
        IpAddr::V6(address) => format!("{address}/{}", network.prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_on_the_aggregation_or_a_vnic_over_it() {
        let interfaces = ["aggr0".to_owned(), "vnic1".to_owned()];
        let is_object = |object: &str| ["aggr0/v4", "vnic1/v4", "net7/v4"].contains(&object);
        let check = |text: &str| sources(&interfaces, &text.parse().unwrap(), is_object);
        for text in ["+", "[aggr0]+", "[vnic1]+", "vnic1/v4+", "aggr0/v4+10.0.0.9", "10.0.0.1", "host+"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, reason) in [
            ("[net7]+", "neither aggr0 nor a VNIC"),
            ("+,net7/v4", "neither aggr0 nor a VNIC"),
            ("aggr0/v6", "no address object aggr0/v6"),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("try:"), "{text}: {error}");
        }
    }
}
