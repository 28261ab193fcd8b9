//! Groups survive a failover: whatever the ports hold themselves, every group that was received before is received
//! after, and what nobody asked for is not. Every port stands behind a filter that admits what the kernel says.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeSet;
use std::process::Command;

use dlmp_testbed::{GroupReceiver, GroupSender, Groups, Hardware, Members, Received};
use dlmp_tests::{HOST, LARGE, MulticastGuest, json, run, typed, wait_for};
use serde_json::Value;

/// Groups that nobody joins.
const UNWANTED: [Groups; 2] = [Groups::v4(1_000_000, 300), Groups::v6(1_000_000, 300)];

/// So many groups, half of each family.
fn groups(count: u32) -> [Groups; 2] {
    [Groups::v4(0, count / 2), Groups::v6(0, count / 2)]
}

/// What is sent: the groups that are wanted, and those that are not.
fn with_unwanted(wanted: [Groups; 2]) -> Vec<Groups> {
    [wanted, UNWANTED].concat()
}

/// Has each port fail in turn under a stream of all groups, which have members.
fn assert_failovers_keep(rig: &MulticastGuest, wanted: [Groups; 2], rate: u32, rounds: u32) {
    let stream = rig.stream(&with_unwanted(wanted), rate);
    stream.assert_brings("at first", rounds, &wanted, &UNWANTED);
    let mut active = BTreeSet::new();
    for _ in 0..2 {
        let (from, to) = rig.active_and_other_port();
        active.extend([from]);
        rig.guest.unplug(from);
        rig.wait_until_active(to);
        stream.assert_brings(&format!("from {from} to {to}"), rounds, &wanted, &UNWANTED);
        active.extend([to]);
        rig.guest.plug(from);
        wait_for("both ports serve", || rig.ports().values().all(|row| row.role != "--"));
        rig.wait_until_both_ports_admit(&wanted);
        stream.assert_brings(&format!("{from} is back"), rounds, &wanted, &UNWANTED);
    }
    assert_eq!(active.len(), 2, "only {active:?} took multicast");
    stream.end(&wanted);
}

#[test]
fn ninety_groups_survive_failover_to_a_port_with_64_slots_and_back() {
    let rig = MulticastGuest::new([LARGE, Hardware::with_slots(64)]);
    let _members = rig.join(&groups(90));
    assert_failovers_keep(&rig, groups(90), 20_000, 10);
    let ports = rig.ports();
    assert_eq!((ports["net0"].filter.as_str(), ports["net1"].filter.as_str()), ("exact", "all"));
    assert!(rig.counted("rx-group-unwanted") > 0, "the datapath filtered nothing");
}

#[test]
fn four_thousand_groups_survive_failover_to_a_port_with_64_slots_and_back() {
    let rig = MulticastGuest::new([LARGE, Hardware::with_slots(64)]);
    let _members = rig.join(&groups(4096));
    assert_failovers_keep(&rig, groups(4096), 20_000, 3);
}

#[test]
fn a_hundred_thousand_groups_survive_failover_between_large_ports() {
    let rig = MulticastGuest::new([LARGE, LARGE]);
    let _members = rig.join_quietly(&groups(100_000));
    assert_failovers_keep(&rig, groups(100_000), 30_000, 1);
    for row in rig.ports().values() {
        assert_eq!(row.filter, "exact");
        assert!(row.groups >= 100_000, "{row:?}");
    }
}

#[test]
fn a_hundred_thousand_groups_survive_failover_to_a_port_with_64_slots_and_back() {
    let rig = MulticastGuest::new([LARGE, Hardware::with_slots(64)]);
    let _members = rig.join_quietly(&groups(100_000));
    assert_failovers_keep(&rig, groups(100_000), 30_000, 1);
}

