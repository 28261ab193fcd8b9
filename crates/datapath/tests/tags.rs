//! Tags that are no VLANs: those of 802.1ad, and those that a priority tag hides, with the programs attached to links, since
//! the kernel has moved a frame's first tag to its metadata before they see it.
//!
//! Needs root and a kernel with BPF. Each test has a network namespace of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod both;

use std::time::Duration;

use dlmp_datapath::bpf::{Attachment, Bpf, Served};
use dlmp_datapath::{ClientAddress, Counter, Datapath, Placement, SlotIndex, Vnic, VnicIndex};
use dlmp_netlink::Netlink;
use dlmp_testbed::{FrameSocket, Look, Namespace, Tap};
use dlmp_wire::MacAddr;

use both::reports::{igmp_old, mld_old};
use both::{CLIENT, NET0, STRANGER, frame};

const IP: [u8; 3] = [8, 0, 0x45];
/// A VNIC in VLAN 7, and one without a VLAN.
const IN_VLAN: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 7]);
const PLAIN: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 8]);
const VLAN: [u8; 2] = [0x81, 0];
const PROVIDER: [u8; 2] = [0x88, 0xa8];
/// So long nothing comes.
const QUIET: Duration = Duration::from_millis(50);

/// A frame with these tags, the outermost first.
fn tagged(tags: &[([u8; 2], u16)], frame: &[u8]) -> Vec<u8> {
    let tags: Vec<u8> = tags.iter().flat_map(|(kind, tci)| [*kind, tci.to_be_bytes()].concat()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

/// An aggregation of one port, a tap, with both VNICs, all programs attached.
struct Scene {
    bpf: Bpf,
    port: Tap,
    /// Each of them with the addresses that get there.
    above: [(&'static str, FrameSocket); 3],
}

fn scene(test: impl FnOnce(&mut Scene) + Send) {
    let namespace = Namespace::new("dlmpt", "tags").unwrap();
    namespace.without_ipv6().unwrap();
    let port = Tap::new(&namespace, "net0", 1000).unwrap();
    for (upper, lower, mac) in [("aggr0", "dlmp0", CLIENT), ("v7", "l7", IN_VLAN), ("v0", "l0", PLAIN)] {
        namespace
            .ip(&format!(
                "link add name {upper} address {mac} type veth peer name {lower}\nlink set dev {lower} up\n\
                 link set dev {upper} up"
            ))
            .unwrap();
    }
    let above = ["aggr0", "v7", "v0"].map(|link| (link, FrameSocket::open(&namespace, link).unwrap()));
    namespace
        .enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let bpf = runtime.block_on(attach());
            test(&mut Scene { bpf, port, above });
        })
        .unwrap();
}

async fn attach() -> Bpf {
    let netlink = Netlink::connect().unwrap();
    let mut links = Vec::new();
    for name in ["aggr0", "dlmp0", "net0", "l7", "l0"] {
        links.push(netlink.link(name).await.unwrap().unwrap());
    }
    let [aggr0, dlmp0, net0, l7, l0] = links.try_into().unwrap();
    let served =
        Served { name: aggr0.name, ifindex: aggr0.index, lower: dlmp0.index, lower_name: dlmp0.name, netns_cookie: 1 };
    let mut bpf = Bpf::load(served, Attachment::Clsact).unwrap();
    bpf.set_port(NET0, net0.index, net0.mac.unwrap()).unwrap();
    bpf.set_usable(NET0, true).unwrap();
    bpf.set_client(ClientAddress { mac: CLIENT, vlan: 0 }, SlotIndex::PRIMARY).unwrap();
    for (at, lower, mac, vlan) in [(0, &l7, IN_VLAN, 7), (1, &l0, PLAIN, 0)] {
        bpf.set_vnic(VnicIndex(at), Some(Vnic { lower: lower.index, mac, vlan })).unwrap();
        bpf.attach_vnic(lower.index, &lower.name, &netlink).await.unwrap();
    }
    for slot in [SlotIndex::PRIMARY, VnicIndex(0).slot(), VnicIndex(1).slot()] {
        bpf.place(slot, Placement { port: NET0, backup: None }).unwrap();
    }
    bpf.set_multicast_port(Some(NET0)).unwrap();
    bpf.set_all_multicast(true).unwrap();
    bpf.attach_link(&netlink).await.unwrap();
    bpf.attach_port(net0.index, &net0.name, &netlink).await.unwrap();
    bpf
}

impl Scene {
    /// Has the port receive a frame; who above gets it, once each.
    fn arrives(&self, frame: &[u8]) -> Vec<&'static str> {
        self.port.send(frame).unwrap();
        let mut bytes = vec![0; 2048];
        let mut got = Vec::new();
        for (name, socket) in &self.above {
            while let Look::Received(_) | Look::Sent(_) = socket.receive(&mut bytes, QUIET).unwrap() {
                got.push(*name);
            }
        }
        got
    }

    /// Sends a frame from a link above; what leaves through the port.
    fn leaves(&self, link: &str, frame: &[u8]) -> Vec<Vec<u8>> {
        let (_, socket) = self.above.iter().find(|(name, _)| *name == link).unwrap();
        socket.send(frame).unwrap();
        let mut bytes = vec![0; 2048];
        let left = std::iter::from_fn(|| {
            let len = self.port.receive(&mut bytes, QUIET).unwrap()?;
            Some(bytes[..len].to_vec())
        })
        .collect();
        for (_, socket) in &self.above {
            while socket.receive(&mut bytes, Duration::ZERO).unwrap() != Look::Nothing {}
        }
        left
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.bpf.aggregation_counters().unwrap().get(counter) + self.bpf.counters(NET0).unwrap().get(counter)
    }
}

#[test]
fn only_an_802_1q_tag_reaches_a_vlan() {
    scene(|scene| {
        let to = |destination| frame(destination, STRANGER, &IP);
        assert_eq!(scene.arrives(&tagged(&[(VLAN, 7)], &to(IN_VLAN))), ["v7"]);
        assert_eq!(scene.arrives(&tagged(&[(VLAN, 0xe007)], &to(IN_VLAN))), ["v7"], "with a priority");
        assert_eq!(
            scene.arrives(&tagged(&[(VLAN, 7), (PROVIDER, 9)], &to(IN_VLAN))),
            ["v7"],
            "with payload of its own"
        );
        for tags in [
            &[(PROVIDER, 7)][..],
            &[(PROVIDER, 0xe007)],
            &[(PROVIDER, 7), (VLAN, 7)],
            &[(PROVIDER, 0), (VLAN, 7)],
            &[(VLAN, 0), (VLAN, 7)],
            &[(VLAN, 0xe000), (PROVIDER, 7)],
            &[([0x91, 0], 7)],
            &[(VLAN, 5), (VLAN, 7)],
        ] {
            assert_eq!(scene.arrives(&tagged(tags, &to(IN_VLAN))), [""; 0], "{tags:02x?}");
            let others = scene.arrives(&tagged(tags, &to(MacAddr::BROADCAST)));
            assert!(!others.contains(&"v7"), "{tags:02x?} reached {others:?}");
        }
        assert_eq!(scene.counted(Counter::RxVlanStacked), 6);
    });
}

#[test]
fn an_802_1ad_tag_is_payload_of_whoever_has_no_vlan() {
    scene(|scene| {
        for tags in [&[(PROVIDER, 7)][..], &[(PROVIDER, 9), (VLAN, 7)]] {
            let to = |destination| tagged(tags, &frame(destination, STRANGER, &IP));
            assert_eq!(scene.arrives(&to(CLIENT)), ["aggr0"], "as for an 802.1ad device on it");
            assert_eq!(scene.arrives(&to(PLAIN)), ["v0"]);
            assert_eq!(scene.arrives(&to(MacAddr::BROADCAST)), ["aggr0", "v0"]);
        }
    });
}

#[test]
fn a_tag_that_hides_a_vlan_is_dropped_whoever_it_is_for() {
    scene(|scene| {
        for tags in [&[(VLAN, 0), (VLAN, 7)][..], &[(PROVIDER, 0), (VLAN, 7)], &[(VLAN, 0), (PROVIDER, 9)]] {
            for destination in [CLIENT, PLAIN, MacAddr::BROADCAST] {
                let frame = tagged(tags, &frame(destination, STRANGER, &IP));
                assert_eq!(scene.arrives(&frame), [""; 0], "{tags:02x?} to {destination}");
            }
        }
        assert_eq!(scene.counted(Counter::RxVlanStacked), 9);
        let priority = tagged(&[(VLAN, 0xe000)], &frame(CLIENT, STRANGER, &IP));
        assert_eq!(scene.arrives(&priority), ["aggr0"], "a priority alone hides nothing");
    });
}

#[test]
fn who_sends_an_802_1ad_tag_is_no_client_in_its_vlan() {
    scene(|scene| {
        let from = |source| tagged(&[(PROVIDER, 7)], &frame(STRANGER, source, &IP));
        assert_eq!(scene.leaves("aggr0", &from(CLIENT)), [from(CLIENT)]);
        assert_eq!(scene.leaves("v0", &from(PLAIN)), [from(PLAIN)]);
        let in_its_vlan = tagged(&[(VLAN, 7), (PROVIDER, 7)], &frame(STRANGER, IN_VLAN, &IP));
        assert_eq!(scene.leaves("v7", &from(IN_VLAN)), [in_its_vlan]);
        let other = tagged(&[(PROVIDER, 9)], &frame(STRANGER, IN_VLAN, &IP));
        let in_its_vlan = tagged(&[(VLAN, 7), (PROVIDER, 9)], &frame(STRANGER, IN_VLAN, &IP));
        assert_eq!(scene.leaves("v7", &other), [in_its_vlan]);
        assert_eq!(scene.bpf.learned().unwrap(), [], "nobody was learned");

        // Nor does anybody get there by what stays here.
        for link in ["aggr0", "v0"] {
            let source = if link == "aggr0" { CLIENT } else { PLAIN };
            let to_vlan = tagged(&[(PROVIDER, 7)], &frame(IN_VLAN, source, &IP));
            assert_eq!(scene.leaves(link, &to_vlan), [to_vlan], "{link}");
        }
        assert_eq!(scene.counted(Counter::TxLocal), 0);
    });
}

#[test]
fn a_report_behind_a_tag_that_is_no_vlan_is_none() {
    scene(|scene| {
        scene.bpf.set_alive(true).unwrap();
        for report in [igmp_old(CLIENT, 0x16, 7), mld_old(CLIENT, 131, 7)] {
            let tagged = tagged(&[(PROVIDER, 7)], &report);
            assert_eq!(scene.leaves("aggr0", &tagged), [tagged], "as it is");
            assert_eq!(scene.leaves("aggr0", &report), [[0; 0]; 0], "held");
        }
        assert_eq!(scene.counted(Counter::TxReportHeld), 2);
        // Nor is one behind two tags of VLANs.
        scene.bpf.set_alive(false).unwrap();
        let own = tagged(&[(VLAN, 5), (VLAN, 7)], &igmp_old(PLAIN, 0x16, 7));
        assert_eq!(scene.leaves("v0", &own), [own]);
    });
}
