//! VLANs end to end, on kernels that have 802.1Q: devices over an aggregation are clients of their own, and with
//! `probe-vlan-id` the ports are probed in that VLAN.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use dlmp_testbed::{Namespace, Pins};
use dlmp_tests::{Guest, run, typed, wait_for};
use serde_json::json as value;

/// The VLAN of the probes.
const VLAN: &str = "5";
/// The target, an address of the host that answers in [`VLAN`] alone.
const TARGET: &str = "10.9.0.5";
/// No address of the guest is in this network, so that every port asks for itself, by ARP.
const NO_SOURCE: &str = "10.5.0.0/24";

#[test]
fn a_path_on_which_the_probed_vlan_dies_is_left() {
    let guest = Guest::with_aggregation(Pins::None);
    if !has_vlan(&guest.host, "net0", "vlan0", VLAN) {
        return;
    }
    guest.host.ip(&format!("address add {TARGET}/32 dev vlan0\nlink set dev vlan0 up")).unwrap();
    // Linux otherwise answers on every link for all its addresses (arp_ignore in ip-sysctl).
    let answer_on_own_link = guest.host.enter(|| std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1"));
    answer_on_own_link.unwrap().unwrap();
    guest.switch.ip("link set dev br0 type bridge vlan_filtering 1").unwrap();
    for port in ["up", "p0", "p1"] {
        in_vlan(&guest, "add", port);
    }

    typed(&guest.dlmp, &format!("dladm set-linkprop -p probe-ip={NO_SOURCE}+{TARGET} aggr0"));
    wait_for("nobody answers outside of the VLAN", || guest.detection().starts_with("link; "));
    guest.probe(&format!("probe-vlan-id={VLAN}"));
    for port in ["net0", "net1"] {
        wait_for("each port is seen", || guest.probe_state(port)["state"] == "active");
    }

    let (busy, idle) = guest.busy_and_idle_port();
    let end = if busy == "net0" { "p0" } else { "p1" };
    in_vlan(&guest, "delete", end);
    wait_for("the break is found", || guest.probe_state(busy)["state"] == "failed");
    assert_eq!(guest.port_state(busy).0, "up", "its carrier is there");
    assert_eq!(guest.probe_state(idle)["targets"], value!([TARGET]));
    assert_eq!(guest.busy_and_idle_port().0, idle);

    in_vlan(&guest, "add", end);
    wait_for("the port is used again", || guest.probe_state(busy)["state"] == "active");
}

#[test]
fn a_vlan_device_over_the_aggregation_is_a_client_of_its_own() {
    let guest = Guest::with_aggregation(Pins::None);
    if !has_vlan(&guest.host, "net0", "vlan0", VLAN) || !has_vlan(&guest.namespace, "aggr0", "aggr0.5", VLAN) {
        return;
    }
    guest.host.ip("address add 10.5.0.1/24 dev vlan0\nlink set dev vlan0 up").unwrap();
    guest.namespace.ip("address add 10.5.0.2/24 dev aggr0.5\nlink set dev aggr0.5 up").unwrap();
    let reaches = || run(guest.namespace.command("ping").args(["-q", "-c", "1", "-W", "1", "10.5.0.1"])).code == 0;
    wait_for("the host in the VLAN", reaches);
    let clients = typed(&guest.dlmp, "dladm show-aggr -C -p -o client,vid,type aggr0");
    assert_eq!(clients, "aggr0:0:primary\naggr0.5:5:vlan\n");
    let seats = typed(&guest.dlmp, "dladm show-aggr -C -p -o port aggr0");
    assert_eq!(seats.lines().collect::<std::collections::BTreeSet<_>>().len(), 2, "one on each port: {seats}");

    let seat = seats.lines().nth(1).unwrap().to_owned();
    guest.unplug(&seat);
    wait_for("through the other port", reaches);
    guest.namespace.ip("link delete dev aggr0.5").unwrap();
    wait_for("it is no client any more", || typed(&guest.dlmp, "dladm show-aggr -C -p -o client aggr0") == "aggr0\n");
}

/// Makes a VLAN device; says whether this kernel has them.
fn has_vlan(namespace: &Namespace, link: &str, name: &str, id: &str) -> bool {
    match namespace.ip(&format!("link add link {link} name {name} type vlan id {id}")) {
        Ok(()) => true,
        Err(error) => {
            assert!(error.to_string().contains("Unknown device type"), "{error:#}");
            eprintln!("Does not apply: this kernel has no 802.1Q. `make test-vm` runs it on one that has.");
            false
        }
    }
}

/// Has the switch forward the VLAN on one of its ports, or no longer (`bridge vlan add` and `delete`).
fn in_vlan(guest: &Guest, change: &str, port: &str) {
    let outcome = run(guest.switch.command("bridge").args(["vlan", change, "dev", port, "vid", VLAN]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
}
