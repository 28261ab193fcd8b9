//! Groups survive a failover: whatever the ports hold themselves, every group that was received before is received
//! after, and what nobody asked for is not. Every port stands behind a filter that admits what the kernel says.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use dlmp_testbed::{GroupReceiver, GroupSender, Groups, Hardware, Members, Received};
use dlmp_tests::{HOST, LARGE, MulticastGuest, json, run, typed, wait_for};
use nix::sys::signal::Signal;
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

/// How many groups a port holds, as far as dlmp knows.
fn known_limit(rig: &MulticastGuest, port: &str) -> Option<u64> {
    rig.ports()[port].limit.as_u64()
}

/// What the filters of both ports let through.
fn filters(rig: &MulticastGuest) -> [String; 2] {
    let mut ports = rig.ports();
    ["net0", "net1"].map(|port| ports.remove(port).unwrap().filter)
}

/// Waits until it is measured how many groups a card with `slots` holds: some fewer where groups come meanwhile, or where
/// the filter follows slowly.
fn wait_until_measured(rig: &MulticastGuest, port: &str, slots: u64) {
    wait_for("the filter is measured", || known_limit(rig, port).is_some());
    let limit = known_limit(rig, port).unwrap();
    assert!((slots / 2..=slots).contains(&limit), "{port} has {slots} slots, and is said to hold {limit} groups");
    let shown = typed(&rig.guest.dlmp, &format!("dladm show-linkprop -c -o value,effective -p mcast-limit {port}"));
    assert_eq!(shown.trim_end(), format!(":{limit}"));
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
    // Nobody would believe it unasked.
    for port in ["net0", "net1"] {
        typed(&rig.guest.dlmp, &format!("dladm set-linkprop -p mcast-limit=1000000 {port}"));
    }
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
    wait_for("few groups fit", || filters(&rig) == ["exact", "exact"]);
    assert!(!rig.filter("net0").takes_all() && !rig.filter("net1").takes_all());
    let stream = rig.stream(&with_unwanted(groups(100)), 20_000);
    for _ in 0..3 {
        let more = Members::join(&rig.guest.namespace, "aggr0", &many).unwrap();
        let all = [few, many].concat();
        rig.wait_until_table_is(&all);
        wait_for("many do not fit", || filters(&rig) == ["all", "all"]);
        rig.wait_until_both_ports_admit(&all);
        stream.assert_brings("with many groups", 10, &all, &UNWANTED);
        drop(more);
        rig.wait_until_table_is(&few);
        wait_for("few fit again", || filters(&rig) == ["exact", "exact"]);
        wait_for("no port takes all", || !rig.filter("net0").takes_all() && !rig.filter("net1").takes_all());
        rig.wait_until_both_ports_admit(&few);
        stream.assert_brings("with few groups", 10, &few, &with_unwanted(many));
    }
    stream.end(&[few, many].concat());
}

#[test]
fn what_a_port_holds_is_measured_where_nobody_tells_and_what_does_not_fit_survives_failover() {
    let rig = MulticastGuest::untold([LARGE, Hardware::with_slots(64)]);
    wait_until_measured(&rig, "net1", 64);
    let _few = rig.join(&groups(40));
    assert_eq!(filters(&rig), ["exact", "exact"]);
    assert!(!rig.filter("net1").takes_all());
    let many = rig.join(&groups(90));
    assert_eq!(filters(&rig), ["exact", "all"]);
    assert_failovers_keep(&rig, groups(90), 20_000, 10);
    assert_eq!(known_limit(&rig, "net0"), None);
    drop(many);
    rig.wait_until_table_is(&groups(40));
    wait_for("few fit again", || filters(&rig) == ["exact", "exact"] && !rig.filter("net1").takes_all());
}

#[test]
fn a_restart_loses_nothing_through_ports_whose_measurement_the_next_daemon_cannot_repeat() {
    let rig = MulticastGuest::untold([Hardware::with_slots(64); 2]);
    ["net0", "net1"].iter().for_each(|port| wait_until_measured(&rig, port, 64));
    let few = rig.join(&groups(40));
    let many = rig.join(&groups(90));
    assert_eq!(filters(&rig), ["all", "all"]);
    let receiver = GroupReceiver::start(&rig.guest.namespace, "aggr0").unwrap();
    let sender = GroupSender::start(&rig.guest.host, "net0", &with_unwanted(groups(90)), 20_000).unwrap();
    let first = sender.rounds(5).start;
    // A port that takes all multicast cannot be measured.
    rig.guest.end_daemon(Signal::SIGKILL);
    rig.guest.start_daemon();
    rig.wait_until_table_is(&groups(90));
    wait_for("both ports serve", || rig.ports().values().all(|row| row.role != "--"));
    // A measurement would be over by then, and everybody has asked again.
    thread::sleep(Duration::from_secs(16));
    let last = sender.rounds(5).end;
    let received = receiver.received(first..last, &groups(90)).unwrap();
    assert_eq!((received.lost, received.duplicated), (vec![], vec![]));
    assert_eq!(filters(&rig), ["all", "all"]);

    drop(many);
    rig.wait_until_table_is(&groups(40));
    wait_for("few fit", || filters(&rig) == ["exact", "exact"] && !rig.filter("net0").takes_all());
    let rounds = sender.rounds(10);
    assert_eq!(receiver.received(rounds, &groups(40)).unwrap().lost, [] as [IpAddr; 0]);
    drop(few);
}

