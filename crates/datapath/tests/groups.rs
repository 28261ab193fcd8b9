//! Which group-addressed frames are taken, and what clients' reports say about that: each frame fed to the
//! model and to the loaded programs, which must give the same verdict, the same counts and the same frame.
//!
//! Needs root and a kernel with BPF. Each test has a network namespace of its own, whose loopback stands
//! for every link.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod both;

use std::time::Instant;

use dlmp_datapath::bpf::Entry;
use dlmp_datapath::model::{Model, Verdict};
use dlmp_datapath::{Above, Counter, Datapath, PortIndex, REPORT, REPORT_BURST, REPORT_BYTE, Vnic, VnicIndex};
use dlmp_testbed::Namespace;
use dlmp_wire::MacAddr;
use proptest::prelude::*;

use both::reports::{
    ALLOW, BLOCK, IS_EXCLUDE, IS_INCLUDE, Record, TO_EXCLUDE, TO_INCLUDE, igmp_old, igmp_v3, mac4, mac6, mld_old,
    mld_v2, record, tagged,
};
use both::{CLIENT, GROUP, LLDP, LOOPBACK, NET0, NET1, Pair, STRANGER, TO_LINK, frame, port_mac};

const IP: [u8; 3] = [8, 0, 0x45];
const VNIC: VnicIndex = VnicIndex(0);
const VNIC_MAC: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 0x10]);
/// The most records of one report that are read (`bpf/dlmp.h`).
const RECORDS: u16 = 32;

/// Runs a test on both back ends, in which nothing is wanted and no daemon is alive.
fn scene(test: impl FnOnce(&mut Pair) + Send) {
    let namespace = Namespace::new("dlmpg", "groups").unwrap();
    namespace
        .enter(|| {
            let mut pair = Pair::new();
            pair.both(|d| d.set_all_multicast(false));
            test(&mut pair);
        })
        .unwrap();
}

impl Pair {
    fn takes(&mut self, port: PortIndex, group: MacAddr) -> bool {
        let verdict = self.ingress(port, &frame(group, STRANGER, &IP));
        assert!(matches!(verdict, TO_LINK | Verdict::Drop), "{verdict:?}");
        verdict == TO_LINK
    }

    fn counted(&self, port: PortIndex, counter: Counter) -> u64 {
        self.bpf.counters(port).unwrap().get(counter)
    }

    fn add_vnic(&mut self, vlan: u16) {
        self.both(|d| d.set_vnic(VNIC, Some(Vnic { lower: LOOPBACK, mac: VNIC_MAC, vlan })));
    }
}

fn report_sent() -> Verdict {
    Verdict::Send { port: NET0, source: Some(port_mac(NET0)) }
}

#[test]
fn on_the_multicast_port_wanted_groups_and_broadcast_are_taken() {
    scene(|pair| {
        assert!(!pair.takes(NET0, GROUP));
        assert!(pair.takes(NET0, MacAddr::BROADCAST));
        pair.both(|d| d.admit(GROUP));
        assert!(pair.takes(NET0, GROUP));
        assert!(!pair.takes(NET0, mac6(1)));
        pair.both(|d| d.dismiss(GROUP));
        assert!(!pair.takes(NET0, GROUP));
        pair.both(|d| d.set_all_multicast(true));
        assert!(pair.takes(NET0, GROUP));
        assert_eq!(pair.counted(NET0, Counter::RxGroup), 3);
        assert_eq!(pair.counted(NET0, Counter::RxGroupUnwanted), 3);
        assert_eq!(pair.ingress(NET0, &frame(LLDP, STRANGER, &[0x88, 0xcc])), Verdict::Stay);
    });
}

#[test]
fn a_group_of_any_kind_of_address_can_be_wanted() {
    scene(|pair| {
        for group in [mac4(7), mac6(7), MacAddr([1, 0x80, 0xc2, 0, 0, 0x21]), MacAddr([3, 0, 0, 0, 0, 1])] {
            assert!(!pair.takes(NET0, group));
            pair.both(|d| d.admit(group));
            assert!(pair.takes(NET0, group));
        }
    });
}

#[test]
fn on_other_ports_nothing_is_taken_and_what_a_short_filter_costs_is_counted() {
    scene(|pair| {
        pair.both(|d| d.admit(GROUP));
        for short in [false, true] {
            pair.both(|d| d.set_filter_short(short));
            for group in [GROUP, mac6(1), MacAddr::BROADCAST] {
                assert!(!pair.takes(NET1, group));
            }
        }
        assert_eq!(pair.counted(NET1, Counter::RxGroupOtherPort), 5);
        assert_eq!(pair.counted(NET1, Counter::RxGroupNoFilter), 1);
        pair.both(|d| d.set_all_multicast(true));
        assert!(!pair.takes(NET1, mac6(1)));
        assert_eq!(pair.counted(NET1, Counter::RxGroupNoFilter), 2);
        assert!(pair.takes(NET0, GROUP), "a short filter takes nothing away");
    });
}

