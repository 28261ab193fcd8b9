//! Whom to ask and from where, from what the kernel has: the addresses on an aggregation and its VNICs, whoever
//! configured them, and the routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dlmp_engine::{SlotIndex, Source};
use dlmp_netlink::{Address, Link, Neighbour, Route};
use dlmp_wire::MacAddr;

use crate::plan::{ProbePlan, SourceMatch};

/// The links, addresses and routes of the namespace at a time.
#[derive(Debug, Clone, Default)]
pub struct Ground {
    /// All links.
    pub links: Vec<Link>,
    /// All addresses.
    pub addresses: Vec<Address>,
    /// The unicast routes of the main table.
    pub routes: Vec<Route>,
    /// Where other hosts are.
    pub neighbours: Vec<Neighbour>,
}

/// What a plan comes to on this ground.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Followed {
    /// The addresses that may be sources.
    pub sources: Vec<Source>,
    /// The link that each of them is on, which its echoes leave by.
    pub links: BTreeMap<IpAddr, u32>,
    /// The given targets.
    pub given: Vec<IpAddr>,
    /// Next-hop routers on the sources' own networks.
    pub routers: Vec<IpAddr>,
    /// Addresses that match but cannot be sources: IPv6 ones that are not link-local (in.dlmpd(1M)).
    pub ignored: Vec<IpAddr>,
    /// This host's own addresses: all of the namespace, and those that answer from one of its clients' MAC
    /// addresses, as a VNIC does that is in another namespace.
    pub own: BTreeSet<IpAddr>,
}

/// Finds sources and targets for an aggregation. `clients` are the links in this namespace whose addresses can
/// be sources, by index: its own and its VNICs', each with its slot; `macs` are the MAC addresses of all its clients.
pub fn follow(plan: &ProbePlan, clients: &[(u32, SlotIndex)], macs: &BTreeSet<MacAddr>, ground: &Ground) -> Followed {
    let behind_us = ground.neighbours.iter().filter(|neighbour| macs.contains(&neighbour.mac));
    let own = (ground.addresses.iter().map(|address| address.address)).chain(behind_us.map(|behind| behind.address));
    let mut followed = Followed { own: own.collect(), ..Followed::default() };
    for &(link, slot) in clients {
        let name = ground.links.iter().find(|candidate| candidate.index == link).map(|link| link.name.as_str());
        for address in ground.addresses.iter().filter(|address| address.index == link) {
            let ready = !address.tentative && !address.duplicate;
            if !ready || !plan.sources.iter().any(|wanted| matches(wanted, address, name)) {
                continue;
            }
            match address.address {
                IpAddr::V6(v6) if !v6.is_unicast_link_local() => followed.ignored.push(address.address),
                ip => {
                    followed.sources.push(Source { address: ip, prefix: address.prefix_len, slot });
                    followed.links.insert(ip, link);
                }
            }
        }
    }
    let can_be_asked = |target: &IpAddr| match target {
        IpAddr::V4(_) => true,
        IpAddr::V6(target) => target.is_unicast_link_local(),
    };
    followed.given = plan.targets.iter().filter(|target| can_be_asked(target)).copied().collect();
    followed.ignored.extend(plan.targets.iter().filter(|target| !can_be_asked(target)));
    let is_ours = |route: &&Route| clients.iter().any(|&(link, _)| route.index == Some(link));
    for gateway in ground.routes.iter().filter(is_ours).filter_map(|route| route.gateway) {
        let near = followed.sources.iter().any(|source| source.is_near(gateway));
        if near && !followed.routers.contains(&gateway) {
            followed.routers.push(gateway);
        }
    }
    followed
}

