//! `dlmp discover` against managers that are not ours: `peers/manager.py` knows the message from its C declarations alone.
//!
//! ```text
//!   host         switch      one           two
//!   net0 ------- p0 \
//!                    br0 --- net0 10.9.0.1
//!                        \-------------- net0 10.9.0.2
//!   net1 ------------------- net1 10.8.0.1
//! ```
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::Stdio;

use dlmp_testbed::{Environment, Namespace, Pins, bridge, up, veth, veth_down};
use dlmp_tests::{Peer, refused, run, typed};
use serde_json::Value;

/// LDMD_DISC_SEND as a big-endian machine sends it, in hexadecimal digits; zeros up to the 312 bytes.
const QUESTION: &str = "000000010587e4c400000002";

/// The host that asks, and two others.
struct Network {
    dlmp: Environment,
    host: Namespace,
    one: Namespace,
    two: Namespace,
    _switch: Namespace,
}

impl Network {
    fn new() -> Self {
        let [host, switch, one, two] = ["host", "switch", "one", "two"].map(|name| Namespace::new("ed", name).unwrap());
        for (namespace, port) in [(&host, "p0"), (&one, "p1"), (&two, "p2")] {
            veth((namespace, "net0"), (&switch, port)).unwrap();
        }
        bridge(&switch, "br0", &["p0", "p1", "p2"]).unwrap();
        veth((&host, "net1"), (&one, "net1")).unwrap();
        for (namespace, link, address) in [
            (&host, "net0", "10.9.0.9/24"),
            (&host, "net1", "10.8.0.9/24"),
            (&one, "net0", "10.9.0.1/24"),
            (&one, "net1", "10.8.0.1/24"),
            (&two, "net0", "10.9.0.2/24"),
        ] {
            namespace.ip(&format!("address add {address} dev {link}")).unwrap();
        }
        let dlmp = Environment::new(&host, Pins::None).unwrap();
        Self { dlmp, host, one, two, _switch: switch }
    }
}

/// What `dlmp discover -j` printed, sorted by host.
fn discovered(dlmp: &Environment, options: &str) -> Vec<Value> {
    let output = typed(dlmp, &format!("dlmp discover -t 3 -j {options}"));
    let mut managers: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    managers.sort_by_key(|manager| manager["host"].to_string());
    managers
}

/// Host, address, port, version and interface, as `-p -o` would print them.
fn fields(manager: &Value) -> String {
    let field = |name: &str| match &manager[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    ["host", "address", "port", "version", "interface"].map(field).join(":")
}

#[test]
fn managers_of_either_byte_order_that_answer_to_the_group_or_to_the_asker_are_shown_once() {
    let network = Network::new();
    let one = Peer::manager(&network.one, "--interface net0 --host sparc1 --version 3.6.0.4");
    let two = "--interface net0 --host x86 --version 1.0 --port 7000 --order little --reply asker --noise";
    let two = Peer::manager(&network.two, two);
    let managers = discovered(&network.dlmp, "");
    let shown: Vec<_> = managers.iter().map(fields).collect();
    assert_eq!(shown, ["sparc1:10.9.0.1:6482:3.6.0.4:net0", "x86:10.9.0.2:7000:1.0:net0"]);
    for manager in &managers {
        let delay = manager["delay"].as_f64().unwrap();
        assert!(delay > 0.0 && delay < 3000.0, "{delay} ms");
    }

    // The question came three times, as the published structure has it, from a port of its own, and not to be forwarded.
    // The manager that answers to the group hears itself, which is no question.
    for peer in [one, two] {
        let questions: Vec<_> = peer.received().into_iter().filter(|[_, _, hex]| hex.starts_with(QUESTION)).collect();
        assert_eq!(questions.len(), 3);
        for [sender, ttl, hex] in &questions {
            assert_eq!(*hex, format!("{QUESTION:0<624}"));
            assert!(sender.starts_with("10.9.0.9:") && !sender.ends_with(":64535"), "{sender}");
            assert_eq!(ttl, "1");
        }
    }
}

#[test]
fn hops_let_a_question_pass_routers() {
    let network = Network::new();
    let one = Peer::manager(&network.one, "--interface net0");
    assert_eq!(discovered(&network.dlmp, "--hops 32").len(), 1);
    let questions = one.received();
    assert!(questions.iter().any(|[_, ttl, hex]| ttl == "32" && hex.starts_with(QUESTION)), "{questions:?}");
}

#[test]
fn a_manager_on_two_networks_is_shown_once_and_each_network_is_asked_alone_when_named() {
    let network = Network::new();
    let options = "--host sparc1 --address 192.0.2.1";
    let _peers = ["net0", "net1"].map(|link| Peer::manager(&network.one, &format!("--interface {link} {options}")));
    assert_eq!(discovered(&network.dlmp, "").len(), 1);
    for link in ["net0", "net1"] {
        let shown: Vec<_> = discovered(&network.dlmp, &format!("-i {link}")).iter().map(fields).collect();
        assert_eq!(shown, [format!("sparc1:192.0.2.1:6482:3.6:{link}")]);
    }
    assert_eq!(discovered(&network.dlmp, "-i net0 -i net1 -i net0").len(), 1);
}

#[test]
fn a_manager_of_the_same_host_is_found_and_shares_the_port() {
    for reply in ["group", "asker"] {
        let network = Network::new();
        let manager = Peer::manager(&network.host, &format!("--interface net0 --host here --reply {reply}"));
        let shown: Vec<_> = discovered(&network.dlmp, "").iter().map(fields).collect();
        assert_eq!(shown, ["here:10.9.0.9:6482:3.6:net0"], "answers to the {reply}");
        drop(manager);
    }
}

#[test]
fn nobody_who_answers_is_no_failure_but_said() {
    let network = Network::new();
    let _noise = Peer::manager(&network.one, "--interface net0 --silent --noise");
    let outcome = run(&mut network.dlmp.line("dlmp discover -t 1"));
    assert_eq!((outcome.code, outcome.output.as_str()), (0, ""));
    assert_eq!(outcome.message, "nobody answered within 1 s; asked through net0, net1\n");
}

#[test]
fn a_manager_is_shown_at_once_and_cannot_control_the_terminal() {
    let network = Network::new();
    let _manager = Peer::manager(&network.one, "--interface net0 --host \u{1b}[2J\u{7}evil --version 3\u{9b}1m");
    let mut command = network.dlmp.line("exec dlmp discover -t 60");
    let mut discover = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(discover.stdout.take().unwrap());
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        output.read_line(line).unwrap();
    }
    // It still listens.
    assert_eq!(discover.try_wait().unwrap(), None);
    discover.kill().unwrap();
    discover.wait().unwrap();
    let words = lines.each_ref().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(words[0], ["HOST", "ADDRESS", "PORT", "VERSION", "INTERFACE", "DELAY"]);
    assert_eq!(words[1][..5], ["?[2J?evil", "10.9.0.1", "6482", "3?1m", "net0"]);
}

