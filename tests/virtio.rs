//! Ports that are network cards of QEMU, which filter addresses and VLANs by themselves: groups and VLANs survive a failover
//! between them. Such cards are in the machine that scripts/vm-virtio makes; elsewhere these tests have nothing to do.
//!
//! DLMP_TEST_VIRTIO names four cards on one hub: two for the guest and one for the host, all virtio-net, and one more for
//! the guest, an e1000e.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dlmp_testbed::{
    Environment, FrameSocket, GroupReceiver, GroupSender, Groups, Look, Members, Namespace, Pins, Received,
    mac_of_group, up,
};
use dlmp_tests::{ip_json, json, run, typed, wait_for};

/// Frames a second: an emulated processor is slow.
const RATE: u32 = 500;

/// The cards are there once.
static CARDS: Mutex<()> = Mutex::new(());

/// A guest with cards `net0` (virtio), `net1` (virtio) and `net2` (e1000e), and a host with `net0`, 10.9.0.1.
struct Machine {
    guest: Namespace,
    host: Namespace,
    dlmp: Environment,
    /// Each card: its name at first, and where it is now.
    cards: Vec<(String, Namespace, &'static str)>,
    _alone: MutexGuard<'static, ()>,
}

impl Machine {
    /// Takes the cards, if there are any.
    fn take() -> Option<Self> {
        let alone = CARDS.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(cards) = std::env::var("DLMP_TEST_VIRTIO") else {
            eprintln!("skipped: DLMP_TEST_VIRTIO names no cards");
            return None;
        };
        let (guest, host) = (Namespace::new("ee", "guest").unwrap(), Namespace::new("ee", "host").unwrap());
        let places = [(&guest, "net0"), (&guest, "net1"), (&host, "net0"), (&guest, "net2")];
        let mut moved = Vec::new();
        for (card, (namespace, name)) in cards.split_whitespace().zip(places) {
            ip(&["link", "set", "dev", card, "netns", namespace.name(), "name", name]);
            up(namespace, name).unwrap();
            moved.push((card.to_owned(), namespace.clone(), name));
        }
        assert_eq!(moved.len(), places.len(), "DLMP_TEST_VIRTIO is {cards:?}");
        host.ip("address add 10.9.0.1/24 dev net0").unwrap();
        let dlmp = Environment::new(&guest, Pins::Mounted).unwrap();
        Some(Self { guest, host, dlmp, cards: moved, _alone: alone })
    }

    /// Makes `aggr0` over these ports, with the address 10.9.0.2.
    fn aggregation(&self, ports: &str) {
        typed(&self.dlmp, &format!("dladm create-aggr {ports} aggr0"));
        typed(&self.dlmp, "ipadm create-ip aggr0");
        typed(&self.dlmp, "ipadm create-addr -T static -a 10.9.0.2/24 aggr0/v4");
    }

    /// The filter and the role of a port.
    fn shown(&self, port: &str) -> (String, String) {
        let rows = json(&self.dlmp, "dladm show-mcast -P -j aggr0");
        let row = rows.as_array().unwrap().iter().find(|row| row["port"] == port).unwrap().clone();
        let text = |field: &str| row[field].as_str().unwrap_or("--").to_owned();
        (text("filter"), text("role"))
    }

    /// How each port lets VLANs in.
    fn ways(&self) -> BTreeMap<String, String> {
        let rows = json(&self.dlmp, "dladm show-aggr -x -j -o port,vlans aggr0");
        let row = |row: &serde_json::Value| {
            Some((row["port"].as_str()?.into(), row["vlans"].as_str().unwrap_or("--").into()))
        };
        rows.as_array().unwrap().iter().filter_map(row).collect()
    }

    fn wait_for_ways(&self, expected: &[(&str, &str)]) {
        let expected = expected.iter().map(|&(port, way)| (port.to_owned(), way.to_owned())).collect();
        wait_for(&format!("{expected:?}"), || self.ways() == expected);
    }

    /// The VLANs that are registered with each port, by devices that are down.
    fn registered(&self) -> BTreeMap<String, Vec<u64>> {
        let mut registered: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for device in ip_json(&self.guest, "link show type vlan").as_array().into_iter().flatten() {
            let Some(port) = device["link"].as_str().filter(|port| port.starts_with("net")) else { continue };
            assert!(!device["flags"].as_array().unwrap().contains(&"UP".into()), "{device}");
            registered.entry(port.into()).or_default().push(device["linkinfo"]["info_data"]["id"].as_u64().unwrap());
        }
        registered.values_mut().for_each(|vlans| vlans.sort_unstable());
        registered
    }

