//! Managers on one network: real daemons of several hosts, and peers that know the messages from published C declarations alone
//! (`peers/manager.py`).
//!
//! ```text
//!   a: e0 10.9.0.1 --- pa \
//!   b: e0 10.9.0.2 --- pb  br0 (switch)
//!   c: e0 10.9.0.3 --- pc /
//! ```
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use dlmp_testbed::{Host, Namespace, bridge, up, veth};
use dlmp_tests::{Peer, client, json, received, refused, run, typed, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

/// An automatic address that managers take first when it is in their list of freed ones.
const FREED: &str = "00:14:4f:f9:00:07";
/// An address that may be given by hand.
const MANUAL: &str = "00:14:4f:fc:00:07";
/// `version_no` and `magic_no`, big-endian.
const HEADER: &str = "000000010587e4c4";

/// Three hosts on a switch. Nothing runs yet.
struct Network {
    hosts: [Host; 3],
    switch: Namespace,
}

impl Network {
    fn new() -> Self {
        let switch = Namespace::new("em", "switch").unwrap();
        let hosts = ["a", "b", "c"].map(|name| {
            let host = Namespace::new("em", name).unwrap();
            veth((&host, "e0"), (&switch, &format!("p{name}"))).unwrap();
            Host::new(&host).unwrap()
        });
        bridge(&switch, "br0", &["pa", "pb", "pc"]).unwrap();
        for (number, host) in (1..).zip(&hosts) {
            host.dlmp().namespace().ip(&format!("address add 10.9.0.{number}/24 dev e0")).unwrap();
        }
        Self { hosts, switch }
    }

    /// With `ldmd` on the first hosts.
    fn started(count: usize) -> Self {
        let network = Self::new();
        network.hosts[..count].iter().for_each(start);
        network
    }

    fn namespace(&self, host: usize) -> &Namespace {
        self.hosts[host].dlmp().namespace()
    }
}

/// Starts `ldmd`, and waits until it hears others.
fn start(host: &Host) {
    host.start().unwrap();
    wait_for("others are heard", || !manager(host)["interfaces"].as_array().unwrap().is_empty());
}

/// What `ldmd` finds when it starts.
fn configure(host: &Host, manager: &str) {
    fs::write(host.config(), format!("[manager]\n{manager}\n")).unwrap();
}

/// The setting by which a manager takes [`FREED`] first.
fn freed() -> String {
    format!("freed = [\"{FREED}\"]")
}

/// What `ldm list-manager -j` says.
fn manager(host: &Host) -> Value {
    json(host.dlmp(), "ldm list-manager -j")
}

fn counter(host: &Host, name: &str) -> i64 {
    let manager = manager(host);
    let counters = manager["counters"].as_array().unwrap();
    counters.iter().find(|counter| counter["name"] == name).unwrap()["count"].as_i64().unwrap()
}

/// Adds an Ethernet stub, and returns the address that it got.
fn add_switch(host: &Host, settings: &str, name: &str) -> String {
    typed(host.dlmp(), &format!("ldm add-vsw {settings} {name} primary"));
    address(host, name)
}

fn address(host: &Host, switch: &str) -> String {
    let switches = json(host.dlmp(), "ldm list-services -j");
    let row = switches.as_array().unwrap().iter().find(|row| row["name"] == switch);
    row.unwrap()["mac"].as_str().unwrap().to_owned()
}

/// What `ldm list` says is wrong with the domain `primary`.
fn problem(host: &Host) -> String {
    let domains = json(host.dlmp(), "ldm list -j primary");
    domains[0]["problem"].as_str().unwrap_or_default().to_owned()
}

/// Waits for what has to happen within a minute.
fn within_a_minute(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "a minute went by: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// A message of the published structure, big-endian, in hexadecimal digits.
fn message(kind: u32, payload: &str) -> String {
    format!("{:0<624}", format!("{HEADER}{kind:08x}00000000{payload}"))
}

/// A `mac_lookup_t`.
fn lookup(kind: u32, mac: &str, source: &str) -> String {
    message(kind, &format!("0000{}{}", mac.replace(':', ""), hex(source)))
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_message_is_exchanged_byte_for_byte_with_peers_that_know_the_declarations_alone() {
    let network = Network::new();
    let [host, ..] = &network.hosts;
    configure(host, &freed());
    let peer = Peer::manager(network.namespace(1), &format!("--interface e0 --taken {FREED} --silent"));
    start(host);

    // Our question, and the answer of theirs that the address is taken: another one is found, and the list forgets it.
    let found = add_switch(host, "", "sw0");
    assert_ne!(found, FREED);
    wait_for("the address is forgotten", || manager(host)["freed"] == serde_json::json!([]));
    let questions = peer.received();
    let expected = lookup(0, FREED, "10.9.0.1");
    assert!(questions.iter().any(|[from, ttl, hex]| *hex == expected && from == "10.9.0.1:64535" && ttl == "1"));

    // Their question in either byte order, and our answer in kind.
    let asked = client(network.namespace(1), &format!("lookup --interface e0 --seconds 1 {found}"));
    assert!(asked.contains(&format!("taken {found} 10.9.0.1")), "{asked:?}");
    let expected = lookup(1, &found, "10.9.0.1");
    assert!(asked.iter().filter_map(|line| received(line)).any(|[_, _, hex]| hex == expected), "{asked:?}");
    let asked = client(network.namespace(1), &format!("lookup --interface e0 --seconds 1 --order little {found}"));
    assert!(asked.contains(&format!("taken {found} 10.9.0.1")), "{asked:?}");
    let reversed: String = found.split(':').rev().collect();
    let expected = format!("01000000c4e4870501000000{:08}{reversed}0000{}", 0, hex("10.9.0.1"));
    let answers: Vec<_> = asked.iter().filter_map(|line| received(line)).collect();
    assert!(answers.iter().any(|[_, _, hex]| *hex == format!("{expected:0<624}")), "{asked:?}");

    // Their question who is there.
    let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let version = run(Command::new(host.dlmp().bin().join("ldmd")).arg("--version")).output.replace("ldmd ", "dlmp ");
    let asked = client(network.namespace(1), "discover --interface e0 --seconds 1");
    assert!(asked.contains(&format!("manager {} 10.9.0.1 6482 {}", host_name.trim(), version.trim())), "{asked:?}");
    let discovery = format!("{:0<64}{:0<512}0a09000100001952", hex(version.trim()), hex(host_name.trim()));
    let answers: Vec<_> = asked.iter().filter_map(|line| received(line)).collect();
    assert!(answers.iter().any(|[_, _, hex]| *hex == message(3, &discovery)), "{asked:?}");
    // And one from the same host.
    let asked = client(network.namespace(0), "discover --interface e0 --seconds 1");
    assert!(asked.iter().any(|line| line.contains(" 10.9.0.1 6482 ")), "{asked:?}");
}

#[test]
fn three_hosts_find_each_other_and_never_have_the_same_address() {
    let network = Network::started(3);
    let output = typed(network.hosts[0].dlmp(), "dlmp discover -t 3 -j");
    let found: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let addresses: BTreeSet<_> = found.iter().map(|manager| manager["address"].as_str().unwrap()).collect();
    assert_eq!((found.len(), addresses), (3, BTreeSet::from(["10.9.0.1", "10.9.0.2", "10.9.0.3"])), "{output}");

    let per_host = 12;
    thread::scope(|scope| {
        for host in &network.hosts {
            let line = format!("for i in $(seq {per_host}); do ldm add-vsw s$i primary & done; wait");
            scope.spawn(move || assert_eq!(typed(host.dlmp(), &line), ""));
        }
    });
    let addresses: BTreeSet<String> = (network.hosts.iter())
        .flat_map(|host| (1..=per_host).map(move |number| address(host, &format!("s{number}"))))
        .collect();
    assert_eq!(addresses.len(), 3 * per_host);
    for mac in &addresses {
        assert!(("00:14:4f:f8"..="00:14:4f:fb:ff:ff").contains(&mac.as_str()), "{mac}");
    }
}

#[test]
fn of_two_that_claim_the_same_address_at_once_exactly_one_gets_it() {
    let network = Network::new();
    let [a, b, _] = &network.hosts;
    for host in [a, b] {
        configure(host, &freed());
    }
    thread::scope(|scope| {
        for host in [a, b] {
            scope.spawn(|| start(host));
        }
    });
    let got = [a, b].map(|host| add_switch(host, "", "sw0"));
    assert_eq!(got.iter().filter(|mac| *mac == FREED).count(), 1, "{got:?}");
}

#[test]
fn an_address_of_a_manager_that_was_killed_in_the_middle_of_a_claim_is_free() {
    let network = Network::new();
    let [a, b, _] = &network.hosts;
    for host in [a, b] {
        configure(host, &freed());
    }
    // Whether the claim was over by then is not to matter: nobody used the address.
    start(a);
    a.end(Signal::SIGKILL).unwrap();
    start(b);
    assert_eq!(add_switch(b, "", "sw0"), FREED);
    // Who comes back believes that it is free, and learns that it is not.
    start(a);
    assert_ne!(add_switch(a, "", "sw0"), FREED);
    wait_for("the address is forgotten", || manager(a)["freed"] == serde_json::json!([]));
    assert_eq!((problem(a), problem(b)), (String::new(), String::new()));
}

#[test]
fn a_freed_address_is_used_again_also_after_a_restart() {
    let network = Network::started(1);
    let [host, ..] = &network.hosts;
    let first = add_switch(host, "", "sw0");
    typed(host.dlmp(), "ldm rm-vsw sw0");
    assert_eq!(manager(host)["freed"], serde_json::json!([first]));
    assert_eq!(add_switch(host, "", "sw1"), first);
    assert_eq!(manager(host)["freed"], serde_json::json!([]));

    // Setting another one frees it as well.
    typed(host.dlmp(), &format!("ldm set-vsw mac-addr={MANUAL} sw1"));
    assert_eq!(manager(host)["freed"], serde_json::json!([first]));
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        host.end(signal).unwrap();
        start(host);
        assert_eq!(manager(host)["freed"], serde_json::json!([first]));
    }
    typed(host.dlmp(), "ldm set-vsw mac-addr= sw1");
    assert_eq!(address(host, "sw1"), first);
}

#[test]
fn an_address_that_two_hosts_were_given_by_hand_is_reported_on_both() {
    let network = Network::started(2);
    let [a, b, _] = &network.hosts;
    for host in [a, b] {
        add_switch(host, &format!("mac-addr={MANUAL}"), "sw0");
    }
    for (host, other) in [(a, "10.9.0.2"), (b, "10.9.0.1")] {
        within_a_minute("the collision is reported", || problem(host).contains(other));
        assert!(problem(host).contains(MANUAL), "{}", problem(host));
        let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        wait_for("the other host is named", || problem(host).contains(host_name.trim()));
        assert!(typed(host.dlmp(), "ldm list").contains(MANUAL));
        assert!(host.log().contains(&format!("{MANUAL} is also used by the manager at {other}")), "{}", host.log());
        assert_eq!(manager(host)["collisions"][0]["manager"], other);
    }
    typed(a.dlmp(), "ldm rm-vsw sw0");
    assert_eq!(problem(a), "");
}

#[test]
fn a_duplicate_that_arose_while_the_network_was_split_is_found_within_a_minute_of_its_healing() {
    let network = Network::new();
    let [a, b, _] = &network.hosts;
    let [pa, pb] = ["pa", "pb"].map(|port| format!("link set dev {port} "));
    network.switch.ip(&format!("{pa} down\n{pb} down")).unwrap();
    for host in [a, b] {
        configure(host, &freed());
        start(host);
        assert_eq!(add_switch(host, "", "sw0"), FREED);
    }
    network.switch.ip(&format!("{pa} up\n{pb} up")).unwrap();
    for (host, other) in [(a, "10.9.0.2"), (b, "10.9.0.1")] {
        within_a_minute("the duplicate is found", || problem(host).contains(other) && problem(host).contains(FREED));
    }
}

#[test]
fn all_addresses_are_checked_at_the_start_on_request() {
    let network = Network::started(1);
    let [a, b, _] = &network.hosts;
    add_switch(a, &format!("mac-addr={MANUAL}"), "sw0");
    // The same address, by a file that was copied.
    let text = fs::read_to_string(a.config()).unwrap();
    fs::write(b.config(), format!("[manager]\nmac-collision-check = true\n\n{text}")).unwrap();
    start(b);
    wait_for("the collision is reported", || problem(b).contains("10.9.0.1"));
}

#[test]
fn one_who_denies_every_address_makes_allocation_fail_with_its_name_and_nothing_else() {
    let network = Network::started(1);
    let [host, ..] = &network.hosts;
    let before = add_switch(host, "", "sw0");
    let forger = Peer::manager(network.namespace(1), "--interface e0 --deny --silent --quiet");
    thread::scope(|scope| {
        let failed = scope.spawn(|| {
            // Those that were ready are not asked for again, so they are used first.
            let lines = (0..20).map(|number| format!("ldm add-vsw sw{number}x primary"));
            let mut outcomes = lines.map(|line| run(&mut host.dlmp().line(&line)));
            outcomes.find(|outcome| outcome.code != 0).unwrap().message
        });
        wait_for("none is ready", || manager(host)["ready"] == serde_json::json!([]));
        // Others are served meanwhile.
        add_switch(host, &format!("mac-addr={MANUAL}"), "sw2");
        // Who does not wait gets nothing later.
        let interrupted = run(&mut host.dlmp().line("timeout -s INT 1 ldm add-vsw gone primary"));
        assert_eq!(interrupted.code, 124, "{interrupted:?}");
        let message = failed.join().unwrap();
        assert!(
            message.contains("Automatic MAC allocation failed.  Please set the vsw MAC address manually."),
            "{message}"
        );
        assert!(message.contains("10.9.0.2"), "{message}");
    });
    assert_eq!(address(host, "sw0"), before);
    drop(forger);
    add_switch(host, "", "sw3");
    assert!(!typed(host.dlmp(), "ldm list-services").contains("gone"));
}

#[test]
fn what_is_no_message_is_dropped_and_counted_by_reason() {
    let network = Network::started(1);
    let [host, ..] = &network.hosts;
    let _noise = Peer::manager(network.namespace(1), "--interface e0 --noise");
    client(network.namespace(2), "discover --interface e0 --seconds 0.5");
    for (name, count) in [
        ("bad-length", 4),
        ("bad-magic", 3),
        ("bad-version", 1),
        ("bad-kind", 1),
        ("bad-text", 1),
        ("taken", 1),
        ("managers", 1),
        ("discoveries", 1),
    ] {
        wait_for(name, || counter(host, name) == count);
    }
    add_switch(host, "", "sw0");
}

#[test]
fn an_interface_that_comes_and_goes_is_heard_on_whenever_it_is_there() {
    let network = Network::started(1);
    let [host, ..] = &network.hosts;
    let (near, far) = (network.namespace(0), network.namespace(1));
    let answers = || {
        let asked = client(far, "discover --interface e0 --seconds 0.5");
        asked.iter().any(|line| line.contains(" 10.9.0.1 6482 "))
    };
    let joined = || {
        near.run(&["ip", "maddress", "show", "dev", "e0"])
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("239.129.9.27"))
    };
    assert!(answers() && joined());
    for (gone, back) in [
        ("link set dev e0 down", "link set dev e0 up"),
        ("address delete 10.9.0.1/24 dev e0", "address add 10.9.0.1/24 dev e0"),
        ("link set dev e0 down\nlink set dev e0 name other", "link set dev other name e0\nlink set dev e0 up"),
    ] {
        for _ in 0..3 {
            near.ip(gone).unwrap();
            wait_for("it is not heard on", || manager(host)["interfaces"] == serde_json::json!([]));
            near.ip(back).unwrap();
            wait_for("it is heard on again", || joined() && answers());
        }
    }
    near.ip("link delete e0").unwrap();
    wait_for("it is not heard on", || manager(host)["interfaces"] == serde_json::json!([]));
    add_switch(host, "", "alone");
    veth((near, "e0"), (&network.switch, "pa")).unwrap();
    network.switch.ip("link set dev pa master br0").unwrap();
    up(near, "e0").unwrap();
    near.ip("address add 10.9.0.1/24 dev e0").unwrap();
    wait_for("the new one is heard on", || joined() && answers());
}

#[test]
fn only_the_configured_interfaces_are_heard_on_and_the_configured_port_is_told() {
    let network = Network::new();
    let [host, ..] = &network.hosts;
    veth((network.namespace(0), "e1"), (network.namespace(1), "e1")).unwrap();
    for (namespace, address) in [(network.namespace(0), "10.8.0.1/24"), (network.namespace(1), "10.8.0.2/24")] {
        namespace.ip(&format!("address add {address} dev e1")).unwrap();
    }
    configure(host, "interfaces = [\"e1\"]\nport = 7000");
    start(host);
    let asked =
        |interface: &str| client(network.namespace(1), &format!("discover --interface {interface} --seconds 0.5"));
    assert!(asked("e1").iter().any(|line| line.contains(" 10.8.0.1 7000 ")));
    assert!(!asked("e0").iter().any(|line| line.starts_with("manager ")));
}

#[test]
fn hosts_behind_a_multicast_router_are_reached_with_hops() {
    for hops in [1, 2] {
        let network = Network::new();
        let [a, b, _] = &network.hosts;
        // Host c becomes the router: b moves behind it.
        let (near, router) = (network.namespace(1), network.namespace(2));
        near.ip("link delete e0").unwrap();
        veth((near, "e0"), (router, "e1")).unwrap();
        near.ip("address add 10.7.0.2/24 dev e0\nroute add default via 10.7.0.3").unwrap();
        router.ip("address add 10.7.0.3/24 dev e1").unwrap();
        router.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap()).unwrap();
        network.namespace(0).ip("route add default via 10.9.0.3").unwrap();
        let _router = Peer::router(router, "239.129.9.27", ["e0", "e1"]);
        for host in [a, b] {
            configure(host, &format!("hops = {hops}\n{}", freed()));
            start(host);
        }
        let found = typed(a.dlmp(), &format!("dlmp discover -t 3 -p -o address --hops {hops}"));
        let got = [a, b].map(|host| add_switch(host, "", "sw0"));
        let have_it = got.iter().filter(|mac| *mac == FREED).count();
        // Out of reach nobody can know; within it only one may have it.
        let expected = if hops == 1 { ("10.9.0.1\n".to_owned(), 2) } else { ("10.7.0.2\n10.9.0.1\n".to_owned(), 1) };
        let mut lines: Vec<_> = found.lines().collect();
        lines.sort_unstable();
        assert_eq!((lines.join("\n") + "\n", have_it), expected, "hops {hops}: {got:?}");
    }
}

