//! Which interfaces questions go through: those that an answer can come back to.

use std::net::IpAddr;

use dlmp_netlink::{Address, Link};

use crate::failure::{Failure, Result};

/// An interface to ask through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// The interfaces of these names, each once; all that are fit when none is named.
///
/// # Errors
/// A named one does not exist or is not fit, or none is fit; with the reason and what to do.
pub fn chosen(links: &[Link], addresses: &[Address], names: &[String]) -> Result<Vec<Interface>> {
    let mut chosen: Vec<Interface> = Vec::new();
    if names.is_empty() {
        chosen.extend(links.iter().filter(|link| fit(link, links, addresses).is_ok()).map(Interface::of));
        if chosen.is_empty() {
            return Err(Failure::refused(
                "no interface is up, carries multicast and has an IPv4 address",
                "ipadm show-addr",
            ));
        }
    }
    for name in names {
        let link = links.iter().find(|link| link.name == *name);
        let link = link.ok_or_else(|| Failure::refused(format!("there is no link {name:?}"), "dladm show-link"))?;
        fit(link, links, addresses)?;
        if chosen.iter().all(|interface| interface.index != link.index) {
            chosen.push(Interface::of(link));
        }
    }
    Ok(chosen)
}

impl Interface {
    fn of(link: &Link) -> Self {
        Self { index: link.index, name: link.name.clone() }
    }
}

/// Refuses a link that no manager can be heard through.
fn fit(link: &Link, links: &[Link], addresses: &[Address]) -> Result<()> {
    let name = &link.name;
    if link.loopback {
        return Err(Failure::refused(format!("{name} is the loopback, which no manager is behind"), "dlmp discover"));
    }
    if !link.multicast {
        return Err(Failure::refused(
            format!("{name} carries no multicast"),
            format!("ip link set dev {name} multicast on"),
        ));
    }
    if !link.admin_up {
        return Err(Failure::refused(format!("{name} is down"), format!("ip link set dev {name} up")));
    }
    if !link.lower_up {
        return Err(Failure::refused(format!("{name} has no carrier"), format!("dladm show-phys {name}")));
    }
    if let Some(master) = link.master.filter(|_| link.is_port()) {
        let kind = link.master_kind.as_deref().unwrap_or("link");
        let above = links.iter().find(|link| link.index == master).map_or("?", |link| &link.name);
        return Err(Failure::refused(
            format!("{name} is a port of the {kind} {above}, which receives in its place"),
            format!("dlmp discover -i {above}"),
        ));
    }
    // Without one also a port of an aggregation, which keeps no addresses.
    if !addresses.iter().any(|address| address.index == link.index && matches!(address.address, IpAddr::V4(_))) {
        return Err(Failure::refused(
            format!("{name} has no IPv4 address to ask from"),
            "ipadm show-addr (which interfaces have one)",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.into(),
            multicast: true,
            admin_up: true,
            lower_up: true,
            ethernet: true,
            ..Link::default()
        }
    }

    fn address(index: u32, address: &str) -> Address {
        Address {
            index,
            address: address.parse().unwrap(),
            prefix_len: 24,
            link_local: false,
            kernel_made: false,
            tentative: false,
            duplicate: false,
        }
    }

    /// One of each kind; `net0`, `br0` and `net7` are fit.
    fn host() -> (Vec<Link>, Vec<Address>) {
        let port = |index, name: &str, kind: &str| Link {
            master: Some(20),
            master_kind: Some(kind.into()),
            ..link(index, name)
        };
        let links = vec![
            Link { loopback: true, multicast: false, ..link(1, "lo") },
            link(2, "net0"),
            Link { admin_up: false, lower_up: false, ..link(3, "net1") },
            Link { lower_up: false, ..link(4, "net2") },
            Link { multicast: false, ..link(5, "wg0") },
            link(6, "net3"),
            link(7, "net4"),
            port(8, "net5", "bridge"),
            port(9, "net6", "bond"),
            port(10, "net7", "vrf"),
            link(20, "br0"),
        ];
        let mut addresses: Vec<_> = links
            .iter()
            .filter(|link| !link.name.ends_with(['3', '4']))
            .map(|link| address(link.index, "10.0.0.1"))
            .collect();
        addresses.push(address(6, "fe80::1"));
        (links, addresses)
    }

    fn names(wanted: &[&str]) -> Result<Vec<String>> {
        let (links, addresses) = host();
        let wanted: Vec<String> = wanted.iter().map(|&name| name.into()).collect();
        Ok(chosen(&links, &addresses, &wanted)?.into_iter().map(|interface| interface.name).collect())
    }

    #[test]
    fn all_that_an_answer_can_come_back_to_are_asked_through() {
        assert_eq!(names(&[]).unwrap(), ["net0", "net7", "br0"]);
    }

    #[test]
    fn those_that_are_named_are_asked_through_once() {
        assert_eq!(names(&["br0", "net0", "br0"]).unwrap(), ["br0", "net0"]);
    }

    #[test]
    fn one_that_is_not_fit_is_refused_with_the_reason_and_what_to_do() {
        for (name, reason, remedy) in [
            ("lo", "loopback", "dlmp discover"),
            ("net1", "is down", "ip link set dev net1 up"),
            ("net2", "no carrier", "dladm show-phys net2"),
            ("net3", "no IPv4 address", "ipadm show-addr"),
            ("net4", "no IPv4 address", "ipadm show-addr"),
            ("net5", "a port of the bridge br0", "dlmp discover -i br0"),
            ("net6", "a port of the bond br0", "dlmp discover -i br0"),
            ("wg0", "no multicast", "ip link set dev wg0 multicast on"),
            ("net99", "there is no link \"net99\"", "dladm show-link"),
        ] {
            let message = names(&["net0", name]).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains(&format!("try: {remedy}")), "{message}");
        }
    }

    #[test]
    fn a_host_without_a_fit_interface_is_told_so() {
        let failure = chosen(&[Link { loopback: true, ..link(1, "lo") }], &[address(1, "127.0.0.1")], &[]).unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.to_string().contains("no interface"), "{failure}");
    }
}
