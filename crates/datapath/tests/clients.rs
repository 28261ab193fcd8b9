//! The rules for clients of every kind: VNICs, learned ones, in VLANs or not; each frame fed to the model and to
//! the loaded programs, which must give the same verdict, counts, observations and copies.
//!
//! Needs root and a kernel with BPF. Each test has a network namespace of its own, with a pair of links for
//! every VNIC.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod both;

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use dlmp_datapath::bpf::Entry;
use dlmp_datapath::model::{Delivery, Verdict};
use dlmp_datapath::{
    Above, ClientAddress, Counter, Datapath, FIRST_LEARNED_SLOT, Learned, MAX_LEARNED, Observation, Placement,
    PortIndex, SlotIndex, Vnic, VnicIndex,
};
use dlmp_testbed::Namespace;
use dlmp_wire::MacAddr;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, socket};
use proptest::prelude::*;

use both::{CLIENT, GROUP, LLDP, LOOPBACK, NET0, NET1, Pair, STRANGER, TO_LINK, frame, port_mac};

const IP: [u8; 3] = [8, 0, 0x45];
const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 1, 1, 1]);
const OTHER_GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 1, 1, 2]);
/// A frame that the link itself sent (PACKET_OUTGOING, linux/if_packet.h).
const OUTGOING: u8 = 4;

/// Two VNICs without a VLAN and two in VLAN 7.
const VNICS: [(VnicIndex, MacAddr, u16); 4] = [
    (VnicIndex(0), MacAddr([2, 8, 0x20, 0, 0, 0x10]), 0),
    (VnicIndex(1), MacAddr([2, 8, 0x20, 0, 0, 0x11]), 0),
    (VnicIndex(2), MacAddr([2, 8, 0x20, 0, 0, 0x12]), 7),
    (VnicIndex(5), MacAddr([2, 8, 0x20, 0, 0, 0x13]), 7),
];

/// The pair of back ends with VNICs on real links.
struct Scene {
    pair: Pair,
    lower: BTreeMap<VnicIndex, u32>,
    /// Who gets what arrives on a link.
    ends: BTreeMap<usize, Above>,
    socket: OwnedFd,
    /// Who got a copy of the last frame.
    copies: Vec<Above>,
    /// The model's clock: how far it is ahead of the time since the start.
    start: Instant,
    ahead: Duration,
}

/// Runs a test in a namespace with the VNICs; the even ones sit on net0, the odd ones on net1.
fn scene(test: impl FnOnce(&mut Scene) + Send) {
    let namespace = Namespace::new("dlmpc", "clients").unwrap();
    namespace.without_ipv6().unwrap();
    namespace.ip("link set dev lo up").unwrap();
    for (index, ..) in VNICS {
        let (upper, lower) = (format!("v{}", index.0), format!("l{}", index.0));
        namespace
            .ip(&format!(
                "link add name {upper} type veth peer name {lower}\nlink set dev {upper} up\nlink set dev {lower} up"
            ))
            .unwrap();
    }
    namespace
        .enter(|| {
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll).unwrap();
            let index = |name: String| if_nametoindex(name.as_str()).unwrap();
            let mut scene = Scene {
                pair: Pair::new(),
                lower: VNICS.map(|(vnic, ..)| (vnic, index(format!("l{}", vnic.0)))).into(),
                ends: VNICS.map(|(vnic, ..)| (index(format!("v{}", vnic.0)) as usize, Above::Vnic(vnic))).into(),
                socket,
                copies: Vec::new(),
                start: Instant::now(),
                ahead: Duration::ZERO,
            };
            scene.ahead = scene.pair.model.time();
            scene.ends.insert(LOOPBACK as usize, Above::Link);
            for (at, (vnic, mac, vlan)) in VNICS.into_iter().enumerate() {
                let known = Vnic { lower: scene.lower[&vnic], mac, vlan };
                scene.pair.both(|d| d.set_vnic(vnic, Some(known)));
                let port = if at % 2 == 0 { NET0 } else { NET1 };
                scene.pair.both(|d| d.place(vnic.slot(), Placement { port, backup: None }));
            }
            scene.later();
            test(&mut scene);
        })
        .unwrap();
}

