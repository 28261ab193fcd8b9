//! The switch sends a broadcast to every port but the one it came from: an aggregation takes one
//! copy of those of others and none of its own.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use dlmp_testbed::{Namespace, Pins};
use dlmp_tests::{Capture, Copies, GUEST, Guest, HOST, run, typed, wait_for};

/// The broadcast address of the network between guest and host.
const BROADCAST: &str = "10.9.0.255:9999";
/// A multicast group: a switch without snooping sends it everywhere.
const GROUP: &str = "239.1.2.3:9999";
/// A frame in which nobody is interested ends a test: what came before it has arrived.
const LAST: &str = "the last frame of a test";

/// Sends a datagram with this text from an address of a namespace.
fn send(namespace: &Namespace, from: std::net::IpAddr, to: &str, text: &str) {
    let send = || {
        let socket = UdpSocket::bind((from, 0))?;
        socket.set_broadcast(true)?;
        socket.send_to(text.as_bytes(), to)
    };
    namespace.enter(send).unwrap().unwrap();
}

/// Waits until what was sent by the guest so far has come back to its other port, and what was sent by
/// the host so far has arrived.
fn settle(guest: &Guest, capture: &mut Capture, idle: &str) {
    send(&guest.namespace, GUEST, BROADCAST, LAST);
    wait_for("the switch sends the guest's frame back", || capture.copies(idle, LAST).received == 1);
    guest.wait_until_reachable();
}

#[test]
fn an_aggregation_never_hears_its_own_broadcast() {
    for pins in [Pins::None, Pins::Mounted] {
        let guest = Guest::with_aggregation(pins);
        let (busy, idle) = guest.busy_and_idle_port();
        let (mut of_guest, mut of_host) = (Capture::new(&guest.namespace), Capture::new(&guest.host));
        send(&guest.namespace, GUEST, BROADCAST, "from the guest");
        settle(&guest, &mut of_guest, idle);

        assert_eq!(of_guest.copies(busy, "from the guest"), Copies { sent: 1, received: 0 });
        assert_eq!(of_guest.copies(idle, "from the guest"), Copies { sent: 0, received: 1 });
        assert_eq!(of_guest.copies("aggr0", "from the guest").received, 0, "{pins:?}");
        assert_eq!(of_host.copies("net0", "from the guest").received, 1);
    }
}

#[test]
fn a_broadcast_or_multicast_of_others_comes_in_once() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.host.ip("route add 224.0.0.0/4 dev net0").unwrap();
    let (_, idle) = guest.busy_and_idle_port();
    let member = guest.namespace.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    let IpAddr::V4(own) = GUEST else { panic!("{GUEST} is an IPv4 address") };
    member.join_multicast_v4(&Ipv4Addr::new(239, 1, 2, 3), &own).unwrap();
    wait_for("the group is known", || typed(&guest.dlmp, "dladm show-mcast aggr0").contains("239.1.2.3"));
    let mut capture = Capture::new(&guest.namespace);
    for number in 0..100 {
        send(&guest.host, HOST, BROADCAST, &format!("broadcast {number}."));
        send(&guest.host, HOST, GROUP, &format!("multicast {number}."));
    }
    settle(&guest, &mut capture, idle);

    for kind in ["broadcast", "multicast"] {
        for number in 0..100 {
            let mark = format!("{kind} {number}.");
            assert_eq!(capture.copies("net0", &mark).received, 1, "{mark}");
            assert_eq!(capture.copies("net1", &mark).received, 1, "{mark}");
            assert_eq!(capture.copies("aggr0", &mark).received, 1, "{mark}");
        }
    }
}

#[test]
fn a_broadcast_comes_in_once_after_a_failover_too() {
    let guest = Guest::with_aggregation(Pins::None);
    let (busy, idle) = guest.busy_and_idle_port();
    guest.unplug(busy);
    guest.wait_for_state(busy, "down");
    guest.wait_until_reachable();
    let mut capture = Capture::new(&guest.namespace);
    send(&guest.host, HOST, BROADCAST, "after the failover");
    let outcome = run(guest.namespace.command("ping").args(["-q", "-c", "1", "-W", "5", &HOST.to_string()]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(capture.copies(idle, "after the failover").received, 1);
    assert_eq!(capture.copies("aggr0", "after the failover").received, 1);
}