#[test]
fn a_filter_that_overflows_takes_all_and_is_exact_again_when_the_groups_fit() {
    let rig = MulticastGuest::new([Hardware::with_slots(64), Hardware::with_slots(64)]);
    let (few, many) = (groups(40), [Groups::v4(20, 30), Groups::v6(20, 30)]);
    let _few = rig.join(&few);
    let filters = || rig.ports().into_values().map(|row| row.filter).collect::<Vec<_>>();
    wait_for("few groups fit", || filters() == ["exact", "exact"]);
    assert!(!rig.filter("net0").takes_all() && !rig.filter("net1").takes_all());
    let stream = rig.stream(&with_unwanted(groups(100)), 20_000);
    for _ in 0..3 {
        let more = Members::join(&rig.guest.namespace, "aggr0", &many).unwrap();
        let all = [few, many].concat();
        rig.wait_until_table_is(&all);
        wait_for("many do not fit", || filters() == ["all", "all"]);
        rig.wait_until_both_ports_admit(&all);
        stream.assert_brings("with many groups", 10, &all, &UNWANTED);
        drop(more);
        rig.wait_until_table_is(&few);
        wait_for("few fit again", || filters() == ["exact", "exact"]);
        wait_for("no port takes all", || !rig.filter("net0").takes_all() && !rig.filter("net1").takes_all());
        rig.wait_until_both_ports_admit(&few);
        stream.assert_brings("with few groups", 10, &few, &with_unwanted(many));
    }
    stream.end(&[few, many].concat());
}

#[test]
fn only_groups_that_are_asked_for_come_in_exactly_or_through_a_port_that_takes_all() {
    for slots in [usize::MAX, 8] {
        let rig = MulticastGuest::new([Hardware::with_slots(slots); 2]);
        let wanted = groups(40);
        let _members = rig.join(&wanted);
        let stream = rig.stream(&with_unwanted(wanted), 20_000);
        let (active, _) = rig.active_and_other_port();
        stream.assert_brings("a steady stream", 10, &wanted, &UNWANTED);
        // Whoever filters, port or datapath, counts it.
        if rig.ports()[active].filter == "exact" {
            assert!(rig.filter(active).dropped().unwrap().groups >= 6000);
        } else {
            assert!(rig.counted("rx-group-unwanted") >= 6000);
        }
        assert!(rig.counted("rx-group") >= 400);
        stream.end(&wanted);
    }
}

/// The groups of the switch's database at each of its ports to the guest.
fn forwarded(rig: &MulticastGuest, end: &str) -> BTreeSet<String> {
    let outcome = run(rig.guest.switch.command("bridge").args(["-j", "mdb", "show"]));
    let shown: Value = serde_json::from_str(&outcome.output).unwrap();
    let entries = shown[0]["mdb"].as_array().unwrap().iter().filter(|entry| entry["port"] == end);
    entries.map(|entry| entry["grp"].as_str().unwrap().to_owned()).collect()
}

/// Whether the switch takes a port of it for one that leads to a router, and sends it every group.
fn leads_to_router(rig: &MulticastGuest, end: &str) -> bool {
    let outcome = run(rig.guest.switch.command("bridge").args(["-j", "mdb", "show"]));
    let shown: Value = serde_json::from_str(&outcome.output).unwrap();
    shown[0]["router"]["br0"].as_array().is_some_and(|ports| ports.iter().any(|port| port["port"] == end))
}

/// Has the port that takes multicast fail by `fault` while a snooping switch decides where groups go.
fn assert_snooping_switch_follows(rig: &MulticastGuest, fault: impl Fn(&str)) {
    let wanted = groups(90);
    rig.switch_snoops();
    let _members = rig.join(&wanted);
    let (from, to) = rig.active_and_other_port();
    let end = |port: &str| port.replace("net", "p");
    let all: BTreeSet<String> =
        wanted.iter().flat_map(|row| row.addresses()).map(|address| address.to_string()).collect();
    wait_for("the switch knows every group", || forwarded(rig, &end(from)).is_superset(&all));
    let stream = rig.stream(&with_unwanted(wanted), 20_000);
    stream.assert_brings("before the fault", 10, &wanted, &UNWANTED);
    fault(from);
    rig.wait_until_active(to);
    wait_for("the switch knows the new port", || forwarded(rig, &end(to)).is_superset(&all));
    stream.assert_brings("after the fault", 10, &wanted, &UNWANTED);
    assert!(!leads_to_router(rig, "p0") && !leads_to_router(rig, "p1"), "the guest asked the switch's other members");
    stream.end(&wanted);
}