impl Scene {
    /// Lets every move be long past.
    fn later(&mut self) {
        self.ahead += Duration::from_secs(60);
        self.pair.bpf.age_moves(Duration::from_secs(60)).unwrap();
    }

    /// Lets the model's clock go as the kernel's does.
    fn begin(&mut self) {
        self.arrived();
        self.pair.model.set_time(self.ahead + self.start.elapsed());
    }

    fn link(&mut self, frame: &[u8]) -> Verdict {
        self.begin();
        let verdict = self.pair.egress(frame);
        self.same_copies(frame);
        verdict
    }

    fn port(&mut self, port: PortIndex, frame: &[u8]) -> Verdict {
        self.begin();
        let verdict = self.pair.ingress(port, frame);
        self.same_copies(frame);
        verdict
    }

    fn vnic(&mut self, vnic: VnicIndex, frame: &[u8]) -> Verdict {
        self.begin();
        let verdict = self.pair.model.vnic(vnic, frame);
        self.pair.agree(Entry::Vnic(self.lower[&vnic]), frame, verdict);
        self.same_copies(frame);
        verdict
    }

    /// Who got a copy of the last frame.
    fn arrived(&mut self) -> Vec<Above> {
        let mut copies = Vec::new();
        let mut bytes = [0; 2048];
        while let Ok((_, Some(from))) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
            if let Some(&end) = self.ends.get(&from.ifindex()).filter(|_| from.pkttype() != OUTGOING) {
                copies.push(end);
            }
        }
        copies.sort();
        copies
    }

    fn same_copies(&mut self, frame: &[u8]) {
        let mut wanted: Vec<_> = self.pair.copies.iter().map(|copy| copy.to).collect();
        wanted.sort();
        // A copy waits for the kernel's own thread at times.
        let mut arrived = self.arrived();
        for _ in 0..100 {
            if arrived.len() >= wanted.len() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            arrived.extend(self.arrived());
        }
        arrived.sort();
        assert_eq!(arrived, wanted, "the copies of {frame:02x?}");
        self.copies = wanted;
    }

    fn aggregation(&self, counter: Counter) -> u64 {
        self.pair.bpf.aggregation_counters().unwrap().get(counter)
    }
}

const fn sent(port: PortIndex) -> Verdict {
    Verdict::Send { port, source: None }
}

const fn to(vnic: VnicIndex) -> Verdict {
    Verdict::Deliver(Delivery { to: Above::Vnic(vnic), untagged: false })
}

/// The rest of a frame with a tag.
fn tagged(vlan: u16) -> Vec<u8> {
    [&[0x81, 0][..], &vlan.to_be_bytes(), &IP].concat()
}

/// An ARP announcement (RFC 5227), tagged or not.
fn announcement(mac: MacAddr, vlan: u16) -> Vec<u8> {
    let mut rest = if vlan == 0 { Vec::new() } else { [&[0x81, 0][..], &vlan.to_be_bytes()].concat() };
    rest.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    rest.extend(mac.0);
    rest.extend([10, 0, 0, 9]);
    rest.extend([0; 6]);
    rest.extend([10, 0, 0, 9]);
    frame(MacAddr::BROADCAST, mac, &rest)
}

#[test]
fn a_vnic_sends_through_its_own_port_and_as_itself_only() {
    scene(|scene| {
        for (at, (vnic, mac, _)) in VNICS.into_iter().enumerate() {
            let port = if at % 2 == 0 { NET0 } else { NET1 };
            assert_eq!(scene.vnic(vnic, &frame(STRANGER, mac, &IP)), sent(port));
            assert_eq!(scene.vnic(vnic, &frame(STRANGER, GUEST, &IP)), Verdict::Drop);
        }
        assert_eq!(scene.aggregation(Counter::TxUnknownSource), 4);
        // One in a VLAN sends without another one.
        let (vnic, mac, _) = VNICS[2];
        assert_eq!(scene.vnic(vnic, &frame(STRANGER, mac, &tagged(8))), Verdict::Drop);
        assert_eq!(scene.vnic(vnic, &frame(STRANGER, mac, &tagged(7))), Verdict::Drop);
    });
}

