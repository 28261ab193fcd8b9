//! The daemon comes and goes with the aggregations, and they leave their ports as they found them.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::process::Command;

use dlmp_testbed::Pins;
use dlmp_tests::{Guest, ip_json, json, refused, run, typed, wait_for};
use serde_json::Value;

fn delete_everything(guest: &Guest) {
    typed(&guest.dlmp, "ipadm delete-ip aggr0");
    typed(&guest.dlmp, "dladm delete-aggr aggr0");
}

fn ifindex(guest: &Guest, link: &str) -> Value {
    ip_json(&guest.namespace, &format!("link show dev {link}"))[0]["ifindex"].clone()
}

#[test]
fn the_first_aggregation_starts_the_daemon_and_the_last_one_ends_it() {
    let guest = Guest::new(Pins::None);
    assert!(!guest.daemon_runs());
    typed(&guest.dlmp, "dladm create-aggr -l net0 aggr0");
    typed(&guest.dlmp, "dladm create-aggr -l net1 aggr1");
    assert_eq!(guest.dlmp.daemons().len(), 1);

    typed(&guest.dlmp, "dladm delete-aggr aggr0");
    assert_eq!(typed(&guest.dlmp, "dladm show-aggr -p -o link"), "aggr1\n");
    typed(&guest.dlmp, "dladm delete-aggr aggr1");
    wait_for("the daemon ends", || !guest.daemon_runs());
    assert_eq!(typed(&guest.dlmp, "dladm show-aggr -p -o link"), "");

    // And again, from the start.
    typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    guest.give_address("");
}

#[test]
fn it_works_when_started_by_nsenter() {
    let guest = Guest::new(Pins::None);
    let enter = |arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", guest.namespace.name())).args(arguments);
        guest.dlmp.equip(&mut command);
        let outcome = run(&mut command);
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
        outcome.output
    };
    enter(&["dladm", "create-aggr", "-l", "net0", "-l", "net1", "aggr0"]);
    enter(&["ipadm", "create-ip", "aggr0"]);
    enter(&["ipadm", "create-addr", "-a", "10.9.0.2/24", "aggr0/v4"]);
    guest.wait_until_reachable();
    assert_eq!(guest.dlmp.daemons().len(), 1);
    let shown = enter(&["dladm", "show-aggr", "-x"]);
    assert_eq!(shown, typed(&guest.dlmp, "dladm show-aggr -x"));

    enter(&["ipadm", "delete-ip", "aggr0"]);
    enter(&["dladm", "delete-aggr", "aggr0"]);
    wait_for("the daemon ends", || !guest.daemon_runs());
}

#[test]
fn daemons_of_several_namespaces_share_a_runtime_directory() {
    let guests = [Guest::new(Pins::None), Guest::new(Pins::None)];
    let shared = guests[0].dlmp.runtime_dir();
    let line = |guest: &Guest, line: &str| {
        let outcome = run(guest.dlmp.line(line).env("DLMP_RUNTIME_DIR", &shared));
        assert_eq!(outcome.code, 0, "`{line}`: {outcome:?}");
        outcome.output
    };
    for guest in &guests {
        line(guest, "dladm create-aggr -t -l net0 -l net1 aggr0");
        line(guest, "ipadm create-ip -t aggr0");
        line(guest, "ipadm create-addr -t -a 10.9.0.2/24 aggr0/v4");
    }
    for guest in &guests {
        guest.wait_until_reachable();
        assert_eq!(guest.dlmp.daemons().len(), 1);
        // Without being told where, a command finds the daemon of its own namespace.
        let mac = ip_json(&guest.namespace, "link show dev aggr0")[0]["address"].clone();
        assert_eq!(json(&guest.dlmp, "dladm show-aggr -x -j")[0]["address"], mac);
    }

    delete_everything(&guests[0]);
    wait_for("the first daemon ends", || !guests[0].daemon_runs());
    guests[1].wait_until_reachable();
    assert_eq!(guests[1].dlmp.daemons().len(), 1);
}

#[test]
fn daemons_of_several_namespaces_keep_to_their_own_links() {
    for pins in [[Pins::Mounted, Pins::Mounted], [Pins::Mounted, Pins::None]] {
        let [first, second] = pins.map(Guest::with_aggregation);
        // Only then can one be taken for the other.
        assert_eq!(ifindex(&first, "aggr0"), ifindex(&second, "aggr0"));
        first.wait_until_reachable();
        let record = first
            .flow(std::time::Duration::from_millis(500))
            .event(std::time::Duration::from_millis(100), "delete the other", || {
                delete_everything(&second);
                Ok(())
            })
            .run()
            .unwrap();
        dlmp_tests::assert_whole(&record);
    }
}

