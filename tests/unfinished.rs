//! A daemon that is killed in the middle of a request leaves nothing that the next one does not mend: the request has
//! not begun, or all of it is done.
//!
//! It is killed before each change that it makes: in its files, on links, and of what hangs on them.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;

use dlmp_testbed::{Pins, kill_before_change};
use dlmp_tests::{Guest, HOST, ip_json, json, refused, run, typed, wait_for};
use nix::sys::signal::Signal;

/// Has the daemon die in the middle of `line`, before each of its changes in turn, and start again. `prepare` comes before each
/// round; after it `check` is told whether what `line` makes or deletes is there: `exists`.
fn killed_at_each_change(
    guest: &Guest,
    line: &str,
    prepare: impl Fn(),
    exists: impl Fn() -> bool,
    check: impl Fn(bool, &str),
) {
    for change in 0.. {
        prepare();
        let [daemon] = guest.dlmp.daemons()[..] else { panic!("not one daemon") };
        let act = || drop(run(&mut guest.dlmp.line(line)));
        let reached = kill_before_change(daemon, change, act).unwrap();
        wait_for("the daemon ends", || !guest.daemon_runs());
        guest.start_daemon();
        check(exists(), &format!("`{line}`, change {change}"));
        if !reached {
            assert!(change > 5, "`{line}` makes more than {change} changes");
            return;
        }
    }
}

/// The names of all aggregations by the daemon.
fn aggregations(guest: &Guest) -> Vec<String> {
    let rows = json(&guest.dlmp, "dladm show-aggr -j");
    rows.as_array().unwrap().iter().map(|row| row["link"].as_str().unwrap().to_owned()).collect()
}

fn link_names(guest: &Guest) -> Vec<String> {
    let links = ip_json(&guest.namespace, "link");
    links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap().to_owned()).collect()
}

/// Asserts that a link that is no port carries traffic, which it does not while a program of ours is on it.
fn assert_carries(guest: &Guest, port: &str, at: &str) {
    guest.namespace.ip(&format!("address add 10.9.0.9/24 dev {port}")).unwrap();
    let host = HOST.to_string();
    let ping = run(guest.namespace.command("ping").args(["-q", "-c", "1", "-W", "5", "-I", port, &host]));
    assert_eq!(ping.code, 0, "{at}: {port} is dead: {ping:?}");
    guest.namespace.ip(&format!("address del 10.9.0.9/24 dev {port}")).unwrap();
}

fn assert_nothing_pinned(guest: &Guest, at: &str) {
    let pinned = fs::read_dir(guest.dlmp.runtime_dir().join("bpf/dlmp"));
    assert_eq!(pinned.map_or(0, Iterator::count), 0, "{at}: something stays pinned");
}

/// Kills the daemon in the middle of making or deleting an aggregation; `made` says which.
fn an_aggregation_is_whole_or_gone(pins: Pins, line: &str, made: bool) {
    let guest = Guest::new(pins);
    guest.namespace.ip("link set dev net1 down").unwrap();
    let look = || ["net0", "net1"].map(|port| guest.look_of(port));
    let (before, links) = (look(), link_names(&guest));
    let prepare = || {
        if guest.daemon_runs() {
            guest.end_daemon(Signal::SIGKILL);
        }
        guest.start_daemon();
        if !made {
            typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
        }
    };
    killed_at_each_change(
        &guest,
        line,
        prepare,
        || aggregations(&guest) == ["aggr0"],
        |exists, at| {
            if exists {
                for port in ["net0", "net1"] {
                    assert_eq!(guest.port_state(port), ("up".into(), "attached".into()), "{at}: {port}");
                }
                typed(&guest.dlmp, "dladm delete-aggr aggr0");
                wait_for("the daemon ends", || !guest.daemon_runs());
            }
            assert_eq!(link_names(&guest), links, "{at}");
            assert_eq!(look(), before, "{at}");
            assert_nothing_pinned(&guest, at);
            assert_carries(&guest, "net0", at);
        },
    );
}

#[test]
fn an_aggregation_that_is_deleted_is_whole_or_gone_with_clsact() {
    an_aggregation_is_whole_or_gone(Pins::None, "dladm delete-aggr aggr0", false);
}

#[test]
fn an_aggregation_that_is_deleted_is_whole_or_gone_with_pinned_links() {
    an_aggregation_is_whole_or_gone(Pins::Mounted, "dladm delete-aggr aggr0", false);
}

