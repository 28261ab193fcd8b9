//! `ldmd` builds what `ldm` says, keeps it over restarts of its own, and takes away what it made and nothing else.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use dlmp_testbed::{Namespace, Scene};
use dlmp_tests::{VirtualHost, assert_whole, link, links, run, typed, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn the_lines_of_the_seed_build_a_network_that_reaches_outside_through_either_switch() {
    let host = VirtualHost::built();
    for (port, other) in [("net0", "net1"), ("net1", "net0")] {
        host.scene.ldg6.ip(&format!("link set dev {other} down\nlink set dev {port} up")).unwrap();
        host.wait_for_link(port, "up");
        host.give_address(port);
        host.wait_until_reachable();
        assert_whole(&host.flow(ms(500)).run().unwrap());
    }
}

#[test]
fn lists_show_what_was_built() {
    let host = VirtualHost::built();
    assert_eq!(
        host.typed("ldm list-netdev ldg6"),
        "NAME               CLASS    MEDIA    STATE    SPEED    OVER     LOC\n\
         ----               -----    -----    -----    -----    ----     ---\n\
         net0               VNET     ETHER    up       10G      vnet0    primary-vsw0/vnet6\n\
         net1               VNET     ETHER    up       10G      vnet1    ldg5-vsw0/vnet1\n"
    );
    let vnet = host.vnet("vnet6");
    for (field, value) in [
        ("mac", json!(Scene::NET0)),
        ("service", json!("primary")),
        ("physstate", json!(true)),
        ("custom", json!(true)),
        ("maxmacs", json!(4096)),
        ("state", json!("up")),
        ("problem", Value::Null),
    ] {
        assert_eq!(vnet[field], value, "{field} of {vnet}");
    }
    assert_eq!(host.domain("ldg6")["place"], host.scene.ldg6.name());
    let states: Vec<Value> = ["primary", "ldg5", "ldg6"].map(|name| host.domain(name)["state"].clone()).into();
    assert_eq!(states, ["active", "active", "active"]);
    assert_eq!(host.switch("ldg5-vsw0")["netdev"], "net2");
}

#[test]
fn what_was_made_is_removed_and_nothing_else() {
    let host = VirtualHost::bare();
    let before = || [host.primary(), &host.scene.ldg5].map(ports_and_names);
    let untouched = before();
    for line in host.scene.lines() {
        host.typed(&line);
    }
    for line in ["rm-vnet vnet6 ldg6", "remove-vnet vnet1 ldg6", "rm-vsw primary-vsw0", "remove-vsw ldg5-vsw0"] {
        host.typed(&format!("ldm {line}"));
    }
    assert_eq!(before(), untouched);
    assert_eq!(ports_and_names(&host.scene.ldg6), [("lo".into(), "null".into())].into());
    host.typed("ldm remove-domain ldg6");
    host.typed("ldm remove-domain ldg5");
    assert!(!exists(&host.scene.ldg6), "the namespace that was made for ldg6 is still there");
    assert!(exists(&host.scene.ldg5), "the namespace of ldg5 was there before");
    assert_eq!(host.vnets(), json!([]));
    assert_eq!(host.json("ldm list-services -j"), json!([]));
}

/// The links of a namespace, and what each is a port of.
fn ports_and_names(namespace: &Namespace) -> BTreeSet<(String, String)> {
    let links = links(namespace);
    let rows = links.as_array().unwrap().iter();
    rows.map(|link| (link["ifname"].as_str().unwrap().to_owned(), link["master"].to_string())).collect()
}

fn exists(namespace: &Namespace) -> bool {
    Path::new("/run/netns").join(namespace.name()).exists()
}

/// Ends `ldmd` in the middle of a flow, starts it again, and asserts that no packet was lost and nothing has changed.
fn assert_restart_disturbs_nothing(signal: Signal) {
    let host = VirtualHost::built();
    host.wait_for_link("net0", "up");
    host.give_address("net0");
    host.wait_until_reachable();
    let state = || {
        let namespaces = [host.primary(), &host.scene.ldg5, &host.scene.ldg6].map(links);
        (namespaces, host.vnets(), host.json("ldm list-services -j"))
    };
    let before = state();
    let record = host
        .flow(ms(2000))
        .event(ms(500), "end", || host.scene.primary.end(signal))
        .event(ms(1000), "start", || host.scene.primary.start())
        .run()
        .unwrap();
    assert_whole(&record);
    assert_eq!(state(), before);

    // The new daemon does what the old one did.
    host.unplug("to0");
    host.wait_for_link("net0", "down");
}

#[test]
fn a_killed_ldmd_disturbs_no_traffic() {
    assert_restart_disturbs_nothing(Signal::SIGKILL);
}

#[test]
fn a_stopped_ldmd_disturbs_no_traffic() {
    assert_restart_disturbs_nothing(Signal::SIGTERM);
}

#[test]
fn everything_is_restored_at_the_start() {
    let host = VirtualHost::built();
    host.typed("ldm add-vnet mtu=1500 vnet9 primary-vsw0 ldg6");
    host.wait_for_link("net0", "up");
    host.wait_for_link("net1", "up");
    let shown = || (host.vnets(), host.json("ldm list-services -j"));
    let before = shown();
    host.scene.primary.end(Signal::SIGTERM).unwrap();
    host.scene.ldg6.shut_down();
    host.primary().ip("link del dev primary-vsw0").unwrap();
    host.scene.ldg5.ip("link del dev ldg5-vsw0").unwrap();
    host.scene.primary.start().unwrap();
    for port in ["net0", "net1", "net2"] {
        host.wait_for_link(port, "up");
    }
    assert_eq!(shown(), before);
    host.give_address("net1");
    host.wait_until_reachable();
    assert_whole(&host.flow(ms(300)).run().unwrap());
}

#[test]
fn what_is_removed_behind_its_back_is_made_again() {
    let host = VirtualHost::built();
    host.give_address("net0");
    host.primary().ip("link del dev primary-vsw0").unwrap();
    wait_for("the bridge is there again", || link(host.primary(), "primary-vsw0").is_some());
    wait_for("the guest reaches outside again", || host.reaches(&host.scene.ldg6));

    host.scene.ldg6.ip("link del dev net0").unwrap();
    host.wait_for_link("net0", "up");
    assert_eq!(link(&host.scene.ldg6, "net0").unwrap()["address"], Scene::NET0);

    host.primary().ip("link set dev net0 nomaster").unwrap();
    host.give_address("net0");
    wait_for("the uplink is a port again", || host.reaches(&host.scene.ldg6));
}

#[test]
fn a_second_ldmd_of_a_host_is_refused_and_disturbs_nothing() {
    let host = VirtualHost::built();
    let config = || fs::read_to_string(host.scene.primary.config()).unwrap();
    let before = config();
    let outcome = run(&mut host.scene.primary.command());
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.message.contains("another ldmd serves"), "{outcome:?}");
    assert_eq!(config(), before);
    assert_eq!(host.dlmp().managers().len(), 1);
    host.wait_for_link("net0", "up");
}

