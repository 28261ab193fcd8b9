//! VLANs of virtual switches and vnets: on kernels whose bridges filter VLANs they are kept apart, on others they are
//! refused with the reason.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use dlmp_testbed::Namespace;
use dlmp_tests::{VirtualHost, run, wait_for};
use nix::sys::signal::Signal;

/// What a kernel without it answers.
const REASON: &str = "CONFIG_BRIDGE_VLAN_FILTERING";
/// Every line that needs it.
const LINES: [&str; 6] = [
    "ldm set-vnet pvid=7 vnet6 ldg6",
    "ldm set-vnet custom= vid=8 vnet6 ldg6",
    "ldm set-vsw default-vlan-id=7 primary-vsw0",
    "ldm set-vsw pvid=7 primary-vsw0",
    "ldm set-vsw vid=7,8 primary-vsw0",
    "ldm add-vnet pvid=7 vnet2 primary-vsw0 ldg6",
];

/// Whether this kernel has bridges that filter VLANs, by trying.
fn bridges_filter(host: &VirtualHost) -> bool {
    tries(host, "type bridge vlan_filtering 1")
}

/// And links in VLANs, to test them with.
fn has_vlans(host: &VirtualHost) -> bool {
    bridges_filter(host) && tries(host, "link net0 type vlan id 9")
}

fn tries(host: &VirtualHost, link: &str) -> bool {
    host.scene.domain.ip(&format!("link add name tryout {link}\nlink del dev tryout")).is_ok()
}

/// Gives the external host an address in a VLAN.
fn serve(host: &VirtualHost, vlan: u16) {
    let lines = format!(
        "link add link net0 name vlan{vlan} type vlan id {vlan}\n\
         address add 10.{vlan}.0.1/24 dev vlan{vlan}\nlink set dev vlan{vlan} up"
    );
    host.scene.domain.ip(&lines).unwrap();
}

/// Whether the external host answers in a VLAN.
fn reaches(from: &Namespace, vlan: u16) -> bool {
    run(from.command("ping").args(["-q", "-c", "1", "-W", "1", &format!("10.{vlan}.0.1")])).code == 0
}

#[test]
fn a_kernel_whose_bridges_have_no_vlans_is_the_reason_of_a_refusal() {
    let host = VirtualHost::built();
    if bridges_filter(&host) {
        for line in LINES {
            host.typed(line);
        }
        return;
    }
    host.give_address("net0");
    host.wait_until_at_rest();
    for line in LINES {
        host.refused(line, &[REASON]);
    }
    host.wait_until_reachable();
}

#[test]
fn untagged_frames_of_a_vnet_are_in_its_pvid() {
    let host = VirtualHost::built();
    if !has_vlans(&host) {
        return;
    }
    serve(&host, 7);
    let guest = &host.scene.ldg6;
    guest.ip("address add 10.7.0.2/24 dev net0").unwrap();
    host.give_address("net1");
    host.wait_until_reachable();
    assert!(!reaches(guest, 7));
    host.typed("ldm set-vnet pvid=7 vnet6 ldg6");
    guest.ip("address add 10.7.0.2/24 dev net0").unwrap();
    wait_for("the guest is in the VLAN", || reaches(guest, 7));
    // So it stays when ldmd starts again, and when the switch is made again.
    host.scene.primary.end(Signal::SIGTERM).unwrap();
    host.scene.primary.start().unwrap();
    assert!(reaches(guest, 7));
    host.primary().ip("link del dev primary-vsw0").unwrap();
    wait_for("the guest is in the VLAN again", || reaches(guest, 7));
    host.typed("ldm set-vnet pvid= vnet6 ldg6");
    assert!(!reaches(guest, 7));
    host.give_address("net0");
    host.wait_until_reachable();
}

#[test]
fn tagged_frames_pass_in_the_vlans_of_the_list_only() {
    let host = VirtualHost::built();
    if !has_vlans(&host) {
        return;
    }
    let guest = &host.scene.ldg6;
    for vlan in [7, 8] {
        serve(&host, vlan);
        let link = format!("link add link net0 name vlan{vlan} type vlan id {vlan}");
        guest.ip(&format!("{link}\naddress add 10.{vlan}.0.2/24 dev vlan{vlan}\nlink set dev vlan{vlan} up")).unwrap();
    }
    host.typed("ldm set-vnet custom= vid=7 vnet6 ldg6");
    wait_for("VLAN 7 passes", || reaches(guest, 7));
    assert!(!reaches(guest, 8));
    host.typed("ldm set-vnet vid=+8 vnet6 ldg6");
    wait_for("VLAN 8 passes", || reaches(guest, 8));
    host.typed("ldm set-vnet vid=-7 vnet6 ldg6");
    assert!(!reaches(guest, 7));
    assert!(reaches(guest, 8));
    host.give_address("net0");
    host.wait_until_reachable();
}

#[test]
fn the_default_vlan_of_a_switch_is_that_of_its_vnets() {
    let host = VirtualHost::built();
    if !has_vlans(&host) {
        return;
    }
    serve(&host, 7);
    host.typed("ldm set-vnet pvid=7 vnet6 ldg6");
    host.scene.ldg6.ip("address add 10.7.0.2/24 dev net0").unwrap();
    wait_for("VLAN 7 is tagged outside", || reaches(&host.scene.ldg6, 7));
    // The default one is not: the uplink's untagged frames are in it.
    host.typed("ldm set-vsw default-vlan-id=7 primary-vsw0");
    assert_eq!(host.switch("primary-vsw0")["pvid"], 7);
    assert!(!reaches(&host.scene.ldg6, 7));
    host.give_address("net0");
    host.wait_until_reachable();
}
