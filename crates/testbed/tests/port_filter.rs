//! The filter before a port, and streams to groups: what the filter does not admit does not arrive, and the
//! receiver says so. On the real kernel: it needs root.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::io::Write;
use std::net::IpAddr;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use dlmp_testbed::{
    FrameSocket, GroupReceiver, GroupSender, Groups, Hardware, Look, Members, Namespace, PortFilter, Received,
    mac_of_group, veth,
};

/// How long anything may take that a test waits for. Nothing is expected to take this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A port behind a filter, with its other end in a namespace of its own.
struct Bench {
    filter: PortFilter,
    machine: Namespace,
    wire: Namespace,
}

impl Bench {
    fn new(hardware: Hardware) -> Self {
        let machine = Namespace::new("tb", "machine").unwrap();
        let wire = Namespace::new("tb", "wire").unwrap();
        for namespace in [&machine, &wire] {
            // Its own groups would take slots.
            namespace.without_ipv6().unwrap();
        }
        veth((&machine, "net0"), (&wire, "p0")).unwrap();
        let filter = PortFilter::new((&machine, "net0"), (&wire, "p0"), hardware).unwrap();
        Self { filter, machine, wire }
    }

    /// Sends some rounds to `sent` and tells what arrives, where `wanted` should.
    fn stream(&self, sent: &[Groups], wanted: &[Groups]) -> Received {
        let receiver = GroupReceiver::start(&self.machine, "net0").unwrap();
        let sender = GroupSender::start(&self.wire, "p0", sent, 5000).unwrap();
        let rounds = sender.rounds(2);
        sender.stop().unwrap();
        let received = receiver.received(rounds, wanted).unwrap();
        receiver.stop().unwrap();
        received
    }

    /// Changes the filter entries of the port as an administrator does.
    fn fdb(&self, action: &str, groups: Groups) {
        let mut bridge = self.machine.command("bridge").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = bridge.stdin.take().unwrap();
        for group in groups.addresses() {
            writeln!(input, "fdb {action} {} dev net0 self", text(group)).unwrap();
        }
        drop(input);
        assert!(bridge.wait().unwrap().success());
    }
}

fn text(group: IpAddr) -> String {
    mac_of_group(group).map(|byte| format!("{byte:02x}")).join(":")
}