#[test]
fn a_damaged_configuration_stops_the_start_and_stays_as_it_is() {
    let guest = Guest::new(Pins::None);
    let damaged = "# mine\n[aggregations.aggr0]\nmac = \"02:08:20:00:00:01\"\nports = [\"net0\"\n";
    let wrong = "[aggregations.aggr0]\nmac = \"02:08:20:00:00:01\"\nports = [\"net0\"]\nmode = \"trunk\"\n";
    for (text, line, reason) in [(damaged, "line 4", "array"), (wrong, "line 4", "mode")] {
        fs::write(guest.dlmp.config(), text).unwrap();
        for command in ["dlmpd", "dladm create-aggr -l net1 aggr1"] {
            let message = refused(&guest.dlmp, command);
            for word in ["dlmpd.toml", "left as it is", line, reason] {
                assert!(message.contains(word), "`{command}` does not say {word:?}: {message}");
            }
            assert_eq!(fs::read_to_string(guest.dlmp.config()).unwrap(), text);
            assert!(!guest.daemon_runs());
        }
    }
    assert!(ip_json(&guest.namespace, "link show dev aggr0").is_null());
}

#[test]
fn a_deleted_aggregation_leaves_its_ports_as_it_found_them() {
    for pins in [Pins::None, Pins::Mounted] {
        let guest = Guest::new(pins);
        guest.namespace.ip("link set dev net1 down").unwrap();
        let look = || ["net0", "net1"].map(|port| guest.look_of(port));
        let before = look();
        let links_before = ip_json(&guest.namespace, "link").as_array().unwrap().len();
        typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
        guest.give_address("");
        assert_ne!(look(), before);

        delete_everything(&guest);
        assert_eq!(look(), before, "{pins:?}");
        assert_eq!(ip_json(&guest.namespace, "link").as_array().unwrap().len(), links_before);
        wait_for("the IPv6 address of the kernel is back", || {
            !run(&mut guest.dlmp.line("ip -6 -o address show dev net0 scope link")).output.is_empty()
        });
        let pinned = fs::read_dir(guest.dlmp.runtime_dir().join("bpf/dlmp"));
        assert_eq!(pinned.map_or(0, Iterator::count), 0, "something stays pinned");
    }
}

#[test]
fn a_removed_port_is_as_it_was_before() {
    let guest = Guest::new(Pins::None);
    let before = guest.look_of("net1");
    typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    assert_ne!(guest.look_of("net1"), before);
    typed(&guest.dlmp, "dladm remove-aggr -l net1 aggr0");
    assert_eq!(guest.look_of("net1"), before);
    guest.give_address("");

    typed(&guest.dlmp, "dladm add-aggr -l net1 aggr0");
    guest.unplug("net0");
    guest.wait_for_state("net0", "down");
    guest.wait_until_reachable();
}

#[test]
fn the_mtu_of_an_aggregation_is_the_smallest_of_its_ports() {
    let guest = Guest::with_aggregation(Pins::None);
    let mtu = || ip_json(&guest.namespace, "link show dev aggr0")[0]["mtu"].clone();
    assert_eq!(mtu(), 1500);
    guest.namespace.ip("link set dev net1 mtu 1400").unwrap();
    wait_for("the MTU goes down", || mtu() == 1400);
    guest.namespace.ip("link set dev net0 mtu 9000").unwrap();
    guest.namespace.ip("link set dev net1 mtu 1450").unwrap();
    wait_for("the MTU goes up", || mtu() == 1450);
    guest.wait_until_reachable();
}

#[test]
fn what_is_kept_of_an_aggregation_is_never_left_without_ports() {
    let guest = Guest::new(Pins::None);
    typed(&guest.dlmp, "dladm create-aggr -l net0 aggr0");
    typed(&guest.dlmp, "dladm add-aggr -t -l net1 aggr0");
    let message = refused(&guest.dlmp, "dladm remove-aggr -l net0 aggr0");
    assert!(message.contains("try: dladm remove-aggr -t -l net0 aggr0"), "{message}");
    typed(&guest.dlmp, "dladm remove-aggr -t -l net0 aggr0");
    guest.reboot();
    assert_eq!(typed(&guest.dlmp, "dladm show-aggr -x -p -o port aggr0"), "\nnet0\n");
}
