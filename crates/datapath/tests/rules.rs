//! The receive and send rules, frame by frame, fed to the model and to the loaded programs: both must
//! give the same verdict, the same counts and the same frame.
//!
//! Needs root and a kernel with BPF. Nothing is attached, so the machine's traffic is not touched.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod both;

use dlmp_datapath::bpf::Entry;
use dlmp_datapath::model::Verdict;
use dlmp_datapath::{Counter, Observation, Placement, PortIndex, SlotIndex};
use dlmp_wire::MacAddr;
use proptest::prelude::*;

use both::{CLIENT, GROUP, LLDP, LOOPBACK, NET0, NET1, Pair, STRANGER, TC_ACT_OK, TO_LINK, frame, port_mac};

const IP: [u8; 3] = [8, 0, 0x45];

const fn sent(port: PortIndex) -> Verdict {
    Verdict::Send { port, source: None }
}

/// An IGMPv2 report or query for 224.0.0.251.
fn igmp(kind: u8) -> Vec<u8> {
    let mut rest = vec![8, 0, 0x46, 0, 0, 32, 0, 0, 0, 0, 1, 2, 0, 0];
    rest.extend([0; 8]);
    rest.extend([0x94, 4, 0, 0, kind, 0, 0, 0, 224, 0, 0, 251]);
    frame(GROUP, CLIENT, &rest)
}

fn count(pair: &Pair, port: PortIndex, counter: Counter) -> u64 {
    pair.bpf.counters(port).unwrap().get(counter)
}

#[test]
fn a_client_sends_through_its_own_port_and_nobody_else_sends() {
    let mut pair = Pair::new();
    assert_eq!(pair.egress(&frame(STRANGER, CLIENT, &IP)), sent(NET0));
    assert_eq!(pair.egress(&frame(MacAddr::BROADCAST, CLIENT, &IP)), sent(NET0));
    assert_eq!(pair.egress(&frame(STRANGER, port_mac(NET0), &IP)), Verdict::Drop);
    assert_eq!(pair.egress(&frame(STRANGER, GROUP, &IP)), Verdict::Drop);
    assert_eq!(pair.egress(&frame(STRANGER, CLIENT, &[0x81, 0, 0xe0, 0, 8, 0])), sent(NET0));
    let refused = pair.bpf.aggregation_counters().unwrap();
    assert_eq!(refused.get(Counter::TxUnknownSource), 2);
}

#[test]
fn an_unusable_port_is_passed_over_for_the_backup_unless_that_is_unusable_too() {
    let mut pair = Pair::new();
    pair.both(|d| d.set_usable(NET0, false));
    assert_eq!(pair.egress(&frame(STRANGER, CLIENT, &IP)), sent(NET1));
    assert_eq!(count(&pair, NET1, Counter::TxBackup), 1);
    assert_eq!(pair.ingress(NET1, &frame(CLIENT, STRANGER, &IP)), TO_LINK);
    pair.both(|d| d.set_usable(NET1, false));
    assert_eq!(pair.egress(&frame(STRANGER, CLIENT, &IP)), sent(NET0));
    pair.settle(NET0, None);
    assert_eq!(pair.egress(&frame(STRANGER, CLIENT, &IP)), sent(NET0));
}

#[test]
fn reflections_are_dropped_on_every_port() {
    let mut pair = Pair::new();
    for destination in [MacAddr::BROADCAST, GROUP, STRANGER, CLIENT] {
        assert_eq!(pair.ingress(NET1, &frame(destination, CLIENT, &IP)), Verdict::Drop);
    }
    assert_eq!(count(&pair, NET1, Counter::RxReflection), 4);
    // On its own port it is somebody else's.
    assert_eq!(pair.ingress(NET0, &frame(MacAddr::BROADCAST, CLIENT, &IP)), Verdict::Drop);
    assert_eq!(count(&pair, NET0, Counter::RxOwnAddress), 1);
    // What a port itself sent: reports, probes.
    assert_eq!(pair.ingress(NET1, &frame(GROUP, port_mac(NET0), &IP)), Verdict::Drop);
    assert_eq!(pair.ingress(NET0, &frame(GROUP, port_mac(NET0), &IP)), Verdict::Drop);
    assert_eq!(count(&pair, NET1, Counter::RxReflection), 5);
    assert_eq!(count(&pair, NET0, Counter::RxOwnAddress), 2);
}

