//! Whom ports ask: never this host itself; and a router that answers nobody without an address.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use dlmp_testbed::{Namespace, Pins, up, veth_down};
use dlmp_tests::{Guest, HOST, Peer, ip_json, json, run, typed, wait_for};
use serde_json::{Value, json as value};

const WARY: &str = "10.9.0.254";
const WARY_V6: &str = "fe80::77";
const NOBODY: &str = "link; probing has no target that vouches for ports";

/// What `dladm show-aggr -nS` says of each port.
fn rows(guest: &Guest) -> Vec<Value> {
    json(&guest.dlmp, "dladm show-aggr -nS -j aggr0").as_array().unwrap().clone()
}

/// The targets that are asked through any port.
fn targets(guest: &Guest) -> BTreeSet<String> {
    let rows = rows(guest);
    let all = rows.iter().flat_map(|row| row["targets"].as_array().unwrap());
    all.map(|target| target.as_str().unwrap().to_owned()).collect()
}

fn set(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|&text| text.to_owned()).collect()
}

/// The ports in this state.
fn ports(guest: &Guest, state: &str) -> Vec<String> {
    let rows = rows(guest);
    let those = rows.iter().filter(|row| row["state"] == state);
    those.map(|row| row["port"].as_str().unwrap().to_owned()).collect()
}

/// The port that the aggregation's own address sits on.
fn seat(guest: &Guest) -> String {
    json(&guest.dlmp, "dladm show-aggr -C -j aggr0")[0]["port"].as_str().unwrap().to_owned()
}

/// The link-local address of a link.
fn link_local(namespace: &Namespace, link: &str) -> String {
    let shown = || ip_json(namespace, &format!("-6 address show dev {link} scope link"));
    wait_for("a link-local address that is ready", || {
        shown()[0]["addr_info"][0].as_object().is_some_and(|address| !address.contains_key("tentative"))
    });
    shown()[0]["addr_info"][0]["local"].as_str().unwrap().to_owned()
}

fn set_switch(namespace: &Namespace, file: &str, value: &str) {
    namespace.enter(|| fs::write(format!("/proc/sys/net/{file}"), value)).unwrap().unwrap();
}

/// Asserts that no target is found for a while, nor one kept that was.
fn assert_alone(guest: &Guest) {
    wait_for("there is no target", || targets(guest).is_empty() && guest.detection() == NOBODY);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!((targets(guest), guest.detection().as_str()), (BTreeSet::new(), NOBODY));
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_host_alone_on_its_network_is_no_target_of_its_own_in_either_family() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.ignore_multicast_echoes();
    // Its kernel answers echoes to all hosts, also its own.
    set_switch(&guest.namespace, "ipv4/icmp_echo_ignore_broadcasts", "0");
    link_local(&guest.namespace, "aggr0");
    typed(&guest.dlmp, "dladm set-linkprop -p probe-ip=+ aggr0");
    assert_alone(&guest);
    let (busy, idle) = guest.busy_and_idle_port();
    for port in [busy, idle] {
        assert_eq!(guest.probe_state(port)["state"], "active");
    }
}

#[test]
fn a_container_of_this_host_is_no_target_though_it_answers() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.ignore_multicast_echoes();
    let container = Namespace::new("ee", "container").unwrap();
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    guest.namespace.ip(&format!("link set dev vnic1 netns {} name eth0", container.name())).unwrap();
    set_switch(&container, "ipv4/icmp_echo_ignore_broadcasts", "0");
    container.ip("link set dev eth0 up\naddress add 10.9.0.7/24 dev eth0").unwrap();
    link_local(&container, "eth0");
    wait_for("it answers", || {
        run(guest.namespace.command("ping").args(["-q", "-c", "1", "-W", "1", "10.9.0.7"])).code == 0
    });
    typed(&guest.dlmp, "dladm set-linkprop -p probe-ip=+ aggr0");
    assert_alone(&guest);
    // Nor is it as the router of the host.
    guest.namespace.ip("route add default via 10.9.0.7").unwrap();
    assert_alone(&guest);
}

