//! The testbed itself, on the real kernel: it needs root.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use dlmp_testbed::{End, Flow, Namespace, Scene, Tap, bridge, up, veth};

const LEFT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 1));
const RIGHT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 2));

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Two namespaces joined by a veth pair, with addresses.
fn two_hosts() -> (Namespace, Namespace) {
    let left = Namespace::new("tb", "left").unwrap();
    let right = Namespace::new("tb", "right").unwrap();
    veth((&left, "net0"), (&right, "net0")).unwrap();
    left.ip("address add 10.9.0.1/24 dev net0").unwrap();
    right.ip("address add 10.9.0.2/24 dev net0").unwrap();
    (left, right)
}

fn namespace_file(namespace: &Namespace) -> PathBuf {
    Path::new("/run/netns").join(namespace.name())
}

#[test]
fn a_plain_veth_loses_duplicates_and_reorders_nothing() {
    let (left, right) = two_hosts();
    let record = Flow::new(End::new(&left, LEFT), End::new(&right, RIGHT), 1000, ms(1000))
        .watch(&left, &["net0"])
        .run()
        .unwrap();
    for way in [&record.forth, &record.back] {
        let report = way.total();
        assert_eq!(report.sent, 1000);
        assert_eq!((report.lost, report.duplicated, report.reordered), (0, 0, 0));
        assert_eq!(report.outage, None);
        assert!(way.arrivals.iter().all(|a| a.at >= way.sent[a.sequence]));
    }
    let carried = record.ports.packets("net0", Duration::ZERO..Duration::MAX);
    assert!(carried >= 1900, "net0 carried {carried} of 2000 packets");
}

#[test]
fn a_link_that_is_down_for_a_while_is_an_outage_of_that_length() {
    let (left, right) = two_hosts();
    // Permanent neighbour entries: resolving them again is not what is measured here.
    for (near, far, address) in [(&left, &right, RIGHT), (&right, &left, LEFT)] {
        let mac = mac_of(far);
        let entry = format!("neighbour replace {address} dev net0 lladdr {mac} nud permanent");
        near.ip(&entry).unwrap();
    }
    let cut = ms(100);
    let record = Flow::new(End::new(&left, LEFT), End::new(&right, RIGHT), 1000, ms(1000))
        // One event, so that the link is down for at least this long however slow the machine is.
        .event(ms(300), "cut", || {
            right.ip("link set dev net0 down")?;
            thread::sleep(cut);
            up(&right, "net0")?;
            up(&left, "net0")
        })
        .run()
        .unwrap();
    let report = record.forth.report(record.after_event(0));
    let outage = report.outage.unwrap();
    assert!(outage.length + record.forth.interval >= cut, "{outage:?} for a cut of {cut:?}");
    assert!(report.lost > 0 && report.duplicated == 0, "{report:?}");
    assert_eq!(record.forth.report(Duration::ZERO..record.events[0].began).lost, 0);
}

/// The MAC address of `net0`, by sysfs as `ip netns exec` mounts it.
fn mac_of(namespace: &Namespace) -> String {
    let output = namespace.run(&["cat", "/sys/class/net/net0/address"]).unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_switch_that_sends_everything_twice_shows_as_duplicates() {
    let left = Namespace::new("tb", "left").unwrap();
    let middle = Namespace::new("tb", "middle").unwrap();
    let right = Namespace::new("tb", "right").unwrap();
    veth((&left, "net0"), (&middle, "a")).unwrap();
    veth((&right, "net0"), (&middle, "b")).unwrap();
    veth((&right, "net1"), (&middle, "c")).unwrap();
    bridge(&middle, "bridge0", &["a", "b", "c"]).unwrap();
    // Both links of the right host have one MAC address, which the switch may not learn.
    for port in ["b", "c"] {
        let learning_off = ["bridge", "link", "set", "dev", port, "learning", "off"];
        assert!(middle.run(&learning_off).unwrap().status.success());
    }
    right.ip(&format!("link set dev net1 address {}", mac_of(&right))).unwrap();
    let accept_on_any_link = || fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
    right.enter(accept_on_any_link).unwrap().unwrap();
    left.ip("address add 10.9.0.1/24 dev net0").unwrap();
    right.ip("address add 10.9.0.2/24 dev net0").unwrap();

    let record = Flow::new(End::new(&left, LEFT), End::new(&right, RIGHT), 500, ms(400)).run().unwrap();
    let (forth, back) = (record.forth.total(), record.back.total());
    assert_eq!((forth.sent, forth.lost, forth.duplicated), (200, 0, 200));
    assert_eq!((back.sent, back.lost, back.duplicated), (200, 0, 0));
}

#[test]
fn a_namespace_takes_its_processes_with_it() {
    let namespace = Namespace::new("tb", "short").unwrap();
    let mut process = namespace.command("sleep").arg("1000").spawn().unwrap();
    while namespace.processes() != [process.id()] {
        assert!(process.try_wait().unwrap().is_none(), "sleep ended by itself");
        thread::sleep(ms(5));
    }
    let file = namespace_file(&namespace);
    assert!(file.exists());
    drop(namespace);
    assert!(!process.wait().unwrap().success());
    assert!(!file.exists());
}

#[test]
fn a_namespace_stays_while_a_clone_is_in_use() {
    let namespace = Namespace::new("tb", "shared").unwrap();
    let clone = namespace.clone();
    drop(namespace);
    assert!(namespace_file(&clone).exists());
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next_one() {
    // The greatest process id there can be (PID_MAX_LIMIT, proc_sys_kernel(5)) is never in use.
    let stale = "tb-4194304-0-stale";
    // Another process's clean-up runs once, at its first namespace: start one afresh.
    let this = std::env::current_exe().unwrap();
    assert!(std::process::Command::new("ip").args(["netns", "add", stale]).status().unwrap().success());
    let status = std::process::Command::new(this)
        .args(["--exact", "a_namespace_stays_while_a_clone_is_in_use"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(!Path::new("/run/netns").join(stale).exists());
}

#[test]
fn a_tap_has_the_speed_it_was_given() {
    let namespace = Namespace::new("tb", "taps").unwrap();
    let _tap = Tap::new(&namespace, "tap0", 100).unwrap();
    let output = namespace.run(&["ethtool", "tap0"]).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Speed: 100Mb/s") && text.contains("Link detected: yes"), "{text}");
}

#[test]
fn the_external_host_serves_addresses() {
    let scene = Scene::new("tb").unwrap();
    let server = scene.start_dhcp().unwrap();
    assert_eq!(scene.domain.processes().len(), 1);
    drop(server);
    assert!(scene.domain.processes().is_empty());
}
