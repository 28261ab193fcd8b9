//! A port has no addresses, no routes and no IPv6: what others put there is taken off, told, and cuts nobody off.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use dlmp_testbed::{DhcpServer, Pins};
use dlmp_tests::{GUEST, Guest, ip_json, json, run, typed, wait_for};
use nix::sys::signal::Signal;

/// What the host's DHCP server leases.
const RANGE: &str = "10.9.0.10,10.9.0.50,255.255.255.0,1h";

/// What is told of the aggregation.
fn problems(guest: &Guest) -> String {
    json(&guest.dlmp, "dladm show-aggr -j aggr0")[0]["problems"].to_string()
}

/// Asserts that a problem of the aggregation has all these words.
#[track_caller]
fn assert_told(guest: &Guest, words: &[&str]) {
    let told = problems(guest);
    for word in words {
        assert!(told.contains(word), "{word:?} is not in {told}");
    }
}

/// Waits until a link has no addresses, no routes of others and no IPv6.
fn wait_until_quiet(guest: &Guest, link: &str) {
    wait_for(&format!("{link} is quiet"), || is_quiet(guest, link));
}

fn is_quiet(guest: &Guest, link: &str) -> bool {
    let shown = |line: &str| run(&mut guest.dlmp.line(line)).output;
    let routes = ["-4", "-6"].map(|family| shown(&format!("ip {family} route show table all type unicast dev {link}")));
    guest.namespace.addresses(link).unwrap().is_empty()
        && routes.iter().all(String::is_empty)
        && shown(&format!("cat /proc/sys/net/ipv6/conf/{link}/disable_ipv6")) == "1\n"
}

fn warnings(guest: &Guest) -> usize {
    let log = fs::read_to_string(guest.dlmp.runtime_dir().join("dlmpd.log")).unwrap();
    log.lines().filter(|line| line.contains(" WARN ") && line.contains("others put ")).count()
}

fn default_routes(guest: &Guest) -> String {
    run(&mut guest.dlmp.line("ip route show default")).output
}

/// Types lines in the guest that have to succeed.
fn ip(guest: &Guest, lines: &str) {
    guest.namespace.ip(lines).unwrap();
}

#[test]
fn what_stands_on_ports_before_the_start_is_gone_after_it() {
    let guest = Guest::with_aggregation(Pins::Mounted);
    guest.end_daemon(Signal::SIGKILL);
    ip(&guest, "address add 10.9.0.66/24 dev net0\nroute add default via 10.9.0.1 dev net0");
    run(&mut guest.dlmp.line("echo 0 >/proc/sys/net/ipv6/conf/net1/disable_ipv6"));
    ip(&guest, "address add 2001:db8:9::5/64 dev net1 nodad\nroute add default via 2001:db8:9::1 dev net1");
    // Replies to what is sent from it come to nobody.
    let ping = run(guest.namespace.command("ping").args(["-c", "1", "-W", "1", "-I", "net0", "10.9.0.1"]));
    assert_ne!(ping.code, 0, "the port receives what comes to its own address: {ping:?}");

    guest.start_daemon();
    for port in ["net0", "net1"] {
        assert!(is_quiet(&guest, port), "{port}: {}", run(&mut guest.dlmp.line("ip addr; ip route")).output);
    }
    assert_eq!(default_routes(&guest), "");
    guest.wait_until_reachable();
    let words =
        ["the address 10.9.0.66/24", "default via 10.9.0.1 on net0, a port", "2001:db8:9::5/64", "on net1, a port"];
    assert_told(&guest, &words);
    assert!(typed(&guest.dlmp, "dladm show-aggr aggr0").contains("Problem of aggr0: others put the address"));
    assert_eq!(warnings(&guest), 2);
}

#[test]
fn what_comes_to_a_port_later_is_gone_at_once() {
    for pins in [Pins::None, Pins::Mounted] {
        let guest = Guest::with_aggregation(pins);
        assert_eq!(problems(&guest), "[]");
        // As zeroconf does, with the route that it adds.
        ip(&guest, "address add 169.254.7.7/16 dev net0\nroute add 203.0.113.0/24 dev net0 metric 1002");
        wait_until_quiet(&guest, "net0");
        assert_told(&guest, &["the address 169.254.7.7/16", "the route 203.0.113.0/24 on net0, a port"]);
        // A route needs no address of its own.
        ip(&guest, "route add 198.51.100.0/24 dev net1 table 77");
        wait_until_quiet(&guest, "net1");
        assert_told(&guest, &["the route 198.51.100.0/24 on net1, a port"]);
        guest.wait_until_reachable();
        assert_eq!(guest.namespace.addresses("aggr0").unwrap(), [GUEST]);
    }
}

#[test]
fn ipv6_that_others_switch_on_is_switched_off_on_ports_and_on_lower_ends() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    for link in ["net1", "dlmp0", "dlmp1"] {
        let line =
            format!("ip link set dev {link} addrgenmode eui64; echo 0 >/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
        assert_eq!(run(&mut guest.dlmp.line(&line)).code, 0);
        wait_until_quiet(&guest, link);
    }
    let words = ["IPv6 on net1, a port", "on dlmp0, the lower end of aggr0", "on dlmp1, the lower end of vnic1"];
    assert_told(&guest, &words);
    guest.wait_until_reachable();
}

