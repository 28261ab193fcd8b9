//! VLANs end to end. On kernels that have 802.1Q: devices over an aggregation are clients of their own, and with
//! `probe-vlan-id` the ports are probed in that VLAN. On every kernel: cards that drop VLANs let in those of clients.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use dlmp_testbed::{Environment, Hardware, Namespace, Pins, PortFilter, up, veth};
use dlmp_tests::{Guest, LARGE, ip_json, json, run, typed, wait_for};
use nix::sys::signal::Signal;
use serde_json::json as value;

/// The VLAN of the probes.
const VLAN: &str = "5";
/// The target, an address of the host that answers in [`VLAN`] alone.
const TARGET: &str = "10.9.0.5";
/// No address of the guest is in this network, so that every port asks for itself, by ARP.
const NO_SOURCE: &str = "10.5.0.0/24";

#[test]
fn a_path_on_which_the_probed_vlan_dies_is_left() {
    let guest = Guest::with_aggregation(Pins::None);
    if !has_vlan(&guest.host, "net0", "vlan0", VLAN) {
        return;
    }
    guest.host.ip(&format!("address add {TARGET}/32 dev vlan0\nlink set dev vlan0 up")).unwrap();
    // Linux otherwise answers on every link for all its addresses (arp_ignore in ip-sysctl).
    let answer_on_own_link = guest.host.enter(|| std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1"));
    answer_on_own_link.unwrap().unwrap();
    guest.switch.ip("link set dev br0 type bridge vlan_filtering 1").unwrap();
    for port in ["up", "p0", "p1"] {
        in_vlan(&guest, "add", port);
    }

    typed(&guest.dlmp, &format!("dladm set-linkprop -p probe-ip={NO_SOURCE}+{TARGET} aggr0"));
    wait_for("nobody answers outside of the VLAN", || guest.detection().starts_with("link; "));
    guest.probe(&format!("probe-vlan-id={VLAN}"));
    for port in ["net0", "net1"] {
        wait_for("each port is seen", || guest.probe_state(port)["state"] == "active");
    }

    let (busy, idle) = guest.busy_and_idle_port();
    let end = if busy == "net0" { "p0" } else { "p1" };
    in_vlan(&guest, "delete", end);
    wait_for("the break is found", || guest.probe_state(busy)["state"] == "failed");
    assert_eq!(guest.port_state(busy).0, "up", "its carrier is there");
    assert_eq!(guest.probe_state(idle)["targets"], value!([TARGET]));
    assert_eq!(guest.busy_and_idle_port().0, idle);

    in_vlan(&guest, "add", end);
    wait_for("the port is used again", || guest.probe_state(busy)["state"] == "active");
}

#[test]
fn a_vlan_device_over_the_aggregation_is_a_client_of_its_own() {
    let guest = Guest::with_aggregation(Pins::None);
    if !has_vlan(&guest.host, "net0", "vlan0", VLAN) || !has_vlan(&guest.namespace, "aggr0", "aggr0.5", VLAN) {
        return;
    }
    guest.host.ip("address add 10.5.0.1/24 dev vlan0\nlink set dev vlan0 up").unwrap();
    guest.namespace.ip("address add 10.5.0.2/24 dev aggr0.5\nlink set dev aggr0.5 up").unwrap();
    let reaches = || run(guest.namespace.command("ping").args(["-q", "-c", "1", "-W", "1", "10.5.0.1"])).code == 0;
    wait_for("the host in the VLAN", reaches);
    let clients = typed(&guest.dlmp, "dladm show-aggr -C -p -o client,vid,type aggr0");
    assert_eq!(clients, "aggr0:0:primary\naggr0.5:5:vlan\n");
    let seats = typed(&guest.dlmp, "dladm show-aggr -C -p -o port aggr0");
    assert_eq!(seats.lines().collect::<std::collections::BTreeSet<_>>().len(), 2, "one on each port: {seats}");

    let seat = seats.lines().nth(1).unwrap().to_owned();
    guest.unplug(&seat);
    wait_for("through the other port", reaches);
    guest.namespace.ip("link delete dev aggr0.5").unwrap();
    wait_for("it is no client any more", || typed(&guest.dlmp, "dladm show-aggr -C -p -o client aggr0") == "aggr0\n");
}

/// Makes a VLAN device; says whether this kernel has them.
fn has_vlan(namespace: &Namespace, link: &str, name: &str, id: &str) -> bool {
    match namespace.ip(&format!("link add link {link} name {name} type vlan id {id}")) {
        Ok(()) => true,
        Err(error) => {
            assert!(error.to_string().contains("Unknown device type"), "{error:#}");
            eprintln!("Does not apply: this kernel has no 802.1Q. `make test-vm` runs it on one that has.");
            false
        }
    }
}

/// Has the switch forward the VLAN on one of its ports, or no longer (`bridge vlan add` and `delete`).
fn in_vlan(guest: &Guest, change: &str, port: &str) {
    let outcome = run(guest.switch.command("bridge").args(["vlan", change, "dev", port, "vid", VLAN]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// A guest whose cards drop VLANs that nobody has registered, and a host with a VNIC in some.
struct Carded {
    /// Removed before the ports are.
    filters: [PortFilter; 2],
    guest: Guest,
    _host: Environment,
}

impl Carded {
    fn new(vlans: &[u16]) -> Self {
        let guest = Guest::new(Pins::Mounted);
        let card = Hardware { filters_vlans: true, ..LARGE };
        let filters = [("net0", "p0"), ("net1", "p1")]
            .map(|(port, before)| PortFilter::new((&guest.namespace, port), (&guest.switch, before), card).unwrap());
        let host = Environment::new(&guest.host, Pins::None).unwrap();
        guest.host.ip("address flush dev net0").unwrap();
        typed(&host, "dladm create-aggr -l net0 aggr0");
        for vlan in vlans {
            typed(&host, &format!("dladm create-vnic -l aggr0 -v {vlan} vnic{vlan}"));
            let set_up = format!("address add 10.7.{vlan}.1/24 dev vnic{vlan}\nlink set dev vnic{vlan} up");
            guest.host.ip(&set_up).unwrap();
        }
        typed(&guest.dlmp, &format!("DLMP_VLAN_FILTERS={CARDS} dladm create-aggr -l net0 -l net1 aggr0"));
        Self { filters, guest, _host: host }
    }

    /// How each port lets VLANs in.
    fn ways(&self) -> [String; 2] {
        let rows = json(&self.guest.dlmp, "dladm show-aggr -x -o port,vlans -j aggr0");
        ["net0", "net1"].map(|port| {
            let row = rows.as_array().unwrap().iter().find(|row| row["port"] == port).unwrap();
            row["vlans"].as_str().unwrap_or("--").to_owned()
        })
    }

    /// Whether an administrator sees a port promiscuous.
    fn is_promiscuous(&self, port: &str) -> bool {
        ip_json(&self.guest.namespace, &format!("link show dev {port}"))[0]["flags"]
            .as_array()
            .unwrap()
            .contains(&value!("PROMISC"))
    }

    /// The only way that this kernel has for a card whose filter cannot be switched off.
    fn expected(&self) -> &'static str {
        match self.guest.switch.ip("link add link br0 name attempt type vlan id 5\nlink delete dev attempt") {
            Ok(()) => "registered",
            Err(_) => "promiscuous",
        }
    }

    fn dropped(&self) -> u64 {
        self.filters.iter().map(|filter| filter.dropped().unwrap().vlans).sum()
    }
}

/// The cards of the guest.
const CARDS: &str = "net0,net1";

fn reaches(from: &Namespace, address: &str) -> bool {
    run(from.command("ping").args(["-q", "-c", "1", "-W", "1", address])).code == 0
}

#[test]
fn a_vnic_in_a_vlan_is_reached_through_cards_that_drop_vlans() {
    let net = Carded::new(&[7]);
    let (guest, expected) = (&net.guest, net.expected());
    assert_eq!(net.ways(), ["--"; 2]);
    let container = Namespace::new("ee", "vnic1").unwrap();
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 -v 7 vnic1");
    guest.namespace.ip(&format!("link set dev vnic1 netns {}", container.name())).unwrap();
    container.ip("link set dev vnic1 up\naddress add 10.7.7.7/24 dev vnic1").unwrap();
    wait_for("the host in the VLAN", || reaches(&container, "10.7.7.1"));
    wait_for("both ports have a way", || net.ways() == [expected; 2]);
    let problems = json(&guest.dlmp, "dladm show-aggr -o problems -j aggr0")[0]["problems"].clone();
    let told =
        problems.as_array().unwrap().iter().filter(|problem| problem.as_str().unwrap().contains("8021q")).count();
    assert_eq!(told, if expected == "promiscuous" { 2 } else { 0 }, "{problems}");

    let seat = || typed(&guest.dlmp, "dladm show-aggr -C -p -o client,port aggr0").trim().to_owned();
    let port_of = |seats: &str| seats.lines().find_map(|line| line.strip_prefix("vnic1:").map(str::to_owned)).unwrap();
    let moves = |when: &str| {
        let port = port_of(&seat());
        guest.unplug(&port);
        wait_for("it moves", || port_of(&seat()) != port);
        wait_for(when, || reaches(&container, "10.7.7.1"));
        guest.plug(&port);
        guest.wait_for_state(&port, "up");
    };
    moves("through the other port");
    let dropped = net.dropped();
    guest.end_daemon(Signal::SIGKILL);
    wait_for("without a daemon", || reaches(&container, "10.7.7.1"));
    guest.start_daemon_with(&["--vlan-filters", CARDS]);
    wait_for("the next daemon knows", || net.ways() == [expected; 2]);
    moves("with the next daemon");
    assert_eq!(net.dropped(), dropped, "a VLAN was closed meanwhile");

    drop(container);
    typed(&guest.dlmp, "dladm delete-vnic vnic1");
    wait_for("it is taken back", || {
        net.ways() == ["--"; 2] && ["net0", "net1"].iter().all(|port| !net.is_promiscuous(port))
    });
}

#[test]
fn a_tagging_guest_of_a_bridge_is_reached_and_the_ports_are_as_before_at_last() {
    let net = Carded::new(&[9]);
    let (guest, expected) = (&net.guest, net.expected());
    // A third port, which an administrator has made promiscuous.
    veth((&guest.namespace, "net2"), (&guest.switch, "p2")).unwrap();
    guest.switch.ip("link set dev p2 master br0").unwrap();
    guest
        .namespace
        .ip("link set dev net2 promisc on\nlink add name br0 type bridge\nlink set dev aggr0 master br0")
        .unwrap();
    up(&guest.namespace, "br0").unwrap();
    let vm = Namespace::new("ee", "vm").unwrap();
    veth((&vm, "eth0"), (&guest.namespace, "tap0")).unwrap();
    guest.namespace.ip("link set dev tap0 master br0").unwrap();
    let inner = Environment::new(&vm, Pins::None).unwrap();
    typed(&inner, "dladm create-aggr -l eth0 aggr0");
    typed(&inner, "dladm create-vnic -l aggr0 -v 9 vnic9");
    vm.ip("link set dev vnic9 up\naddress add 10.7.9.7/24 dev vnic9").unwrap();
    wait_for("the host in the guest's VLAN", || reaches(&vm, "10.7.9.1"));
    wait_for("both ports have a way", || net.ways() == [expected; 2]);
    typed(&guest.dlmp, "dladm add-aggr -l net2 aggr0");
    guest.unplug("net0");
    guest.unplug("net1");
    wait_for("through the new port", || reaches(&vm, "10.7.9.1"));
    guest.plug("net0");
    guest.plug("net1");

    typed(&guest.dlmp, "dladm remove-aggr -l net2 aggr0");
    assert!(net.is_promiscuous("net2"), "that was the administrator's");
    typed(&guest.dlmp, "dladm remove-aggr -l net0 aggr0");
    assert!(!net.is_promiscuous("net0"));
    guest.namespace.ip("link set dev aggr0 nomaster").unwrap();
    typed(&guest.dlmp, "dladm delete-aggr aggr0");
    assert!(!net.is_promiscuous("net1"));
    let links = ip_json(&guest.namespace, "link show");
    let left: Vec<_> =
        links.as_array().unwrap().iter().filter(|link| link["ifname"].as_str().unwrap().starts_with("dlmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}
