//! The guard on the switch end of a real vnet: what passes the switch, and how one daemon takes over from another.
//!
//! The switch end and the uplink are taps of one bridge, so that frames go in and come out as they are, tags included.
//! Needs root, a kernel with BPF and taps, and iproute2.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use dlmp_datapath::bpf::kernel_has_tcx;
use dlmp_netlink::Netlink;
use dlmp_testbed::{Namespace, Tap, bridge};
use dlmp_wire::MacAddr;
use tokio::runtime::Runtime;

use crate::programs::hooks;
use crate::{Counter, Guard, InUse, Limits, Protection, Settings, SwitchEnd};

const OWN: MacAddr = MacAddr([0, 0x14, 0x4f, 0xf8, 0, 1]);
const OTHER: MacAddr = MacAddr([2, 8, 0x20, 1, 2, 3]);
const ANOTHER: MacAddr = MacAddr([2, 8, 0x20, 1, 2, 4]);
const THIRD: MacAddr = MacAddr([2, 8, 0x20, 1, 2, 5]);
const PEER: MacAddr = MacAddr([0x52, 0x54, 0, 9, 9, 9]);
/// Frames of the tests, told from what the kernel sends by itself (IEEE 802, local experimental 2).
const KIND: [u8; 2] = [0x88, 0xb6];
/// How long a frame that is to arrive may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A switch with a vnet and an uplink.
struct Scene {
    // Before the namespace, which ends with it.
    guest: Tap,
    uplink: Tap,
    host: Namespace,
    namespace: dlmp_netlink::Namespace,
    netlink: Netlink,
    runtime: Runtime,
    settles: bool,
}

impl Scene {
    /// One where guards stay as they are hung, and one where they settle.
    fn each() -> impl Iterator<Item = Self> {
        [false, true].into_iter().map(|settles| Self { settles, ..Self::new() })
    }

    fn new() -> Self {
        let host = Namespace::new("guard", "host").unwrap();
        host.without_ipv6().unwrap();
        let guest = Tap::new(&host, "ldm0", 1000).unwrap();
        let uplink = Tap::new(&host, "net0", 1000).unwrap();
        bridge(&host, "vsw0", &["ldm0", "net0"]).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // Only the socket is made inside: whoever uses it later may be anywhere.
        let netlink = host.enter(|| runtime.block_on(async { Netlink::connect() })).unwrap().unwrap();
        let namespace = dlmp_netlink::Namespace::open_named(host.name()).unwrap();
        Self { guest, uplink, host, namespace, netlink, runtime, settles: false }
    }

    fn index(&self) -> u32 {
        self.runtime.block_on(self.netlink.link("ldm0")).unwrap().unwrap().index
    }

    fn end(&self) -> SwitchEnd<'_> {
        SwitchEnd { namespace: &self.namespace, netlink: &self.netlink, index: self.index() }
    }

    fn attach(&self, settings: &Settings) -> Guard {
        let guard = self.runtime.block_on(Guard::attach(self.end(), settings)).unwrap();
        self.settle(&guard);
        guard
    }

    fn hang(&self, guard: &mut Guard) {
        self.runtime.block_on(guard.hang(self.end())).unwrap();
        self.settle(guard);
    }

    fn settle(&self, guard: &Guard) {
        if self.settles {
            self.runtime.block_on(guard.settle(self.end())).unwrap();
        }
    }

    fn filters(&self) -> usize {
        self.runtime.block_on(self.netlink.filter_count(self.index())).unwrap()
    }

    /// For which directions a program of ours hangs there: what the guest sends, what it receives.
    fn hung(&self) -> [bool; 2] {
        hooks(self.end()).map(|hook| self.runtime.block_on(hook.find()).unwrap().is_some())
    }

    /// Sends a frame of the guest, and one that passes for certain: what arrives before that is returned.
    fn send(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let last = frame_of(OWN, &[0xff]);
        self.guest.send(frame).unwrap();
        self.guest.send(&last).unwrap();
        let first = receive(&self.uplink).expect("the last frame arrives");
        (first != last).then(|| {
            assert_eq!(receive(&self.uplink), Some(last));
            first
        })
    }
}

