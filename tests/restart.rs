//! The datapath outlives the daemon: it may be killed, ended and started without a lost frame.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::time::Duration;

use dlmp_testbed::Pins;
use dlmp_tests::{Guest, assert_whole, ip_json, json, typed};
use nix::sys::signal::Signal;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Ends the daemon in the middle of a flow, starts it again, and asserts that no packet was lost.
fn assert_restart_loses_nothing(signal: Signal, pins: Pins) {
    let guest = Guest::with_aggregation(pins);
    let record = guest
        .flow(ms(2500))
        .event(ms(500), "end", || {
            guest.end_daemon(signal);
            Ok(())
        })
        .event(ms(1000), "start", || {
            guest.start_daemon();
            Ok(())
        })
        .run()
        .unwrap();
    assert_whole(&record);
    assert_eq!(guest.dlmp.daemons().len(), 1);
    for port in ["net0", "net1"] {
        assert_eq!(guest.port_state(port), ("up".into(), "attached".into()), "{port}");
    }

    // The new daemon does what the old one did.
    let (busy, idle) = guest.busy_and_idle_port();
    guest.unplug(busy);
    guest.wait_for_state(busy, "down");
    guest.wait_until_reachable();
    assert_eq!(guest.busy_and_idle_port().0, idle);
}

#[test]
fn a_killed_daemon_loses_nothing_with_clsact() {
    assert_restart_loses_nothing(Signal::SIGKILL, Pins::None);
}

#[test]
fn a_killed_daemon_loses_nothing_with_pinned_links() {
    assert_restart_loses_nothing(Signal::SIGKILL, Pins::Mounted);
}

#[test]
fn a_stopped_daemon_loses_nothing_with_clsact() {
    assert_restart_loses_nothing(Signal::SIGTERM, Pins::None);
}

#[test]
fn a_stopped_daemon_loses_nothing_with_pinned_links() {
    assert_restart_loses_nothing(Signal::SIGTERM, Pins::Mounted);
}

/// Packets in and out of `aggr0` by `dlstat`.
fn packets(guest: &Guest) -> (u64, u64) {
    let rows = json(&guest.dlmp, "dlstat show-aggr -j aggr0");
    (rows[0]["ipkts"].as_u64().unwrap(), rows[0]["opkts"].as_u64().unwrap())
}

#[test]
fn counters_go_on_where_they_were() {
    for pins in [Pins::None, Pins::Mounted] {
        let guest = Guest::with_aggregation(pins);
        guest.flow(ms(500)).run().unwrap();
        let (received, sent) = packets(&guest);
        assert!(received >= 500 && sent >= 500, "{received} in, {sent} out");
        guest.end_daemon(Signal::SIGKILL);
        guest.flow(ms(500)).run().unwrap();
        guest.start_daemon();
        let (received_since, sent_since) = packets(&guest);
        assert!(received_since >= received + 500, "{pins:?}: {received} in before, {received_since} after");
        assert!(sent_since >= sent + 500, "{pins:?}: {sent} out before, {sent_since} after");
    }
}

#[test]
fn a_port_that_failed_while_no_daemon_ran_is_noticed_at_the_start() {
    let guest = Guest::with_aggregation(Pins::None);
    let (busy, idle) = guest.busy_and_idle_port();
    guest.end_daemon(Signal::SIGKILL);
    guest.unplug(busy);
    guest.start_daemon();
    guest.wait_until_reachable();
    assert_eq!(guest.busy_and_idle_port().0, idle);
}

#[test]
fn a_temporary_aggregation_stays_through_a_restart_and_is_gone_after_a_reboot() {
    let guest = Guest::new(Pins::None);
    typed(&guest.dlmp, "dladm create-aggr -t -l net0 -l net1 aggr0");
    guest.give_address("-t");
    let before = json(&guest.dlmp, "dladm show-aggr -x -j");
    guest.end_daemon(Signal::SIGTERM);
    guest.start_daemon();
    assert_eq!(json(&guest.dlmp, "dladm show-aggr -x -j"), before);
    guest.wait_until_reachable();

    guest.reboot();
    assert_eq!(json(&guest.dlmp, "dladm show-aggr -x -j"), serde_json::json!([]));
    assert!(ip_json(&guest.namespace, "link show dev aggr0").is_null());
}

#[test]
fn everything_persistent_is_restored_after_a_reboot() {
    let guest = Guest::with_aggregation(Pins::None);
    let before = json(&guest.dlmp, "dladm show-aggr -x -j")[0]["address"].clone();
    guest.reboot();
    let rows = json(&guest.dlmp, "dladm show-aggr -x -j");
    assert_eq!(rows[0]["address"], before);
    let ports: Vec<_> = rows.as_array().unwrap().iter().filter_map(|row| row["port"].as_str()).collect();
    assert_eq!(ports, ["net0", "net1"]);
    guest.wait_until_reachable();
}
