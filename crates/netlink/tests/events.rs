//! Links' changes are reported, and the carrier can be looked at when a report is late.

mod common;

use common::{OtherNamespace, in_namespace, ip, nic_like_pair};
use dlmp_netlink::ethtool::{Duplex, Ethtool};
use dlmp_netlink::{Link, LinkEvent, LinkEvents, Netlink};

/// Waits until the link `name` is reported in a state that `wanted` describes.
async fn changed(events: &mut LinkEvents, name: &str, wanted: impl Fn(&Link) -> bool) -> Link {
    loop {
        match events.next().await {
            LinkEvent::Changed(link) if link.name == name && wanted(&link) => return link,
            LinkEvent::Removed { name, .. } => panic!("{name} is said to be gone"),
            _ => {}
        }
    }
}

/// Waits until a link is reported gone.
async fn removed(events: &mut LinkEvents) -> (u32, String) {
    loop {
        if let LinkEvent::Removed { index, name } = events.next().await {
            return (index, name);
        }
    }
}

#[test]
fn carrier_that_goes_and_comes_is_reported() {
    in_namespace(|| async {
        let other = OtherNamespace::new();
        let mut events = LinkEvents::open().unwrap();
        nic_like_pair("net0", 50, &other);
        changed(&mut events, "net0", |link| link.lower_up).await;
        other.ip("link set net0 down");
        let link = changed(&mut events, "net0", |link| !link.lower_up).await;
        assert!(link.admin_up);
        other.ip("link set net0 up");
        changed(&mut events, "net0", |link| link.lower_up).await;
    });
}

#[test]
fn two_carriers_that_go_together_are_both_reported() {
    in_namespace(|| async {
        let other = OtherNamespace::new();
        nic_like_pair("net0", 50, &other);
        nic_like_pair("net1", 51, &other);
        let mut events = LinkEvents::open().unwrap();
        other.ip("link set net0 down");
        other.ip("link set net1 down");
        changed(&mut events, "net0", |link| !link.lower_up).await;
        changed(&mut events, "net1", |link| !link.lower_up).await;
    });
}

#[test]
fn a_look_sees_every_change_of_carrier_at_once_whatever_the_kernel_holds_back() {
    in_namespace(|| async {
        let other = OtherNamespace::new();
        nic_like_pair("net0", 50, &other);
        nic_like_pair("net1", 51, &other);
        let ethtool = Ethtool::open().unwrap();
        let netlink = Netlink::connect().unwrap();
        for round in 0..10 {
            let up = round % 2 == 1;
            for name in ["net0", "net1"] {
                other.ip(&format!("link set {name} {}", if up { "up" } else { "down" }));
            }
            assert_eq!(ethtool.carrier("net0").unwrap(), Some(up), "round {round}");
            let net1 = netlink.link("net1").await.unwrap().unwrap();
            assert_eq!(net1.lower_up, up, "round {round}");
        }
    });
}

#[test]
fn a_rename_keeps_the_index() {
    in_namespace(|| async {
        ip("link add net0 index 50 type bridge");
        let mut events = LinkEvents::open().unwrap();
        ip("link set net0 name net7");
        let link = changed(&mut events, "net7", |_| true).await;
        assert_eq!(link.index, 50);
    });
}

#[test]
fn a_deleted_link_is_reported_gone() {
    in_namespace(|| async {
        ip("link add net0 index 50 type bridge");
        let mut events = LinkEvents::open().unwrap();
        ip("link delete net0");
        assert_eq!(removed(&mut events).await, (50, "net0".to_owned()));
    });
}

#[test]
fn a_link_moved_to_another_namespace_is_gone() {
    in_namespace(|| async {
        let other = OtherNamespace::new();
        ip("link add net0 index 50 type veth peer name net1");
        let mut events = LinkEvents::open().unwrap();
        ip(&format!("link set net0 netns {}", other.path()));
        assert_eq!(removed(&mut events).await, (50, "net0".to_owned()));
    });
}

#[test]
fn a_link_that_leaves_a_bridge_is_not_gone() {
    in_namespace(|| async {
        ip("link add net0 type veth peer name net1");
        ip("link add br0 type bridge");
        ip("link set net0 master br0");
        let mut events = LinkEvents::open().unwrap();
        ip("link set net0 nomaster");
        ip("link set net0 mtu 1400");
        // `changed` fails if net0 is reported gone before.
        let link = changed(&mut events, "net0", |link| link.mtu == 1400).await;
        assert_eq!(link.master, None);
    });
}

#[test]
fn ethtool_tells_carrier_speed_and_driver() {
    in_namespace(|| async {
        ip("link add net0 type veth peer name net1");
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.carrier("net0").unwrap(), Some(false));
        ip("link set net0 up");
        ip("link set net1 up");
        assert_eq!(ethtool.carrier("net0").unwrap(), Some(true));

        // What drivers/net/veth.c reports for every veth.
        let settings = ethtool.settings("net0").unwrap();
        assert_eq!((settings.speed, settings.duplex), (Some(10_000), Duplex::Full));
        assert_eq!(ethtool.driver("net0").unwrap(), "veth");
    });
}

#[test]
fn ethtool_says_what_it_does_not_know() {
    in_namespace(|| async {
        let ethtool = Ethtool::open().unwrap();
        let settings = ethtool.settings("lo").unwrap();
        assert_eq!((settings.speed, settings.duplex), (None, Duplex::Unknown));
        // A bridge without ports answers, but with no speed.
        ip("link add br0 type bridge");
        assert_eq!(ethtool.settings("br0").unwrap().speed, None);
        for name in ["net0", "", "a-name-that-is-far-too-long-for-a-link"] {
            let error = ethtool.carrier(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{name:?}");
        }
    });
}