#[test]
fn nobody_sends_as_a_vnic_or_a_port() {
    scene(|scene| {
        assert_eq!(scene.link(&frame(STRANGER, VNICS[0].1, &IP)), Verdict::Drop);
        assert_eq!(scene.link(&frame(STRANGER, port_mac(NET1), &IP)), Verdict::Drop);
    });
}

#[test]
fn a_vnic_is_served_from_its_own_port() {
    scene(|scene| {
        assert_eq!(scene.port(NET0, &frame(VNICS[0].1, STRANGER, &IP)), to(VNICS[0].0));
        assert_eq!(scene.port(NET1, &frame(VNICS[0].1, STRANGER, &IP)), Verdict::Drop);
        let in_vlan = Verdict::Deliver(Delivery { to: Above::Vnic(VNICS[2].0), untagged: true });
        assert_eq!(scene.port(NET0, &frame(VNICS[2].1, STRANGER, &tagged(7))), in_vlan);
        assert_eq!(scene.port(NET0, &frame(VNICS[2].1, STRANGER, &IP)), Verdict::Drop, "without its VLAN");
        assert_eq!(scene.port(NET0, &frame(VNICS[0].1, STRANGER, &tagged(7))), Verdict::Drop, "in another's VLAN");
    });
}

#[test]
fn clients_talk_to_each_other_here() {
    scene(|scene| {
        let [(first, first_mac, _), (second, second_mac, _), (tagged_one, tagged_mac, _), (_, other_tagged, _)] = VNICS;
        assert_eq!(scene.link(&frame(first_mac, CLIENT, &IP)), to(first));
        assert_eq!(scene.vnic(first, &frame(CLIENT, first_mac, &IP)), TO_LINK);
        assert_eq!(scene.vnic(first, &frame(second_mac, first_mac, &IP)), to(second));
        assert!(matches!(scene.vnic(tagged_one, &frame(other_tagged, tagged_mac, &IP)), Verdict::Deliver(_)));
        assert_eq!(scene.vnic(first, &frame(tagged_mac, first_mac, &IP)), sent(NET0), "another VLAN is a router's");
        assert_eq!(scene.aggregation(Counter::TxLocal), 4);
    });
}

#[test]
fn group_addressed_frames_go_to_every_client_of_the_vlan_and_out() {
    scene(|scene| {
        let above = |indexes: &[usize]| indexes.iter().map(|&at| Above::Vnic(VNICS[at].0)).collect::<Vec<_>>();
        for destination in [MacAddr::BROADCAST, GROUP] {
            assert_eq!(scene.link(&frame(destination, CLIENT, &IP)), sent(NET0));
            assert_eq!(scene.copies, above(&[0, 1]));
            assert_eq!(scene.link(&frame(destination, CLIENT, &tagged(7))), sent(NET1), "another client in a VLAN");
            assert_eq!(scene.copies, above(&[2, 3]));
            assert_eq!(scene.vnic(VNICS[0].0, &frame(destination, VNICS[0].1, &IP)), sent(NET0));
            assert_eq!(scene.copies, [vec![Above::Link], above(&[1])].concat());
            assert_eq!(scene.vnic(VNICS[3].0, &frame(destination, VNICS[3].1, &IP)), sent(NET1));
            assert_eq!(scene.copies, [vec![Above::Link], above(&[2])].concat());
        }
        assert_eq!(scene.link(&frame(LLDP, CLIENT, &[0x88, 0xcc])), sent(NET0));
        assert_eq!(scene.copies, [], "LLDP is for the switch");
        for destination in [LLDP, MacAddr([1, 0, 0x0c, 0xcc, 0xcc, 0xcc]), MacAddr([0, 0xe0, 0x2b, 0, 0, 0])] {
            for (vnic, mac, _) in VNICS {
                assert_eq!(
                    scene.vnic(vnic, &frame(destination, mac, &[0x88, 0xcc])),
                    Verdict::Drop,
                    "a guest's is not"
                );
                assert_eq!(scene.copies, []);
            }
        }
        assert_eq!(scene.aggregation(Counter::TxSwitchProtocol), 12);
    });
}