#[test]
fn a_new_port_that_holds_fewer_groups_than_there_are_is_measured_and_takes_all() {
    let rig = MulticastGuest::untold([LARGE, Hardware::with_slots(64)]);
    typed(&rig.guest.dlmp, "dladm remove-aggr -l net1 aggr0");
    rig.guest.end_daemon(Signal::SIGTERM);
    rig.guest.start_daemon();
    let _members = Members::join(&rig.guest.namespace, "aggr0", &groups(90)).unwrap();
    rig.wait_until_table_is(&groups(90));
    typed(&rig.guest.dlmp, "dladm add-aggr -l net1 aggr0");
    wait_for("its filter is measured", || rig.ports()["net1"].filter == "all");
    let limit = known_limit(&rig, "net1").unwrap();
    assert!((32..=64).contains(&limit), "it has 64 slots, and is said to hold {limit} groups");
    rig.wait_until_both_ports_admit(&groups(90));
    // Until then a new daemon takes all groups once a long report has come.
    thread::sleep(Duration::from_secs(20));
    assert_failovers_keep(&rig, groups(90), 20_000, 10);
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
    let poor = Hardware { takes_all: false, ..Hardware::with_slots(8) };
    for (cards, rich) in [([poor, LARGE], "net1"), ([LARGE, poor], "net0")] {
        let rig = MulticastGuest::new(cards);
        let wanted = groups(40);
        let _members = Members::join(&rig.guest.namespace, "aggr0", &wanted).unwrap();
        rig.wait_until_table_is(&wanted);
        rig.wait_until_active(rich);
        let stream = rig.stream(&with_unwanted(wanted), 10_000);
        stream.assert_brings("through the port that holds them", 10, &wanted, &UNWANTED);
        let port = if rich == "net0" { "net1" } else { "net0" };
        wait_for("it is reported", || {
            let rows = json(&rig.guest.dlmp, "dladm show-aggr -x -j aggr0");
            let row = rows.as_array().unwrap().iter().find(|row| row["port"] == port).unwrap();
            row["reason"].as_str().unwrap().contains("its filter lacks multicast groups")
        });
        assert_eq!(rig.ports()[port].filter, "short");
        assert_eq!(rig.ports()[rich].role, "active");
        stream.end(&wanted);
    }
}

#[test]
fn what_the_multicast_port_lacks_and_another_port_gets_is_counted() {
    let poor = |slots| Hardware { takes_all: false, ..Hardware::with_slots(slots) };
    let rig = MulticastGuest::new([poor(8), poor(30)]);
    let wanted = groups(40);
    let _members = Members::join(&rig.guest.namespace, "aggr0", &wanted).unwrap();
    rig.wait_until_table_is(&wanted);
    wait_for("neither port can take all", || filters(&rig) == ["short", "short"]);
    // A port stays the multicast port as long as no other one is better.
    rig.guest.unplug("net1");
    rig.wait_until_active("net0");
    rig.guest.plug("net1");
    let is_active = |row: &Value| row["port"] == "net1" && row["health"] == "active";
    wait_for("net1 is back", || {
        let rows = json(&rig.guest.dlmp, "dladm show-aggr -x -j aggr0");
        rows.as_array().unwrap().iter().any(is_active)
    });
    assert_eq!(rig.ports()["net0"].role, "active");
    let before = rig.counted("rx-group-no-filter");
    let sender = GroupSender::start(&rig.guest.host, "net0", &wanted, 5000).unwrap();
    let rounds = u64::try_from(sender.rounds(20).len()).unwrap();
    let counted = || rig.counted("rx-group-no-filter") - before;
    // Their own groups of all hosts take places of both.
    wait_for("groups that net1 alone lets in are counted", || counted() >= 15 * rounds);
}