#[test]
fn a_group_stays_wanted_while_another_one_has_the_same_bit() {
    scene(|pair| {
        // Found by the model alone: the hash is nobody's business here.
        let mut model = Model::default();
        model.set_port(NET0, 100, port_mac(NET0)).unwrap();
        model.set_multicast_port(Some(NET0)).unwrap();
        model.admit(GROUP).unwrap();
        let mut others = (0..1 << 23).map(|n: u32| [1, 0, 0x5e, (n >> 16) as u8, (n >> 8) as u8, n as u8]).map(MacAddr);
        let passes = |&group: &MacAddr| {
            let bytes = [&group.0[..], &STRANGER.0, &IP].concat();
            group != GROUP && model.ingress(NET0, &bytes) == TO_LINK
        };
        let other = others.find(passes).expect("of 8 million groups some share a bit");
        for group in [GROUP, other] {
            pair.both(|d| d.admit(group));
        }
        pair.both(|d| d.dismiss(GROUP));
        assert!(pair.takes(NET0, other));
        pair.both(|d| d.dismiss(other));
        assert!(!pair.takes(NET0, other));
    });
}

/// Every way to join group 7: with the group's Ethernet address.
fn joins(source: MacAddr) -> Vec<(MacAddr, Vec<u8>)> {
    let mut joins = vec![
        (mac4(7), igmp_old(source, 0x12, 7)),
        (mac4(7), igmp_old(source, 0x16, 7)),
        (mac6(7), mld_old(source, 131, 7)),
    ];
    for (kind, sources) in
        [(IS_EXCLUDE, 0), (TO_EXCLUDE, 0), (TO_EXCLUDE, 2), (IS_INCLUDE, 1), (TO_INCLUDE, 3), (ALLOW, 1)]
    {
        // Not the first of its report, and behind one that has more than a header.
        let records = [Record { extra: 1, ..record(BLOCK, 2, 8) }, record(kind, sources, 7)];
        joins.push((mac4(7), igmp_v3(source, &records)));
        joins.push((mac6(7), mld_v2(source, &records)));
    }
    joins
}

/// Reports that join nothing.
fn leaves(source: MacAddr) -> Vec<Vec<u8>> {
    let records =
        [record(IS_INCLUDE, 0, 7), record(TO_INCLUDE, 0, 7), record(BLOCK, 1, 7), record(0, 1, 7), record(9, 1, 7)];
    vec![
        igmp_old(source, 0x17, 7),
        mld_old(source, 132, 7),
        igmp_v3(source, &records),
        mld_v2(source, &records),
        igmp_v3(source, &[]),
        mld_v2(source, &[]),
    ]
}

#[test]
fn what_a_report_joins_is_wanted_as_it_leaves() {
    for at in 0..joins(CLIENT).len() {
        scene(|pair| {
            let (group, report) = joins(CLIENT).swap_remove(at);
            assert!(!pair.takes(NET0, group));
            assert_eq!(pair.egress(&report), report_sent());
            assert!(pair.takes(NET0, group), "{report:02x?}");
            assert!(!pair.takes(NET0, mac4(8)) && !pair.takes(NET0, mac6(8)), "a blocked source joins nothing");
            // It is one report, not an asker: the daemon's word ends it.
            pair.both(|d| d.admit(group));
            pair.both(|d| d.dismiss(group));
            assert!(!pair.takes(NET0, group));
        });
    }
}

#[test]
fn the_reports_of_vlans_and_vnics_are_read_too() {
    for vlan in [0, 7] {
        scene(|pair| {
            pair.add_vnic(vlan);
            let all = joins(VNIC_MAC);
            let (plain, with_tag) = all.split_at(all.len() / 2);
            for (group, report) in plain {
                pair.vnic(VNIC, report);
                assert!(pair.takes(NET0, *group), "{report:02x?}");
                pair.both(|d| d.admit(*group));
                pair.both(|d| d.dismiss(*group));
            }
            for (group, report) in with_tag {
                let mut report = tagged(9, report);
                report[6..12].copy_from_slice(&CLIENT.0);
                pair.egress(&report);
                assert!(pair.takes(NET0, *group), "{report:02x?}");
                pair.both(|d| d.admit(*group));
                pair.both(|d| d.dismiss(*group));
            }
        });
    }
}

