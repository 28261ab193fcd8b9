//! Domains that come and go: whatever is lost with one is built again when it is back, with the same names and MAC addresses,
//! and a guest on two service domains goes on meanwhile.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use dlmp_testbed::{Environment, Namespace, Pins, Scene, Stream, up, veth_down};
use dlmp_tests::{ADDRESS, VirtualHost, ip_json, json, link, typed, wait_for};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A host whose guest has an aggregation of its two vnets, at [`ADDRESS`].
fn with_aggregation() -> (VirtualHost, Environment) {
    let host = VirtualHost::built();
    host.wait_for_link("net0", "up");
    host.wait_for_link("net1", "up");
    let dlmp = Environment::new(&host.scene.ldg6, Pins::None).unwrap();
    typed(&dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    typed(&dlmp, "ipadm create-ip aggr0");
    typed(&dlmp, &format!("ipadm create-addr -T static -a {ADDRESS}/24 aggr0/v4"));
    host.wait_until_reachable();
    (host, dlmp)
}

/// Whether the aggregation uses a port, by `dladm show-aggr -x`.
fn is_attached(dlmp: &Environment, port: &str) -> bool {
    let rows = json(dlmp, "dladm show-aggr -x -j aggr0");
    let row = rows.as_array().unwrap().iter().find(|row| row["port"] == port);
    row.is_some_and(|row| row["portstate"] == "attached" && row["state"] == "up")
}

/// Nothing arrived twice, and at the end of the flow packets arrived again.
fn assert_goes_on(stream: &Stream) {
    let report = stream.total();
    assert_eq!(report.duplicated, 0, "{report:?}");
    assert!(report.outage.is_none_or(|outage| outage.ended), "{report:?}");
    let last = stream.arrivals.iter().map(|arrival| arrival.sequence).max();
    assert!(last.is_some_and(|last| last + 100 > stream.sent.len()), "the last to arrive was {last:?}");
}

/// Loses a service domain in the middle of a flow, has it back, and asserts that the guest's aggregation went on and has
/// the same port again.
fn assert_lost_and_found(port: &str, lose: impl Fn(&VirtualHost), find: impl Fn(&VirtualHost)) {
    let (host, dlmp) = with_aggregation();
    let mac = || link(&host.scene.ldg6, port).map(|link| link["address"].clone());
    let (vnets, before) = (host.json("ldm list -o network -j"), mac());
    let record = host
        .flow(ms(4000))
        .event(ms(500), "lost", || {
            lose(&host);
            Ok(())
        })
        .event(ms(1500), "found", || {
            find(&host);
            Ok(())
        })
        .run()
        .unwrap();
    assert_goes_on(&record.forth);
    assert_goes_on(&record.back);
    wait_for("the port is used again", || is_attached(&dlmp, port));
    host.wait_for_link(port, "up");
    assert_eq!(host.json("ldm list -o network -j"), vnets);
    assert_eq!(mac(), before);
}

/// The uplink of `ldg5` as it is made at its boot.
fn plug_in_net2(host: &VirtualHost) {
    let scene = &host.scene;
    veth_down((&scene.ldg5, "net2"), (&scene.switch, "to2")).unwrap();
    scene.switch.ip("link set dev to2 master switch0").unwrap();
    up(&scene.switch, "to2").unwrap();
    up(&scene.ldg5, "net2").unwrap();
}

#[test]
fn a_service_domain_whose_namespace_is_deleted_comes_back() {
    assert_lost_and_found(
        "net1",
        |host| {
            host.scene.ldg5.shut_down();
            // The link stays there and is down: it does not vanish.
            host.wait_for_link("net1", "down");
            wait_for("its uplink is gone", || link(&host.scene.switch, "to2").is_none());
            assert_eq!(host.domain("ldg5")["state"], "inactive");
            assert!(host.vnet("vnet1")["problem"].as_str().unwrap().contains("ldg5"));
        },
        |host| {
            host.scene.ldg5.boot().unwrap();
            plug_in_net2(host);
            host.wait_for_link("net1", "up");
            assert_eq!(host.domain("ldg5")["problem"], serde_json::Value::Null);
        },
    );
}

#[test]
fn an_uplink_that_is_unplugged_comes_back() {
    assert_lost_and_found(
        "net1",
        |host| {
            host.scene.ldg5.ip("link del dev net2").unwrap();
            host.wait_for_link("net1", "down");
        },
        |host| {
            plug_in_net2(host);
            host.wait_for_link("net1", "up");
        },
    );
}

#[test]
fn a_rebooted_primary_comes_back_and_builds_its_side_again() {
    assert_lost_and_found(
        "net0",
        |host| {
            host.scene.primary_goes_down();
            wait_for("the guest's port is gone", || host.link_state("net0").is_none());
            assert_eq!(host.link_state("net1"), Some("up"));
        },
        |host| {
            host.scene.primary_comes_back().unwrap();
            host.wait_for_link("net0", "up");
        },
    );
}

#[test]
fn a_primary_that_is_back_before_its_old_links_are_gone_builds_them_again() {
    let host = VirtualHost::built();
    // Held open, the old namespace stays with all its links, though it cannot be reached any more.
    let held = fs::File::open(namespace_file(host.primary())).unwrap();
    host.scene.primary_goes_down();
    host.scene.switch.ip("link del dev to0").unwrap();
    assert_eq!(host.link_state("net0"), Some("up"), "the guest still has a link into what was primary");
    host.scene.primary_comes_back().unwrap();
    host.wait_for_link("net0", "up");
    drop(held);
    assert_eq!(link(&host.scene.ldg6, "net0").unwrap()["address"], Scene::NET0);
    host.give_address("net0");
    host.wait_until_reachable();
}

#[test]
fn a_guest_whose_namespace_is_deleted_gets_the_same_links_when_it_is_back() {
    let host = VirtualHost::built();
    host.wait_for_link("net0", "up");
    let vnets = host.json("ldm list -o network -j");
    host.scene.ldg6.shut_down();
    wait_for("the domain is inactive", || host.domain("ldg6")["state"] == "inactive");
    wait_for("its vnets are down", || host.vnet("vnet6")["state"] == "down");
    host.scene.ldg6.boot().unwrap();
    for port in ["net0", "net1"] {
        host.wait_for_link(port, "up");
    }
    assert_eq!(host.json("ldm list -o network -j"), vnets);
    let macs = ["net0", "net1"].map(|port| link(&host.scene.ldg6, port).unwrap()["address"].clone());
    assert_eq!(macs, [Scene::NET0, Scene::NET1]);
}

/// A process in a network namespace of its own, with a loopback that is up.
struct Process(Child);

impl Process {
    fn start() -> Self {
        let process = Self(Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().unwrap());
        let ns = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        wait_for("it has its own namespace", || ns(process.0.id()) != ns(std::process::id()));
        process
    }

    /// Makes a link there, whose other end is a port of the switch.
    fn plug_in(&self, host: &VirtualHost, uplink: &str, port: &str) {
        let pid = self.0.id();
        host.scene.switch.ip(&format!("link add {port} type veth peer name {uplink} netns {pid}")).unwrap();
        host.scene.switch.ip(&format!("link set dev {port} master switch0 up")).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_domain_all_of_whose_processes_are_killed_takes_the_links_down() {
    let host = VirtualHost::built();
    let process = Process::start();
    process.plug_in(&host, "net7", "to7");
    host.typed(&format!("ldm add-domain --pid {} container", process.0.id()));
    host.typed("ldm add-vsw net-dev=net7 vsw7 container");
    host.typed("ldm add-vnet linkprop=phys-state vnet7 vsw7 ldg6");
    host.wait_for_link("net2", "up");
    host.give_address("net2");
    host.wait_until_reachable();
    let mac = || link(&host.scene.ldg6, "net2").unwrap()["address"].clone();
    let before = mac();

    drop(process);
    host.wait_for_link("net2", "down");
    wait_for("the domain is inactive", || host.domain("container")["state"] == "inactive");
    wait_for("its uplink is gone", || link(&host.scene.switch, "to7").is_none());

    // The next container is another process, which only its user knows.
    let process = Process::start();
    process.plug_in(&host, "net7", "to7");
    for line in [
        "ldm rm-vsw -f vsw7",
        "ldm remove-domain container",
        &format!("ldm add-domain --pid {} container", process.0.id()),
        "ldm add-vsw net-dev=net7 vsw7 container",
    ] {
        host.typed(line);
    }
    host.wait_for_link("net2", "up");
    assert_eq!(mac(), before);
    wait_for("the guest reaches outside again", || host.reaches(&host.scene.ldg6));
}

#[test]
fn a_domain_can_be_an_existing_namespace_by_its_file() {
    let host = VirtualHost::built();
    let other = Namespace::new("ee", "other").unwrap();
    host.typed(&format!("ldm add-domain --path {} other", namespace_file(&other).display()));
    host.typed("ldm add-vnet linkprop=phys-state vnet0 primary-vsw0 other");
    other.ip("address add 192.168.84.9/24 dev net0").unwrap();
    wait_for("it reaches outside", || host.reaches(&other));
    host.typed("ldm rm-vnet vnet0 other");
    host.typed("ldm remove-domain other");
    assert!(namespace_file(&other).exists());
    assert_eq!(ip_json(&other, "link show").as_array().unwrap().len(), 1, "only the loopback is left");
}

fn namespace_file(namespace: &Namespace) -> std::path::PathBuf {
    Path::new("/run/netns").join(namespace.name())
}
