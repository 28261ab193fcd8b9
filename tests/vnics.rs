//! VNICs as a user makes, sees, moves and deletes them: their links, and what is kept of them.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;

use dlmp_testbed::{Environment, Namespace, Pins};
use dlmp_tests::{Guest, ip_json, json, refused, run, typed, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// What the kernel says of a link; `Null` when there is none.
fn link(namespace: &Namespace, name: &str) -> Value {
    ip_json(namespace, &format!("link show dev {name}"))[0].clone()
}

/// What `show-vnic` says of the VNIC `vnic1`.
fn vnic1(guest: &Guest) -> Value {
    json(&guest.dlmp, "dladm show-vnic -j vnic1")[0].clone()
}

/// How many links the guest has.
fn link_count(guest: &Guest) -> usize {
    ip_json(&guest.namespace, "link").as_array().unwrap().len()
}

/// A network namespace as a container has one, with `vnic1` in it as `eth0`.
fn container(guest: &Guest) -> Namespace {
    let container = Namespace::new("ee", "container").unwrap();
    guest.namespace.ip(&format!("link set dev vnic1 netns {} name eth0", container.name())).unwrap();
    container.ip("link set dev eth0 up").unwrap();
    container
}

#[test]
fn a_vnic_is_a_link_over_the_aggregation_until_it_is_deleted() {
    let guest = Guest::with_aggregation(Pins::None);
    let links = link_count(&guest);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 -m 2:8:20:0:0:7 -v 7 vnic1");
    typed(&guest.dlmp, "dladm create-vnic -t -l aggr0 vnic2");

    let shown = typed(&guest.dlmp, "dladm show-vnic -p -o link,over,macaddress,macaddrtype,vid,temporary vnic1");
    assert_eq!(shown, "vnic1:aggr0:2\\:8\\:20\\:0\\:0\\:7:fixed:7:no\n");
    assert_eq!(typed(&guest.dlmp, "dladm show-vnic -p -o link,macaddrtype,vid vnic2"), "vnic2:random:0\n");
    let random = json(&guest.dlmp, "dladm show-vnic -j vnic2")[0]["macaddress"].clone();
    assert!(random.as_str().unwrap().starts_with("02:08:20:"), "{random}");
    assert_eq!(link(&guest.namespace, "vnic2")["address"], random);
    assert_eq!(link(&guest.namespace, "vnic1")["address"], "02:08:20:00:00:07");
    for line in ["dladm show-link", "dladm"] {
        let table = typed(&guest.dlmp, line);
        let words = |row: &str| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let row = table.lines().map(words).find(|row| row[0] == "vnic1").unwrap();
        assert_eq!((row[1].as_str(), row[2].as_str(), row[4].as_str()), ("vnic", "1500", "aggr0"), "{table}");
        assert!(!table.contains("dlmp"), "a lower end is shown: {table}");
    }
    let clients = typed(&guest.dlmp, "dladm show-aggr -C -p -o link,client,vid,type aggr0");
    assert_eq!(clients, "aggr0:aggr0:0:primary\naggr0:vnic1:7:vnic\naggr0:vnic2:0:vnic\n");
    let seats = json(&guest.dlmp, "dladm show-aggr -C -j");
    for seat in seats.as_array().unwrap() {
        let port = seat["port"].as_str().unwrap();
        let shown = json(&guest.dlmp, "dladm show-aggr -x -j aggr0");
        let row = shown.as_array().unwrap().iter().find(|row| row["port"] == port).unwrap();
        assert!(row["clients"].as_array().unwrap().contains(&seat["client"]), "{seat} is not in {row}");
    }

    typed(&guest.dlmp, "dladm delete-vnic vnic1");
    typed(&guest.dlmp, "dladm delete-vnic vnic2");
    assert_eq!(typed(&guest.dlmp, "dladm show-vnic -p -o link"), "");
    assert_eq!(link_count(&guest), links);
    assert!(!fs::read_to_string(guest.dlmp.config()).unwrap().contains("vnic"));
    guest.wait_until_reachable();
}

#[test]
fn every_port_receives_for_every_vnic_as_long_as_there_is_one_with_its_address() {
    let guest = Guest::with_aggregation(Pins::None);
    let filtered = |port: &str| {
        run(&mut guest.dlmp.line(&format!("bridge fdb show dev {port}"))).output.contains("02:08:20:00:00:07")
    };
    let all = |wanted: bool| {
        wait_for("the ports' filters", || ["net0", "net1"].iter().all(|port| filtered(port) == wanted));
    };
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 -m 2:8:20:0:0:7 -v 7 vnic1");
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 -m 2:8:20:0:0:7 -v 8 vnic2");
    all(true);
    typed(&guest.dlmp, "dladm remove-aggr -l net1 aggr0");
    assert!(!filtered("net1"));
    typed(&guest.dlmp, "dladm add-aggr -l net1 aggr0");
    all(true);
    typed(&guest.dlmp, "dladm delete-vnic vnic1");
    assert!(filtered("net0") && filtered("net1"));
    typed(&guest.dlmp, "dladm delete-vnic vnic2");
    all(false);
}

#[test]
fn a_vnic_has_carrier_and_mtu_of_the_aggregation_wherever_it_is() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic2");
    let container = container(&guest);
    let has_carrier = || link(&container, "eth0")["flags"].as_array().unwrap().contains(&"LOWER_UP".into());
    wait_for("the carrier is there", has_carrier);
    assert_eq!(vnic1(&guest)["state"], "up");
    guest.unplug("net0");
    guest.unplug("net1");
    wait_for("the carrier is gone", || !has_carrier());
    assert_eq!(vnic1(&guest)["state"], "down");
    guest.plug("net0");
    wait_for("the carrier is back", has_carrier);

    guest.namespace.ip("link set dev net1 mtu 1400").unwrap();
    wait_for("the MTU of a VNIC that is here", || link(&guest.namespace, "vnic2")["mtu"] == 1400);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic3");
    assert_eq!(link(&guest.namespace, "vnic3")["mtu"], 1400);
}