#[test]
fn an_address_that_this_host_gets_later_is_no_target_any_more_whoever_named_it() {
    let guest = Guest::with_aggregation(Pins::None);
    let host = HOST.to_string();
    for (address, property) in [("10.9.0.7", "probe-ip=+10.9.0.1,+10.9.0.7"), ("10.9.0.8", "probe-ip=+")] {
        guest.host.ip(&format!("address add {address}/24 dev net0")).unwrap();
        if property == "probe-ip=+" {
            let routes = format!("route add default via {host}\nroute add 10.10.0.0/24 via {address}");
            guest.namespace.ip(&routes).unwrap();
        }
        guest.probe(property);
        wait_for("both are asked", || targets(&guest) == set(&[&host, address]));
        guest.namespace.ip(&format!("address add {address}/32 dev lo")).unwrap();
        wait_for("the other one alone is asked", || targets(&guest) == set(&[&host]));
        let (busy, idle) = guest.busy_and_idle_port();
        guest.cut_off(busy);
        wait_for("the break is found", || guest.probe_state(busy)["state"] == "failed");
        assert_eq!(guest.busy_and_idle_port().0, idle);
        guest.reconnect(busy);
        wait_for("it is used again", || ports(&guest, "active").len() == 2);
        // It has gone again, and is a target again.
        guest.namespace.ip(&format!("address delete {address}/32 dev lo")).unwrap();
        wait_for("both are asked again", || targets(&guest) == set(&[&host, address]));
    }
}

#[test]
fn two_hosts_without_a_router_lose_one_another_and_find_each_other_again() {
    let guest = Guest::with_aggregation(Pins::None);
    set_switch(&guest.switch, "ipv6/icmp/echo_ignore_multicast", "1");
    let peer = link_local(&guest.host, "net0");
    guest.probe("probe-ip=+");
    assert_eq!(targets(&guest), set(&[&peer]));
    for _ in 0..2 {
        guest.host.ip("link set dev net0 down").unwrap();
        wait_for("the peer is missed", || guest.detection() != "link and probes");
        thread::sleep(Duration::from_secs(3));
        assert_eq!(ports(&guest, "active").len(), 2, "its death fails nobody");
        up(&guest.host, "net0").unwrap();
        wait_for("the peer is found again", || guest.detection() == "link and probes");
        assert_eq!(targets(&guest), set(&[&peer]));
        guest.wait_until_reachable();
        let (busy, idle) = guest.busy_and_idle_port();
        guest.cut_off(busy);
        wait_for("the break is found", || guest.probe_state(busy)["state"] == "failed");
        assert_eq!(guest.busy_and_idle_port().0, idle);
        guest.reconnect(busy);
        wait_for("it is used again", || ports(&guest, "active").len() == 2);
    }
}

/// A router that answers nobody without an address, and how it comes to be a target.
#[derive(Debug, Clone, Copy)]
enum Named {
    Given,
    Routed,
    GivenV6,
}

fn with_wary_router(named: Named) -> (Guest, Peer) {
    let guest = Guest::with_aggregation(Pins::None);
    let own = link_local(&guest.namespace, "aggr0");
    let router = Peer::wary(&guest.host, &format!("{WARY} {WARY_V6}"), &own);
    match named {
        Named::Given => guest.probe(&format!("probe-ip=+{WARY}")),
        Named::GivenV6 => guest.probe(&format!("probe-ip=+{WARY_V6}")),
        Named::Routed => {
            guest.namespace.ip(&format!("route add default via {WARY}")).unwrap();
            guest.probe("probe-ip=+");
        }
    }
    (guest, router)
}