#[test]
fn twenty_at_once_are_twenty_vnets() {
    let host = VirtualHost::bare();
    let guest = host.scene.ldg6.name();
    host.typed(&format!("ldm add-domain --netns {guest} ldg6"));
    host.typed("ldm add-vsw net-dev=net0 primary-vsw0 primary");
    let all = "for i in $(seq 20); do ldm add-vnet v$i primary-vsw0 ldg6 & done; wait";
    assert_eq!(typed(host.dlmp(), all), "");
    let vnets = host.json("ldm list -o network -j ldg6");
    let of = |field: &str| -> BTreeSet<String> {
        vnets.as_array().unwrap().iter().map(|vnet| vnet[field].to_string()).collect()
    };
    assert_eq!((of("name").len(), of("mac").len(), of("id").len()), (20, 20, 20), "{vnets}");
    for id in 0..20 {
        host.wait_for_link(&format!("net{id}"), "up");
    }
}

#[test]
fn what_a_guest_calls_its_links_deceives_nobody() {
    let host = VirtualHost::built();
    // A guest whose domain is looked at before `primary`.
    let guest = &host.scene.ldg6;
    guest.ip("link add evil type veth peer name evil2").unwrap();
    guest.ip("link set dev evil alias \"dlmp switch end of ldg6/vnet1\"").unwrap();
    let before = host.vnets();
    let ends = || links(host.primary()).as_array().unwrap().len();
    let count = ends();
    host.scene.primary.end(Signal::SIGKILL).unwrap();
    host.scene.primary.start().unwrap();
    assert_eq!((host.vnets(), ends()), (before, count));
    assert!(link(guest, "evil").is_some() && link(guest, "net0").is_some() && link(guest, "net1").is_some());
}

