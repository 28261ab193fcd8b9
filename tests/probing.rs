//! Paths that die while every carrier stays up are found by probes, and only they.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use dlmp_engine::Action;
use dlmp_engine::record::{Line, What, replay};
use dlmp_testbed::{Environment, Namespace, Pins, Record, bridge, veth};
use dlmp_tests::{Guest, HOST, assert_whole, ip_json, json, refused, typed, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json as value};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A guest whose aggregation is probed with the host as its target.
fn probed(pins: Pins) -> Guest {
    let guest = Guest::with_aggregation(pins);
    guest.probe(&format!("probe-ip=+{HOST}"));
    guest
}

/// Asserts that a flow resumed after the first event and that nothing was duplicated.
fn assert_resumed(record: &Record) {
    for (way, stream) in [("to the host", &record.forth), ("to the guest", &record.back)] {
        let report = stream.total();
        assert_eq!(report.duplicated, 0, "{way}: {report:?}");
        assert_eq!(report.lost, stream.report(record.after_event(0)).lost, "{way}: lost before the fault: {report:?}");
        assert!(report.outage.is_none_or(|outage| outage.ended), "{way}: the flow did not resume: {report:?}");
    }
}

#[test]
fn traffic_moves_away_from_a_path_that_dies_silently_and_back_without_loss() {
    for pins in [Pins::None, Pins::Mounted] {
        let guest = probed(pins);
        let (busy, idle) = guest.busy_and_idle_port();
        let record = guest
            .flow(ms(1500))
            .event(ms(500), "silent break", || {
                guest.cut_off(busy);
                Ok(())
            })
            .run()
            .unwrap();
        assert_resumed(&record);
        assert_eq!(guest.port_state(busy).0, "up", "its carrier is there");
        let failed = guest.probe_state(busy);
        assert_eq!((&failed["state"], &failed["flags"]), (&value!("failed"), &value!("u---")), "{failed}");
        assert!(failed["reason"].as_str().unwrap().starts_with("no target and no transitive peer for "), "{failed}");
        assert_eq!(guest.busy_and_idle_port().0, idle);

        let record = guest
            .flow(ms(4000))
            .event(ms(500), "repair", || {
                guest.reconnect(busy);
                Ok(())
            })
            .run()
            .unwrap();
        assert_whole(&record);
        wait_for("the port is used again", || guest.probe_state(busy)["state"] == "active");
    }
}

#[test]
fn a_target_that_dies_moves_nobody_and_the_displays_say_so() {
    let guest = probed(Pins::None);
    let before = guest.busy_and_idle_port();
    guest.host.ip(&format!("address delete {HOST}/24 dev net0")).unwrap();
    wait_for("the target is found dead", || guest.detection().contains("no target answers"));
    for port in ["net0", "net1"] {
        assert_eq!(guest.probe_state(port)["state"], "active");
    }
    guest.host.ip(&format!("address add {HOST}/24 dev net0")).unwrap();
    wait_for("the target answers again", || guest.detection() == "link and probes");
    guest.wait_until_reachable();
    assert_eq!(guest.busy_and_idle_port(), before);
}

#[test]
fn with_every_path_dead_traffic_goes_to_the_first_one_that_returns() {
    let guest = probed(Pins::None);
    let (busy, idle) = guest.busy_and_idle_port();
    guest.cut_off(busy);
    guest.cut_off(idle);
    wait_for("both are failed", || ["net0", "net1"].iter().all(|port| guest.probe_state(port)["state"] == "failed"));
    assert!(guest.has_carrier("aggr0"), "the carrier follows the links, never the probes");
    guest.reconnect(idle);
    guest.wait_until_reachable();
    assert_eq!(guest.busy_and_idle_port().0, idle);
    assert_eq!(guest.probe_state(busy)["state"], "failed");
}

#[test]
fn the_flags_tell_how_each_port_is_known_to_be_alive() {
    let guest = probed(Pins::None);
    let (busy, idle) = guest.busy_and_idle_port();
    wait_for("the idle port is vouched for by the busy one alone", || guest.probe_state(idle)["flags"] == "u-2-");
    let (busy_row, idle_row) = (guest.probe_state(busy), guest.probe_state(idle));
    assert_eq!(busy_row["flags"], "u--3", "{busy_row}");
    assert_eq!((&busy_row["targets"], &busy_row["xtargets"]), (&value!([HOST.to_string()]), &value!([idle])));
    assert_eq!((&idle_row["targets"], &idle_row["xtargets"]), (&value!([]), &value!([busy])));
}