#[test]
fn a_late_reflection_after_a_move_is_no_duplicate_address() {
    let mut pair = Pair::new();
    pair.both(|d| d.place(SlotIndex::PRIMARY, Placement { port: NET1, backup: Some(NET0) }));
    assert_eq!(pair.ingress(NET1, &frame(MacAddr::BROADCAST, CLIENT, &IP)), Verdict::Drop);
    assert_eq!(count(&pair, NET1, Counter::RxReflection), 1);
    assert_eq!(count(&pair, NET1, Counter::RxOwnAddress), 0);
}

#[test]
fn group_addressed_frames_are_taken_from_the_multicast_port_only() {
    let mut pair = Pair::new();
    for destination in [MacAddr::BROADCAST, GROUP, MacAddr([0x33, 0x33, 0, 0, 0, 1])] {
        assert_eq!(pair.ingress(NET0, &frame(destination, STRANGER, &IP)), TO_LINK);
        assert_eq!(pair.ingress(NET1, &frame(destination, STRANGER, &IP)), Verdict::Drop);
    }
    pair.both(|d| d.set_multicast_port(Some(NET1)));
    assert_eq!(pair.ingress(NET1, &frame(GROUP, STRANGER, &IP)), TO_LINK);
    assert_eq!(pair.ingress(NET0, &frame(GROUP, STRANGER, &IP)), Verdict::Drop);
}

#[test]
fn reports_leave_through_the_multicast_port_with_its_address() {
    let mut pair = Pair::new();
    pair.both(|d| d.set_multicast_port(Some(NET1)));
    for kind in [0x12, 0x16, 0x17, 0x22] {
        let report = Verdict::Send { port: NET1, source: Some(port_mac(NET1)) };
        assert_eq!(pair.egress(&igmp(kind)), report);
    }
    assert_eq!(pair.egress(&igmp(0x11)), sent(NET0), "a query is the client's own");
    pair.both(|d| d.set_multicast_port(None));
    assert_eq!(pair.egress(&igmp(0x16)), sent(NET0));
}

#[test]
fn unicast_is_taken_from_the_clients_own_port() {
    let mut pair = Pair::new();
    assert_eq!(pair.ingress(NET0, &frame(CLIENT, STRANGER, &IP)), TO_LINK);
    assert_eq!(pair.ingress(NET1, &frame(CLIENT, STRANGER, &IP)), Verdict::Drop);
    assert_eq!(count(&pair, NET1, Counter::RxStalePort), 1);
}

#[test]
fn a_stray_frame_asks_for_one_announcement_and_then_not_again_at_once() {
    let mut pair = Pair::new();
    for _ in 0..5 {
        pair.ingress(NET1, &frame(CLIENT, STRANGER, &IP));
    }
    assert_eq!(pair.observed, [Observation::Stray { slot: SlotIndex::PRIMARY, port: NET1 }]);
}

#[test]
fn while_a_move_is_fresh_unicast_is_taken_from_any_port() {
    let mut pair = Pair::new();
    pair.both(|d| d.place(SlotIndex::PRIMARY, Placement { port: NET1, backup: Some(NET0) }));
    assert_eq!(pair.ingress(NET0, &frame(CLIENT, STRANGER, &IP)), TO_LINK);
    assert_eq!(pair.ingress(NET1, &frame(CLIENT, STRANGER, &IP)), TO_LINK);
    assert_eq!(count(&pair, NET0, Counter::RxFreshMove), 1);
}

#[test]
fn unicast_for_nobody_is_dropped_and_link_local_frames_stay() {
    let mut pair = Pair::new();
    assert_eq!(pair.ingress(NET0, &frame(MacAddr([2, 0, 0, 0, 0, 1]), STRANGER, &IP)), Verdict::Drop);
    assert_eq!(pair.ingress(NET0, &frame(port_mac(NET0), STRANGER, &IP)), Verdict::Drop);
    assert_eq!(count(&pair, NET0, Counter::RxNobody), 2);
    assert_eq!(pair.ingress(NET0, &frame(LLDP, STRANGER, &[0x88, 0xcc])), Verdict::Stay);
    assert_eq!(pair.ingress(NET1, &frame(LLDP, CLIENT, &[0x88, 0xcc])), Verdict::Stay);
}