#[test]
fn an_aggregation_that_is_made_is_whole_or_not_there_with_clsact() {
    an_aggregation_is_whole_or_gone(Pins::None, "dladm create-aggr -t -l net0 -l net1 aggr0", true);
}

#[test]
fn an_aggregation_that_is_made_is_whole_or_not_there_with_pinned_links() {
    an_aggregation_is_whole_or_gone(Pins::Mounted, "dladm create-aggr -l net0 -l net1 aggr0", true);
}

/// Kills the daemon in the middle of taking the port `net1` in or out; `add` says which.
fn a_port_is_one_or_as_it_was(pins: Pins, add: bool) {
    let guest = Guest::new(pins);
    let before = guest.look_of("net1");
    typed(&guest.dlmp, "dladm create-aggr -l net0 aggr0");
    guest.give_address("");
    let ports = || json(&guest.dlmp, "dladm show-aggr -x -j aggr0").as_array().unwrap().len() - 1;
    let line = if add { "dladm add-aggr -l net1 aggr0" } else { "dladm remove-aggr -l net1 aggr0" };
    let prepare = || {
        if !add {
            typed(&guest.dlmp, "dladm add-aggr -l net1 aggr0");
        }
    };
    killed_at_each_change(
        &guest,
        line,
        prepare,
        || ports() == 2,
        |exists, at| {
            if exists {
                assert_eq!(guest.port_state("net1"), ("up".into(), "attached".into()), "{at}");
                typed(&guest.dlmp, "dladm remove-aggr -l net1 aggr0");
            }
            assert_eq!(guest.look_of("net1"), before, "{at}");
            guest.wait_until_reachable();
            guest.namespace.ip("address add 10.9.0.9/24 dev net1").unwrap();
            guest.namespace.ip("address del 10.9.0.9/24 dev net1").unwrap();
        },
    );
    typed(&guest.dlmp, "ipadm delete-ip aggr0");
    typed(&guest.dlmp, "dladm delete-aggr aggr0");
    assert_carries(&guest, "net1", "at the end");
}

#[test]
fn a_port_that_is_taken_out_is_still_one_or_as_it_was() {
    a_port_is_one_or_as_it_was(Pins::None, false);
}

#[test]
fn a_port_that_is_taken_in_is_one_or_as_it_was() {
    a_port_is_one_or_as_it_was(Pins::Mounted, true);
}

/// Kills the daemon in the middle of making or deleting a VNIC; `made` says which.
fn a_vnic_is_whole_or_gone(pins: Pins, made: bool) {
    let guest = Guest::with_aggregation(pins);
    let links = link_names(&guest);
    let create = "dladm create-vnic -l aggr0 vnic1";
    let prepare = || {
        if !made {
            typed(&guest.dlmp, create);
        }
    };
    let exists = || json(&guest.dlmp, "dladm show-vnic -j") != serde_json::json!([]);
    let line = if made { create } else { "dladm delete-vnic vnic1" };
    killed_at_each_change(&guest, line, prepare, exists, |exists, at| {
        if exists {
            assert_eq!(json(&guest.dlmp, "dladm show-vnic -j")[0]["state"], "up", "{at}");
            typed(&guest.dlmp, "dladm delete-vnic vnic1");
        }
        assert_eq!(link_names(&guest), links, "{at}");
        guest.wait_until_reachable();
    });
}

#[test]
fn a_vnic_that_is_made_is_whole_or_not_there() {
    a_vnic_is_whole_or_gone(Pins::Mounted, true);
}

#[test]
fn a_vnic_that_is_deleted_is_whole_or_gone() {
    a_vnic_is_whole_or_gone(Pins::None, false);
}