#[test]
fn a_guest_keeps_what_it_makes_of_its_link_through_a_failure_and_a_restart() {
    let host = VirtualHost::built();
    let guest = &host.scene.ldg6;
    guest.ip("link set dev net0 address 2:11:22:33:44:55 mtu 1400").unwrap();
    host.unplug("to0");
    host.wait_for_link("net0", "down");
    host.plug("to0");
    host.wait_for_link("net0", "up");
    host.scene.primary.end(Signal::SIGKILL).unwrap();
    host.scene.primary.start().unwrap();
    let link = link(guest, "net0").unwrap();
    assert_eq!((&link["address"], &link["mtu"]), (&"02:11:22:33:44:55".into(), &1400.into()));
    // Until it is set anew.
    host.typed("ldm set-vnet mac-addr=0:14:4f:0:0:9 vnet6 ldg6");
    assert_eq!(dlmp_tests::link(guest, "net0").unwrap()["address"], "00:14:4f:00:00:09");
}

#[test]
fn what_is_done_to_a_switch_end_by_hand_is_undone() {
    let host = VirtualHost::built();
    host.give_address("net0");
    host.wait_until_reachable();
    let end = || {
        let links = links(host.primary());
        let is_end = |link: &&Value| link["ifalias"] == "dlmp switch end of ldg6/vnet6";
        links.as_array().unwrap().iter().find(is_end).unwrap()["ifname"].as_str().unwrap().to_owned()
    };
    for change in ["nomaster", "down", "name other"] {
        let done = host.primary().ip(&format!("link set dev {} {change}", end()));
        // Linux 6.1 does not rename a link that is up.
        let busy = done.as_ref().is_err_and(|error| change == "name other" && error.to_string().contains("busy"));
        assert!(done.is_ok() || busy, "{done:?}");
        wait_for("the guest reaches outside again", || host.reaches(&host.scene.ldg6));
    }
    host.unplug("to0");
    host.wait_for_link("net0", "down");
}

#[test]
fn the_configuration_survives_the_loss_of_its_file_while_ldmd_runs() {
    let host = VirtualHost::built();
    std::fs::remove_file(host.scene.primary.config()).unwrap();
    host.typed("ldm set-vnet mtu=1500 vnet6 ldg6");
    let before = host.vnets();
    host.scene.primary.end(Signal::SIGKILL).unwrap();
    host.scene.primary.start().unwrap();
    assert_eq!(host.vnets(), before);
}

#[test]
fn a_guest_that_is_removed_while_a_process_holds_its_network_is_cut_off() {
    let host = VirtualHost::built();
    host.give_address("net0");
    host.wait_until_reachable();
    let name = host.scene.ldg6.name().to_owned();
    let mut holder = host.scene.ldg6.command("sleep").arg("60").spawn().unwrap();
    wait_for("the process is in it", || host.scene.ldg6.processes().contains(&holder.id()));
    run(std::process::Command::new("ip").args(["netns", "del", &name]));
    let ends = || {
        let links = links(host.primary());
        let is_end = |link: &&Value| link["ifalias"] == "dlmp switch end of ldg6/vnet6";
        links.as_array().unwrap().iter().filter(is_end).count()
    };
    wait_for("its switch end is gone", || ends() == 0);
    holder.kill().unwrap();
    holder.wait().unwrap();
}