#[test]
fn a_vnic_in_a_container_is_taken_over_by_the_next_daemon() {
    for pins in [Pins::None, Pins::Mounted] {
        let guest = Guest::with_aggregation(pins);
        typed(&guest.dlmp, "dladm create-vnic -l aggr0 -v 7 vnic1");
        let container = container(&guest);
        let before = (vnic1(&guest), link(&container, "eth0")["ifindex"].clone(), link_count(&guest));
        guest.end_daemon(Signal::SIGKILL);
        guest.start_daemon();
        assert_eq!((vnic1(&guest), link(&container, "eth0")["ifindex"].clone(), link_count(&guest)), before);
        assert_eq!(json(&guest.dlmp, "dladm show-aggr -C -j")[1]["client"], "vnic1");

        // It goes in the container too.
        typed(&guest.dlmp, "dladm delete-vnic vnic1");
        assert!(link(&container, "eth0").is_null(), "{pins:?}");
    }
}

#[test]
fn a_vnic_that_vanishes_with_its_container_is_made_anew_with_its_address() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    let mac = vnic1(&guest)["macaddress"].clone();
    let links = link_count(&guest);
    for _ in 0..3 {
        drop(container(&guest));
        wait_for("the VNIC is here again", || link(&guest.namespace, "vnic1")["address"] == mac);
        wait_for("it is connected", || vnic1(&guest)["state"] == "up");
    }
    // By hand, too.
    let index = link(&guest.namespace, "vnic1")["ifindex"].clone();
    guest.namespace.ip("link delete dev vnic1").unwrap();
    wait_for("the VNIC is here again", || {
        let now = link(&guest.namespace, "vnic1")["ifindex"].clone();
        !now.is_null() && now != index
    });
    wait_for("it is connected", || vnic1(&guest)["state"] == "up");
    assert_eq!(link_count(&guest), links);
    assert_eq!(json(&guest.dlmp, "dladm show-aggr -C -j").as_array().unwrap().len(), 2);
}

#[test]
fn a_vnic_whose_name_is_taken_when_it_vanishes_is_absent_until_the_name_is_free() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    let container = container(&guest);
    guest.namespace.ip("link add vnic1 type veth peer name other").unwrap();
    drop(container);
    wait_for("the VNIC is absent", || vnic1(&guest)["state"] == "absent");
    guest.namespace.ip("link delete dev vnic1").unwrap();
    wait_for("the VNIC is here again", || vnic1(&guest)["state"] == "up");
    typed(&guest.dlmp, "dladm delete-vnic vnic1");
    assert!(link(&guest.namespace, "vnic1").is_null());
}