/// A program that runs in the guest until it is dropped.
struct Running(Child);

impl Running {
    fn start(guest: &Guest, line: &str) -> Self {
        Self(guest.dlmp.line(&format!("exec {line}")).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_puts_it_on_again_at_once_is_answered_ever_more_rarely_and_it_stays_a_problem() {
    let guest = Guest::with_aggregation(Pins::None);
    let events = guest.dlmp.runtime_dir().join("events");
    let _monitor = Running::start(&guest, &format!("ip -o monitor address >{}", events.display()));
    let taken_off = || fs::read_to_string(&events).unwrap_or_default().matches("Deleted").count();
    let again = "while ip address replace 10.9.0.77/24 dev net0; do sleep 0.05; done";
    let stubborn = Running::start(&guest, &format!("sh -c '{again}'"));
    let state = || json(&guest.dlmp, "ipadm show-addr -j -o state,problem aggr0/v4")[0].clone();
    wait_for("what stands on the port cuts the address off", || state()["state"] == "inaccessible");
    assert!(state()["problem"].as_str().unwrap().contains("10.9.0.77/24 on net0"), "{}", state());
    wait_for("it is taken off again", || taken_off() >= 2);
    let second = Instant::now();
    wait_for("it is taken off for the fourth time", || taken_off() >= 4);
    // 2 and 4 seconds later.
    assert!(second.elapsed() >= Duration::from_secs(5), "it was taken off too often");
    assert_told(&guest, &["10.9.0.77/24 on net0, a port"]);
    assert_eq!(warnings(&guest), 1, "one line is enough");
    drop(stubborn);
    wait_until_quiet(&guest, "net0");
    guest.wait_until_reachable();
    wait_for("the address is of use again", || state()["state"] == "ok");
}

#[test]
fn a_lease_on_a_port_does_not_keep_the_aggregation_from_its_own() {
    let guest = Guest::new(Pins::Mounted);
    let _server = DhcpServer::start(&guest.host, "net0", RANGE).unwrap();
    typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    typed(&guest.dlmp, "ipadm create-ip aggr0");
    typed(&guest.dlmp, "ipadm create-addr -T dhcp aggr0/v4");
    let routed = |guest: &Guest| default_routes(guest).starts_with("default via 10.9.0.1 dev aggr0 ");
    wait_for("the lease has its route", || routed(&guest));

    // As after a boot where a client of the port's was there first.
    guest.namespace.shut_down();
    wait_for("the ports are gone", || ip_json(&guest.switch, "link show dev p1").is_null());
    guest.namespace.boot().unwrap();
    guest.connect_ports();
    ip(
        &guest,
        "address add 10.9.0.150/24 dev net0 valid_lft 3600 preferred_lft 3600\nroute add default via 10.9.0.1 dev net0",
    );
    guest.start_daemon();
    wait_for("the lease has its route again", || routed(&guest));
    wait_until_quiet(&guest, "net0");
    guest.wait_until_reachable();
    assert_told(&guest, &["the address 10.9.0.150/24", "default via 10.9.0.1 on net0, a port"]);
}

#[test]
fn a_default_route_of_others_is_no_reason_to_lose_a_lease() {
    let guest = Guest::new(Pins::None);
    let _server = DhcpServer::start(&guest.host, "net0", RANGE).unwrap();
    ip(&guest, "link add eth9 type veth peer name far9\nlink set dev eth9 up\nlink set dev far9 up");
    ip(&guest, "address add 192.0.2.2/24 dev eth9\nroute add default via 192.0.2.1 dev eth9");
    typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    typed(&guest.dlmp, "ipadm create-ip aggr0");
    typed(&guest.dlmp, "ipadm create-addr -T dhcp aggr0/v4");
    let shown = || json(&guest.dlmp, "ipadm show-addr -j -o state,addr,problem aggr0/v4")[0].clone();
    let told = shown();
    assert_eq!(told["state"], "ok");
    let problem = told["problem"].as_str().unwrap();
    assert!(problem.contains("default via 192.0.2.1 dev eth9") && problem.contains("10.9.0.1"), "{problem}");
    assert!(default_routes(&guest).starts_with("default via 192.0.2.1 dev eth9"));
    guest.wait_until_reachable();

    // The next daemon has the lease, too.
    guest.end_daemon(Signal::SIGKILL);
    guest.start_daemon();
    wait_for("the lease is there", || shown()["addr"] == told["addr"] && shown()["state"] == "ok");

    ip(&guest, "route del default via 192.0.2.1 dev eth9");
    wait_for("the lease has its route", || default_routes(&guest).starts_with("default via 10.9.0.1 dev aggr0 "));
    wait_for("the problem is solved", || shown()["problem"].is_null());
}
