//! What is refused before anything is touched, with the reason and the next command to type.

use std::collections::BTreeSet;

use dlmp_api::{AGGREGATION_ALIAS, Error, LOWER_ALIAS, VNIC_ALIAS};
use dlmp_datapath::MAX_PORTS;
use dlmp_netlink::ethtool::Ethtool;
use dlmp_netlink::{Address, Link};
use dlmp_wire::MacAddr;

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

/// Unknown speeds are not compared: a port without a carrier often has none.
fn speeds<'a>(ground: &Ground<'_>, names: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let mut first: Option<(&str, u32)> = None;
    for name in names {
        let Some(speed) = ground.ethtool.settings(name).ok().and_then(|settings| settings.speed) else {
            continue;
        };
        match first {
            Some((other, its)) if its != speed => {
                return Err(refused(
                    format!(
                        "{other} runs at {its} Mb/s and {name} at {speed} Mb/s: the ports of an aggregation have the same speed; -f takes them all the same"
                    ),
                    format!("dladm show-phys {name}"),
                ));
            }
            Some(_) => {}
            None => first = Some((name, speed)),
        }
    }
    Ok(())
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

fn refused(reason: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::refused(reason, remedy)
}