/// The next frame of a test that a tap sends.
fn receive(tap: &Tap) -> Option<Vec<u8>> {
    let mut frame = vec![0; 2048];
    loop {
        let length = tap.receive(&mut frame, PATIENCE).unwrap()?;
        if frame[..length].windows(2).skip(12).step_by(2).take(3).any(|kind| kind == KIND) {
            frame.truncate(length);
            return Some(frame);
        }
    }
}

fn frame_of(source: MacAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&PEER.0[..], &source.0, &KIND, payload].concat();
    frame.resize(60, 0);
    frame
}

fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &tci.to_be_bytes(), &frame[12..]].concat()
}

fn custom(macs: u32, vlans: u32) -> Settings {
    let mut settings = Settings::new(OWN);
    settings.custom = Some(Limits { macs, vlans });
    settings
}

#[test]
fn a_guest_reaches_the_network_as_itself_only() {
    for scene in Scene::each() {
        let mut settings = Settings::new(OWN);
        settings.vlans = [7].into();
        let guard = scene.attach(&settings);
        let own = frame_of(OWN, &[1]);
        assert_eq!(scene.send(&own), Some(own.clone()));
        assert_eq!(scene.send(&frame_of(OTHER, &[1])), None);
        assert_eq!(scene.send(&tagged(&own, 7)), Some(tagged(&own, 7)));
        assert_eq!(scene.send(&tagged(&own, 8)), None);
        assert_eq!(scene.send(&tagged(&tagged(&own, 7), 7)), None);
        let counters = guard.counters().unwrap();
        for counter in [Counter::MacForeign, Counter::VlanForeign, Counter::VlanStacked] {
            assert_eq!(counters.get(counter), 1, "{counter:?}");
        }
    }
}

#[test]
fn tagged_frames_leave_with_the_class_of_service() {
    let scene = Scene::new();
    let mut settings = custom(1, 1);
    settings.cos = Some(5);
    let _guard = scene.attach(&settings);
    let own = frame_of(OWN, &[1]);
    // The rest of the tag stays: the VLAN, and whether the frame may be dropped first (0x1000).
    for (tci, left) in [(7, 0xa007), (0x2007, 0xa007), (0xa007, 0xa007), (0x1007, 0xb007)] {
        assert_eq!(scene.send(&tagged(&own, tci)), Some(tagged(&own, left)));
    }
    assert_eq!(scene.send(&own), Some(own));
}

#[test]
fn what_a_guest_receives_is_limited_too() {
    for scene in Scene::each() {
        let mut settings = Settings::new(OWN);
        settings.maxbw = Some(1_000);
        let guard = scene.attach(&settings);
        fill(&scene);
        assert!(guard.counters().unwrap().get(Counter::MaxbwReceived) > 0);
    }
}

/// Sends a guest more than the lowest limit lets through, and takes in what is let through.
fn fill(scene: &Scene) {
    let mut frame = [&OWN.0[..], &PEER.0, &KIND].concat();
    frame.resize(1514, 0);
    for _ in 0..50 {
        scene.uplink.send(&frame).unwrap();
    }
    // 64 KiB and the frame that passes that.
    for _ in 0..65536 / 1514 + 1 {
        assert!(receive(&scene.guest).is_some());
    }
}

/// Beyond what every guard is loaded for.
fn limited_and_judged(settings: Settings) -> Settings {
    let protection = Protection { ip_nospoof: true, ..settings.protection };
    Settings { maxbw: Some(1_000), protection, ..settings }
}

