//! Guests that report groups without end: what is kept of them is bounded, in the daemon and in the kernel; everybody else,
//! and they themselves, get every group that they want; and the next daemon serves and fails over at once.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use dlmp_testbed::{FrameSocket, GroupReceiver, GroupSender, Groups, Members, Namespace, igmp_old_report, mld_report};
use dlmp_tests::{LARGE, MulticastGuest, json, run, typed, wait_for};
use nix::sys::signal::Signal;

/// As many groups as are kept of a client, and of all (docs/commands.md).
const CLIENT: usize = 8192;
const AGGREGATION: usize = 32_768;
/// As many as are put into a port's filter, and room for those that the host is in without asking.
const FILTER: usize = 256 + 32;

/// Reports that are sent between two pauses of a millisecond: tens of thousands a second, and time for others.
const BURST: u32 = 64;

/// Two floods at a time would show how busy the machine is.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn groups(first: u32, count: u32) -> [Groups; 2] {
    [Groups::v4(first, count), Groups::v6(first, count)]
}

/// A different number each time, over all 32 bits in no order.
fn scattered(count: u32) -> u32 {
    count.wrapping_mul(0x9e37_79b1)
}

/// Reports 70 groups that nobody else wants by MLDv2.
fn report_by_mld(socket: &FrameSocket, count: u32) {
    let group = |number| Ipv6Addr::from_bits(0xff0e << 112 | 1 << 64 | u128::from(scattered(count * 70 + number)));
    let groups: Vec<Ipv6Addr> = (0..70).map(group).collect();
    socket.send(&mld_report(socket.address(), &groups)).unwrap();
}

/// Reports one by IGMPv2, from one of 3000 addresses.
fn report_by_igmp(socket: &FrameSocket, count: u32) {
    let [_, _, a, b] = (count % 3000).to_be_bytes();
    let group = Ipv4Addr::from_bits(0xe800_0000 | scattered(count) & 0x00ff_ffff);
    socket.send(&igmp_old_report([0x52, 0x54, 0, 1, a, b], group).unwrap()).unwrap();
}

/// How many groups the kernel has for each port.
fn in_filters(rig: &MulticastGuest) -> [usize; 2] {
    ["net0", "net1"].map(|port| {
        rig.filter(port).sync().unwrap();
        rig.filter(port).groups()
    })
}

/// Has a guest report groups while others, and itself, receive theirs, and the daemon is killed. `most` is how many groups
/// are kept at most.
fn assert_withstands(
    rig: &MulticastGuest,
    guest: &Namespace,
    report: impl Fn(&FrameSocket, u32) + Sync,
    most: usize,
    named: &str,
) {
    let (of_host, of_guest) = (groups(0, 20), groups(100, 20));
    let wanted = [of_host, of_guest].concat();
    let _members = (rig.join(&of_host), Members::join(guest, "eth0", &of_guest).unwrap());
    rig.wait_until_table_is(&wanted);
    let host_receives = GroupReceiver::start(&rig.guest.namespace, "aggr0").unwrap();
    let guest_receives = GroupReceiver::start(guest, "eth0").unwrap();
    let sender = GroupSender::start(&rig.guest.host, "net0", &wanted, 2000).unwrap();
    let complete = |when: &str| {
        let rounds = sender.rounds(10);
        for (receiver, wanted) in [(&host_receives, of_host), (&guest_receives, of_guest)] {
            let received = receiver.received(rounds.clone(), &wanted).unwrap();
            assert_eq!((received.lost, received.duplicated), (vec![], vec![]), "{when}");
        }
    };
    let assert_bounded = || {
        let (kept, filters) = (rig.groups().len(), in_filters(rig));
        assert!(kept <= most + 100, "{kept} groups are kept");
        assert!(filters.iter().all(|&groups| groups <= FILTER), "{filters:?} groups are in the ports' filters");
    };
    let fails_over = || {
        let (from, to) = rig.active_and_other_port();
        rig.guest.unplug(from);
        rig.wait_until_active(to);
        rig.guest.plug(from);
        wait_for("both ports serve", || rig.ports().values().all(|row| row.role != "--"));
    };
    complete("before the flood");

    let socket = FrameSocket::open_to_send(guest, "eth0").unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            for count in (0..).take_while(|_| !over.load(Ordering::Relaxed)) {
                report(&socket, count);
                if count % BURST == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let test = scope.spawn(|| {
            wait_for("it is said who exceeds", || rig.reasons().iter().any(|reason| reason.contains(named)));
            complete("during the flood");
            assert_bounded();
            fails_over();
            complete("after a failover during the flood");
            rig.guest.end_daemon(Signal::SIGKILL);
            rig.guest.start_daemon();
            complete("after a restart during the flood");
            fails_over();
            complete("after a failover of the new daemon");
            assert_bounded();
        });
        // The flood ends whatever becomes of it.
        let test = test.join();
        over.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        test.unwrap();
    });
    assert_bounded();
    rig.guest.end_daemon(Signal::SIGKILL);
    rig.guest.start_daemon();
    fails_over();
    complete("after a restart when the flood is over");
    assert_bounded();
    rig.wait_until_table_is(&wanted);
    wait_for("nobody exceeds", || !rig.reasons().iter().any(|reason| reason.contains(named)));
    complete("when all is over");
    sender.stop().unwrap();
}

