//! Traffic goes on when a port fails, and nothing is lost when it comes back.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::ops::Range;
use std::time::Duration;

use dlmp_testbed::{Pins, Record};
use dlmp_tests::{Guest, typed};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Asserts that the flow has resumed by the end, that something arrived only once, and that what was
/// lost was lost in `outage`.
fn assert_resumed(record: &Record, outage: Range<Duration>) {
    for (way, stream) in [("to the host", &record.forth), ("to the guest", &record.back)] {
        let report = stream.total();
        assert_eq!(report.duplicated, 0, "{way}: {report:?}");
        assert_eq!(report.lost, stream.report(outage.clone()).lost, "{way}: lost outside {outage:?}: {report:?}");
        assert!(report.outage.is_none_or(|outage| outage.ended), "{way}: the flow did not resume: {report:?}");
    }
}

#[test]
fn traffic_moves_to_the_other_port_when_the_busy_one_loses_its_carrier() {
    let guest = Guest::with_aggregation(Pins::None);
    let (busy, idle) = guest.busy_and_idle_port();
    let record = guest
        .flow(ms(1500))
        .event(ms(500), "carrier loss", || {
            guest.unplug(busy);
            Ok(())
        })
        .run()
        .unwrap();

    assert_resumed(&record, record.after_event(0));
    assert_eq!(guest.port_state(busy).0, "down");
    assert_eq!(guest.port_state(idle).0, "up");
    assert_eq!(guest.busy_and_idle_port().0, idle);
    assert!(guest.has_carrier("aggr0"));
}

#[test]
fn a_port_that_comes_back_costs_no_packet() {
    let guest = Guest::with_aggregation(Pins::None);
    let (busy, _) = guest.busy_and_idle_port();
    guest.unplug(busy);
    guest.wait_for_state(busy, "down");
    guest.wait_until_reachable();
    let record = guest
        .flow(ms(1500))
        .event(ms(500), "repair", || {
            guest.plug(busy);
            Ok(())
        })
        .run()
        .unwrap();

    dlmp_tests::assert_whole(&record);
    assert_eq!(guest.port_state(busy), ("up".into(), "attached".into()));
}

#[test]
fn a_port_whose_device_is_gone_joins_by_name_when_it_is_there_again() {
    let guest = Guest::with_aggregation(Pins::None);
    let (busy, idle) = guest.busy_and_idle_port();
    let record = guest
        .flow(ms(2500))
        .event(ms(500), "gone", || guest.namespace.ip(&format!("link del dev {busy}")))
        .event(ms(1500), "back", || {
            guest.connect_port(busy);
            Ok(())
        })
        .run()
        .unwrap();

    assert_resumed(&record, record.after_event(0));
    guest.wait_for_state(busy, "up");
    // It serves as before: alone, it carries everything.
    guest.unplug(idle);
    guest.wait_for_state(idle, "down");
    guest.wait_until_reachable();
    assert_eq!(guest.busy_and_idle_port().0, busy);
}

#[test]
fn the_aggregation_has_no_carrier_while_no_port_has_one() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.switch.ip("link set dev p0 down\nlink set dev p1 down").unwrap();
    dlmp_tests::wait_for("aggr0 loses its carrier", || !guest.has_carrier("aggr0"));
    for port in ["net0", "net1"] {
        assert_eq!(guest.port_state(port).0, "down", "{port}");
    }

    guest.plug("net1");
    dlmp_tests::wait_for("aggr0 has a carrier again", || guest.has_carrier("aggr0"));
    guest.wait_until_reachable();
    assert_eq!(guest.busy_and_idle_port().0, "net1");
    assert_eq!(guest.port_state("net0").0, "down");
}

#[test]
fn the_last_port_that_goes_takes_over_from_nobody_and_the_first_that_returns_serves_at_once() {
    let guest = Guest::with_aggregation(Pins::None);
    for port in ["net0", "net1"] {
        guest.namespace.ip(&format!("link del dev {port}")).unwrap();
    }
    dlmp_tests::wait_for("aggr0 loses its carrier", || !guest.has_carrier("aggr0"));
    assert_eq!(typed(&guest.dlmp, "dladm show-aggr -p -o link,mode"), "aggr0:dlmp\n");

    guest.connect_port("net0");
    guest.wait_until_reachable();
    assert_eq!(guest.busy_and_idle_port().0, "net0");
}