#[test]
fn group_addressed_frames_reach_every_client_of_the_vlan_once() {
    scene(|scene| {
        assert_eq!(scene.port(NET0, &frame(GROUP, STRANGER, &IP)), TO_LINK);
        assert_eq!(scene.copies, [Above::Vnic(VNICS[0].0), Above::Vnic(VNICS[1].0)]);
        assert_eq!(scene.port(NET0, &frame(GROUP, STRANGER, &tagged(7))), TO_LINK);
        assert_eq!(scene.copies, [Above::Vnic(VNICS[2].0), Above::Vnic(VNICS[3].0)]);
        assert_eq!(scene.port(NET0, &frame(GROUP, STRANGER, &tagged(9))), TO_LINK);
        assert_eq!(scene.copies, []);
        assert_eq!(scene.port(NET1, &frame(GROUP, STRANGER, &IP)), Verdict::Drop);
        assert_eq!(scene.copies, []);
    });
}

#[test]
fn reflections_of_every_kind_of_client_are_dropped() {
    scene(|scene| {
        scene.link(&frame(STRANGER, GUEST, &IP));
        scene.link(&frame(STRANGER, GUEST, &tagged(7)));
        scene.later();
        for (source, rest) in
            [(VNICS[0].1, IP.to_vec()), (VNICS[2].1, tagged(7)), (GUEST, IP.to_vec()), (GUEST, tagged(7))]
        {
            for destination in [MacAddr::BROADCAST, STRANGER, CLIENT] {
                assert_eq!(scene.port(NET0, &frame(destination, source, &rest)), Verdict::Drop);
                assert_eq!(scene.port(NET1, &frame(destination, source, &rest)), Verdict::Drop);
                assert_eq!(scene.copies, []);
            }
        }
    });
}

#[test]
fn an_unknown_source_is_learned_and_seated_on_the_emptiest_port() {
    scene(|scene| {
        // net0 has the primary interface and two VNICs, net1 two VNICs.
        let learned = |client, slot: u16, port| {
            let slot = SlotIndex(FIRST_LEARNED_SLOT.0 + slot);
            Observation::Learned(Learned { client, slot, port: Some(port), above: Above::Link })
        };
        assert_eq!(scene.link(&frame(STRANGER, GUEST, &IP)), sent(NET1));
        assert_eq!(scene.link(&frame(STRANGER, OTHER_GUEST, &IP)), sent(NET0), "the first of two with as many");
        assert_eq!(scene.link(&frame(STRANGER, GUEST, &tagged(7))), sent(NET1), "the VLAN is part of the identity");
        assert_eq!(scene.link(&frame(STRANGER, GUEST, &IP)), sent(NET1), "known now");
        let guest = ClientAddress { mac: GUEST, vlan: 0 };
        let other = ClientAddress { mac: OTHER_GUEST, vlan: 0 };
        let in_vlan = ClientAddress { mac: GUEST, vlan: 7 };
        assert_eq!(scene.pair.observed, [learned(guest, 0, NET1), learned(other, 1, NET0), learned(in_vlan, 2, NET1)]);
        assert_eq!(scene.pair.bpf.learned().unwrap().len(), 3);
        // Guests of one bridge reach each other through it; another client reaches them here.
        assert_eq!(scene.link(&frame(OTHER_GUEST, GUEST, &IP)), Verdict::Drop);
        assert_eq!(scene.aggregation(Counter::TxSameLink), 1);
        assert_eq!(scene.vnic(VNICS[0].0, &frame(GUEST, VNICS[0].1, &IP)), TO_LINK);
        scene.later();
        assert_eq!(scene.port(NET1, &frame(GUEST, STRANGER, &IP)), TO_LINK);
        assert_eq!(scene.port(NET0, &frame(GUEST, STRANGER, &IP)), Verdict::Drop);
    });
}