fn matches(wanted: &SourceMatch, address: &Address, link: Option<&str>) -> bool {
    match wanted {
        SourceMatch::Any => true,
        SourceMatch::Address(wanted) => *wanted == address.address,
        SourceMatch::Network(network, prefix) => {
            // A network that has this address in it is the address's own, seen as a source's.
            let network = Source { address: *network, prefix: *prefix, slot: SlotIndex::PRIMARY };
            network.is_near(address.address)
        }
        SourceMatch::Interface(wanted) => Some(wanted.as_str()) == link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LINK: u32 = 7;
    const CLIENTS: [(u32, SlotIndex); 1] = [(LINK, SlotIndex::PRIMARY)];

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn address(index: u32, text: &str, prefix_len: u8) -> Address {
        Address {
            index,
            address: ip(text),
            prefix_len,
            link_local: false,
            kernel_made: false,
            tentative: false,
            duplicate: false,
        }
    }

    fn route(gateway: &str, index: u32) -> Route {
        Route { destination: ip("0.0.0.0"), prefix_len: 0, gateway: Some(ip(gateway)), index: Some(index), metric: 0 }
    }

    fn ground() -> Ground {
        Ground {
            links: Vec::new(),
            addresses: vec![
                address(LINK, "10.1.0.5", 24),
                address(LINK, "10.2.0.5", 24),
                address(LINK, "fe80::5", 64),
                address(LINK, "2001:db8::5", 64),
                address(9, "10.3.0.5", 24),
                Address { tentative: true, ..address(LINK, "10.4.0.5", 24) },
            ],
            routes: vec![
                route("10.1.0.1", LINK),
                route("10.1.0.5", LINK),
                route("10.9.0.1", LINK),
                route("10.2.0.1", 9),
                route("fe80::1", LINK),
                route("10.1.0.1", LINK),
            ],
            neighbours: Vec::new(),
        }
    }

    fn plan(sources: Vec<SourceMatch>, targets: &[&str]) -> ProbePlan {
        let targets = targets.iter().map(|text| ip(text)).collect();
        ProbePlan { sources, targets, vlan: 0, fdt: Duration::from_secs(1) }
    }

    fn sources(followed: &Followed) -> Vec<IpAddr> {
        followed.sources.iter().map(|source| source.address).collect()
    }

    #[test]
    fn every_ready_address_of_the_link_is_a_source_but_ipv6_ones_must_be_link_local() {
        let followed = follow(&plan(vec![SourceMatch::Any], &[]), &CLIENTS, &BTreeSet::new(), &ground());
        assert_eq!(sources(&followed), [ip("10.1.0.5"), ip("10.2.0.5"), ip("fe80::5")]);
        assert_eq!(followed.ignored, [ip("2001:db8::5")]);
        // That one of them is our own is the engine's to see.
        assert_eq!(followed.routers, [ip("10.1.0.1"), ip("10.1.0.5"), ip("fe80::1")]);
    }

    #[test]
    fn own_are_all_addresses_of_the_namespace_and_whoever_answers_from_a_client_of_ours() {
        let [ours, foreign] = [MacAddr([2, 8, 0x20, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 9])];
        let neighbour = |address, mac| Neighbour { index: LINK, address: ip(address), mac };
        let neighbours = vec![
            neighbour("10.1.0.1", foreign),
            neighbour("10.1.0.8", ours),
            neighbour("fe80::8", ours),
            neighbour("fe80::9", foreign),
        ];
        let ground = Ground { neighbours, ..ground() };
        let followed = follow(&plan(vec![SourceMatch::Any], &[]), &CLIENTS, &BTreeSet::from([ours]), &ground);
        let own = ["10.1.0.5", "10.1.0.8", "10.2.0.5", "10.3.0.5", "10.4.0.5", "2001:db8::5", "fe80::5", "fe80::8"];
        assert_eq!(followed.own, own.into_iter().map(ip).collect());
    }

    #[test]
    fn a_source_is_named_by_its_address_or_its_network() {
        let one = follow(&plan(vec![SourceMatch::Address(ip("10.2.0.5"))], &[]), &CLIENTS, &BTreeSet::new(), &ground());
        assert_eq!(sources(&one), [ip("10.2.0.5")]);
        assert!(one.routers.is_empty(), "{:?}", one.routers);
        let network =
            follow(&plan(vec![SourceMatch::Network(ip("10.1.0.77"), 24)], &[]), &CLIENTS, &BTreeSet::new(), &ground());
        assert_eq!(sources(&network), [ip("10.1.0.5")]);
    }

    #[test]
    fn given_targets_are_taken_as_they_are_but_ipv6_ones_must_be_link_local() {
        let followed =
            follow(&plan(vec![SourceMatch::Any], &["10.1.0.9", "2001:db8::1"]), &CLIENTS, &BTreeSet::new(), &ground());
        assert_eq!(followed.given, [ip("10.1.0.9")]);
        assert_eq!(followed.ignored, [ip("2001:db8::5"), ip("2001:db8::1")]);
    }
    #[test]
    fn addresses_on_a_vnic_are_sources_too_and_sit_in_its_slot() {
        let clients = [(LINK, SlotIndex::PRIMARY), (9, SlotIndex(1))];
        let named = |index, name: &str| Link {
            index,
            name: name.into(),
            mtu: 1500,
            admin_up: true,
            lower_up: true,
            ethernet: true,
            ..Link::default()
        };
        let ground = Ground { links: vec![named(LINK, "aggr0"), named(9, "vnic1")], ..ground() };
        let of_vnic =
            follow(&plan(vec![SourceMatch::Interface("vnic1".into())], &[]), &clients, &BTreeSet::new(), &ground);
        assert_eq!(of_vnic.sources, [Source { address: ip("10.3.0.5"), prefix: 24, slot: SlotIndex(1) }]);
        assert_eq!(of_vnic.links, BTreeMap::from([(ip("10.3.0.5"), 9)]));
        assert!(of_vnic.routers.is_empty(), "{:?}", of_vnic.routers);

        let of_all = follow(&plan(vec![SourceMatch::Any], &[]), &clients, &BTreeSet::new(), &ground);
        assert_eq!(sources(&of_all), [ip("10.1.0.5"), ip("10.2.0.5"), ip("fe80::5"), ip("10.3.0.5")]);
        assert_eq!(of_all.routers, [ip("10.1.0.1"), ip("10.1.0.5"), ip("10.2.0.1"), ip("fe80::1")]);
    }
}