#[test]
fn a_guest_probes_between_its_own_ports_through_an_aggregation_that_probes_too() {
    for pins in [Pins::None, Pins::Mounted] {
        // A service domain: a bridge above an aggregation, which has no address.
        let domain = Guest::new(pins);
        typed(&domain.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
        bridge(&domain.namespace, "vsw0", &["aggr0"]).unwrap();
        domain.probe(&format!("probe-ip=+{HOST}"));

        let namespace = Namespace::new("ee", "inner").unwrap();
        veth((&namespace, "net0"), (&domain.namespace, "vnet0")).unwrap();
        veth((&namespace, "net1"), (&domain.switch, "vnet1")).unwrap();
        domain.namespace.ip("link set dev vnet0 master vsw0").unwrap();
        domain.switch.ip("link set dev vnet1 master br0").unwrap();
        let dlmp = Environment::new(&namespace, Pins::None).unwrap();
        let guest = Guest { namespace, switch: domain.switch.clone(), host: domain.host.clone(), dlmp };
        typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
        guest.give_address("");
        guest.probe(&format!("probe-ip=+{HOST}"));
        for (port, other) in [("net0", "net1"), ("net1", "net0")] {
            wait_for(&format!("{port} reaches {other}"), || guest.probe_state(port)["xtargets"] == value!([other]));
        }
        let rules = &json(&domain.dlmp, "dlstat show-aggr -v -j aggr0")[0]["rules"];
        assert_eq!(rules["rx-probe-forged"], 0, "{rules}");
        // The service domain's own go on all the same.
        assert_eq!(domain.probe_state("net0")["xtargets"], value!(["net1"]));
        assert_eq!(domain.detection(), "link and probes");
    }
}

#[test]
fn until_probing_is_configured_the_link_state_alone_decides_and_afterwards_again() {
    let guest = Guest::with_aggregation(Pins::None);
    assert_eq!(guest.detection(), "link");
    guest.probe(&format!("probe-ip=+{HOST},probe-fdt=500ms"));
    let shown = typed(&guest.dlmp, "dladm show-linkprop -c -o property,value,effective -p probe-fdt,probe-ip aggr0");
    assert_eq!(shown, format!("probe-fdt:500ms:500ms\nprobe-ip:+{HOST}:+{HOST}\n"));
    typed(&guest.dlmp, "dladm reset-linkprop -p probe-ip aggr0");
    assert_eq!(guest.detection(), "link");
    let (busy, _) = guest.busy_and_idle_port();
    guest.cut_off(busy);
    std::thread::sleep(ms(500));
    assert_eq!(guest.probe_state(busy)["state"], "active", "nobody looks behind the link");
}

#[test]
fn sources_are_followed_whoever_configures_them() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.namespace.ip("address add 10.8.0.2/24 dev aggr0").unwrap();
    guest.host.ip("address add 10.8.0.1/24 dev net0").unwrap();
    guest.probe("probe-ip=10.8.0.0/24+10.8.0.1");
    let targets = |guest: &Guest| guest.probe_state(guest.busy_and_idle_port().0)["targets"].clone();
    assert_eq!(targets(&guest), value!(["10.8.0.1"]));
    // Without its source the target is asked from the ports' own addresses.
    guest.namespace.ip("address delete 10.8.0.2/24 dev aggr0").unwrap();
    std::thread::sleep(ms(1500));
    assert_eq!(guest.detection(), "link and probes");
    let (busy, idle) = guest.busy_and_idle_port();
    guest.cut_off(busy);
    wait_for("the break is found", || guest.probe_state(busy)["state"] == "failed");
    assert_eq!(guest.busy_and_idle_port().0, idle);
}

#[test]
fn routers_are_found_in_the_routes_and_hosts_by_multicast_where_there_are_none() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.namespace.ip(&format!("route add default via {HOST}")).unwrap();
    guest.probe("probe-ip=+");
    assert_eq!(guest.probe_state(guest.busy_and_idle_port().0)["targets"], value!([HOST.to_string()]));

    let other = Guest::with_aggregation(Pins::None);
    other.ignore_multicast_echoes();
    other.host.enter(|| fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_broadcasts", "0")).unwrap().unwrap();
    other.probe("probe-ip=+");
    let (busy, idle) = other.busy_and_idle_port();
    assert_eq!(other.probe_state(busy)["targets"], value!([HOST.to_string()]));
    other.cut_off(busy);
    wait_for("the break is found", || other.probe_state(busy)["state"] == "failed");
    assert_eq!(other.busy_and_idle_port().0, idle);
}

