//! Aggregations over virtual network devices: what a guest knows of them, and over which no aggregation is operable.
//!
//! `ldmd` tells a guest of its vnets by the alias of their links. Here the test writes it.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use dlmp_testbed::{Pins, Tap};
use dlmp_tests::{Guest, json, refused, run, typed, wait_for};
use serde_json::{Value, json as value};

const CREATE: &str = "dladm create-aggr -l net0 -l net1 aggr0";
const READY: &str = "net-dev=net0 speed=1000 duplex=full linkprop=phys-state custom=enable";

const STUB: &str = "linkprop=phys-state custom=enable";
const STUB_PROBLEM: &str = "net0 (vnet vnet6 of the switch primary-vsw0): its switch is an Ethernet stub, \
                            and an aggregation over one is not operable";

/// Makes `net0` or `net1` the vnet `vnet6` or `vnet1` of a switch, with these properties.
fn tell(guest: &Guest, link: &str, properties: &str) {
    let vnet = if link == "net0" { "vnet6 primary-vsw0" } else { "vnet1 ldg5-vsw0" };
    guest.namespace.ip(&format!("link set dev {link} alias \"dlmp vnet {vnet} {properties}\"")).unwrap();
}

/// A guest with two vnets over which an aggregation is operable.
fn guest_with_vnets() -> Guest {
    let guest = Guest::new(Pins::None);
    tell(&guest, "net0", READY);
    tell(&guest, "net1", READY);
    guest
}

fn problems(guest: &Guest) -> Value {
    json(&guest.dlmp, "dladm show-aggr -j aggr0")[0]["problems"].clone()
}

#[test]
fn an_aggregation_over_vnets_that_are_not_set_up_for_it_is_refused_also_by_force() {
    let guest = guest_with_vnets();
    for (properties, words) in [
        ("linkprop=phys-state custom=enable", ["Ethernet stub", "ldm set-vsw net-dev=LINK ldg5-vsw0"]),
        ("net-dev=net2 custom=enable", ["phys-state", "ldm set-vnet linkprop=phys-state vnet1 DOMAIN"]),
        ("net-dev=net2 linkprop=phys-state", ["custom", "ldm set-vnet custom=enable vnet1 DOMAIN"]),
        ("net-dev=net2", ["phys-state", "ldm set-vnet linkprop=phys-state custom=enable vnet1 DOMAIN"]),
    ] {
        tell(&guest, "net1", properties);
        for line in [CREATE, "dladm create-aggr -f -l net0 -l net1 aggr0"] {
            let message = refused(&guest.dlmp, line);
            assert!(message.contains("net1 (vnet vnet1 of the switch ldg5-vsw0)"), "{message}");
            assert!(words.iter().all(|word| message.contains(word)), "{words:?} are not in: {message}");
            assert_ne!(run(&mut guest.dlmp.line("ip link show dev aggr0")).code, 0, "`{line}` made it");
        }
    }

    typed(&guest.dlmp, "dladm create-aggr -l net0 aggr0");
    let message = refused(&guest.dlmp, "dladm add-aggr -f -l net1 aggr0");
    assert!(message.contains("ldm set-vnet linkprop=phys-state custom=enable vnet1 DOMAIN"), "{message}");
    tell(&guest, "net1", READY);
    typed(&guest.dlmp, "dladm add-aggr -l net1 aggr0");
    assert_eq!(problems(&guest), value!([]));
}

#[test]
fn uplinks_of_different_speed_are_refused_unless_forced() {
    let guest = guest_with_vnets();
    tell(&guest, "net1", &READY.replace("1000", "10000"));
    let message = refused(&guest.dlmp, CREATE);
    for words in
        ["vnet6 of the switch primary-vsw0) runs at 1000 Mb/s", "vnet1 of the switch ldg5-vsw0) at 10000 Mb/s", "-f"]
    {
        assert!(message.contains(words), "{message}");
    }

    // Beside another link the speed of the uplink counts, too.
    let _slow = Tap::new(&guest.namespace, "slow0", 100).unwrap();
    let message = refused(&guest.dlmp, "dladm create-aggr -l slow0 -l net0 aggr0");
    assert!(message.contains("slow0 runs at 100 Mb/s and net0 (vnet vnet6 of"), "{message}");

    typed(&guest.dlmp, "dladm create-aggr -f -l net0 -l net1 aggr0");
    let problems = problems(&guest);
    assert!(problems[0].as_str().unwrap().contains("at 10000 Mb/s: the ports of an aggregation have the same speed"));
}

#[test]
fn a_vnet_has_the_speed_of_its_uplink_and_its_own_number() {
    let guest = guest_with_vnets();
    typed(&guest.dlmp, CREATE);
    tell(&guest, "net1", &READY.replace(" speed=1000 duplex=full", ""));
    let shown = typed(&guest.dlmp, "dladm show-phys -p -o link,media,state,speed,duplex,device");
    assert_eq!(shown, "net0:Ethernet:up:1000:full:vnet0\nnet1:Ethernet:up:0:unknown:vnet1\n");
    let shown = typed(&guest.dlmp, "dladm show-aggr -x -p -o port,speed,duplex");
    assert_eq!(shown, ":1000Mb:full\nnet0:1000Mb:full\nnet1:0Mb:unknown\n");
}

#[test]
fn what_becomes_inoperable_later_is_reported_until_it_is_solved_and_traffic_goes_on() {
    let guest = guest_with_vnets();
    typed(&guest.dlmp, CREATE);
    guest.give_address("");
    tell(&guest, "net0", STUB);
    wait_for("it is reported", || problems(&guest) == value!([STUB_PROBLEM]));
    for line in ["dladm show-aggr", "dladm show-aggr -x", "dladm show-aggr -S"] {
        let shown = typed(&guest.dlmp, line);
        assert!(shown.contains(&format!("\nProblem of aggr0: {STUB_PROBLEM}\n")), "`{line}`: {shown}");
    }
    assert_eq!(guest.port_state("net0"), ("up".into(), "attached".into()));
    guest.wait_until_reachable();

    tell(&guest, "net0", READY);
    wait_for("it is solved", || problems(&guest) == value!([]));
    assert!(!typed(&guest.dlmp, "dladm show-aggr").contains("Problem"));
}

#[test]
fn a_problem_and_its_end_are_news() {
    let guest = guest_with_vnets();
    typed(&guest.dlmp, CREATE);
    let mut monitor = guest.dlmp.line("dlmp monitor -j aggr0").stdout(Stdio::piped()).spawn().unwrap();
    let changes = BufReader::new(monitor.stdout.take().unwrap()).lines();
    let (sender, news) = mpsc::channel();
    thread::spawn(move || changes.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    // It prints what happens from its start on, and nothing says when that is: so it happens until it was seen.
    let mut seen = BTreeSet::new();
    wait_for("both are news", || {
        tell(&guest, "net0", STUB);
        wait_for("it is reported", || problems(&guest) == value!([STUB_PROBLEM]));
        tell(&guest, "net0", READY);
        wait_for("it is solved", || problems(&guest) == value!([]));
        for line in news.try_iter() {
            let change: Value = serde_json::from_str(&line).unwrap();
            assert_eq!((&change["port"], &change["reason"]), (&Value::Null, &value!(STUB_PROBLEM)), "{line}");
            seen.insert(change["state"].as_str().unwrap().to_owned());
        }
        seen.iter().eq(["problem", "solved"])
    });
    monitor.kill().unwrap();
    monitor.wait().unwrap();
}