#[test]
fn an_aggregation_in_no_file_goes_on_forwarding_until_it_is_deleted() {
    for pins in [Pins::None, Pins::Mounted] {
        let guest = Guest::new(pins);
        let look = || ["net0", "net1"].map(|port| guest.look_of(port));
        let before = look();
        typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
        guest.namespace.ip("address add 10.9.0.2/24 dev aggr0").unwrap();
        guest.wait_until_reachable();
        guest.end_daemon(Signal::SIGKILL);
        let kept = fs::read_to_string(guest.dlmp.config()).unwrap();
        fs::write(guest.dlmp.config(), "").unwrap();

        guest.start_daemon();
        guest.wait_until_reachable();
        assert!(aggregations(&guest).is_empty());
        let log = fs::read_to_string(guest.dlmp.runtime_dir().join("dlmpd.log")).unwrap();
        assert!(log.contains("the aggregation aggr0 is in no file"), "{log}");
        let message = refused(&guest.dlmp, "dladm create-aggr -l net0 aggr0");
        assert!(message.contains("try: dladm delete-aggr aggr0"), "{message}");

        // With the file that it is in it is as it was.
        guest.end_daemon(Signal::SIGKILL);
        fs::write(guest.dlmp.config(), &kept).unwrap();
        guest.start_daemon();
        assert_eq!(aggregations(&guest), ["aggr0"]);
        guest.wait_until_reachable();

        guest.end_daemon(Signal::SIGKILL);
        fs::write(guest.dlmp.config(), "").unwrap();
        if pins == Pins::None {
            // Nobody knows what its ports were like, but they are known.
            for entry in fs::read_dir(guest.dlmp.runtime_dir()).unwrap() {
                let _ = fs::remove_file(entry.unwrap().path().join("state.toml"));
            }
        }
        guest.start_daemon();
        let message = refused(&guest.dlmp, "dladm delete-aggr aggr0");
        assert!(message.contains("try: ip address delete 10.9.0.2/24 dev aggr0"), "{message}");
        guest.namespace.ip("address del 10.9.0.2/24 dev aggr0").unwrap();
        typed(&guest.dlmp, "dladm delete-aggr aggr0");
        assert_eq!(look(), before, "{pins:?}");
        assert_nothing_pinned(&guest, "at the end");
        assert_carries(&guest, "net1", "at the end");
    }
}

#[test]
fn a_vnic_in_no_file_is_named_and_can_be_deleted() {
    let guest = Guest::with_aggregation(Pins::Mounted);
    let links = link_names(&guest);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    let kept = fs::read_to_string(guest.dlmp.config()).unwrap();
    guest.end_daemon(Signal::SIGKILL);
    let paragraphs = kept.split("\n\n").filter(|paragraph| !paragraph.starts_with("[vnics"));
    fs::write(guest.dlmp.config(), paragraphs.collect::<Vec<_>>().join("\n\n")).unwrap();

    guest.start_daemon();
    let message = refused(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    assert!(message.contains("try: dladm delete-vnic vnic1"), "{message}");
    typed(&guest.dlmp, "dladm delete-vnic vnic1");
    assert_eq!(link_names(&guest), links);
    guest.wait_until_reachable();
}

#[test]
fn a_port_that_was_renamed_while_no_daemon_ran_is_an_ordinary_link_again() {
    for pins in [Pins::None, Pins::Mounted] {
        let guest = Guest::with_aggregation(pins);
        guest.end_daemon(Signal::SIGKILL);
        guest.namespace.ip("link set dev net1 down").unwrap();
        guest.namespace.ip("link set dev net1 name lan1").unwrap();
        guest.namespace.ip("link set dev lan1 up").unwrap();
        guest.start_daemon();
        guest.wait_until_reachable();
        let ipv6 = run(&mut guest.dlmp.line("cat /proc/sys/net/ipv6/conf/lan1/disable_ipv6")).output;
        assert_eq!(ipv6, "0\n", "{pins:?}");
        guest.wait_for_state("net1", "absent");
        typed(&guest.dlmp, "ipadm delete-ip aggr0");
        typed(&guest.dlmp, "dladm delete-aggr aggr0");
        assert_carries(&guest, "lan1", "as lan1");
    }
}

#[test]
fn a_deletion_that_was_begun_is_finished_though_its_port_is_gone() {
    let guest = Guest::new(Pins::Mounted);
    let before = guest.look_of("net0");
    typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    let [daemon] = guest.dlmp.daemons()[..] else { panic!("not one daemon") };
    // After both files were written.
    let act = || drop(run(&mut guest.dlmp.line("dladm delete-aggr aggr0")));
    assert!(kill_before_change(daemon, 3, act).unwrap());
    guest.namespace.ip("link delete net1").unwrap();
    wait_for("the daemon ends", || !guest.daemon_runs());
    guest.start_daemon();
    assert!(aggregations(&guest).is_empty());
    assert!(ip_json(&guest.namespace, "link show dev aggr0").is_null());
    assert_eq!(guest.look_of("net0"), before);
    assert_carries(&guest, "net0", "at the end");
}