#[test]
fn a_host_that_ignores_multicast_echoes_leaves_the_decision_to_the_link_state_and_that_is_said() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.ignore_multicast_echoes();
    typed(&guest.dlmp, "dladm set-linkprop -p probe-ip=+ aggr0");
    std::thread::sleep(ms(1500));
    assert!(guest.detection().starts_with("link; probing has no target"), "{}", guest.detection());
    assert_eq!(guest.probe_state("net0")["state"], "active");
}

#[test]
fn an_ipv6_target_is_asked_from_the_link_local_address() {
    let guest = Guest::with_aggregation(Pins::None);
    let links = ip_json(&guest.host, "-6 address show dev net0 scope link");
    let target = links[0]["addr_info"][0]["local"].as_str().unwrap().to_owned();
    guest.probe(&format!("probe-ip=+{target}"));
    let (busy, idle) = guest.busy_and_idle_port();
    wait_for("it is asked from the busy port", || guest.probe_state(busy)["targets"] == value!([target]));
    guest.cut_off(busy);
    wait_for("the break is found", || guest.probe_state(busy)["state"] == "failed");
    assert_eq!(guest.busy_and_idle_port().0, idle);
}

#[test]
fn a_new_daemon_goes_on_probing_and_loses_nothing() {
    let guest = probed(Pins::Mounted);
    let record = guest
        .flow(ms(2500))
        .event(ms(500), "end", || {
            guest.end_daemon(Signal::SIGKILL);
            Ok(())
        })
        .event(ms(1000), "start", || {
            guest.start_daemon();
            Ok(())
        })
        .run()
        .unwrap();
    assert_whole(&record);
    wait_for("probes decide again", || guest.detection() == "link and probes");
    let (busy, idle) = guest.busy_and_idle_port();
    guest.cut_off(busy);
    wait_for("the break is found", || guest.probe_state(busy)["state"] == "failed");
    assert_eq!(guest.busy_and_idle_port().0, idle);

    // The failed port is not trusted by the next daemon either, before it has shown that it is well.
    guest.end_daemon(Signal::SIGTERM);
    guest.start_daemon();
    assert_eq!(guest.probe_state(busy)["state"], "failed");
}

#[test]
fn forged_probes_and_answers_change_nothing() {
    let guest = probed(Pins::None);
    let (busy, idle) = guest.busy_and_idle_port();
    guest.cut_off(busy);
    wait_for("the break is found", || guest.probe_state(busy)["state"] == "failed");
    let rows = json(&guest.dlmp, "dladm show-aggr -x -j aggr0");
    let mac = |port: &str| rows.as_array().unwrap().iter().find(|row| row["port"] == port).unwrap()["address"].clone();
    // A response to the idle port as if the failed one had sent it, from the host, with every length.
    let [to, from] = [mac(idle), mac(busy)].map(|mac| octets(mac.as_str().unwrap()));
    let mut body = [&to[..], &from, &[0x88, 0xb5], b"DLMP", &[1, 1, 0, 0]].concat();
    body.resize(62, 7);
    guest.host.enter(|| send_all_lengths(&body)).unwrap();
    let forged = || {
        let rows = json(&guest.dlmp, "dlstat show-aggr -v -j aggr0");
        let rules = &rows.as_array().unwrap().iter().find(|row| row["port"] == idle).unwrap()["rules"];
        rules["rx-probe-forged"].as_u64().unwrap() + rules["rx-probe-malformed"].as_u64().unwrap()
    };
    wait_for("they are counted", || forged() > 0);
    assert_eq!(guest.probe_state(busy)["state"], "failed");
    assert_eq!(guest.probe_state(idle)["state"], "active");
}

fn octets(mac: &str) -> [u8; 6] {
    let octets: Vec<u8> = mac.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

/// Sends a frame out of `net0`, cut off at every length from its header on.
fn send_all_lengths(frame: &[u8]) {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};
    use std::os::fd::AsRawFd;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None).unwrap();
    let addresses = nix::ifaddrs::getifaddrs().unwrap().filter(|interface| interface.interface_name == "net0");
    let address =
        addresses.filter_map(|interface| interface.address).find_map(|address| address.as_link_addr().copied());
    for len in 14..=frame.len() {
        sendto(socket.as_raw_fd(), &frame[..len], &address.unwrap(), MsgFlags::empty()).unwrap();
    }
}

