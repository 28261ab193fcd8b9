//! Which interfaces other managers are heard on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use dlmp_manager::Interface;
use dlmp_netlink::{Address, Changes, Link, LinkEvent, LinkEvents, Netlink};
use tokio::time::{sleep, timeout};

use super::Allocator;

/// Names and addresses of interfaces by their index.
type Interfaces = BTreeMap<u32, (String, Interface)>;

/// What happens to links within this time is one change.
const SETTLE: Duration = Duration::from_millis(100);

/// Tells the manager of the interfaces as they come and go. Never ends.
///
/// # Errors
/// Those of making sockets.
pub async fn follow(configured: BTreeSet<String>, allocator: Allocator) -> std::io::Result<()> {
    let (mut events, mut changes, netlink) = (LinkEvents::open()?, Changes::of_ipv4_addresses()?, Netlink::connect()?);
    let mut told = None;
    loop {
        let mut looked_at = None;
        let found = look(&netlink).await.map(|(links, addresses)| {
            looked_at = Some(addresses.iter().map(|address| address.index).collect());
            chosen(&links, &addresses, &configured)
        });
        match found {
            Ok(interfaces) if told.as_ref() != Some(&interfaces) => {
                let heard_on: Vec<&String> = interfaces.values().map(|(name, _)| name).collect();
                for name in configured.iter().filter(|name| !heard_on.contains(name)) {
                    tracing::warn!(
                        interface = name,
                        "it is configured, but not up with an IPv4 address: no manager is heard on it"
                    );
                }
                allocator.interfaces(interfaces.clone());
                told = Some(interfaces);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the interfaces to other managers cannot be listed"),
        }
        // Most of what happens happens to the links of guests, and each look lists hundreds of them.
        loop {
            tokio::select! {
                event = events.next() => if concerns(&event, looked_at.as_ref()) { break },
                () = changes.next() => break,
            }
        }
        sleep(SETTLE).await;
        while timeout(Duration::ZERO, events.next()).await.is_ok() {}
        while timeout(Duration::ZERO, changes.next()).await.is_ok() {}
    }
}

/// Whether something has happened to one of these links, those with addresses. A new address is a change of its own.
fn concerns(event: &LinkEvent, links: Option<&BTreeSet<u32>>) -> bool {
    let is_one = |index| links.is_none_or(|links| links.contains(index));
    match event {
        LinkEvent::Changed(link) => is_one(&link.index),
        LinkEvent::Removed { index, .. } => is_one(index),
        LinkEvent::NewPeers(_) => false,
        LinkEvent::Overrun => true,
    }
}

async fn look(netlink: &Netlink) -> dlmp_netlink::Result<(Vec<Link>, Vec<Address>)> {
    Ok((netlink.links().await?, netlink.addresses().await?))
}

/// Interfaces that are up, can send to groups and have an IPv4 address: without one nobody could answer. A port of a bridge
/// has none by rights; what it carries is heard on the bridge. The configured ones, where some are.
fn chosen(links: &[Link], addresses: &[Address], configured: &BTreeSet<String>) -> Interfaces {
    let fit = |link: &&Link| {
        let wanted = configured.is_empty() || configured.contains(&link.name);
        wanted && link.admin_up && link.multicast && !link.loopback && !link.is_port()
    };
    let interface = |link: &Link| {
        let own = addresses.iter().filter(|address| address.index == link.index);
        let networks: Vec<_> = own
            .filter_map(|address| match address.address {
                IpAddr::V4(v4) => Some((v4, address.prefix_len)),
                IpAddr::V6(_) => None,
            })
            .collect();
        let (address, _) = *networks.first()?;
        Some((link.index, (link.name.clone(), Interface { address, networks })))
    };
    links.iter().filter(fit).filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.into(), admin_up: true, multicast: true, ..Link::default() }
    }

    fn address(index: u32, text: &str) -> Address {
        Address {
            index,
            address: text.parse().unwrap(),
            prefix_len: 24,
            link_local: false,
            kernel_made: false,
            tentative: false,
            duplicate: false,
        }
    }

    fn names(links: &[Link], addresses: &[Address], configured: &[&str]) -> Vec<String> {
        let configured = configured.iter().map(|name| (*name).to_owned()).collect();
        chosen(links, addresses, &configured).into_values().map(|(name, _)| name).collect()
    }

    #[test]
    fn only_links_with_addresses_and_lost_events_are_a_reason_to_look() {
        let known = BTreeSet::from([1]);
        for (event, of_known, of_none) in [
            (LinkEvent::Changed(link(1, "net0")), true, true),
            (LinkEvent::Changed(link(2, "ldm0")), false, true),
            (LinkEvent::Removed { index: 1, name: "net0".into() }, true, true),
            (LinkEvent::Removed { index: 2, name: "ldm0".into() }, false, true),
            (LinkEvent::NewPeers(1), false, false),
            (LinkEvent::Overrun, true, true),
        ] {
            assert_eq!((concerns(&event, Some(&known)), concerns(&event, None)), (of_known, of_none), "{event:?}");
        }
    }

    #[test]
    fn managers_are_heard_where_they_could_answer() {
        let links = [
            link(1, "net0"),
            Link { loopback: true, ..link(2, "lo") },
            Link { admin_up: false, ..link(3, "down") },
            Link { multicast: false, ..link(4, "tunnel") },
            Link { master: Some(1), ..link(5, "port") },
            link(6, "nameless"),
            link(7, "net1"),
        ];
        let addresses: Vec<_> =
            (1..=7).map(|index| address(index, if index == 6 { "2001:db8::1" } else { "192.0.2.1" })).collect();
        assert_eq!(names(&links, &addresses, &[]), ["net0", "net1"]);
        assert_eq!(names(&links, &addresses, &["net1", "down", "gone"]), ["net1"]);
        assert_eq!(names(&links, &[], &[]), [""; 0]);
    }
}