#[test]
fn a_vnic_that_vanishes_while_no_daemon_runs_is_made_at_the_start() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    let before = vnic1(&guest);
    guest.end_daemon(Signal::SIGTERM);
    guest.namespace.ip("link delete dev vnic1").unwrap();
    guest.start_daemon();
    assert_eq!(vnic1(&guest), before);
    assert_eq!(link(&guest.namespace, "vnic1")["address"], before["macaddress"]);
}

#[test]
fn what_is_kept_is_there_after_a_reboot_with_its_addresses_and_what_is_temporary_is_not() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 -v 7 vnic1");
    typed(&guest.dlmp, "dladm create-vnic -t -l aggr0 vnic2");
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic3");
    typed(&guest.dlmp, "ipadm create-ip vnic1");
    typed(&guest.dlmp, "ipadm create-addr -T static -a 10.7.0.2/24 vnic1/v4");
    typed(&guest.dlmp, "dladm delete-vnic -t vnic3");
    assert_eq!(typed(&guest.dlmp, "dladm show-vnic -p -o link"), "vnic1\nvnic2\n");
    let before = vnic1(&guest);
    guest.reboot();
    assert_eq!(typed(&guest.dlmp, "dladm show-vnic -p -o link,vid"), "vnic1:7\nvnic3:0\n");
    wait_for("the carrier is there", || vnic1(&guest) == before);
    assert_eq!(typed(&guest.dlmp, "ipadm show-addr -p -o addr,state vnic1/v4"), "10.7.0.2/24:ok\n");
}

#[test]
fn a_vnic_that_was_deleted_until_the_next_boot_goes_with_its_aggregation() {
    let guest = Guest::new(Pins::None);
    typed(&guest.dlmp, "dladm create-aggr -l net0 aggr0");
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    typed(&guest.dlmp, "dladm delete-vnic -t vnic1");
    assert!(fs::read_to_string(guest.dlmp.config()).unwrap().contains("vnic1"));
    typed(&guest.dlmp, "dladm delete-aggr aggr0");
    assert!(!fs::read_to_string(guest.dlmp.config()).unwrap().contains("vnic1"));
    wait_for("the daemon ends", || !guest.daemon_runs());
}

#[test]
fn a_vnic_can_be_the_port_of_an_aggregation_in_a_container_but_not_here() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    let message = refused(&guest.dlmp, "dladm create-aggr -l vnic1 aggr1");
    assert!(message.contains("vnic1 belongs to an aggregation"), "{message}");
    let container = container(&guest);
    let inside = Environment::new(&container, Pins::None).unwrap();
    typed(&inside, "dladm create-aggr -l eth0 aggr1");
    typed(&inside, "dladm delete-aggr aggr1");
}

#[test]
fn the_addresses_of_a_vnic_come_back_with_it() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    typed(&guest.dlmp, "ipadm create-ip vnic1");
    typed(&guest.dlmp, "ipadm create-addr -T static -a 10.7.0.2/24 vnic1/v4");
    let state = || typed(&guest.dlmp, "ipadm show-addr -p -o state vnic1/v4");
    let container = container(&guest);
    wait_for("the address is gone with the link", || state() == "inaccessible\n");
    drop(container);
    wait_for("the address is back", || state() == "ok\n");
}

#[test]
fn addresses_on_a_vnic_are_sources_of_probes() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    typed(&guest.dlmp, "ipadm create-ip vnic1");
    typed(&guest.dlmp, "ipadm create-addr -T static -a 10.9.0.7/24 vnic1/v4");
    for source in ["[vnic1]+10.9.0.1", "vnic1/v4+10.9.0.1"] {
        typed(&guest.dlmp, &format!("dladm set-linkprop -p probe-ip={source} aggr0"));
    }
    let shown = typed(&guest.dlmp, "dladm show-linkprop -c -o effective -p probe-ip aggr0");
    assert_eq!(shown, "10.9.0.7+10.9.0.1\n");
    let message = refused(&guest.dlmp, "dladm set-linkprop -p probe-ip=[vnic2]+ aggr0");
    assert!(message.contains("neither aggr0 nor a VNIC over it"), "{message}");
}

#[test]
fn json_has_numbers_as_numbers() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 -v 4094 vnic1");
    assert_eq!(vnic1(&guest)["vid"], json!(4094));
    assert_eq!(json(&guest.dlmp, "dladm show-aggr -C -j")[1]["vid"], json!(4094));
}