fn all(groups: Groups) -> Vec<IpAddr> {
    groups.addresses().collect()
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_group_that_the_port_lacks_does_not_arrive_and_is_reported_lost() {
    let bench = Bench::new(Hardware::with_slots(64));
    let (held, lacking) = (Groups::v4(0, 3), Groups::v6(0, 2));
    bench.fdb("add", held);
    let received = bench.stream(&[held, lacking], &[held, lacking]);
    assert_eq!(received, Received { lost: all(lacking), ..Received::default() });
    assert!(bench.filter.dropped().unwrap().groups >= 4);

    bench.fdb("add", lacking);
    assert_eq!(bench.stream(&[held, lacking], &[held, lacking]), Received::default());
    bench.fdb("delete", held);
    assert_eq!(bench.stream(&[held, lacking], &[held, lacking]).lost, all(held));
}

#[test]
fn what_nobody_is_said_to_want_is_reported_foreign() {
    let bench = Bench::new(Hardware::with_slots(64));
    let (wanted, other) = (Groups::v4(0, 2), Groups::v4(9, 2));
    bench.fdb("add", wanted);
    bench.fdb("add", other);
    let received = bench.stream(&[wanted, other], &[wanted]);
    assert_eq!(received, Received { foreign: all(other), ..Received::default() });
}

#[test]
fn the_port_holds_the_first_groups_of_its_list_and_no_more() {
    let bench = Bench::new(Hardware::with_slots(20));
    let before = u32::try_from(bench.filter.groups()).unwrap();
    let groups = Groups::v4(0, 30);
    bench.fdb("add", groups);
    let held = 20 - before;
    let lost = bench.stream(&[groups], &[groups]).lost;
    assert_eq!(lost, all(Groups::v4(held, 30 - held)));
    // There is room for all that are left: those that waited have come up.
    bench.fdb("delete", Groups::v4(0, 15));
    assert_eq!(bench.stream(&[groups], &[groups]).lost, all(Groups::v4(0, 15)));
}

#[test]
fn a_port_takes_all_groups_when_it_is_told_to_and_can() {
    let groups = Groups::v6(0, 5);
    for takes_all in [true, false] {
        let bench = Bench::new(Hardware { takes_all, ..Hardware::with_slots(0) });
        assert_eq!(bench.stream(&[groups], &[groups]).lost, all(groups));
        bench.machine.ip("link set dev net0 allmulticast on").unwrap();
        assert_eq!(bench.stream(&[groups], &[groups]).lost.is_empty(), takes_all);
        bench.machine.ip("link set dev net0 allmulticast off").unwrap();
        assert_eq!(bench.stream(&[groups], &[groups]).lost, all(groups));
    }
}

#[test]
fn groups_that_sockets_join_are_followed_too() {
    let bench = Bench::new(Hardware::with_slots(64));
    bench.machine.ip("address add 10.9.0.2/24 dev net0").unwrap();
    let groups = Groups::v4(0, 40);
    let members = Members::join(&bench.machine, "net0", &[groups]).unwrap();
    bench.filter.sync().unwrap();
    assert_eq!(bench.stream(&[groups], &[groups]), Received::default());
    drop(members);
    wait_for("the groups are gone", || groups.addresses().all(|group| !bench.filter.admits(mac_of_group(group))));
}

#[test]
fn frames_to_other_machines_do_not_arrive() {
    let bench = Bench::new(Hardware::with_slots(64));
    let (near, far) =
        (FrameSocket::open(&bench.machine, "net0").unwrap(), FrameSocket::open(&bench.wire, "p0").unwrap());
    let arrives = |to: [u8; 6]| {
        let mut frame = [0x88; 60];
        frame[..6].copy_from_slice(&to);
        frame[6..12].copy_from_slice(&far.address());
        far.send(&frame).unwrap();
        let mut seen = [0; 60];
        let mut looks = std::iter::from_fn(|| match near.receive(&mut seen, Duration::from_millis(100)).unwrap() {
            Look::Nothing => None,
            look => Some(look == Look::Received(60) && seen == frame),
        });
        looks.any(|same| same)
    };
    assert!(arrives(near.address()));
    assert!(arrives([0xff; 6]));
    let other = [2, 8, 0x20, 0, 0, 1];
    assert!(!arrives(other));
    assert_eq!(bench.filter.dropped().unwrap().others, 1);
    let entry = |action| {
        let arguments = ["bridge", "fdb", action, "02:08:20:00:00:01", "dev", "net0", "self"];
        assert!(bench.machine.run(&arguments).unwrap().status.success());
    };
    entry("add");
    wait_for("the address is admitted", || arrives(other));
    assert!(!bench.filter.was_promiscuous(), "an address of its own asks for nothing more");
    entry("delete");
    wait_for("the address is no more admitted", || !arrives(other));
}

#[test]
#[should_panic(expected = "net0 was promiscuous")]
fn a_port_that_is_promiscuous_for_a_moment_is_a_failure() {
    let bench = Bench::new(Hardware::with_slots(64));
    bench.machine.ip("link set dev net0 promisc on\nlink set dev net0 promisc off").unwrap();
    wait_for("it is seen", || bench.filter.was_promiscuous());
}

#[test]
fn a_hundred_thousand_groups_are_followed() {
    let bench = Bench::new(Hardware::with_slots(usize::MAX));
    let groups = Groups::v4(0, 100_000);
    let before = bench.filter.groups();
    bench.fdb("add", groups);
    wait_for("all are there", || bench.filter.groups() == before + groups.len());
    assert!(groups.addresses().all(|group| bench.filter.admits(mac_of_group(group))));
    bench.fdb("delete", groups);
    wait_for("none is there", || bench.filter.groups() == before);
    assert!(groups.addresses().all(|group| !bench.filter.admits(mac_of_group(group))));
}
