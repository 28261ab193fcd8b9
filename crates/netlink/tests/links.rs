//! Links are created, described, changed and deleted as the kernel sees them.

mod common;

use common::{OtherNamespace, in_namespace, ip, nic_like_pair, run};
use dlmp_netlink::{Netlink, NewVeth};
use dlmp_wire::MacAddr;

const MAC: MacAddr = MacAddr([0x02, 0x08, 0x20, 0x01, 0x02, 0x03]);

fn aggr0() -> NewVeth<'static> {
    NewVeth { name: "aggr0", peer: "dlmp%d", mac: MAC, mtu: 9000 }
}

#[test]
fn a_veth_pair_is_as_asked_for_and_down() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let (aggr, peer) = netlink.create_veth(aggr0()).await.unwrap();

        assert_eq!(aggr.name, "aggr0");
        assert_eq!(aggr.mac, Some(MAC));
        assert_eq!(aggr.kind.as_deref(), Some("veth"));
        assert_eq!(aggr.peer_index, Some(peer.index));
        assert!(aggr.ethernet);
        assert_eq!(peer.name, "dlmp0");
        assert_eq!(peer.peer_index, Some(aggr.index));
        for end in [&aggr, &peer] {
            assert_eq!(end.mtu, 9000);
            assert!(!end.admin_up && !end.lower_up && !end.loopback);
        }
        assert_eq!(netlink.link("dlmp0").await.unwrap(), Some(peer));
    });
}

#[test]
fn the_other_end_of_a_veth_pair_gets_no_ipv6_address_of_its_own() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let (aggr, peer) = netlink.create_veth(aggr0()).await.unwrap();
        netlink.set_up(aggr.index, true).await.unwrap();
        netlink.set_up(peer.index, true).await.unwrap();

        // The kernel adds such an address when it notices the carrier: now, if it must look.
        for end in [&aggr, &peer] {
            let link = netlink.link_by_index(end.index).await.unwrap();
            assert!(link.unwrap().lower_up);
        }
        let with_address: Vec<u32> = (netlink.addresses().await.unwrap().iter()).map(|address| address.index).collect();
        assert!(with_address.contains(&aggr.index), "{with_address:?}");
        assert!(!with_address.contains(&peer.index), "{with_address:?}");
    });
}

#[test]
fn a_taken_name_is_refused_and_leaves_no_second_pair() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        netlink.create_veth(aggr0()).await.unwrap();
        let before = netlink.links().await.unwrap();

        let error = netlink.create_veth(aggr0()).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST));
        assert!(error.to_string().contains("aggr0"), "{error}");
        assert_eq!(netlink.links().await.unwrap(), before);
    });
}

#[test]
fn deleting_one_end_deletes_both() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let (aggr, peer) = netlink.create_veth(aggr0()).await.unwrap();
        netlink.delete_link(peer.index).await.unwrap();
        assert_eq!(netlink.link_by_index(aggr.index).await.unwrap(), None);
        assert_eq!(netlink.link("dlmp0").await.unwrap(), None);

        let error = netlink.delete_link(peer.index).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV));
    });
}

#[test]
fn a_link_that_is_not_there_is_none() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        for name in ["net0", "", "a-name-that-is-far-too-long-for-a-link", "%d"] {
            assert_eq!(netlink.link(name).await.unwrap(), None, "{name:?}");
        }
        for index in [0, 4711, u32::MAX] {
            assert_eq!(netlink.link_by_index(index).await.unwrap(), None, "{index}");
        }
    });
}

#[test]
fn changes_are_made_and_seen() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let (aggr, peer) = netlink.create_veth(aggr0()).await.unwrap();
        netlink.set_up(aggr.index, true).await.unwrap();
        netlink.set_up(peer.index, true).await.unwrap();
        netlink.set_mtu(aggr.index, 1500).await.unwrap();
        netlink.set_alias(aggr.index, "an alias").await.unwrap();

        let link = netlink.link("aggr0").await.unwrap().unwrap();
        assert!(link.admin_up && link.lower_up);
        assert_eq!(link.mtu, 1500);
        assert_eq!(link.alias.as_deref(), Some("an alias"));

        netlink.set_up(peer.index, false).await.unwrap();
        let link = netlink.link("aggr0").await.unwrap().unwrap();
        assert!(link.admin_up && !link.lower_up);

        netlink.set_alias(aggr.index, "").await.unwrap();
        let link = netlink.link("aggr0").await.unwrap().unwrap();
        assert_eq!(link.alias, None);
    });
}

