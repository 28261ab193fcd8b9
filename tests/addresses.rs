//! Addresses on an aggregation: fixed ones, and those that a real DHCP server leases.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use dlmp_testbed::{DhcpServer, Pins};
use dlmp_tests::{GUEST, Guest, refused, typed, wait_for};
use nix::sys::signal::Signal;

/// What the host's DHCP server leases.
const RANGE: &str = "10.9.0.10,10.9.0.50,255.255.255.0,1h";

/// A guest with an aggregation without addresses, and a DHCP server on the host.
fn guest_with_dhcp() -> (Guest, DhcpServer) {
    let guest = Guest::new(Pins::None);
    let server = DhcpServer::start(&guest.host, "net0", RANGE).unwrap();
    typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    typed(&guest.dlmp, "ipadm create-ip aggr0");
    (guest, server)
}

#[test]
fn a_static_address_is_on_the_link_until_it_is_deleted() {
    let guest = Guest::with_aggregation(Pins::None);
    assert_eq!(guest.namespace.addresses("aggr0").unwrap(), [GUEST]);
    assert_eq!(typed(&guest.dlmp, "ipadm show-addr -p -o addr aggr0/v4"), format!("{GUEST}/24\n"));

    typed(&guest.dlmp, "ipadm delete-addr aggr0/v4");
    assert!(guest.namespace.addresses("aggr0").unwrap().is_empty());
    assert!(!typed(&guest.dlmp, "ipadm show-addr -p -o addrobj").contains("aggr0/v4"));
    typed(&guest.dlmp, "ipadm delete-ip aggr0");
    typed(&guest.dlmp, "dladm delete-aggr aggr0");
}

#[test]
fn a_leased_address_is_on_the_link_when_the_command_returns() {
    let (guest, server) = guest_with_dhcp();
    typed(&guest.dlmp, "ipadm create-addr -T dhcp aggr0/v4");
    let addresses = guest.namespace.addresses("aggr0").unwrap();
    assert_eq!(addresses.len(), 1);
    assert_eq!(server.leases().unwrap(), addresses);
    guest.wait_until_reachable();
}

#[test]
fn a_deleted_address_stays_leased_unless_it_is_released() {
    let (guest, server) = guest_with_dhcp();
    typed(&guest.dlmp, "ipadm create-addr -T dhcp aggr0/v4");
    let leased = server.leases().unwrap();
    assert_eq!(leased.len(), 1);

    typed(&guest.dlmp, "ipadm delete-addr aggr0/v4");
    assert!(guest.namespace.addresses("aggr0").unwrap().is_empty());
    assert_eq!(server.leases().unwrap(), leased);

    typed(&guest.dlmp, "ipadm create-addr -T dhcp aggr0/v4");
    assert_eq!(guest.namespace.addresses("aggr0").unwrap(), leased);
    typed(&guest.dlmp, "ipadm delete-addr -r aggr0/v4");
    assert!(guest.namespace.addresses("aggr0").unwrap().is_empty());
    wait_for("the server takes the address back", || server.leases().unwrap().is_empty());
}

#[test]
fn a_leased_address_stays_through_a_restart_of_the_daemon() {
    let (guest, server) = guest_with_dhcp();
    typed(&guest.dlmp, "ipadm create-addr -T dhcp aggr0/v4");
    let leased = guest.namespace.addresses("aggr0").unwrap();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        guest.end_daemon(signal);
        assert_eq!(guest.namespace.addresses("aggr0").unwrap(), leased, "after {signal}");
        guest.start_daemon();
        wait_for("the address is there", || guest.namespace.addresses("aggr0").unwrap() == leased);
        assert_eq!(server.leases().unwrap(), leased);
    }
    guest.wait_until_reachable();
}

/// Leaves the aggregation without IPv6 addresses, and the kernel without a wish to make some.
fn take_autoconfigured_off(guest: &Guest) {
    guest.namespace.ip("link set dev aggr0 addrgenmode none").unwrap();
    guest.namespace.ip("address flush dev aggr0 scope link").unwrap();
}

#[test]
fn the_kernel_makes_addresses_for_as_long_as_it_is_told_to() {
    let guest = Guest::new(Pins::None);
    typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    typed(&guest.dlmp, "ipadm create-ip aggr0");
    take_autoconfigured_off(&guest);
    typed(&guest.dlmp, "ipadm create-addr -T addrconf aggr0/v6");
    let shown = |field: &str| typed(&guest.dlmp, &format!("ipadm show-addr -p -o {field} aggr0/v6"));
    wait_for("the link-local address is there", || shown("type,state") == "addrconf:ok\n");
    assert!(shown("addr").starts_with("fe80:"), "{}", shown("addr"));
    assert!(refused(&guest.dlmp, "ipadm create-addr -T addrconf aggr0").contains("aggr0/v6"));

    // The next daemon has it on the link again, too.
    guest.end_daemon(Signal::SIGTERM);
    take_autoconfigured_off(&guest);
    guest.start_daemon();
    wait_for("the link-local address is there again", || shown("state") == "ok\n");

    typed(&guest.dlmp, "ipadm delete-addr aggr0/v6");
    assert!(!typed(&guest.dlmp, "ipadm show-addr -p -o type,addrobj").contains("addrconf:aggr0"));
}