#[test]
fn a_dead_path_is_left_whichever_it_is_though_the_router_answers_nobody_without_an_address() {
    for named in [Named::Given, Named::Routed, Named::GivenV6] {
        let (guest, _router) = with_wary_router(named);
        let address = if matches!(named, Named::GivenV6) { WARY_V6 } else { WARY };
        for _ in 0..3 {
            let (busy, idle) = guest.busy_and_idle_port();
            // One address, two ports: as the documents of Solaris show it.
            wait_for("the busy port reaches the router, the other one that port", || {
                guest.probe_state(busy)["flags"] == "u--3" && guest.probe_state(idle)["flags"] == "u-2-"
            });
            assert_eq!(guest.probe_state(busy)["targets"], value!([address]));
            let record = guest
                .flow(Duration::from_millis(2500))
                .event(Duration::from_millis(500), "silent break", || {
                    guest.cut_off(busy);
                    Ok(())
                })
                .run()
                .unwrap();
            for stream in [&record.forth, &record.back] {
                let report = stream.total();
                assert!(report.outage.is_none_or(|outage| outage.ended), "{named:?}: no traffic any more: {report:?}");
            }
            assert_eq!((guest.probe_state(busy)["state"].as_str(), seat(&guest)), (Some("failed"), idle.to_owned()));
            assert_eq!(guest.probe_state(idle)["state"], "active");
            guest.reconnect(busy);
            wait_for("it is used again", || ports(&guest, "active").len() == 2);
        }
        // The idle one fails as well, and moves nobody.
        let (busy, idle) = guest.busy_and_idle_port();
        guest.cut_off(idle);
        wait_for("the break is found", || guest.probe_state(idle)["state"] == "failed");
        assert_eq!((guest.probe_state(busy)["state"].as_str(), seat(&guest)), (Some("active"), busy.to_owned()));
    }
}

#[test]
fn with_every_path_dead_the_first_that_returns_is_found_by_a_source_that_is_lent_to_it() {
    for (named, home) in [(Named::Routed, false), (Named::GivenV6, true)] {
        let (guest, _router) = with_wary_router(named);
        let (busy, idle) = guest.busy_and_idle_port();
        for port in [busy, idle] {
            guest.cut_off(port);
        }
        wait_for("both are failed", || ports(&guest, "failed").len() == 2);
        thread::sleep(Duration::from_secs(2));
        let returns = if home { busy } else { idle };
        guest.reconnect(returns);
        wait_for("it is found", || ports(&guest, "active") == [returns]);
        assert_eq!(seat(&guest), returns);
        guest.wait_until_reachable();
    }
}

#[test]
fn of_three_paths_the_one_that_is_left_is_found_and_a_router_that_dies_moves_nobody() {
    let (guest, router) = with_wary_router(Named::Given);
    veth_down((&guest.namespace, "net2"), (&guest.switch, "p2")).unwrap();
    guest.switch.ip("link set dev p2 master br0").unwrap();
    up(&guest.switch, "p2").unwrap();
    typed(&guest.dlmp, "dladm add-aggr -l net2 aggr0");
    up(&guest.namespace, "net2").unwrap();
    wait_for("three ports carry traffic", || ports(&guest, "active").len() == 3);
    let end = |port: &str| port.replace("net", "p");
    let mut left: Vec<String> = ports(&guest, "active");
    for _ in 0..2 {
        let busy = seat(&guest);
        guest.switch.ip(&format!("link set dev {} nomaster", end(&busy))).unwrap();
        left.retain(|port| *port != busy);
        wait_for("the path is left, and no other", || ports(&guest, "active") == left && left.contains(&seat(&guest)));
        guest.wait_until_reachable();
    }
    for port in ["p0", "p1", "p2"] {
        guest.switch.ip(&format!("link set dev {port} master br0")).unwrap();
    }
    wait_for("all are used again", || ports(&guest, "active").len() == 3);

    let before = seat(&guest);
    drop(router);
    wait_for("the router is missed", || guest.detection().contains("no target answers"));
    thread::sleep(Duration::from_secs(2));
    assert_eq!((ports(&guest, "active").len(), seat(&guest)), (3, before));
}