#[test]
fn programs_that_can_do_more_take_over_with_what_was_heard_and_counted() {
    for scene in Scene::each() {
        let mut guard = scene.attach(&custom(1, 1));
        assert!(scene.send(&frame_of(OTHER, &[1])).is_some());
        assert_eq!(scene.send(&frame_of(ANOTHER, &[1])), None);
        // Step by step: the first one is never at work.
        guard.set(&Settings { maxbw: Some(1_000), ..custom(1, 1) }).unwrap();
        guard.set(&limited_and_judged(custom(1, 1))).unwrap();
        assert_eq!(scene.hung(), [true, false], "not before they are hung");
        assert_eq!(scene.send(&frame_of(ANOTHER, &[1])), None);
        scene.hang(&mut guard);
        assert_eq!(scene.hung(), [true; 2]);
        assert_eq!(guard.in_use().unwrap(), InUse { macs: 1, vlans: 0 });
        assert!(scene.send(&frame_of(OTHER, &[1])).is_some());
        assert_eq!(scene.send(&frame_of(ANOTHER, &[1])), None);
        let spoofed = [&PEER.0[..], &OWN.0, &[8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1]].concat();
        assert_eq!(scene.send(&[&spoofed[..], &[0; 30]].concat()), None);
        fill(&scene);
        let counters = guard.counters().unwrap();
        assert_eq!(counters.get(Counter::MacOverflow), 3);
        assert_eq!(counters.get(Counter::IpSpoofed), 1);
        assert!(counters.get(Counter::MaxbwReceived) > 0);
    }
}

#[test]
fn a_new_daemon_hangs_what_was_taken_off_and_what_is_asked_for_since() {
    let limited = Settings { maxbw: Some(1_000), ..custom(1, 1) };
    let cases = [(&limited, &limited), (&custom(1, 1), &limited), (&limited, &limited_and_judged(custom(1, 1)))];
    for scene in Scene::each() {
        for (before, after) in cases {
            drop(scene.attach(before));
            assert!(scene.send(&frame_of(OTHER, &[1])).is_some());
            let [_, received] = hooks(scene.end());
            scene.runtime.block_on(received.clear()).unwrap();
            let guard = scene.attach(after);
            assert_eq!(scene.hung(), [true; 2]);
            assert_eq!(guard.in_use().unwrap(), InUse { macs: 1, vlans: 0 });
            scene.runtime.block_on(Guard::remove(scene.end())).unwrap();
        }
    }
}

/// What a new daemon finds of a guest that has used up its two addresses.
fn take_over(disguise: impl FnOnce(&mut Guard)) -> (Scene, Guard) {
    let scene = Scene::new();
    let mut first = scene.attach(&custom(2, 2));
    for mac in [OTHER, ANOTHER] {
        assert!(scene.send(&tagged(&frame_of(mac, &[1]), 7)).is_some());
    }
    assert_eq!(scene.send(&frame_of(THIRD, &[1])), None);
    disguise(&mut first);
    drop(first);
    let second = scene.attach(&custom(2, 2));
    assert_eq!(scene.hung(), [true, false], "what the guest receives is not limited");
    (scene, second)
}

#[test]
fn a_new_daemon_goes_on_with_what_was_heard_and_counted() {
    // Exactly our programs stay; those of another version are replaced.
    for build in [crate::abi::BUILD, 1] {
        let (scene, second) = take_over(|first| first.maps.disguise(build, crate::abi::GUARD_ABI));
        assert_eq!(second.in_use().unwrap(), InUse { macs: 2, vlans: 1 });
        assert_eq!(scene.send(&frame_of(THIRD, &[1])), None);
        assert_eq!(second.counters().unwrap().get(Counter::MacOverflow), 2);
        assert!(scene.send(&frame_of(OTHER, &[1])).is_some());
    }
}

#[test]
fn maps_of_another_layout_are_left_alone_and_the_guard_starts_anew() {
    let (scene, second) = take_over(|first| first.maps.disguise(1, crate::abi::GUARD_ABI + 1));
    assert_eq!(second.in_use().unwrap(), InUse { macs: 0, vlans: 0 });
    assert!(scene.send(&frame_of(THIRD, &[1])).is_some());
}