#[test]
fn a_container_that_reports_groups_without_end_by_mld_is_bounded_and_named() {
    let _alone = alone();
    let rig = MulticastGuest::new([LARGE, LARGE]);
    let container = rig.container();
    assert_withstands(&rig, &container, report_by_mld, CLIENT, "vnic1 reports");
}

#[test]
fn a_guest_of_a_bridge_that_joins_groups_without_end_from_many_addresses_is_bounded_and_named() {
    let _alone = alone();
    let rig = MulticastGuest::new([LARGE, LARGE]);
    let vm = rig.guest_of_a_bridge();
    assert_withstands(&rig, &vm, report_by_igmp, AGGREGATION, "52:54:00:01:");
}

#[test]
fn what_an_earlier_daemon_left_in_the_filters_delays_nothing_and_is_cleared() {
    let _alone = alone();
    let rig = MulticastGuest::new([LARGE, LARGE]);
    let wanted = groups(0, 20);
    let _members = rig.join(&wanted);
    rig.guest.end_daemon(Signal::SIGKILL);
    let before = in_filters(&rig);
    let batch = rig.guest.dlmp.runtime_dir().join("left");
    let line = |number: u32| {
        let [a, b, c, d] = scattered(number).to_be_bytes();
        ["net0", "net1"].map(|port| format!("fdb add 33:33:{a:02x}:{b:02x}:{c:02x}:{d:02x} dev {port} self\n")).concat()
    };
    std::fs::write(&batch, (1..=100_000).map(line).collect::<String>()).unwrap();
    let left = run(rig.guest.namespace.command("bridge").arg("-batch").arg(&batch));
    assert_eq!(left.code, 0, "{left:?}");
    assert!(in_filters(&rig).iter().all(|&groups| groups > 100_000));

    let receiver = GroupReceiver::start(&rig.guest.namespace, "aggr0").unwrap();
    let sender = GroupSender::start(&rig.guest.host, "net0", &wanted, 2000).unwrap();
    let first = sender.rounds(1).start;
    rig.guest.start_daemon();
    let (from, to) = rig.active_and_other_port();
    rig.guest.unplug(from);
    rig.wait_until_active(to);
    assert!(in_filters(&rig).iter().any(|&groups| groups > before[0].max(before[1])), "the failover did not wait");
    rig.guest.plug(from);
    wait_for("both ports serve", || rig.ports().values().all(|row| row.role != "--"));
    let later = Groups::v4(500, 20);
    let _later = Members::join(&rig.guest.namespace, "aggr0", &[later]).unwrap();
    for _ in 0..12 {
        if in_filters(&rig).iter().all(|&groups| groups <= FILTER) {
            break;
        }
        let _ = sender.rounds(100);
    }
    wait_for("the filters are cleared", || in_filters(&rig).iter().all(|&groups| groups <= FILTER));
    rig.wait_until_table_is(&[&wanted[..], &[later]].concat());
    wait_for("no port takes all", || rig.ports().values().all(|row| row.filter == "exact"));
    rig.wait_until_both_ports_admit(&[&wanted[..], &[later]].concat());
    let last = sender.rounds(5).end;
    sender.stop().unwrap();
    // The port that was unplugged took what was on its way along.
    let received = receiver.received(first..last, &wanted).unwrap();
    assert_eq!(received.duplicated, [] as [IpAddr; 0]);
}

#[test]
fn a_link_in_more_groups_than_are_kept_gets_all_until_it_is_in_fewer() {
    let _alone = alone();
    let rig = MulticastGuest::new([LARGE, LARGE]);
    let few = groups(0, 20);
    let _few = rig.join(&few);
    let many = Members::join_quietly(&rig.guest.namespace, "aggr0", &groups(1000, 70_000)).unwrap();
    wait_for("it gets all", || rig.reasons().iter().any(|reason| reason.starts_with("aggr0 is in more groups")));
    assert!(rig.groups().len() < 1000);
    assert!(in_filters(&rig).iter().all(|&groups| groups <= FILTER));
    let some = [groups(0, 20), groups(50_000, 50)].concat();
    rig.stream(&some, 5000).assert_brings("in many groups", 5, &some, &[]);
    drop(many);
    rig.wait_until_table_is(&few);
    wait_for("nobody gets all", || rig.reasons().is_empty());
    rig.wait_until_both_ports_admit(&few);
    let shown = typed(&rig.guest.dlmp, "dladm show-mcast -P -p -o filter aggr0");
    assert!(shown.lines().all(|filter| filter == "exact"), "{shown}");
    assert!(json(&rig.guest.dlmp, "dlstat show-aggr -v -j aggr0")[0]["rules"]["tx-report-unread"].is_u64());
}