#[test]
fn a_snooping_switch_sends_the_groups_to_the_new_port_after_carrier_loss() {
    let rig = MulticastGuest::new([LARGE, Hardware::with_slots(64)]);
    assert_snooping_switch_follows(&rig, |port| rig.guest.unplug(port));
}

#[test]
fn a_snooping_switch_sends_the_groups_to_the_new_port_after_a_silent_fault() {
    let rig = MulticastGuest::new([LARGE, Hardware::with_slots(64)]);
    rig.guest.probe(&format!("probe-ip=+{HOST}"));
    assert_snooping_switch_follows(&rig, |port| rig.guest.cut_off(port));
}

#[test]
fn a_group_in_a_vlan_comes_in_before_and_after_a_failover() {
    let rig = MulticastGuest::new([LARGE, Hardware::with_slots(16)]);
    for (namespace, link, name) in [(&rig.guest.namespace, "aggr0", "aggr0.5"), (&rig.guest.host, "net0", "net0.5")] {
        let mut ip = Command::new("ip");
        ip.args(["-n", namespace.name(), "link", "add", "link", link, "name", name, "type", "vlan", "id", "5"]);
        if run(&mut ip).message.contains("Unknown device type") {
            eprintln!("skipped: this kernel has no 802.1Q devices");
            return;
        }
        namespace.ip(&format!("link set dev {name} up")).unwrap();
    }
    rig.guest.namespace.ip("address add 10.5.0.2/24 dev aggr0.5").unwrap();
    let wanted = groups(40);
    let _members = Members::join(&rig.guest.namespace, "aggr0.5", &wanted).unwrap();
    rig.wait_until_table_is(&wanted);
    rig.wait_until_both_ports_admit(&wanted);
    let receiver = GroupReceiver::start(&rig.guest.namespace, "aggr0.5").unwrap();
    let sender = GroupSender::start(&rig.guest.host, "net0.5", &wanted, 10_000).unwrap();
    let complete = || {
        let rounds = sender.rounds(10);
        let received = receiver.received(rounds, &wanted).unwrap();
        assert_eq!(received, Received::default());
    };
    complete();
    let (from, to) = rig.active_and_other_port();
    rig.guest.unplug(from);
    rig.wait_until_active(to);
    complete();
}

#[test]
fn a_port_that_neither_holds_nor_takes_all_is_avoided() {
    let poor = Hardware { slots: 8, takes_all: false };
    for (cards, rich) in [([poor, LARGE], "net1"), ([LARGE, poor], "net0")] {
        let rig = MulticastGuest::new(cards);
        let wanted = groups(40);
        let _members = Members::join(&rig.guest.namespace, "aggr0", &wanted).unwrap();
        rig.wait_until_table_is(&wanted);
        rig.wait_until_active(rich);
        let stream = rig.stream(&with_unwanted(wanted), 10_000);
        stream.assert_brings("through the port that holds them", 10, &wanted, &UNWANTED);
        let aggregation = json(&rig.guest.dlmp, "dladm show-aggr -x -j aggr0");
        let port = if rich == "net0" { "net1" } else { "net0" };
        let row = aggregation.as_array().unwrap().iter().find(|row| row["port"] == port).unwrap();
        assert!(row["reason"].as_str().unwrap().contains("its filter lacks multicast groups"), "{row}");
        let table = typed(&rig.guest.dlmp, "dladm show-mcast -P -p -o port,filter aggr0");
        assert!(table.contains("short"), "{table}");
        stream.end(&wanted);
    }
}