#[test]
fn a_limit_that_was_lowered_while_no_daemon_ran_admits_nobody_new() {
    let (scene, second) = take_over(|_| {});
    drop(second);
    let mut third = scene.attach(&custom(1, 1));
    assert!(scene.send(&frame_of(OTHER, &[1])).is_some());
    third.age(Duration::ZERO).unwrap();
    assert!(scene.send(&frame_of(OTHER, &[1])).is_some());
    assert_eq!(scene.send(&frame_of(ANOTHER, &[1])), None);
}

#[test]
fn a_death_between_a_deletion_and_the_ledger_costs_the_guest_no_place() {
    let (scene, mut second) = take_over(|first| {
        first.maps.forget(Duration::ZERO).unwrap();
        first.maps.unwrite_ledger();
    });
    assert_eq!(second.in_use().unwrap(), InUse { macs: 0, vlans: 0 });
    second.age(crate::SILENCE).unwrap();
    assert!(scene.send(&frame_of(THIRD, &[1])).is_some());
}

#[test]
fn no_frame_sees_neither_guard_while_one_takes_over() {
    for scene in Scene::each() {
        let settings = Settings::new(OWN);
        // Where guards settle, this one does under traffic.
        let mut guard = scene.runtime.block_on(Guard::attach(scene.end(), &settings)).unwrap();
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    scene.guest.send(&frame_of(OTHER, &[1])).unwrap();
                    scene.guest.send(&frame_of(OWN, &[2])).unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                    // Slower than the uplink is read.
                    thread::sleep(Duration::from_micros(200));
                }
                scene.guest.send(&frame_of(OWN, &[3])).unwrap();
            });
            let reader = scope.spawn(|| {
                let mut own = 0;
                loop {
                    match receive(&scene.uplink).expect("the last frame arrives")[14] {
                        1 => panic!("a frame of another address passed"),
                        2 => own += 1,
                        _ => return own,
                    }
                }
            });
            for _ in 0..20 {
                scene.settle(&guard);
                assert_eq!(scene.filters(), usize::from(!scene.settles || !kernel_has_tcx()));
                guard.maps.disguise(1, crate::abi::GUARD_ABI);
                guard = scene.attach(&settings);
            }
            stop.store(true, Ordering::Relaxed);
            assert_eq!(reader.join().unwrap(), sent.load(Ordering::Relaxed), "each frame of its own arrives");
        });
        assert!(sent.into_inner() > 0);
    }
}

#[test]
fn a_guard_goes_along_to_a_link_that_is_made_anew() {
    for mut scene in Scene::each() {
        let mut guard = scene.attach(&custom(1, 1));
        assert!(scene.send(&frame_of(OTHER, &[1])).is_some());
        scene.host.ip("link delete dev ldm0").unwrap();
        scene.guest = Tap::new(&scene.host, "ldm0", 1000).unwrap();
        scene.host.ip("link set dev ldm0 master vsw0").unwrap();
        scene.hang(&mut guard);
        assert!(scene.send(&frame_of(OTHER, &[1])).is_some());
        assert_eq!(scene.send(&frame_of(ANOTHER, &[1])), None);
    }
}

#[test]
fn a_guard_that_is_removed_leaves_nothing() {
    for scene in Scene::each() {
        drop(scene.attach(&Settings::new(OWN)));
        // Twice: one that is gone is no error.
        for _ in 0..2 {
            scene.runtime.block_on(Guard::remove(scene.end())).unwrap();
            assert_eq!(scene.hung(), [false; 2]);
        }
        assert!(scene.send(&frame_of(OTHER, &[1])).is_some());
    }
}

#[test]
fn a_link_that_does_not_exist_is_refused_by_the_kernel() {
    for scene in Scene::each() {
        let end = SwitchEnd { index: 9999, ..scene.end() };
        assert!(scene.runtime.block_on(Guard::attach(end, &Settings::new(OWN))).is_err());
        assert_eq!(scene.hung(), [false; 2]);
    }
}
