//! Which interfaces other managers are heard on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use dlmp_manager::Interface;
use dlmp_netlink::{Address, Changes, Link, LinkEvents, Netlink};
use tokio::time::{sleep, timeout};

use super::Allocator;

/// What happens to links within this time is one change.
const SETTLE: Duration = Duration::from_millis(100);

/// Tells the manager of the interfaces as they come and go. Never ends.
///
/// # Errors
/// Those of making sockets.
pub async fn follow(configured: BTreeSet<String>, allocator: Allocator) -> std::io::Result<()> {
    let (mut events, mut changes, netlink) = (LinkEvents::open()?, Changes::open()?, Netlink::connect()?);
    let mut told = None;
    loop {
        match look(&netlink, &configured).await {
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
        tokio::select! {
            _ = events.next() => {}
            () = changes.next() => {}
        }
        sleep(SETTLE).await;
        while timeout(Duration::ZERO, events.next()).await.is_ok() {}
        while timeout(Duration::ZERO, changes.next()).await.is_ok() {}
    }
}

async fn look(
    netlink: &Netlink,
    configured: &BTreeSet<String>,
) -> dlmp_netlink::Result<BTreeMap<u32, (String, Interface)>> {
    let (links, addresses) = (netlink.links().await?, netlink.addresses().await?);
    Ok(chosen(&links, &addresses, configured))
}

/// Interfaces that are up, can send to groups and have an IPv4 address: without one nobody could answer. A port of a bridge
/// has none by rights; what it carries is heard on the bridge. The configured ones, where some are.
fn chosen(links: &[Link], addresses: &[Address], configured: &BTreeSet<String>) -> BTreeMap<u32, (String, Interface)> {
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
