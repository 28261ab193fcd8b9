//! What guests may send: limits and protection, set by `ldm`, held on the switch's side, counted and listed.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::time::{Duration, Instant};

use dlmp_testbed::{FrameSocket, Look, Namespace, Scene};
use dlmp_tests::{ADDRESS, VirtualHost, run, wait_for};
use serde_json::Value;

/// The host with the guest at [`ADDRESS`] on `net0`, which has this MAC address.
fn host() -> VirtualHost {
    let host = VirtualHost::built();
    host.give_address("net0");
    host.wait_until_reachable();
    host
}

/// A frame of a local experiment (IEEE 802, EtherType 0x88b5) to everybody, from this address; the mark tells it from others.
fn frame(source: [u8; 6], mark: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(source);
    frame.extend([0x88, 0xb5]);
    frame.resize(60, mark);
    frame
}

fn with_tag(mut frame: Vec<u8>, vlan: u16) -> Vec<u8> {
    let [high, low] = vlan.to_be_bytes();
    frame.splice(12..12, [0x81, 0, high, low]);
    frame
}

const NET0: [u8; 6] = [0x00, 0x14, 0x4f, 0xfc, 0xcf, 0x47];

/// An address of the guest's own choice.
fn own_choice(number: u16) -> [u8; 6] {
    let [high, low] = number.to_be_bytes();
    [2, 0, 0, 0, high, low]
}

/// The marks of the frames that come out at the external host, after `frames` were sent by `net0` of the guest. The last one must
/// be one that passes.
fn passed(host: &VirtualHost, frames: &[Vec<u8>]) -> Vec<u8> {
    let outside = FrameSocket::open(&host.scene.domain, "net0").unwrap();
    let guest = FrameSocket::open_to_send(&host.scene.ldg6, "net0").unwrap();
    frames.iter().for_each(|frame| guest.send(frame).unwrap());
    let last = *frames.last().unwrap().last().unwrap();
    let (mut marks, mut buffer) = (Vec::new(), [0; 2048]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while marks.last() != Some(&last) {
        assert!(Instant::now() < deadline, "the last frame does not come out: {marks:?}");
        // With its tag, or without where the kernel has taken it out.
        if let Look::Received(length) = outside.receive(&mut buffer, Duration::from_millis(100)).unwrap()
            && [12, 16].iter().any(|at| buffer[*at..at + 2] == [0x88, 0xb5])
        {
            marks.push(buffer[length - 1]);
        }
    }
    marks
}

/// A counter of `vnet6`.
fn count(host: &VirtualHost, counter: &str) -> i64 {
    let vnet = host.vnet("vnet6");
    let counters = vnet["counters"].as_array().unwrap();
    counters.iter().find(|entry| entry["name"] == counter).and_then(|entry| entry["count"].as_i64()).unwrap_or(0)
}

fn in_use(host: &VirtualHost) -> (Value, Value) {
    let vnet = host.vnet("vnet6");
    (vnet["macs"].clone(), vnet["vlans"].clone())
}

#[test]
fn without_custom_a_guest_has_its_own_address_and_the_alternate_ones_only() {
    let host = host();
    host.typed("ldm set-vnet custom= vnet6 ldg6");
    let frames = [frame(own_choice(1), 1), frame(NET0, 2)];
    assert_eq!(passed(&host, &frames), [2]);
    assert_eq!(count(&host, "guard-mac-foreign"), 1);
    host.typed("ldm set-vnet alt-mac-addrs=2:0:0:0:0:1 vnet6 ldg6");
    assert_eq!(passed(&host, &frames), [1, 2]);
    host.typed("ldm set-vnet alt-mac-addrs= vnet6 ldg6");
    assert_eq!(passed(&host, &frames), [2]);
}

#[test]
fn with_custom_a_guest_has_as_many_addresses_as_it_may() {
    let host = host();
    host.typed("ldm set-vnet custom/max-mac-addrs=3 vnet6 ldg6");
    let flood: Vec<_> =
        (1..=100).map(|number| frame(own_choice(number), number as u8)).chain([frame(NET0, 200)]).collect();
    assert_eq!(passed(&host, &flood), [1, 2, 3, 200]);
    assert_eq!(count(&host, "guard-mac-overflow"), 97);
    assert_eq!(in_use(&host).0, 3);
    // What it has is not taken from it.
    host.refused("ldm set-vnet custom/max-mac-addrs=2 vnet6 ldg6", &["3 MAC addresses"]);
    host.typed("ldm set-vnet custom/max-mac-addrs=4 vnet6 ldg6");
    assert_eq!(passed(&host, &flood), [1, 2, 3, 4, 200]);
    assert!(host.reaches(&host.scene.ldg6));
}

#[test]
fn what_a_guest_has_survives_a_killed_ldmd_and_so_do_the_limits() {
    let host = host();
    host.typed("ldm set-vnet custom/max-mac-addrs=1 vnet6 ldg6");
    let first = [frame(own_choice(1), 1), frame(NET0, 200)];
    let second = [frame(own_choice(2), 2), frame(NET0, 200)];
    assert_eq!(passed(&host, &first), [1, 200]);
    host.scene.primary.end(nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(passed(&host, &second), [200], "while no ldmd runs");
    host.scene.primary.start().unwrap();
    assert_eq!((passed(&host, &second), passed(&host, &first)), (vec![200], vec![1, 200]));
    assert_eq!(count(&host, "guard-mac-overflow"), 2);
}

#[test]
fn tagged_frames_pass_in_as_many_vlans_as_the_guest_may_have() {
    let host = host();
    host.typed("ldm set-vnet custom/max-vlans=2 vnet6 ldg6");
    let tagged = |vlan: u16| with_tag(frame(NET0, vlan as u8), vlan);
    let frames = [tagged(10), tagged(11), tagged(12), frame(NET0, 200)];
    assert_eq!(passed(&host, &frames), [10, 11, 200]);
    assert_eq!((count(&host, "guard-vlan-overflow"), in_use(&host).1), (1, 2.into()));
    host.refused("ldm set-vnet custom/max-vlans=1 vnet6 ldg6", &["2 VLANs"]);
    host.typed("ldm set-vnet custom= vnet6 ldg6");
    assert_eq!(passed(&host, &frames), [200]);
    assert_eq!(count(&host, "guard-vlan-foreign"), 3);
}

#[test]
fn frames_of_our_own_and_of_switches_never_leave_a_guest() {
    let host = host();
    let to_group = |last: u8, ethertype: [u8; 2]| {
        let mut frame = frame(NET0, 1);
        frame[..6].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0, last]);
        frame[12..14].copy_from_slice(&ethertype);
        frame
    };
    let frames =
        [to_group(0x0e, [0x88, 0xb6]), to_group(0x0e, [0x88, 0xcc]), to_group(0, [0x88, 0xb5]), frame(NET0, 200)];
    assert_eq!(passed(&host, &frames), [200]);
    assert_eq!((count(&host, "guard-control"), count(&host, "guard-link-local")), (1, 2));
    let to = |destination: [u8; 6]| {
        let mut frame = frame(NET0, 1);
        frame[..6].copy_from_slice(&destination);
        frame
    };
    host.typed("ldm set-vnet custom/max-vlans=1 vnet6 ldg6");
    let vtp = to([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc]);
    let frames = [
        vtp.clone(),
        with_tag(vtp, 9),
        to([0x01, 0x80, 0xc2, 0, 0, 0x21]),
        to([0, 0xe0, 0x2b, 0, 0, 4]),
        frame(NET0, 200),
    ];
    assert_eq!(passed(&host, &frames), [200]);
    assert_eq!(count(&host, "guard-switch-protocol"), 4);
}