#[test]
fn settings_that_cannot_be_are_refused_at_the_start_with_their_line() {
    let network = Network::new();
    let [host, ..] = &network.hosts;
    for (setting, reason) in [
        ("hops = 0", "1 to 32"),
        ("hops = 33", "1 to 32"),
        ("port = 65536", "65536"),
        ("freed = [\"x\"]", "x"),
        ("hop = 1", "unknown field"),
    ] {
        configure(host, setting);
        let outcome = run(&mut host.command());
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.message.contains(reason) && outcome.message.contains("line 2"), "{setting}: {outcome:?}");
    }
}

#[test]
fn an_address_of_the_automatic_range_cannot_be_given_by_hand() {
    let network = Network::started(1);
    let [host, ..] = &network.hosts;
    let own = add_switch(host, "", "sw0");
    for mac in ["00:14:4f:f8:00:00", "00:14:4f:fb:ff:ff"] {
        let message = refused(host.dlmp(), &format!("ldm add-vsw mac-addr={mac} sw1 primary"));
        assert!(message.contains(mac) && message.contains("00:14:4f:fc:00:00"), "{message}");
    }
    for (number, mac) in
        ["00:14:4f:fc:00:00", "00:14:4f:ff:ff:ff", "00:14:4f:f7:ff:ff", "2:8:20:0:0:1"].iter().enumerate()
    {
        add_switch(host, &format!("mac-addr={mac}"), &format!("m{number}"));
    }
    // What it has already may be said.
    typed(host.dlmp(), &format!("ldm set-vsw mac-addr={own} sw0"));
    assert_eq!(address(host, "sw0"), own);
}