/// Where switches of all kinds listen, and beside it where hosts do.
const SWITCHES: [[u8; 6]; 14] = [
    [1, 0x80, 0xc2, 0, 0, 0],       // STP
    [1, 0x80, 0xc2, 0, 0, 3],       // 802.1X
    [1, 0x80, 0xc2, 0, 0, 0x10],    // bridge management
    [1, 0x80, 0xc2, 0, 0, 0x21],    // GVRP, MVRP
    [1, 0x80, 0xc2, 0, 0, 0x35],    // CFM
    [1, 0x80, 0xc2, 0, 0, 0x41],    // TRILL
    [1, 0, 0x0c, 0xcc, 0xcc, 0xcc], // CDP, VTP, DTP, UDLD
    [1, 0, 0x0c, 0xcc, 0xcc, 0xcd], // PVST+
    [1, 0, 0x0c, 0xcd, 0xcd, 0xd0], // tunnelled protocols
    [1, 0, 0x0c, 0, 0, 0],          // ISL
    [0, 0xe0, 0x2b, 0, 0, 0],       // EDP
    [0, 0xe0, 0x2b, 0, 0, 4],       // EAPS
    [1, 0xe0, 0x52, 0xcc, 0xcc, 0xcc],
    [1, 0, 0x81, 0, 1, 0],
];
const HOSTS: [[u8; 6]; 5] = [
    [1, 0x80, 0xc2, 0, 0, 0x14], // IS-IS
    [1, 0x1b, 0x19, 0, 0, 0],    // PTP
    [1, 0, 0x5e, 0, 0, 0x12],    // VRRP
    [1, 0, 0x0c, 0xcc, 0xcb, 0xcc],
    [0, 0xe0, 0x2b, 0, 1, 4],
];
/// LLC of a spanning tree behind a length.
const BPDU: [u8; 5] = [0, 38, 0x42, 0x42, 3];

#[test]
fn a_guest_does_not_speak_to_switches() {
    let mut pair = Pair::new();
    let mut refused = 0;
    for destination in SWITCHES.map(MacAddr) {
        for rest in [&IP[..], &BPDU, &[0x81, 0, 0, 7, 8, 0], &[0x81, 0, 0xe0, 0, 0, 38, 0x42, 0x42, 3], &[0x88, 0xcc]] {
            assert_eq!(pair.egress(&frame(destination, STRANGER, rest)), Verdict::Drop, "{destination} {rest:02x?}");
            assert_eq!(pair.lower(&frame(destination, STRANGER, rest), false), Verdict::Drop, "past tc");
            refused += 2;
        }
    }
    let counters = pair.bpf.aggregation_counters().unwrap();
    assert_eq!(counters.get(Counter::TxSwitchProtocol), refused);
    assert_eq!(counters.get(Counter::TxLearned), 0, "nobody is learned by it");
    for destination in HOSTS.map(MacAddr) {
        assert_eq!(pair.egress(&frame(destination, STRANGER, &IP)), sent(NET1), "{destination}");
    }
}

#[test]
fn the_host_speaks_to_switches_but_no_spanning_tree_of_a_bridge_above_does() {
    let mut pair = Pair::new();
    for destination in SWITCHES.map(MacAddr) {
        let tree = destination.is_spanning_tree();
        for rest in [&[0x88, 0xcc][..], &[0x81, 0, 0, 0, 0x88, 0xcc], &[0, 38, 0xaa, 0xaa, 3]] {
            let verdict = if tree { Verdict::Drop } else { sent(NET0) };
            assert_eq!(pair.egress(&frame(destination, CLIENT, rest)), verdict, "{destination} {rest:02x?}");
        }
        // To a group of the administrator's choice as well.
        for rest in [&BPDU[..], &[0x81, 0, 0, 0, 0, 38, 0x42, 0x42, 3]] {
            assert_eq!(pair.egress(&frame(destination, CLIENT, rest)), Verdict::Drop, "{destination} {rest:02x?}");
        }
    }
    assert_eq!(pair.egress(&frame(STRANGER, CLIENT, &BPDU)), sent(NET0), "to where no switch listens");
}

#[test]
fn a_removed_port_is_an_ordinary_link_again() {
    let mut pair = Pair::new();
    pair.bpf.alias_ifindex(LOOPBACK, NET1).unwrap();
    pair.both(|d| d.clear_port(NET1));
    let (action, _, _) = pair.bpf.test_run(Entry::Port(LOOPBACK), &frame(CLIENT, STRANGER, &IP), 1).unwrap();
    assert_eq!(action, TC_ACT_OK);
    assert_eq!(pair.model.ingress(NET1, &frame(CLIENT, STRANGER, &IP)), Verdict::Stay);
}

