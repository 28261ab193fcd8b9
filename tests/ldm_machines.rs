//! Virtual machines as domains: what their emulators are told of the links, the taps, and what goes into the machines. The
//! emulator here is one that a test plays; `make demo-vm` has a real one.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::path::PathBuf;
use std::time::Duration;

use dlmp_testbed::{Emulator, Namespace, Scene, Tap};
use dlmp_tests::{VirtualHost, ip_json, link, refused, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The switches of the seed, with both vnets going into a virtual machine.
struct MachineHost(VirtualHost);

impl MachineHost {
    fn built() -> Self {
        let host = Self(VirtualHost::bare());
        let machine = format!("ldm add-domain --vm {} ldg6", host.socket().display());
        for line in host.0.scene.lines() {
            host.0.typed(if line.ends_with(" ldg6") && line.contains("add-domain") { &machine } else { &line });
        }
        host
    }

    fn socket(&self) -> PathBuf {
        self.0.dlmp().runtime_dir().join("qmp")
    }

    fn emulator(&self) -> Emulator {
        Emulator::start(&self.socket(), &["vnet6", "vnet1"]).unwrap()
    }

    fn attach(&self, vnet: &str) -> Tap {
        Tap::of_vnet(self.0.dlmp(), vnet, "ldg6").unwrap()
    }
}

/// The switch end of a vnet of ldg6 in a namespace.
fn end(namespace: &Namespace, vnet: &str) -> Option<Value> {
    let alias = format!("ldg6/{vnet}");
    let links = ip_json(namespace, "link show");
    let is_it = |link: &&Value| link["ifalias"].as_str().is_some_and(|text| text.ends_with(&alias));
    links.as_array().unwrap().iter().find(is_it).cloned()
}

/// Waits for what the machine is told of a link.
fn told(tap: &Tap) -> String {
    let mut text = String::new();
    wait_for("the machine is told of its link", || {
        let mut frame = [0; 2048];
        let Some(length) = tap.receive(&mut frame, Duration::from_millis(100)).unwrap() else { return false };
        // A virtio_net_hdr is in front.
        let frame = &frame[10..length];
        if frame[..6] != [0x01, 0x80, 0xc2, 0, 0, 0x0e] || frame[12..14] != [0x88, 0xb6] {
            return false;
        }
        assert_eq!(frame[14..19], *b"DLMV\x01");
        text = String::from_utf8(frame[20..20 + usize::from(frame[19])].to_vec()).unwrap();
        true
    });
    text
}

#[test]
fn the_cards_of_a_machine_show_the_uplinks_carrier() {
    let host = MachineHost::built();
    let problem = host.0.domain("ldg6")["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("it does not run"), "{problem}");
    assert_eq!(host.0.domain("ldg6")["state"], "inactive");

    let emulator = host.emulator();
    wait_for("both are up", || ["vnet6", "vnet1"].map(|card| emulator.link(card)) == [Some(true); 2]);
    assert_eq!(host.0.domain("ldg6")["state"], "active");
    for _ in 0..3 {
        host.0.unplug("to0");
        wait_for("vnet6 is down", || emulator.link("vnet6") == Some(false));
        assert_eq!(emulator.link("vnet1"), Some(true));
        assert_eq!(host.0.vnet("vnet6")["state"], "down");
        host.0.plug("to0");
        wait_for("vnet6 is up", || emulator.link("vnet6") == Some(true));
    }
    // One that comes up while the cable is out.
    drop(emulator);
    host.0.unplug("to0");
    let emulator = host.emulator();
    wait_for("vnet6 is down", || emulator.link("vnet6") == Some(false));
    // A machine that is stopped has no links at all.
    host.0.typed("ldm stop-domain ldg6");
    wait_for("vnet1 is down", || emulator.link("vnet1") == Some(false));
    host.0.typed("ldm start-domain ldg6");
    wait_for("vnet1 is up", || emulator.link("vnet1") == Some(true));
    // A crash of ldmd changes nothing, and the next one goes on.
    host.0.scene.primary.end(Signal::SIGKILL).unwrap();
    host.0.plug("to0");
    assert_eq!(emulator.link("vnet6"), Some(false));
    host.0.scene.primary.start().unwrap();
    wait_for("vnet6 is up", || emulator.link("vnet6") == Some(true));
}

#[test]
fn a_card_that_the_machine_does_not_have_is_a_problem_of_the_vnet() {
    let host = MachineHost::built();
    let emulator = Emulator::start(&host.socket(), &["vnet1"]).unwrap();
    wait_for("vnet1 is up", || emulator.link("vnet1") == Some(true));
    let problem = || host.0.vnet("vnet6")["problem"].as_str().map(str::to_owned);
    wait_for("the problem is told", || problem().is_some_and(|why| why.contains("Device 'vnet6' not found")));
    assert_eq!(host.0.vnet("vnet1")["problem"], Value::Null);
}

#[test]
fn a_machine_is_told_what_is_behind_its_links() {
    let host = MachineHost::built();
    let (first, second) = (host.attach("vnet6"), host.attach("vnet1"));
    let on = "linkprop=phys-state custom=enable";
    assert_eq!(told(&first), format!("dlmp vnet vnet6 primary-vsw0 net-dev=net0 speed=10000 duplex=full {on}"));
    assert_eq!(told(&second), format!("dlmp vnet vnet1 ldg5-vsw0 net-dev=net2 speed=10000 duplex=full {on}"));
    // A change is told, too.
    host.0.typed("ldm set-vnet custom= vnet6 ldg6");
    wait_for("the change is told", || !told(&first).contains("custom"));

    let name = end(host.0.primary(), "vnet6").unwrap()["ifname"].as_str().unwrap().to_owned();
    let settings = host.0.typed(&format!("ethtool {name}"));
    assert!(settings.contains("Speed: 10000Mb/s") && settings.contains("Duplex: Full"), "{settings}");
}

#[test]
fn a_tap_is_for_one_emulator_at_a_time_and_moves_with_its_service_domain() {
    let host = MachineHost::built();
    let emulator = host.emulator();
    let tap = host.attach("vnet1");
    wait_for("vnet1 is up", || emulator.link("vnet1") == Some(true));
    let before = end(&host.0.scene.ldg5, "vnet1").unwrap();
    let attach = "ldm attach-vnet vnet1 ldg6 --fd=0";
    let message = refused(host.0.dlmp(), attach);
    assert!(message.contains("another emulator is attached to the vnet vnet1"), "{message}");
    assert_eq!(end(&host.0.scene.ldg5, "vnet1").unwrap()["ifindex"], before["ifindex"], "it was not touched");

    host.0.scene.ldg5.shut_down();
    wait_for("vnet1 is down", || emulator.link("vnet1") == Some(false));
    wait_for("its tap is saved", || end(host.0.primary(), "vnet1").is_some());
    // The emulator's descriptor does not keep the namespace: its uplink goes with it.
    wait_for("the namespace is gone", || link(&host.0.scene.switch, "to2").is_none());
    host.0.scene.ldg5.boot().unwrap();
    host.0.scene.connect(&host.0.scene.ldg5, "net2", "to2").unwrap();
    wait_for("vnet1 is up", || emulator.link("vnet1") == Some(true));
    // The same tap, at which the emulator still is.
    told(&tap);
    assert!(end(host.0.primary(), "vnet1").is_none());

    drop(tap);
    told(&host.attach("vnet1"));
}

#[test]
fn a_machine_passes_frames_to_the_uplink_and_back() {
    let host = MachineHost::built();
    let _emulator = host.emulator();
    let tap = host.attach("vnet1");
    // An ARP request for the external host (RFC 826).
    let mac = Scene::NET1.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect::<Vec<_>>();
    let std::net::IpAddr::V4(domain) = Scene::DOMAIN else { unreachable!("it is given as IPv4") };
    let request = [
        &[0; 10][..],
        &[0xff; 6],
        &mac,
        &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1],
        &mac,
        &[192, 168, 84, 6],
        &[0; 6],
        &domain.octets(),
    ]
    .concat();
    wait_for("the external host answers", || {
        // Refused while the link is down, which it may be at first.
        let _ = tap.send(&request);
        let mut frame = [0; 2048];
        let received = tap.receive(&mut frame, Duration::from_millis(100)).unwrap();
        received.is_some_and(|length| {
            length >= 52 && frame[10..16] == mac[..] && frame[22..24] == [0x08, 0x06] && frame[30..32] == [0, 2]
        })
    });
}

#[test]
fn what_is_no_vnet_of_a_machine_cannot_be_attached() {
    let host = MachineHost::built();
    host.0.typed(&format!("ldm add-domain --netns {} ldg7", host.0.scene.ldg6.name()));
    host.0.typed("ldm add-vnet vnet7 primary-vsw0 ldg7");
    for (line, reason) in [
        ("ldm attach-vnet vnet9 ldg6 --fd=0", "the domain ldg6 has no vnet vnet9"),
        ("ldm attach-vnet vnet9 ldg9 --fd=0", "there is no domain ldg9"),
        ("ldm attach-vnet vnet7 ldg7 --fd=0", "the domain ldg7 is no virtual machine"),
        ("ldm attach-vnet vnet6 ldg6 --fd=99", "descriptor 99 is no socket that takes the tap"),
    ] {
        let message = refused(host.0.dlmp(), line);
        assert!(message.contains(reason), "{line}: {message}");
    }
    // The last one has let go of it.
    host.attach("vnet6");
}