#[test]
fn a_leave_makes_nothing_wanted_and_takes_nothing_away() {
    scene(|pair| {
        for report in leaves(CLIENT) {
            assert_eq!(pair.egress(&report), report_sent());
            assert!(!pair.takes(NET0, mac4(7)) && !pair.takes(NET0, mac6(7)), "{report:02x?}");
        }
        pair.both(|d| d.admit(mac4(7)));
        for report in leaves(CLIENT) {
            pair.egress(&report);
        }
        assert!(pair.takes(NET0, mac4(7)), "others may want it");
    });
}

#[test]
fn a_report_of_more_groups_than_are_read_makes_every_group_wanted() {
    for report in [igmp_v3, mld_v2] {
        scene(|pair| {
            let records: Vec<_> = (1..=RECORDS + 1).map(|group| record(TO_EXCLUDE, 0, group)).collect();
            pair.egress(&report(CLIENT, &records[..RECORDS.into()]));
            let (last, beyond) = if report(CLIENT, &[])[12] == 8 {
                (mac4(RECORDS), mac4(RECORDS + 1))
            } else {
                (mac6(RECORDS), mac6(RECORDS + 1))
            };
            assert!(pair.takes(NET0, last) && !pair.takes(NET0, beyond));
            pair.egress(&report(CLIENT, &records));
            assert!(pair.takes(NET0, beyond) && pair.takes(NET0, GROUP));
            pair.both(|d| d.set_all_multicast(false));
            assert!(pair.takes(NET0, last) && !pair.takes(NET0, beyond));
        });
    }
}

#[test]
fn of_a_report_that_is_cut_off_what_is_whole_counts() {
    for report in [igmp_v3, mld_v2] {
        scene(|pair| {
            let records: Vec<_> = (1..=6).map(|group| record(IS_INCLUDE, 1, group)).collect();
            let whole = report(CLIENT, &records);
            // The test run takes no frame without a whole IP header.
            for len in 54..whole.len() {
                pair.egress(&whole[..len]);
                for group in 1..=6 {
                    pair.takes(NET0, mac4(group));
                    pair.takes(NET0, mac6(group));
                }
            }
            assert!(!pair.takes(NET0, mac4(6)) && !pair.takes(NET0, mac6(6)));
            // What is behind the end that the IP header tells is padding.
            let mut padded = report(CLIENT, &[record(IS_EXCLUDE, 0, 6)]);
            let (length, without) = if padded[12] == 8 { (17, 32) } else { (19, 16) };
            padded[length] = without;
            pair.egress(&padded);
            assert!(!pair.takes(NET0, mac4(6)) && !pair.takes(NET0, mac6(6)));
        });
    }
}

#[test]
fn an_address_that_is_no_group_is_not_joined() {
    scene(|pair| {
        let mut report = igmp_old(CLIENT, 0x16, 7);
        report[42] = 10;
        pair.egress(&report);
        let mut report = mld_old(CLIENT, 131, 7);
        report[70] = 0x20;
        pair.egress(&report);
        assert!(!pair.takes(NET0, mac4(7)) && !pair.takes(NET0, mac6(7)));
    });
}

#[test]
fn reports_and_leaves_are_held_while_the_daemon_is_alive() {
    scene(|pair| {
        pair.add_vnic(0);
        let reports: Vec<_> = joins(CLIENT).into_iter().map(|(_, report)| report).chain(leaves(CLIENT)).collect();
        for alive in [false, true, false] {
            pair.set_alive(alive);
            let verdict = if alive { Verdict::Hold } else { report_sent() };
            for report in &reports {
                assert_eq!(pair.egress(report), verdict);
                let mut from_vnic = report.clone();
                from_vnic[6..12].copy_from_slice(&VNIC_MAC.0);
                assert_eq!(pair.vnic(VNIC, &from_vnic), verdict);
            }
        }
        let each = reports.len() as u64 * 2;
        assert_eq!(pair.aggregation(Counter::TxReportHeld), each);
        assert_eq!(pair.counted(NET0, Counter::TxReport), each * 2);
    });
}

