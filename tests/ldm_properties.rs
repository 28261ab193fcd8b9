//! Properties of switches and vnets, set and reset while they are in use.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::net::IpAddr;
use std::time::Duration;

use dlmp_testbed::{Namespace, Scene};
use dlmp_tests::{VirtualHost, assert_whole, link, run, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A second guest on `primary-vsw0`, with an address of its own.
fn neighbour(host: &VirtualHost, name: &str, address: &str) -> Namespace {
    let guest = Namespace::reserve("ee", name).unwrap();
    host.typed(&format!("ldm add-domain --netns {} {name}", guest.name()));
    host.typed(&format!("ldm add-vnet vnet0 primary-vsw0 {name}"));
    guest.ip(&format!("address add {address}/24 dev net0")).unwrap();
    guest
}

fn answers(from: &Namespace, to: IpAddr, options: &[&str]) -> bool {
    let to = to.to_string();
    run(from.command("ping").args(["-q", "-c", "1", "-W", "1"]).args(options).arg(&to)).code == 0
}

fn address(host: &VirtualHost, port: &str) -> Value {
    link(&host.scene.ldg6, port).unwrap()["address"].clone()
}

#[test]
fn inter_vnet_link_off_keeps_the_vnets_of_a_switch_from_each_other_only() {
    let host = VirtualHost::built();
    let other: IpAddr = "192.168.84.7".parse().unwrap();
    let ldg7 = neighbour(&host, "ldg7", "192.168.84.7");
    host.give_address("net0");
    wait_for("they reach each other", || answers(&host.scene.ldg6, other, &[]));
    host.typed("ldm set-vsw inter-vnet-link=off primary-vsw0");
    assert!(!answers(&host.scene.ldg6, other, &[]));
    assert!(host.reaches(&host.scene.ldg6) && host.reaches(&ldg7), "both still reach outside");
    // One that is added later is kept apart as well.
    let ldg8 = neighbour(&host, "ldg8", "192.168.84.8");
    wait_for("it reaches outside", || host.reaches(&ldg8));
    assert!(!answers(&ldg8, other, &[]));
    host.typed("ldm set-vsw inter-vnet-link=on primary-vsw0");
    assert!(answers(&host.scene.ldg6, other, &[]));
}

#[test]
fn the_mtu_of_a_switch_is_that_of_its_vnets_unless_they_have_their_own() {
    let host = VirtualHost::built();
    let other: IpAddr = "192.168.84.7".parse().unwrap();
    let ldg7 = neighbour(&host, "ldg7", "192.168.84.7");
    host.give_address("net0");
    // 8972 bytes and their headers are 9000.
    let large = ["-M", "do", "-s", "8972"];
    wait_for("they reach each other", || answers(&ldg7, "192.168.84.6".parse().unwrap(), &[]));
    assert!(!answers(&host.scene.ldg6, other, &large));
    host.typed("ldm set-vsw mtu=9000 primary-vsw0");
    let mtu = |port: &str| link(&host.scene.ldg6, port).unwrap()["mtu"].clone();
    assert_eq!((mtu("net0"), mtu("net1")), (json!(9000), json!(1500)));
    assert_eq!(link(host.primary(), "primary-vsw0").unwrap()["mtu"], 9000);
    assert!(answers(&host.scene.ldg6, other, &large));

    host.typed("ldm set-vnet mtu=1500 vnet6 ldg6");
    assert_eq!(mtu("net0"), 1500);
    host.refused("ldm set-vnet mtu=9001 vnet6 ldg6", &["primary-vsw0 is 9000", "ldm set-vsw mtu=9001 primary-vsw0"]);
    host.typed("ldm set-vnet mtu= vnet6 ldg6");
    assert_eq!(mtu("net0"), 9000);
    host.typed("ldm set-vsw mtu= primary-vsw0");
    assert_eq!(mtu("net0"), 1500);
}

#[test]
fn an_uplink_has_its_mtu_again_when_no_switch_needs_more() {
    let host = VirtualHost::built();
    let uplink = |line: &str| {
        host.typed(line);
        link(host.primary(), "net0").unwrap()["mtu"].clone()
    };
    host.primary().ip("link set dev net0 mtu 1800").unwrap();
    assert_eq!(uplink("ldm set-vsw mtu=9000 primary-vsw0"), 9000);
    assert_eq!(uplink("ldm set-vsw mtu=2000 primary-vsw0"), 2000);
    assert_eq!(uplink("ldm set-vsw mtu= primary-vsw0"), 1800);
    assert_eq!(uplink("ldm set-vsw mtu=9000 primary-vsw0"), 9000);
    host.scene.primary.end(Signal::SIGKILL).unwrap();
    host.scene.primary.start().unwrap();
    assert_eq!(uplink("ldm rm-vsw -f primary-vsw0"), 1800);

    host.typed("ldm add-vsw net-dev=net0 mtu=9000 primary-vsw0 primary");
    host.primary().ip("link set dev net0 mtu 9500").unwrap();
    assert_eq!(uplink("ldm rm-vsw -f primary-vsw0"), 9500, "somebody else's wish");
}

#[test]
fn a_mac_address_can_be_given_and_taken_back() {
    let host = VirtualHost::built();
    host.typed("ldm set-vnet mac-addr=2:0:0:0:0:6 vnet6 ldg6");
    assert_eq!(address(&host, "net0"), "02:00:00:00:00:06");
    host.give_address("net0");
    host.wait_until_reachable();
    host.typed("ldm set-vnet mac-addr= vnet6 ldg6");
    let chosen = address(&host, "net0");
    let of_the_range = ["f8", "f9", "fa", "fb"].map(|octet| format!("00:14:4f:{octet}:"));
    assert!(of_the_range.iter().any(|start| chosen.as_str().unwrap().starts_with(start)), "{chosen}");
    assert_eq!(host.vnet("vnet6")["mac"], chosen);
    host.wait_until_reachable();

    host.typed("ldm set-vsw mac-addr=2:0:0:0:0:5 primary-vsw0");
    assert_eq!(link(host.primary(), "primary-vsw0").unwrap()["address"], "02:00:00:00:00:05");
}

#[test]
fn another_number_is_another_name_of_the_guests_link() {
    let host = VirtualHost::built();
    host.typed("ldm set-vnet id=5 vnet6 ldg6");
    assert_eq!(host.link_state("net0"), None);
    host.wait_for_link("net5", "up");
    assert_eq!(address(&host, "net5"), Scene::NET0);
    host.typed("ldm add-vnet vnet7 primary-vsw0 ldg6");
    assert_eq!(host.vnet("vnet7")["id"], 0, "the lowest free number");
    host.wait_for_link("net0", "up");
}

#[test]
fn a_vnet_moves_to_another_switch_and_back() {
    let host = VirtualHost::built();
    // To another domain, and on the way back within one.
    host.typed("ldm set-vnet vswitch=ldg5-vsw0 vnet6 ldg6");
    host.wait_for_link("net0", "up");
    assert_eq!(address(&host, "net0"), Scene::NET0);
    host.give_address("net0");
    host.wait_until_reachable();
    host.unplug("to0");
    host.unplug("to2");
    host.wait_for_link("net0", "down");
    host.plug("to0");
    wait_for("the other switch is up", || host.switch("primary-vsw0")["state"] == "up");
    assert_eq!(host.link_state("net0"), Some("down"), "it follows the uplink of the switch that it is on");
    host.typed("ldm set-vnet vswitch=primary-vsw0 vnet6 ldg6");
    host.wait_for_link("net0", "up");
    host.typed("ldm add-vsw stub0 primary");
    let index = || link(&host.scene.ldg6, "net0").unwrap()["ifindex"].clone();
    let before = index();
    host.typed("ldm set-vnet vswitch=stub0 vnet6 ldg6");
    assert_eq!(index(), before, "within a domain the guest keeps its link");
    host.give_address("net0");
    assert!(!host.reaches(&host.scene.ldg6), "the stub leads nowhere");
    host.typed("ldm rm-vsw primary-vsw0");
}

#[test]
fn a_switch_takes_another_uplink() {
    let host = VirtualHost::built();
    host.give_address("net0");
    dlmp_testbed::veth((host.primary(), "net7"), (&host.scene.switch, "to7")).unwrap();
    host.scene.switch.ip("link set dev to7 master switch0").unwrap();
    dlmp_testbed::up(&host.scene.switch, "to7").unwrap();
    host.typed("ldm set-vsw net-dev=net7 primary-vsw0");
    let master = |name: &str| link(host.primary(), name).unwrap()["master"].clone();
    assert_eq!((master("net0"), master("net7")), (Value::Null, json!("primary-vsw0")));
    host.unplug("to0");
    host.wait_until_reachable();
    host.unplug("to7");
    host.wait_for_link("net0", "down");
    host.plug("to7");
    host.wait_for_link("net0", "up");
}

#[test]
fn a_link_that_the_guest_renames_stays_and_follows_the_uplink() {
    let host = VirtualHost::built();
    host.give_address("net0");
    host.wait_until_reachable();
    host.scene.ldg6.ip("link set dev net0 down\nlink set dev net0 name eth0\nlink set dev eth0 up").unwrap();
    host.unplug("to0");
    wait_for("it is down", || host.link_state("eth0") == Some("down"));
    host.plug("to0");
    wait_for("it is up", || host.link_state("eth0") == Some("up"));
    host.scene.primary.end(nix::sys::signal::Signal::SIGTERM).unwrap();
    host.scene.primary.start().unwrap();
    assert_eq!(host.link_state("net0"), None, "it is not made a second time");
    assert_whole(&host.flow(Duration::from_millis(300)).run().unwrap());
    host.typed("ldm rm-vnet vnet6 ldg6");
    assert_eq!(host.link_state("eth0"), None);
}

#[test]
fn a_switch_removed_by_force_takes_its_vnets_along_when_it_is_added_again() {
    let host = VirtualHost::built();
    host.wait_for_link("net0", "up");
    host.typed("ldm rm-vsw -f primary-vsw0");
    host.wait_for_link("net0", "down");
    assert!(host.vnet("vnet6")["problem"].as_str().unwrap().contains("primary-vsw0"));
    host.typed("ldm add-vsw net-dev=net0 primary-vsw0 primary");
    host.wait_for_link("net0", "up");
    assert_eq!(host.vnet("vnet6")["problem"], Value::Null);
    assert_eq!(address(&host, "net0"), Scene::NET0);
    host.give_address("net0");
    host.wait_until_reachable();
}