/// Addresses and types that the rules know, and some that they do not.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let mac = prop_oneof![
        Just(CLIENT),
        Just(STRANGER),
        Just(GROUP),
        Just(LLDP),
        Just(MacAddr([1, 0x80, 0xc2, 0, 0, 0x21])),
        Just(MacAddr([1, 0, 0x0c, 0xcc, 0xcc, 0xcd])),
        Just(MacAddr::BROADCAST),
        Just(port_mac(NET0)),
        Just(port_mac(NET1)),
        any::<[u8; 6]>().prop_map(MacAddr),
    ];
    let kind = prop_oneof![
        Just(vec![8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 1, 2]),
        Just(vec![8, 0, 0x46, 0, 0, 0, 0, 0, 0, 0, 1, 2]),
        Just(vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, 36, 0, 1]),
        Just(vec![0x81, 0, 0, 7, 8, 0]),
        Just(vec![0x81, 0, 0, 0, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 36, 0, 1]),
        Just(vec![0x80, 0x35]),
        Just(vec![0, 38, 0x42, 0x42, 3]),
        Just(vec![0x81, 0, 0, 0, 0, 38, 0x42, 0x42, 3]),
        Just(vec![0x88, 0xa8, 0, 7, 8, 0, 0x45]),
        Just(vec![0x88, 0xa8, 0, 0, 0x81, 0, 0, 7, 8, 0]),
        Just(vec![0x81, 0, 0xe0, 0, 0x81, 0, 0, 7, 8, 0]),
        Just(vec![0x81, 0, 0, 7, 0x88, 0xa8, 0, 7, 8, 0]),
    ];
    let rest = prop_oneof![
        proptest::collection::vec(any::<u8>(), 4..90),
        proptest::collection::vec(prop_oneof![Just(0u8), Just(58), Just(143), Just(0x16), Just(0x22), Just(2)], 30..90),
    ];
    (mac.clone(), mac, kind, rest).prop_map(|(destination, source, kind, rest)| {
        // The test run takes no IP packet that is shorter than its header; Ethernet pads to 60.
        let mut frame = [&destination.0[..], &source.0, &kind, &rest].concat();
        frame.resize(frame.len().max(60), 0);
        frame
    })
}

#[derive(Debug, Clone)]
enum Step {
    Egress(Vec<u8>),
    Lower(Vec<u8>, bool),
    Ingress(PortIndex, Vec<u8>),
    Usable(PortIndex, bool),
    Settle(PortIndex, Option<PortIndex>),
    Move(PortIndex, Option<PortIndex>),
    Multicast(Option<PortIndex>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let port = prop_oneof![Just(NET0), Just(NET1)];
    let maybe = proptest::option::of(port.clone());
    prop_oneof![
        6 => any_frame().prop_map(Step::Egress),
        2 => (any_frame(), any::<bool>()).prop_map(|(frame, marked)| Step::Lower(frame, marked)),
        9 => (port.clone(), any_frame()).prop_map(|(port, frame)| Step::Ingress(port, frame)),
        1 => (port.clone(), any::<bool>()).prop_map(|(port, usable)| Step::Usable(port, usable)),
        1 => (port.clone(), maybe.clone()).prop_map(|(port, backup)| Step::Settle(port, backup)),
        1 => (port, maybe.clone()).prop_map(|(port, backup)| Step::Move(port, backup)),
        1 => maybe.prop_map(Step::Multicast),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn programs_and_model_agree_on_every_sequence(steps in proptest::collection::vec(any_step(), 1..120)) {
        let mut pair = Pair::new();
        for step in steps {
            match step {
                Step::Egress(frame) => { pair.egress(&frame); }
                Step::Lower(frame, marked) => { pair.lower(&frame, marked); }
                Step::Ingress(port, frame) => { pair.ingress(port, &frame); }
                Step::Usable(port, usable) => pair.both(|d| d.set_usable(port, usable)),
                Step::Settle(port, backup) => pair.settle(port, backup),
                Step::Move(port, backup) => pair.both(|d| d.place(SlotIndex::PRIMARY, Placement { port, backup })),
                Step::Multicast(port) => pair.both(|d| d.set_multicast_port(port)),
            }
        }
    }
}
