//! The traffic of VNICs in containers: with the host, with the aggregation, with each other, and through failures.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::net::IpAddr;
use std::time::Duration;

use dlmp_testbed::{End, Environment, Flow, Namespace, Pins};
use dlmp_tests::{GUEST, Guest, HOST, assert_whole, json, run, typed, wait_for};
use nix::sys::signal::Signal;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A container on a new VNIC, which has this address in a /24.
fn container(guest: &Guest, vnic: &str, options: &str, address: &str) -> Namespace {
    let container = Namespace::new("ee", vnic).unwrap();
    typed(&guest.dlmp, &format!("dladm create-vnic {options} -l aggr0 {vnic}"));
    guest.namespace.ip(&format!("link set dev {vnic} netns {} name eth0", container.name())).unwrap();
    container.ip(&format!("link set dev eth0 up\naddress add {address}/24 dev eth0")).unwrap();
    container
}

/// Whether an address answers a ping from a namespace.
fn reaches(from: &Namespace, address: &str) -> bool {
    run(from.command("ping").args(["-q", "-c", "1", "-W", "1", address])).code == 0
}

/// The port that a client sits on.
fn seat(guest: &Guest, client: &str) -> String {
    let clients = json(&guest.dlmp, "dladm show-aggr -C -j aggr0");
    let row = clients.as_array().unwrap().iter().find(|row| row["client"] == client).unwrap();
    row["port"].as_str().unwrap().to_owned()
}

#[test]
fn a_container_reaches_the_host_the_aggregation_and_another_container() {
    let guest = Guest::with_aggregation(Pins::None);
    let (host, own) = (HOST.to_string(), GUEST.to_string());
    let first = container(&guest, "vnic1", "", "10.9.0.7");
    let second = container(&guest, "vnic2", "", "10.9.0.8");
    for address in [&host, &own, "10.9.0.8"] {
        wait_for(address, || reaches(&first, address));
    }
    wait_for("the other way", || reaches(&second, "10.9.0.7"));
    wait_for("from the host", || reaches(&guest.host, "10.9.0.7"));
    wait_for("from the aggregation", || reaches(&guest.namespace, "10.9.0.8"));
}

#[test]
fn frames_of_a_vnic_in_a_vlan_are_tagged_outside_only() {
    let guest = Guest::with_aggregation(Pins::None);
    // The host has an aggregation too, and the switch forwards tagged frames as they are.
    let host = Environment::new(&guest.host, Pins::None).unwrap();
    guest.host.ip("address flush dev net0").unwrap();
    typed(&host, "dladm create-aggr -l net0 aggr0");
    for (vnic, vlan, address) in [("vnic7", 7, "10.7.0.1"), ("vnic0", 0, "10.8.0.1")] {
        typed(&host, &format!("dladm create-vnic -l aggr0 -v {vlan} {vnic}"));
        guest.host.ip(&format!("address add {address}/24 dev {vnic}\nlink set dev {vnic} up")).unwrap();
    }
    let tagged = container(&guest, "vnic1", "-v 7", "10.7.0.7");
    let same = container(&guest, "vnic2", "-v 7", "10.7.0.8");
    let untagged = container(&guest, "vnic3", "", "10.8.0.9");
    wait_for("the host in the VLAN", || reaches(&tagged, "10.7.0.1"));
    wait_for("another VNIC in the VLAN", || reaches(&tagged, "10.7.0.8"));
    wait_for("from the host", || reaches(&guest.host, "10.7.0.8"));
    wait_for("the host without a VLAN", || reaches(&untagged, "10.8.0.1"));

    // The same addresses, and nothing but the VLAN between them.
    let strangers = [container(&guest, "vnic4", "-v 8", "10.7.0.9"), container(&guest, "vnic5", "", "10.7.0.9")];
    for stranger in &strangers {
        assert!(!reaches(stranger, "10.7.0.1") && !reaches(stranger, "10.7.0.7"), "a VLAN was left");
    }
    drop(same);
}

#[test]
fn a_vnic_moves_to_another_port_when_its_own_fails() {
    let guest = Guest::with_aggregation(Pins::None);
    let container = container(&guest, "vnic1", "", "10.9.0.7");
    let host = HOST.to_string();
    wait_for("the host", || reaches(&container, &host));
    for _ in 0..2 {
        let port = seat(&guest, "vnic1");
        guest.unplug(&port);
        wait_for("the VNIC moves", || seat(&guest, "vnic1") != port);
        wait_for("the host", || reaches(&container, &host));
        guest.plug(&port);
        guest.wait_for_state(&port, "up");
    }
}

#[test]
fn a_killed_daemon_loses_nothing_of_a_container() {
    for pins in [Pins::None, Pins::Mounted] {
        let guest = Guest::with_aggregation(pins);
        let container = container(&guest, "vnic1", "", "10.9.0.7");
        wait_for("the host", || reaches(&container, &HOST.to_string()));
        let before = seat(&guest, "vnic1");
        let address: IpAddr = "10.9.0.7".parse().unwrap();
        let record = Flow::new(End::new(&container, address), End::new(&guest.host, HOST), 1000, ms(2500))
            .watch(&guest.namespace, &["net0", "net1"])
            .event(ms(500), "kill", || {
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
        assert_eq!(seat(&guest, "vnic1"), before, "{pins:?}");
    }
}

#[test]
fn a_container_that_is_started_again_goes_on() {
    let guest = Guest::with_aggregation(Pins::None);
    let host = HOST.to_string();
    let first = container(&guest, "vnic1", "", "10.9.0.7");
    wait_for("the host", || reaches(&first, &host));
    drop(first);
    wait_for("the VNIC is here again", || {
        json(&guest.dlmp, "dladm show-link -j").as_array().unwrap().iter().any(|link| link["link"] == "vnic1")
    });
    let second = Namespace::new("ee", "again").unwrap();
    guest.namespace.ip(&format!("link set dev vnic1 netns {} name eth0", second.name())).unwrap();
    second.ip("link set dev eth0 up\naddress add 10.9.0.7/24 dev eth0").unwrap();
    wait_for("the host", || reaches(&second, &host));
}

#[test]
fn an_address_on_a_vnic_asks_for_the_port_that_the_vnic_sits_on() {
    let guest = Guest::new(Pins::None);
    typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic2");
    // That of the first port: it is asked first, and by an echo if it has a source.
    let vnic = if seat(&guest, "vnic1") == "net0" { "vnic1" } else { "vnic2" };
    assert_eq!(seat(&guest, vnic), "net0");
    typed(&guest.dlmp, &format!("ipadm create-ip {vnic}"));
    typed(&guest.dlmp, &format!("ipadm create-addr -T static -a 10.9.0.7/24 {vnic}/v4"));
    guest.probe(&format!("probe-ip=[{vnic}]+10.9.0.1"));
    let probes = typed(&guest.dlmp, "dlstat show-aggr -n -P i -p -o port,local -i 1 aggr0 3");
    let echoes: Vec<_> = probes.lines().filter(|line| line.ends_with(":10.9.0.7")).collect();
    assert!(!echoes.is_empty() && echoes.iter().all(|echo| *echo == "net0:10.9.0.7"), "{probes}");
}