    fn is_promiscuous(&self, port: &str) -> bool {
        let flags = ip_json(&self.guest, &format!("link show dev {port}"))[0]["flags"].clone();
        flags.as_array().unwrap().contains(&"PROMISC".into())
    }

    /// What `ethtool` says of a card's filter of VLANs.
    fn vlan_filter(&self, port: &str) -> String {
        let outcome = run(self.guest.command("ethtool").args(["-k", port]));
        let line = outcome.output.lines().find_map(|line| line.strip_prefix("rx-vlan-filter: ").map(str::to_owned));
        line.unwrap_or_else(|| panic!("{outcome:?}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for (card, namespace, name) in &self.cards {
            // As good as it goes: whatever failed before is to be told.
            let _ = run(Command::new("ip").args(["-n", namespace.name(), "link", "set", "dev", name, "down"]));
            let back = ["-n", namespace.name(), "link", "set", "dev", name, "netns", "1", "name", card];
            let _ = run(Command::new("ip").args(back));
        }
    }
}

fn ip(arguments: &[&str]) {
    let outcome = run(Command::new("ip").args(arguments));
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

fn reaches(from: &Namespace, address: &str) -> bool {
    run(from.command("ping").args(["-q", "-c", "1", "-W", "2", address])).code == 0
}

fn groups(count: u32) -> [Groups; 2] {
    [Groups::v4(0, count / 2), Groups::v6(0, count / 2)]
}

#[test]
fn groups_survive_failover_between_cards_that_filter() {
    let Some(machine) = Machine::take() else { return };
    let (guest, host) = (&machine.guest, &machine.host);
    machine.aggregation("-l net0 -l net1");
    let unwanted = [Groups::v4(1_000_000, 20)];

    // 40 fit into a card's 64 entries, 90 do not.
    for (count, filter) in [(40, "exact"), (90, "all")] {
        let wanted = groups(count);
        let members = Members::join(guest, "aggr0", &wanted).unwrap();
        let ready = || ["net0", "net1"].map(|port| machine.shown(port).0) == [filter, filter];
        wait_for("both filters are as they must be", ready);
        let lists = || guest.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev_mcast")).unwrap().unwrap();
        let last = mac_of_group(wanted[1].addresses().last().unwrap()).map(|byte| format!("{byte:02x}")).concat();
        if filter == "exact" {
            wait_for("both cards have the last group", || lists().matches(&last).count() == 3);
        }

        let sent = [&wanted[..], &unwanted].concat();
        let sender = GroupSender::start(host, "net0", &sent, RATE).unwrap();
        let above = GroupReceiver::start(guest, "aggr0").unwrap();
        let all_arrive = |when: &str| {
            let (active, _) = if machine.shown("net0").1 == "active" { ("net0", "net1") } else { ("net1", "net0") };
            let port = GroupReceiver::start(guest, active).unwrap();
            let rounds = sender.rounds(3);
            assert_eq!(above.received(rounds.clone(), &wanted).unwrap(), Received::default(), "{when}, {count} groups");
            let foreign = port.received(rounds, &wanted).unwrap().foreign;
            assert_eq!(foreign.is_empty(), filter == "exact", "{when}: {active} let {foreign:?} in");
        };
        all_arrive("at first");
        for _ in 0..2 {
            let (from, to) = if machine.shown("net0").1 == "active" { ("net0", "net1") } else { ("net1", "net0") };
            guest.ip(&format!("link set dev {from} down")).unwrap();
            wait_for("the other card takes multicast", || machine.shown(to).1 == "active");
            all_arrive(&format!("from {from} to {to}"));
            up(guest, from).unwrap();
            wait_for("both cards are ready", || ["net0", "net1"].iter().all(|port| machine.shown(port).1 != "--"));
            all_arrive(&format!("{from} is back"));
        }
        drop(members);
    }
}

/// The host in this VLAN, as 10.7.VLAN.1.
fn host_in_vlan(machine: &Machine, vlan: u16) {
    let name = format!("net0.{vlan}");
    machine.host.ip(&format!("link add link net0 name {name} type vlan id {vlan}")).unwrap();
    machine.host.ip(&format!("address add 10.7.{vlan}.1/24 dev {name}\nlink set dev {name} up")).unwrap();
}

/// A container on a new VNIC.
fn container(machine: &Machine, vnic: &str, options: &str) -> Namespace {
    let container = Namespace::new("ee", vnic).unwrap();
    typed(&machine.dlmp, &format!("dladm create-vnic {options} -l aggr0 {vnic}"));
    machine.guest.ip(&format!("link set dev {vnic} netns {}", container.name())).unwrap();
    container.ip(&format!("link set dev {vnic} up")).unwrap();
    container
}

#[test]
fn vlans_of_clients_come_in_through_cards_that_drop_others() {
    let Some(machine) = Machine::take() else { return };
    let (guest, dlmp) = (&machine.guest, &machine.dlmp);
    [7, 8, 9].into_iter().for_each(|vlan| host_in_vlan(&machine, vlan));
    machine.aggregation("-l net0 -l net1");

    // A VNIC in a VLAN, a VLAN device over the aggregation, and a guest that tags by itself.
    let inside = container(&machine, "vnic1", "-v 7");
    inside.ip("address add 10.7.7.7/24 dev vnic1").unwrap();
    wait_for("VNIC", || reaches(&inside, "10.7.7.1"));
    guest.ip("link add link aggr0 name aggr0.8 type vlan id 8\naddress add 10.7.8.7/24 dev aggr0.8").unwrap();
    up(guest, "aggr0.8").unwrap();
    wait_for("VLAN device", || reaches(guest, "10.7.8.1"));
    let trunk = container(&machine, "vnic2", "");
    trunk
        .ip("link add link vnic2 name in9 type vlan id 9\naddress add 10.7.9.7/24 dev in9\nlink set dev in9 up")
        .unwrap();
    wait_for("tagging guest", || reaches(&trunk, "10.7.9.1"));

    let all = || BTreeMap::from(["net0", "net1"].map(|port| (port.to_owned(), vec![7, 8, 9])));
    wait_for("all are registered with both", || machine.registered() == all());
    machine.wait_for_ways(&[("net0", "registered"), ("net1", "registered")]);
    let links = typed(dlmp, "dladm show-link -p -o link");
    assert!(!links.contains("dlmp"), "{links}");
    assert!(is_answered_at_vlan_0(&machine), "a priority without a VLAN");

    let everybody = |when: &str| {
        for (who, from, address) in
            [("VNIC", &inside, "10.7.7.1"), ("VLAN device", guest, "10.7.8.1"), ("tagging guest", &trunk, "10.7.9.1")]
        {
            wait_for(&format!("{who} {when}"), || reaches(from, address));
        }
    };
    for port in ["net0", "net1"] {
        guest.ip(&format!("link set dev {port} down")).unwrap();
        everybody(&format!("without {port}"));
        up(guest, port).unwrap();
        wait_for("the port is up", || typed(dlmp, "dladm show-aggr -x -p -o state aggr0").matches("up").count() == 3);
    }
    assert_eq!(machine.registered(), all(), "down and up again");

    // Answers to the ports' own questions are in a VLAN that is registered, and no other link of the host gives them.
    machine.host.enter(|| std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1")).unwrap().unwrap();
    machine.host.ip("address add 10.9.0.5/32 dev net0.7").unwrap();
    typed(dlmp, "dladm set-linkprop -p probe-ip=10.5.0.0/24+10.9.0.5,probe-vlan-id=7 aggr0");
    let detection = || json(dlmp, "dladm show-aggr -nS -j aggr0")[0]["detection"].clone();
    wait_for("probes decide", || detection() == "link and probes");
    typed(dlmp, "dladm reset-linkprop aggr0");

    let [daemon] = dlmp.daemons()[..] else { panic!("not one daemon") };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon.try_into().unwrap()), nix::sys::signal::SIGKILL).unwrap();
    wait_for("it is dead", || dlmp.daemons().is_empty());
    everybody("without a daemon");
    typed(dlmp, "dladm create-aggr -t -l net2 aggr1");
    wait_for("the next one knows them", || machine.ways().get("net1").is_some_and(|way| way == "registered"));
    typed(dlmp, "dladm delete-aggr aggr1");
    assert_eq!(machine.registered(), all(), "taken over");

    typed(dlmp, "dladm remove-aggr -l net1 aggr0");
    assert_eq!(machine.registered().into_keys().collect::<Vec<_>>(), ["net0"]);
    typed(dlmp, "dladm delete-vnic vnic1");
    guest.ip("link delete dev aggr0.8").unwrap();
    typed(dlmp, "dladm delete-vnic vnic2");
    wait_for("none is registered", || machine.registered().is_empty());
}

#[test]
fn more_vlans_than_are_registered_make_the_cards_promiscuous() {
    let Some(machine) = Machine::take() else { return };
    let (guest, dlmp) = (&machine.guest, &machine.dlmp);
    machine.aggregation("-l net0 -l net2");
    assert_eq!([machine.vlan_filter("net0"), machine.vlan_filter("net2")], ["on [fixed]", "on [fixed]"]);
    let device = |vlan: u16| format!("link add link aggr0 name in{vlan} type vlan id {vlan}\n");
    host_in_vlan(&machine, 77);
    let many: String = (13..=77).map(device).collect();
    guest.ip(&format!("{many}address add 10.7.77.7/24 dev in77\nlink set dev in77 up")).unwrap();
    machine.wait_for_ways(&[("net0", "promiscuous"), ("net2", "promiscuous")]);
    wait_for("the last of them", || reaches(guest, "10.7.77.1"));
    wait_for("none is registered", || machine.registered().is_empty());
    assert!(machine.is_promiscuous("net0") && machine.is_promiscuous("net2"));
    let problems = json(dlmp, "dladm show-aggr -j -o problems aggr0")[0]["problems"].to_string();
    assert!(["net0", "net2"].iter().all(|port| problems.contains(&format!("{port} is promiscuous"))), "{problems}");
    for port in ["net0", "net2"] {
        guest.ip(&format!("link set dev {port} down")).unwrap();
        wait_for(&format!("without {port}"), || reaches(guest, "10.7.77.1"));
        up(guest, port).unwrap();
        wait_for("the port is up", || typed(dlmp, "dladm show-aggr -x -p -o state aggr0").matches("up").count() == 3);
    }

    // A quarter fewer, and one is registered already.
    guest.ip("link add link net2 name others type vlan id 77").unwrap();
    let fewer: String = (13..=29).map(|vlan| format!("link delete dev in{vlan}\n")).collect();
    guest.ip(&fewer).unwrap();
    machine.wait_for_ways(&[("net0", "registered"), ("net2", "registered")]);
    wait_for("they are so no more", || !machine.is_promiscuous("net0") && !machine.is_promiscuous("net2"));
    wait_for("the last of them", || reaches(guest, "10.7.77.1"));
    assert_eq!(machine.registered().values().map(Vec::len).collect::<Vec<_>>(), [48, 48]);

    // Deleted in the middle of it, all is as before.
    guest.ip(&(80..=120).map(device).collect::<String>()).unwrap();
    machine.wait_for_ways(&[("net0", "promiscuous"), ("net2", "promiscuous")]);
    typed(dlmp, "ipadm delete-ip aggr0");
    typed(dlmp, "dladm delete-aggr aggr0");
    assert_eq!(machine.registered(), BTreeMap::from([("net2".to_owned(), vec![77])]));
    assert!(!machine.is_promiscuous("net0") && !machine.is_promiscuous("net2"));
}

/// Whether the aggregation answers an ARP request with a tag that has a priority and no VLAN.
fn is_answered_at_vlan_0(machine: &Machine) -> bool {
    let socket = FrameSocket::open(&machine.host, "net0").unwrap();
    let own = socket.address();
    let mut request = [&[0xff; 6][..], &own, &[0x81, 0, 0xa0, 0, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    request.extend(own);
    request.extend([10, 9, 0, 1, 0, 0, 0, 0, 0, 0, 10, 9, 0, 2]);
    request.resize(64, 0);
    (0..5).any(|_| {
        socket.send(&request).unwrap();
        let mut seen = [0; 64];
        std::iter::from_fn(|| match socket.receive(&mut seen, Duration::from_secs(1)).unwrap() {
            Look::Nothing => None,
            Look::Sent(_) => Some(false),
            // An answer, from the address that was asked for.
            Look::Received(_) => {
                Some(seen[12..14] == [8, 6] && seen[20..22] == [0, 2] && seen[28..32] == [10, 9, 0, 2])
            }
        })
        .any(|answered| answered)
    })
}