#[test]
fn an_address_of_the_internet_protocol_that_is_not_the_guests_is_not_sent_from() {
    let host = host();
    let elsewhere = "192.168.84.99";
    host.scene.ldg6.ip(&format!("address add {elsewhere}/24 dev net0")).unwrap();
    let reaches = |from: &str| {
        let (to, from) = (Scene::DOMAIN.to_string(), from.to_owned());
        run(host.scene.ldg6.command("ping").args(["-q", "-c", "1", "-W", "1", "-I", &from, &to])).code == 0
    };
    assert!(reaches(elsewhere));
    host.typed(&format!("ldm set-vnet protection=mac-nospoof,ip-nospoof allowed-ips={ADDRESS} vnet6 ldg6"));
    assert!(!reaches(elsewhere) && reaches(&ADDRESS.to_string()));
    assert!(count(&host, "guard-ip-spoofed") > 0);
    host.typed("ldm set-vnet protection= allowed-ips= vnet6 ldg6");
    assert!(reaches(elsewhere));
}

#[test]
fn a_restricted_guest_sends_nothing_but_the_internet_protocol() {
    let host = host();
    host.typed("ldm set-vnet protection=restricted vnet6 ldg6");
    let guest = FrameSocket::open_to_send(&host.scene.ldg6, "net0").unwrap();
    guest.send(&frame(NET0, 1)).unwrap();
    wait_for("it is counted", || count(&host, "guard-protocol") == 1);
    assert!(host.reaches(&host.scene.ldg6));
}

#[test]
fn a_limit_of_bandwidth_holds_both_ways_and_the_rest_of_the_guest_is_untouched() {
    let host = host();
    // A flow of 1000 packets of some hundred bytes a second each way takes more than this.
    host.typed("ldm set-vnet maxbw=64K vnet6 ldg6");
    let record = host.flow(Duration::from_secs(2)).run().unwrap();
    for way in [&record.forth, &record.back] {
        let (sent, lost) = (way.sent.len() as u64, way.total().lost);
        assert!(lost > sent / 10 && lost < sent, "{lost} of {sent} lost");
    }
    assert!(count(&host, "guard-maxbw-sent") > 0 && count(&host, "guard-maxbw-received") > 0);
    host.typed("ldm set-vnet maxbw= vnet6 ldg6");
    dlmp_tests::assert_whole(&host.flow(Duration::from_secs(1)).run().unwrap());
}

#[test]
fn a_guest_cannot_take_the_address_of_another_vnet_of_its_switch() {
    let host = host();
    let other = Namespace::reserve("ee", "ldg7").unwrap();
    host.typed(&format!("ldm add-domain --netns {} ldg7", other.name()));
    host.typed("ldm add-vnet mac-addr=0:14:4f:0:0:7 vnet0 primary-vsw0 ldg7");
    other.ip("address add 192.168.84.7/24 dev net0").unwrap();
    wait_for("it reaches outside", || host.reaches(&other));
    let theirs = [0, 0x14, 0x4f, 0, 0, 7];
    for number in 0..20 {
        passed(&host, &[frame(theirs, number), frame(NET0, 200)]);
        assert!(host.reaches(&other), "after {number} frames");
    }
}