#[test]
fn probes_and_changes_of_state_can_be_watched() {
    let guest = probed(Pins::None);
    let (busy, idle) = guest.busy_and_idle_port();
    let mut monitor = guest.dlmp.line("dlmp monitor -j aggr0").stdout(Stdio::piped()).spawn().unwrap();
    let mut changes = BufReader::new(monitor.stdout.take().unwrap()).lines();
    let probes = typed(&guest.dlmp, "dlstat show-aggr -n -P t,i -p -o aggr,local,probe,rtt -i 1 aggr0 2");
    assert!(probes.lines().any(|line| line.starts_with("aggr0:10.9.0.2:i") && line.ends_with("ms")), "{probes}");
    assert!(probes.lines().any(|line| line.starts_with("aggr0:net") && line.contains(":t") && line.ends_with(':')));

    guest.cut_off(busy);
    let failed: Value = serde_json::from_str(&changes.next().unwrap().unwrap()).unwrap();
    assert_eq!((&failed["port"], &failed["state"]), (&value!(busy), &value!("failed")), "{failed}");
    let moved: Value = serde_json::from_str(&changes.next().unwrap().unwrap()).unwrap();
    assert_eq!((&moved["port"], &moved["state"]), (&value!(idle), &value!("moved")), "{moved}");
    monitor.kill().unwrap();
    monitor.wait().unwrap();
}

#[test]
fn what_the_engine_saw_can_be_recorded_and_played_again() {
    let guest = Guest::new(Pins::None);
    let recording = guest.dlmp.runtime_dir().join("recording");
    guest.start_daemon_with(&["--record", recording.to_str().unwrap()]);
    typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    guest.give_address("");
    guest.probe(&format!("probe-ip=+{HOST}"));
    let (busy, _) = guest.busy_and_idle_port();
    guest.cut_off(busy);
    wait_for("the break is found", || guest.probe_state(busy)["state"] == "failed");
    guest.end_daemon(Signal::SIGTERM);

    let text = fs::read_to_string(recording).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().what);
    let lines: Vec<What> = lines.collect();
    assert!(lines.iter().any(|line| matches!(line, What::Action(Action::SetUsable(_, false)))));
    assert_eq!(replay(lines.clone()), Ok(lines.len()));
}

#[test]
fn properties_that_cannot_be_are_refused_and_nothing_changes() {
    let guest = Guest::with_aggregation(Pins::None);
    let shown = || json(&guest.dlmp, "dladm show-linkprop -j");
    let before = (shown(), fs::read_to_string(guest.dlmp.config()).unwrap());
    for (line, words) in [
        ("set-linkprop -p probe-fdt=9ms aggr0", "10ms to 10m"),
        ("set-linkprop -p probe-fdt=1h aggr0", "10ms to 10m"),
        ("set-linkprop -p probe-vlan-id=4095 aggr0", "0 to 4094"),
        ("set-linkprop -p mtu=9000 aggr0", "no property"),
        ("set-linkprop -p probe-fdt=1 net0", "net0 is no aggregation"),
        ("set-linkprop -p probe-ip=10.9.0.2/33 aggr0", "prefix length"),
        ("set-linkprop -p probe-ip=+10.9.0.2 aggr0", "our own address"),
        ("set-linkprop -p probe-ip=+192.0.2.1 aggr0", "10.9.0.0/24"),
        ("set-linkprop -p probe-ip=+no.such.host.invalid aggr0", "does not resolve"),
        ("set-linkprop -p probe-fdt=2,probe-ip=,probe-vlan-id=1 aggr0", "empty"),
        ("reset-linkprop -p mtu aggr0", "no property"),
        ("show-linkprop net7", "no aggregation or port net7"),
        ("modify-aggr -m trunk aggr0", "trunk"),
        ("modify-aggr nope", "no aggregation nope"),
    ] {
        let message = refused(&guest.dlmp, &format!("dladm {line}"));
        assert!(message.contains(words) && message.contains("try:"), "`{line}` does not say {words:?}: {message}");
        assert_eq!((shown(), fs::read_to_string(guest.dlmp.config()).unwrap()), before, "`{line}`");
    }
    assert_eq!(guest.detection(), "link");
}