#[test]
fn at_the_lower_end_reports_are_held_once_and_everything_else_is_sent() {
    scene(|pair| {
        let reports: Vec<_> = joins(CLIENT).into_iter().map(|(_, report)| report).chain(leaves(CLIENT)).collect();
        let sent = Verdict::Send { port: NET0, source: None };
        for alive in [false, true] {
            pair.set_alive(alive);
            for report in &reports {
                assert_eq!(pair.lower(report, false), if alive { Verdict::Hold } else { report_sent() });
                let before = pair.aggregation(Counter::TxLower);
                assert_eq!(pair.lower(report, true), Verdict::Drop, "the daemon has it, or is dead by now");
                assert_eq!(pair.aggregation(Counter::TxLower), before);
            }
            for destination in [MacAddr::BROADCAST, GROUP, STRANGER] {
                for marked in [false, true] {
                    assert_eq!(pair.lower(&frame(destination, CLIENT, &IP), marked), sent, "the mark is nobody's own");
                }
            }
            assert_eq!(pair.lower(&igmp_old(CLIENT, 0x11, 7), true), sent, "a query");
        }
        assert_eq!(pair.aggregation(Counter::TxReportHeld), reports.len() as u64);
        assert_eq!(pair.aggregation(Counter::TxLower), (reports.len() as u64 + 7) * 2);
        assert_eq!(pair.egress(&frame(STRANGER, CLIENT, &IP)), sent);
        assert_eq!(
            pair.aggregation(Counter::TxLower),
            (reports.len() as u64 + 7) * 2,
            "what the link itself sends is not"
        );
    });
}

#[test]
fn reports_past_what_the_daemon_reads_of_a_link_leave_at_once_and_join_all_the_same() {
    let held = |exhausted: Option<Above>| {
        let mut held = [false; 2];
        scene(|pair| {
            pair.add_vnic(0);
            pair.set_alive(true);
            assert_eq!(pair.bpf.too_fast().unwrap(), []);
            pair.bpf.exhaust_reports(exhausted).unwrap();
            pair.model.exhaust_reports(exhausted);
            let verdicts =
                [pair.egress(&igmp_old(CLIENT, 0x16, 7)), pair.vnic(VNIC, &mld_v2(VNIC_MAC, &[record(ALLOW, 1, 8)]))];
            held = verdicts.map(|verdict| verdict == Verdict::Hold);
            assert!(verdicts.iter().all(|&verdict| verdict == Verdict::Hold || verdict == report_sent()));
            let unread = held.iter().filter(|&&held| !held).count() as u64;
            assert_eq!(pair.aggregation(Counter::TxReportUnread), unread);
            assert_eq!(pair.counted(NET0, Counter::TxReport), unread);
            assert!(pair.takes(NET0, mac4(7)) && pair.takes(NET0, mac6(8)));
            let all = [Above::Link, Above::Vnic(VNIC)];
            let too_fast = exhausted.map_or(all.to_vec(), |above| vec![above]);
            assert_eq!(pair.bpf.too_fast().unwrap(), too_fast);
            // Without a daemon nothing is to be read.
            pair.set_alive(false);
            pair.egress(&igmp_old(CLIENT, 0x16, 7));
            assert_eq!(pair.aggregation(Counter::TxReportUnread), unread);
        });
        held
    };
    assert_eq!(held(Some(Above::Link)), [false, true]);
    assert_eq!(held(Some(Above::Vnic(VNIC))), [true, false]);
    assert_eq!(held(None), [false, false]);
}

#[test]
fn a_flood_is_held_for_no_longer_than_it_may_cost() {
    for (report, bytes) in [
        (igmp_old(CLIENT, 0x16, 7), 22),
        (igmp_v3(CLIENT, &(0..180).map(|group| record(TO_EXCLUDE, 0, group)).collect::<Vec<_>>()), 8 + 180 * 8),
        (mld_v2(CLIENT, &(0..70).map(|group| record(TO_EXCLUDE, 0, group)).collect::<Vec<_>>()), 8 + 70 * 20),
    ] {
        scene(|pair| {
            pair.set_alive(true);
            let start = Instant::now();
            pair.bpf.test_run(Entry::Link, &report, 100_000).unwrap();
            let cost = REPORT + REPORT_BYTE * bytes;
            let most = (REPORT_BURST + start.elapsed()).div_duration_f64(cost) + 2.0;
            let held = pair.aggregation(Counter::TxReportHeld);
            assert!(held as f64 <= most, "{held} of {most} reports of {bytes} bytes");
            assert!(held as f64 >= REPORT_BURST.div_duration_f64(cost), "{held} reports of {bytes} bytes");
            // The run goes on with the frame as it left, which nobody here has sent.
            assert_eq!(pair.aggregation(Counter::TxReportUnread), 1);
            assert_eq!(pair.bpf.too_fast().unwrap(), [Above::Link]);
        });
    }
}