#[test]
fn a_refusal_names_operation_object_and_reason() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let (aggr, _) = netlink.create_veth(aggr0()).await.unwrap();
        let error = netlink.set_mtu(aggr.index, 1).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot set the MTU of link "), "{text}");
        assert!(text.ends_with("(os error 22)"), "{text}");
    });
}

#[test]
fn a_bridge_port_names_its_bridge() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let (aggr, _) = netlink.create_veth(aggr0()).await.unwrap();
        ip("link add br0 type bridge");
        ip("link set aggr0 master br0");

        let bridge = netlink.link("br0").await.unwrap().unwrap();
        assert_eq!(bridge.kind.as_deref(), Some("bridge"));
        let port = netlink.link_by_index(aggr.index).await.unwrap().unwrap();
        assert_eq!(port.master, Some(bridge.index));
        assert_eq!(port.master_kind.as_deref(), Some("bridge"));
    });
}

#[test]
fn the_loopback_is_marked() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let links = netlink.links().await.unwrap();
        assert!(links.iter().any(|link| link.name == "lo" && link.loopback && !link.ethernet));
    });
}

#[test]
fn a_peer_in_another_namespace_has_no_index_here() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let other = OtherNamespace::new();
        // Without this, index 60 is unused here and a wrong answer would look harmless.
        ip("link add decoy index 60 type bridge");
        let path = other.path();
        ip(&format!("link add net0 type veth peer name net0 index 60 netns {path}"));
        let link = netlink.link("net0").await.unwrap().unwrap();
        assert_eq!(link.peer_index, None);
    });
}

#[test]
fn a_pair_with_the_same_index_at_both_ends_is_read() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let other = OtherNamespace::new();
        nic_like_pair("net0", 50, &other);
        let link = netlink.link("net0").await.unwrap().unwrap();
        assert_eq!((link.index, link.peer_index), (50, None));
        assert!(link.lower_up);
    });
}

#[test]
fn the_list_has_every_link_even_if_the_answer_is_long() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        for number in 0..100 {
            ip(&format!("link add port{number} type bridge"));
        }
        let links = netlink.links().await.unwrap();
        for number in 0..100 {
            let name = format!("port{number}");
            assert!(links.iter().any(|link| link.name == name), "{name}");
        }
    });
}

#[test]
fn counters_count() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        ip("link set lo up");
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[0; 100], "127.0.0.1:9").unwrap();
        let statistics = netlink.link("lo").await.unwrap().unwrap().statistics;
        assert!(statistics.tx_packets >= 1 && statistics.rx_packets >= 1);
        // 20 bytes of IPv4 and 8 of UDP; the loopback counts no Ethernet header but 14 bytes of it.
        assert!(statistics.tx_bytes >= 128, "{statistics:?}");
    });
}

#[test]
fn an_additional_address_is_in_the_filter_until_it_is_taken_out() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let (port, _) = netlink.create_veth(aggr0()).await.unwrap();
        let client = MacAddr([0x02, 0x08, 0x20, 0xaa, 0xbb, 0xcc]);
        let filtered = || run("bridge fdb show dev aggr0").contains(&client.to_string());

        // Twice each: what is done already is no error.
        for _ in 0..2 {
            netlink.add_filter(port.index, client).await.unwrap();
            assert!(filtered());
        }
        for _ in 0..2 {
            netlink.delete_filter(port.index, client).await.unwrap();
            assert!(!filtered());
        }
    });
}

#[test]
fn a_filter_that_cannot_be_set_is_an_error() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let error = netlink.add_filter(4711, MAC).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV));
        assert!(error.to_string().contains(&MAC.to_string()), "{error}");
    });
}
