//! What a guest sees of its link: `linkprop=phys-state`, stopped domains, and what stays true without them.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::time::Duration;

use dlmp_tests::{VirtualHost, assert_whole, link, wait_for};
use nix::sys::signal::Signal;

#[test]
fn with_phys_state_the_guests_link_is_the_uplinks() {
    let host = VirtualHost::built();
    host.wait_for_link("net0", "up");
    host.wait_for_link("net1", "up");
    for _ in 0..3 {
        host.unplug("to0");
        host.wait_for_link("net0", "down");
        assert_eq!(host.vnet("vnet6")["state"], "down");
        assert_eq!(host.switch("primary-vsw0")["state"], "down");
        assert_eq!(host.link_state("net1"), Some("up"), "the other switch has an uplink of its own");
        host.plug("to0");
        host.wait_for_link("net0", "up");
    }
    host.give_address("net0");
    host.wait_until_reachable();
    assert_whole(&host.flow(Duration::from_millis(300)).run().unwrap());
}

#[test]
fn without_phys_state_the_link_stays_up() {
    let host = VirtualHost::built();
    host.typed("ldm set-vnet linkprop= vnet6 ldg6");
    host.unplug("to0");
    host.unplug("to2");
    // The other one shows that the loss has been seen.
    host.wait_for_link("net1", "down");
    wait_for("the switch is shown as down", || host.switch("primary-vsw0")["state"] == "down");
    assert_eq!(host.link_state("net0"), Some("up"));

    host.typed("ldm set-vnet linkprop=phys-state vnet6 ldg6");
    host.wait_for_link("net0", "down");
    host.typed("ldm set-vnet linkprop= vnet6 ldg6");
    host.wait_for_link("net0", "up");
}

#[test]
fn on_an_ethernet_stub_the_link_is_up() {
    let host = VirtualHost::built();
    host.typed("ldm add-vsw stub0 primary");
    host.typed("ldm add-vnet linkprop=phys-state vnet2 stub0 ldg6");
    host.wait_for_link("net2", "up");
    assert_eq!(host.switch("stub0")["state"], "up");
    let netdevs = host.json("ldm list-netdev -j primary");
    let stub = netdevs.as_array().unwrap().iter().find(|row| row["name"] == "stub0").unwrap();
    assert_eq!(stub["class"], "ESTUB");
    // Taken out of its switch the uplink means nothing to the guest any more.
    host.typed("ldm set-vsw net-dev= primary-vsw0");
    host.unplug("to0");
    host.unplug("to2");
    host.wait_for_link("net1", "down");
    assert_eq!(host.link_state("net0"), Some("up"));
}

#[test]
fn a_change_that_no_ldmd_saw_is_shown_at_the_start() {
    let host = VirtualHost::built();
    host.wait_for_link("net0", "up");
    host.scene.primary.end(Signal::SIGKILL).unwrap();
    host.unplug("to0");
    host.scene.primary.start().unwrap();
    host.wait_for_link("net0", "down");
    host.scene.primary.end(Signal::SIGKILL).unwrap();
    host.plug("to0");
    host.scene.primary.start().unwrap();
    host.wait_for_link("net0", "up");
}

#[test]
fn the_links_of_a_stopped_domain_are_down_until_it_is_started() {
    let host = VirtualHost::built();
    host.wait_for_link("net1", "up");
    host.typed("ldm stop-domain ldg5");
    assert_eq!(host.domain("ldg5")["state"], "bound");
    host.wait_for_link("net1", "down");
    assert_eq!(host.link_state("net0"), Some("up"), "its switch is in another domain");
    host.refused("ldm stop-domain ldg5", &["stopped already"]);

    // A restart is no start of the domain, and neither is an uplink that comes back.
    host.scene.primary.end(Signal::SIGTERM).unwrap();
    host.scene.primary.start().unwrap();
    host.unplug("to2");
    wait_for("the uplink is down", || link(&host.scene.ldg5, "net2").unwrap()["operstate"] == "DOWN");
    host.plug("to2");
    wait_for("the uplink is up", || link(&host.scene.ldg5, "net2").unwrap()["operstate"] == "UP");
    host.wait_for_link("net1", "down");

    host.typed("ldm start-domain ldg5");
    host.wait_for_link("net1", "up");
    host.refused("ldm start-domain ldg5", &["runs already"]);

    // A guest that is stopped has no links either.
    host.typed("ldm stop-domain ldg6");
    host.wait_for_link("net0", "down");
    host.wait_for_link("net1", "down");
    host.typed("ldm start-domain ldg6");
    host.wait_for_link("net0", "up");
    host.wait_for_link("net1", "up");
}

#[test]
fn what_the_guest_brings_down_itself_stays_down() {
    let host = VirtualHost::built();
    host.wait_for_link("net0", "up");
    host.scene.ldg6.ip("link set dev net0 down").unwrap();
    host.unplug("to0");
    wait_for("the vnet is down", || host.vnet("vnet6")["state"] == "down");
    host.plug("to0");
    wait_for("the vnet is up", || host.vnet("vnet6")["state"] == "up");
    assert_eq!(host.link_state("net0"), Some("down"));
    host.scene.ldg6.ip("link set dev net0 up").unwrap();
    host.wait_for_link("net0", "up");
}

#[test]
fn the_guests_link_tells_what_is_behind_it() {
    let host = VirtualHost::built();
    let alias = || link(&host.scene.ldg6, "net0").unwrap()["ifalias"].as_str().unwrap_or_default().to_owned();
    for word in ["vnet6", "primary-vsw0", "net0", "10000"] {
        wait_for(word, || alias().contains(word));
    }
    let before = alias();
    host.typed("ldm set-vsw net-dev= primary-vsw0");
    assert_ne!(alias(), before);
    host.typed("ldm set-vsw net-dev=net0 primary-vsw0");
    wait_for("it tells the same again", || alias() == before);
}

#[test]
fn a_guest_is_told_the_speed_of_the_uplink_and_of_its_changes() {
    let host = VirtualHost::bare();
    // The one virtual device whose speed can be set.
    let uplink = dlmp_testbed::Tap::new(host.primary(), "tap0", 1000).unwrap();
    host.typed(&format!("ldm add-domain --netns {} ldg6", host.scene.ldg6.name()));
    host.typed("ldm add-vsw net-dev=tap0 vsw1 primary");
    host.typed("ldm add-vnet linkprop=phys-state custom=enable vnet6 vsw1 ldg6");
    let alias = || link(&host.scene.ldg6, "net0").unwrap()["ifalias"].as_str().unwrap_or_default().to_owned();
    wait_for("it is told", || {
        alias() == "dlmp vnet vnet6 vsw1 net-dev=tap0 speed=1000 duplex=full linkprop=phys-state custom=enable"
    });
    assert_eq!(host.json("ldm list-netdev -j ldg6")[0]["speed"], 1000);
    let changed = host.primary().run(&["ethtool", "-s", "tap0", "speed", "2500", "duplex", "full"]).unwrap();
    assert!(changed.status.success());
    // Nothing tells of a speed alone; a change of the link does.
    host.primary().ip("link set dev tap0 alias renegotiated").unwrap();
    wait_for("it is told of the change", || alias().contains("speed=2500"));
    assert_eq!(host.json("ldm list-netdev -j ldg6")[0]["speed"], 2500);
    drop(uplink);
}