#[test]
fn a_vlan_device_on_a_vnic_is_learned_and_has_its_frames_with_the_tag() {
    scene(|scene| {
        let (vnic, mac, _) = VNICS[0];
        assert_eq!(scene.vnic(vnic, &frame(STRANGER, mac, &tagged(9))), sent(NET1));
        scene.later();
        assert_eq!(scene.port(NET1, &frame(mac, STRANGER, &tagged(9))), to(vnic));
        assert_eq!(scene.port(NET0, &frame(GROUP, STRANGER, &tagged(9))), TO_LINK);
        assert_eq!(scene.copies, [Above::Vnic(vnic)]);
        assert_eq!(scene.link(&frame(STRANGER, mac, &tagged(9))), Verdict::Drop, "nobody else sends as it");
    });
}

#[test]
fn what_is_flooded_for_a_silent_guest_is_taken_once_and_only_under_a_bridge() {
    scene(|scene| {
        assert_eq!(scene.port(NET0, &frame(GUEST, STRANGER, &IP)), Verdict::Drop);
        scene.pair.both(|d| d.set_bridged(true));
        assert_eq!(scene.port(NET0, &frame(GUEST, STRANGER, &IP)), TO_LINK);
        assert_eq!(scene.port(NET1, &frame(GUEST, STRANGER, &IP)), Verdict::Drop);
        assert_eq!(scene.port(NET0, &frame(port_mac(NET1), STRANGER, &IP)), Verdict::Drop);
    });
}

#[test]
fn a_learned_client_that_announces_itself_on_its_own_port_has_moved_away() {
    for vlan in [0, 7] {
        scene(|scene| {
            let rest = if vlan == 0 { IP.to_vec() } else { tagged(vlan) };
            let guest = ClientAddress { mac: GUEST, vlan };
            scene.pair.both(|d| d.set_multicast_port(Some(NET1)));
            scene.link(&frame(STRANGER, GUEST, &rest));
            scene.pair.observed.clear();
            assert_eq!(scene.port(NET1, &announcement(GUEST, vlan)), Verdict::Drop, "a reflection while it is fresh");
            scene.later();
            assert_eq!(scene.port(NET0, &announcement(GUEST, vlan)), Verdict::Drop, "a reflection on another port");
            assert_eq!(scene.port(NET1, &frame(CLIENT, GUEST, &rest)), Verdict::Drop, "no announcement");
            assert_eq!(scene.pair.observed, []);
            assert_eq!(scene.port(NET1, &announcement(GUEST, vlan)), TO_LINK);
            let slot = FIRST_LEARNED_SLOT;
            assert_eq!(scene.pair.observed, [Observation::Released { slot, client: guest }]);
            scene.pair.both(|d| d.forget(guest, slot));
            // From now on it is a foreign one, and may come back.
            scene.pair.both(|d| d.set_multicast_port(Some(NET0)));
            assert_eq!(scene.port(NET0, &announcement(GUEST, vlan)), TO_LINK);
            assert_eq!(scene.link(&frame(STRANGER, GUEST, &rest)), sent(NET1));
            assert_eq!(scene.pair.bpf.learned().unwrap()[0].slot, slot);
        });
    }
}

#[test]
fn a_known_client_is_never_released() {
    scene(|scene| {
        for (mac, port) in [(CLIENT, NET0), (VNICS[0].1, NET0), (VNICS[1].1, NET1)] {
            assert_eq!(scene.port(port, &announcement(mac, 0)), Verdict::Drop);
        }
        assert_eq!(scene.pair.observed, []);
    });
}

