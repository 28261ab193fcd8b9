//! What is on a link that is to have no addresses, and saying it.

use std::net::IpAddr;

use dlmp_netlink::{Address, LinkRoute, ipv6};

use super::{Quiet, who};

/// What was found on a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    /// Addresses with the length of their network part in bits.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// Routes that leave through it, in words, with whether they are of IPv4.
    pub(super) routes: Vec<(String, bool)>,
    /// IPv6 is on.
    pub(super) ipv6: bool,
}

impl Found {
    /// What is on this link.
    pub(super) fn on(link: &Quiet, addresses: &[Address], routes: &[LinkRoute]) -> Self {
        let addresses = addresses.iter().filter(|address| address.index == link.index);
        let routes = routes.iter().filter(|route| route.index == link.index);
        Self {
            addresses: addresses.map(|address| (address.address, address.prefix_len)).collect(),
            routes: routes.map(|route| (route.text.clone(), route.is_ipv4)).collect(),
            // What cannot be read cannot be switched off either.
            ipv6: ipv6::disabled(&link.name).is_ok_and(|disabled| disabled == Some(false)),
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether all of it was known.
    pub(super) fn is_part_of(&self, known: &Self) -> bool {
        self.addresses.iter().all(|address| known.addresses.contains(address))
            && self.routes.iter().all(|route| known.routes.contains(route))
            && (known.ipv6 || !self.ipv6)
    }

    /// Takes in what else was found. Of addresses the last ones are enough: some clients come with another one each time.
    pub(super) fn extend(&mut self, found: &Self) {
        self.addresses.clone_from(&found.addresses);
        self.routes.clone_from(&found.routes);
        self.ipv6 |= found.ipv6;
    }

    /// Whether something of it takes traffic of the family of `address`. A link-local IPv6 address takes none.
    pub(super) fn touches(&self, address: IpAddr) -> bool {
        let takes = |there: &IpAddr| match there {
            IpAddr::V4(_) => address.is_ipv4(),
            IpAddr::V6(there) => address.is_ipv6() && !there.is_unicast_link_local(),
        };
        self.addresses.iter().any(|(there, _)| takes(there))
            || self.routes.iter().any(|&(_, is_ipv4)| is_ipv4 == address.is_ipv4())
    }

    /// The problem in words, with who may have made it and what to do about it.
    pub(super) fn problem(&self, link: &str, role: &str) -> String {
        let kernels = |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        let mut what: Vec<String> = (self.addresses.iter())
            .filter(|(address, _)| !kernels(address))
            .map(|(address, prefix_len)| format!("the address {address}/{prefix_len}"))
            .collect();
        what.extend(self.routes.iter().map(|(route, _)| format!("the route {route}")));
        if self.ipv6 && what.is_empty() {
            what.push("IPv6".into());
        }
        let (culprit, remedy) = who::suspect(link);
        format!(
            "others put {} on {link}, {role}, where no address works: it is taken off each time; probably {culprit}: {remedy}",
            what.join(" and ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(addresses: &[(&str, u8)], ipv6: bool) -> Found {
        let addresses = addresses.iter().map(|&(address, length)| (address.parse().unwrap(), length)).collect();
        Found { addresses, routes: Vec::new(), ipv6 }
    }

    #[test]
    fn a_problem_names_what_was_put_there_and_where() {
        let text = found(&[("10.7.0.150", 24), ("fe80::1", 64)], true).problem("net0", "a port");
        assert!(text.starts_with("others put the address 10.7.0.150/24 on net0, a port, "), "{text}");
        let text = found(&[("fe80::1", 64)], true).problem("dlmp0", "the lower end of aggr0");
        assert!(text.starts_with("others put IPv6 on dlmp0, the lower end of aggr0, "), "{text}");
        let route = ("default via 10.7.0.1".to_owned(), true);
        let text = Found { routes: vec![route], ..Found::default() }.problem("net0", "a port");
        assert!(text.starts_with("others put the route default via 10.7.0.1 on net0, "), "{text}");
    }

    #[test]
    fn an_address_takes_the_traffic_of_its_family_unless_it_is_the_kernels() {
        let [v4, v6]: [IpAddr; 2] = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
        assert!(found(&[("169.254.3.4", 16)], false).touches(v4));
        assert!(!found(&[("10.7.0.150", 24)], false).touches(v6));
        assert!(found(&[("2001:db8::9", 64)], true).touches(v6));
        assert!(!found(&[("fe80::9", 64)], true).touches(v6));
    }

    #[test]
    fn what_is_there_again_is_no_news() {
        let mut known = found(&[("10.7.0.150", 24)], false);
        assert!(found(&[("10.7.0.150", 24)], false).is_part_of(&known));
        let other = found(&[("10.7.0.151", 24)], false);
        assert!(!other.is_part_of(&known));
        known.extend(&other);
        assert!(other.is_part_of(&known));
    }
}