#[test]
fn what_is_no_report_is_never_held_nor_is_anything_without_a_multicast_port() {
    scene(|pair| {
        pair.set_alive(true);
        let sent = Verdict::Send { port: NET0, source: None };
        for destination in [MacAddr::BROADCAST, GROUP, STRANGER] {
            assert_eq!(pair.egress(&frame(destination, CLIENT, &IP)), sent);
        }
        assert_eq!(pair.egress(&igmp_old(CLIENT, 0x11, 7)), sent, "a query");
        pair.both(|d| d.set_multicast_port(None));
        assert_eq!(pair.egress(&igmp_old(CLIENT, 0x16, 7)), sent);
        assert_eq!(pair.aggregation(Counter::TxReportHeld), 0);
        pair.both(|d| d.set_multicast_port(Some(NET0)));
        assert!(pair.takes(NET0, mac4(7)), "it was read all the same");
    });
}

/// Groups by number, few enough that they meet.
const GROUPS: u16 = 12;

#[derive(Debug, Clone)]
enum Step {
    Report(Vec<u8>),
    Admit(MacAddr),
    Dismiss(MacAddr),
    All(bool),
    Short(bool),
    Alive(bool),
    Multicast(Option<PortIndex>),
}

/// Reports of every kind, of which some bytes are wrong or missing.
fn any_report() -> impl Strategy<Value = Vec<u8>> {
    let one = (0u8..9, 0u8..4, 0u8..3, 0..GROUPS).prop_map(|(kind, sources, extra, group)| Record {
        kind,
        sources,
        extra,
        group,
    });
    let records = prop_oneof![
        8 => proptest::collection::vec(one.clone(), 0..12),
        1 => proptest::collection::vec(one, 28..40),
    ];
    let whole = prop_oneof![
        (prop_oneof![Just(0x12), Just(0x16), Just(0x17), Just(0x11)], 0..GROUPS)
            .prop_map(|(kind, group)| igmp_old(CLIENT, kind, group)),
        (130u8..134, 0..GROUPS).prop_map(|(kind, group)| mld_old(CLIENT, kind, group)),
        records.clone().prop_map(|records| igmp_v3(CLIENT, &records)),
        records.prop_map(|records| mld_v2(CLIENT, &records)),
    ];
    let wrong = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let cut = proptest::option::weighted(0.3, any::<prop::sample::Index>());
    (whole, wrong, cut, any::<bool>()).prop_map(|(mut report, wrong, cut, in_vlan)| {
        for (at, value) in wrong {
            // Behind the EtherType, so that it stays a frame of the client's.
            let at = 14 + at.index(report.len() - 14);
            report[at] = value;
        }
        if let Some(cut) = cut {
            // The test run takes no frame without a whole IP header.
            report.truncate(54 + cut.index(report.len() - 54));
        }
        if in_vlan { tagged(9, &report) } else { report }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let group = (any::<bool>(), 0..GROUPS).prop_map(|(four, group)| if four { mac4(group) } else { mac6(group) });
    prop_oneof![
        12 => any_report().prop_map(Step::Report),
        3 => group.clone().prop_map(Step::Admit),
        5 => group.prop_map(Step::Dismiss),
        1 => Just(Step::All(false)),
        1 => any::<bool>().prop_map(Step::All),
        1 => any::<bool>().prop_map(Step::Short),
        1 => any::<bool>().prop_map(Step::Alive),
        1 => prop_oneof![Just(None), Just(Some(NET0)), Just(Some(NET1))].prop_map(Step::Multicast),
    ]
}

#[test]
fn the_model_and_the_programs_agree_on_any_sequence_of_reports() {
    scene(|pair| {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 60, ..Default::default() });
        let pair = std::cell::RefCell::new(pair);
        runner
            .run(&proptest::collection::vec(any_step(), 1..20), |steps| {
                let mut pair = pair.borrow_mut();
                for step in steps {
                    match step {
                        Step::Report(report) => drop(pair.egress(&report)),
                        Step::Admit(group) => pair.both(|d| d.admit(group)),
                        Step::Dismiss(group) => pair.both(|d| d.dismiss(group)),
                        Step::All(all) => pair.both(|d| d.set_all_multicast(all)),
                        Step::Short(short) => pair.both(|d| d.set_filter_short(short)),
                        Step::Alive(alive) => pair.set_alive(alive),
                        Step::Multicast(port) => pair.both(|d| d.set_multicast_port(port)),
                    }
                    for group in (0..GROUPS).flat_map(|group| [mac4(group), mac6(group)]) {
                        pair.takes(NET0, group);
                        pair.takes(NET1, group);
                    }
                }
                Ok(())
            })
            .unwrap();
    });
}