#[test]
fn a_removed_vnic_is_nobody() {
    scene(|scene| {
        let (vnic, mac, _) = VNICS[0];
        scene.pair.both(|d| d.set_vnic(vnic, None));
        assert_eq!(scene.vnic(vnic, &frame(STRANGER, mac, &IP)), Verdict::Drop);
        assert_eq!(scene.port(NET0, &frame(mac, STRANGER, &IP)), Verdict::Drop);
        assert_eq!(scene.link(&frame(GROUP, CLIENT, &IP)), sent(NET0));
        assert_eq!(scene.copies, [Above::Vnic(VNICS[1].0)]);
    });
}

#[test]
fn a_flood_of_sources_fills_the_table_and_harms_nobody() {
    scene(|scene| {
        let mac = |n: u32| MacAddr([0x52, 0x55, (n >> 24) as u8, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
        // Far more than a test of the model needs to see: only the programs are run.
        for n in 0..100_000 {
            scene.pair.bpf.test_run(Entry::Link, &frame(STRANGER, mac(n), &IP), 1).unwrap();
        }
        assert_eq!(scene.pair.bpf.learned().unwrap().len(), MAX_LEARNED);
        let counters = scene.pair.bpf.aggregation_counters().unwrap();
        assert_eq!(counters.get(Counter::TxLearned), MAX_LEARNED as u64);
        assert_eq!(counters.get(Counter::TxClientsFull), 100_000 - MAX_LEARNED as u64);
        let run = |scene: &mut Scene, entry, bytes: &[u8]| scene.pair.bpf.test_run(entry, bytes, 1).unwrap().0;
        const REDIRECT: u32 = 7;
        assert_eq!(run(scene, Entry::Link, &frame(STRANGER, CLIENT, &IP)), REDIRECT);
        assert_eq!(run(scene, Entry::Link, &frame(STRANGER, mac(0), &IP)), REDIRECT);
        let lower = scene.lower[&VNICS[0].0];
        assert_eq!(run(scene, Entry::Vnic(lower), &frame(STRANGER, VNICS[0].1, &IP)), REDIRECT);
        // A place that is given back is given out again, once.
        let gone = scene.pair.bpf.learned().unwrap()[0];
        scene.pair.bpf.forget(gone.client, gone.slot).unwrap();
        assert_eq!(run(scene, Entry::Link, &frame(STRANGER, GUEST, &IP)), REDIRECT);
        assert_ne!(run(scene, Entry::Link, &frame(STRANGER, OTHER_GUEST, &IP)), REDIRECT);
    });
}

#[test]
fn no_more_clients_are_learned_than_the_limit_allows() {
    scene(|scene| {
        scene.pair.both(|d| d.set_learn_limit(1));
        assert_eq!(scene.link(&frame(STRANGER, GUEST, &IP)), sent(NET1));
        assert_eq!(scene.link(&frame(STRANGER, OTHER_GUEST, &IP)), Verdict::Drop);
        assert_eq!(scene.link(&frame(STRANGER, GUEST, &IP)), sent(NET1), "it is known");
        assert_eq!(scene.aggregation(Counter::TxClientsFull), 1);
        scene.pair.both(|d| d.forget(ClientAddress { mac: GUEST, vlan: 0 }, FIRST_LEARNED_SLOT));
        assert_eq!(scene.link(&frame(STRANGER, OTHER_GUEST, &IP)), sent(NET1));
        scene.pair.both(|d| d.set_learn_limit(0));
        assert_eq!(scene.link(&frame(STRANGER, GUEST, &IP)), Verdict::Drop);
    });
}

#[test]
fn learned_clients_survive_a_new_load_with_their_slots_and_seats() {
    scene(|scene| {
        for last in 0..10 {
            scene.link(&frame(STRANGER, MacAddr([0x52, 0x54, 0, 2, 0, last]), &IP));
        }
        let gone = scene.pair.bpf.learned().unwrap()[3];
        scene.pair.both(|d| d.forget(gone.client, gone.slot));
        let mut before = scene.pair.bpf.learned().unwrap();
        let mut next = Pair::new();
        next.bpf.restore_learned(&before).unwrap();
        let mut after = next.bpf.learned().unwrap();
        before.sort_by_key(|one| one.slot);
        after.sort_by_key(|one| one.slot);
        assert_eq!(after, before);
        // The gap is filled first.
        next.bpf.test_run(Entry::Link, &frame(STRANGER, GUEST, &IP), 1).unwrap();
        let new = next.bpf.learned().unwrap().into_iter().find(|one| one.client.mac == GUEST).unwrap();
        assert_eq!(new.slot, gone.slot);
    });
}

#[derive(Debug, Clone)]
enum Step {
    Link(Vec<u8>),
    Port(PortIndex, Vec<u8>),
    Vnic(usize, Vec<u8>),
    Usable(PortIndex, bool),
    Bridged(bool),
    Later,
}

fn any_step() -> impl Strategy<Value = Step> {
    let mac = prop_oneof![
        Just(CLIENT),
        Just(STRANGER),
        Just(GUEST),
        Just(OTHER_GUEST),
        Just(GROUP),
        Just(MacAddr::BROADCAST),
        Just(port_mac(NET0)),
        (0..VNICS.len()).prop_map(|at| VNICS[at].1),
    ];
    let rest =
        prop_oneof![Just(IP.to_vec()), Just(tagged(7)), Just(tagged(9)), Just(tagged(0)), Just(vec![0x80, 0x35])];
    let any_frame = (mac.clone(), mac, rest).prop_map(|(to, from, rest)| frame(to, from, &rest));
    let announced = prop_oneof![Just(GUEST), Just(OTHER_GUEST), Just(CLIENT), Just(VNICS[0].1)];
    let any_frame = prop_oneof![
        8 => any_frame,
        1 => (announced, prop_oneof![Just(0u16), Just(7)]).prop_map(|(mac, vlan)| announcement(mac, vlan)),
    ];
    let port = prop_oneof![Just(NET0), Just(NET1)];
    prop_oneof![
        6 => any_frame.clone().prop_map(Step::Link),
        8 => (port.clone(), any_frame.clone()).prop_map(|(port, frame)| Step::Port(port, frame)),
        6 => (0..VNICS.len(), any_frame).prop_map(|(vnic, frame)| Step::Vnic(vnic, frame)),
        1 => (port, any::<bool>()).prop_map(|(port, usable)| Step::Usable(port, usable)),
        1 => any::<bool>().prop_map(Step::Bridged),
        1 => Just(Step::Later),
    ]
}

#[test]
fn the_model_and_the_programs_agree_on_any_sequence() {
    scene(|scene| {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 60, ..Default::default() });
        let scene = std::cell::RefCell::new(scene);
        runner
            .run(&proptest::collection::vec(any_step(), 1..60), |steps| {
                let mut scene = scene.borrow_mut();
                for step in steps {
                    match step {
                        Step::Link(frame) => drop(scene.link(&frame)),
                        Step::Port(port, frame) => drop(scene.port(port, &frame)),
                        // The test run cannot put a priority tag where the kernel has it.
                        Step::Vnic(vnic, frame) if VNICS[vnic].2 != 0 && frame[12..16] == [0x81, 0, 0, 0] => {}
                        Step::Vnic(vnic, frame) => drop(scene.vnic(VNICS[vnic].0, &frame)),
                        Step::Usable(port, usable) => scene.pair.both(|d| d.set_usable(port, usable)),
                        Step::Bridged(bridged) => scene.pair.both(|d| d.set_bridged(bridged)),
                        Step::Later => scene.later(),
                    }
                }
                Ok(())
            })
            .unwrap();
    });
}