#[test]
fn everybody_may_ask() {
    let network = Network::new();
    let _manager = Peer::manager(&network.one, "--interface net0 --host sparc1");
    // A copy, since the one that was built may be where only root may look.
    let program = network.dlmp.runtime_dir().join("discover");
    fs::copy(network.dlmp.bin().join("dlmp"), &program).unwrap();
    let mut command = network.dlmp.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]).arg(program);
    let outcome = run(command.args(["discover", "-t", "3", "-p", "-o", "host,address"]));
    assert_eq!((outcome.code, outcome.output.as_str()), (0, "sparc1:10.9.0.1\n"), "{outcome:?}");
}

#[test]
fn an_interface_that_no_answer_can_come_by_is_refused_and_left_out() {
    let network = Network::new();
    let host = &network.host;
    for link in ["net2", "net3"] {
        veth_down((host, link), (&network.one, link)).unwrap();
    }
    veth((host, "net4"), (&network.one, "net4")).unwrap();
    host.ip("link set net3 up").unwrap();
    bridge(host, "br0", &["net1"]).unwrap();
    host.ip("address add 10.8.0.8/24 dev br0").unwrap();
    up(host, "br0").unwrap();
    for (name, reason) in [
        ("net9", "there is no link \"net9\""),
        ("lo", "the loopback"),
        ("net1", "a port of the bridge br0"),
        ("net2", "net2 is down"),
        ("net3", "net3 has no carrier"),
        ("net4", "no IPv4 address"),
    ] {
        let message = refused(&network.dlmp, &format!("dlmp discover -i net0 -i {name}"));
        assert!(message.starts_with("dlmp: discover: ") && message.contains(reason), "{message}");
        assert!(message.contains("\n  try: "), "{message}");
    }
    let _behind_the_bridge = Peer::manager(&network.one, "--interface net1 --host sparc1");
    let shown: Vec<_> = discovered(&network.dlmp, "").iter().map(fields).collect();
    assert_eq!(shown, ["sparc1:10.8.0.1:6482:3.6:br0"]);

    host.ip("link set net0 down\nlink set br0 down").unwrap();
    assert!(refused(&network.dlmp, "dlmp discover").contains("no interface"));
}

#[test]
fn a_port_that_another_program_keeps_to_itself_is_said() {
    let network = Network::new();
    let _theirs = network.host.enter(|| UdpSocket::bind("0.0.0.0:64535").unwrap()).unwrap();
    let message = refused(&network.dlmp, "dlmp discover");
    assert!(message.contains("64535") && message.contains("try: ss -ulpn sport = :64535"), "{message}");
    assert!(typed(&network.dlmp, "ss -ulpn sport = :64535").contains(":64535"));
}
