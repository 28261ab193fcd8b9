//! What `show-mcast` prints, and the property `mcast-limit` of ports.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;

use dlmp_testbed::{Groups, Pins};
use dlmp_tests::{Guest, LARGE, MulticastGuest, refused, typed, wait_for};
use nix::sys::signal::Signal;

/// What `show-linkprop` says of `mcast-limit` of a port.
fn limit(guest: &Guest, port: &str) -> String {
    typed(&guest.dlmp, &format!("dladm show-linkprop -c -o value -p mcast-limit {port}")).trim_end().to_owned()
}

/// What `show-mcast -P` says of the limit of a port.
fn shown_limit(guest: &Guest, port: &str) -> String {
    let rows = typed(&guest.dlmp, "dladm show-mcast -P -p -o port,limit aggr0");
    rows.lines().find_map(|row| row.strip_prefix(&format!("{port}:"))).unwrap().to_owned()
}

#[test]
fn show_mcast_lists_groups_with_addresses_and_askers() {
    let rig = MulticastGuest::new([LARGE, LARGE]);
    let _members = rig.join(&[Groups::v4(0, 1), Groups::v6(0, 1)]);
    let table = typed(&rig.guest.dlmp, "dladm show-mcast aggr0");
    let words = |row: &str| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(table.lines().next().unwrap()), ["LINK", "GROUP", "ADDRESSES", "ASKEDBY"]);
    let row = table.lines().map(words).find(|row| row.len() > 2 && row.contains(&"1:0:5e:1:0:0".into())).unwrap();
    assert_eq!(row[row.len() - 2..], ["239.1.0.0", "aggr0"]);
    let parseable = typed(&rig.guest.dlmp, "dladm show-mcast -p -o link,group,addresses,askedby aggr0");
    let expected = r"aggr0:33\:33\:0\:1\:0\:0:ff15\:\:1\:0:aggr0";
    assert!(parseable.lines().any(|row| row == expected), "{parseable}");

    let rows = rig.groups();
    let row = rows.iter().find(|row| row.group == "01:00:5e:01:00:00").unwrap();
    assert_eq!((row.addresses.as_slice(), row.askers.as_slice()), (&["239.1.0.0".into()][..], &["aggr0".into()][..]));

    rig.guest.namespace.ip("link set dev aggr0 allmulticast on").unwrap();
    wait_for("the reason is shown", || {
        typed(&rig.guest.dlmp, "dladm show-mcast -p -o group aggr0").lines().any(|row| row == "all")
    });
}

#[test]
fn show_mcast_lists_ports_with_role_and_filter() {
    let rig = MulticastGuest::new([LARGE, LARGE]);
    let table = typed(&rig.guest.dlmp, "dladm show-mcast -P aggr0");
    let heading: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["LINK", "PORT", "ROLE", "FILTER", "GROUPS", "LIMIT"]);
    let (active, standby) = rig.active_and_other_port();
    let rows = typed(&rig.guest.dlmp, "dladm show-mcast -P -p -o link,port,role,filter aggr0");
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_unstable();
    let mut expected = [format!("aggr0:{active}:active:exact"), format!("aggr0:{standby}:standby:exact")];
    expected.sort_unstable();
    assert_eq!(rows, expected);
}

#[test]
fn the_limit_of_a_port_is_set_reset_and_kept() {
    let guest = Guest::with_aggregation(Pins::None);
    let unknown = shown_limit(&guest, "net1");
    typed(&guest.dlmp, "dladm set-linkprop -p mcast-limit=64 net1");
    assert_eq!((limit(&guest, "net1").as_str(), shown_limit(&guest, "net1").as_str()), ("64", "64"));
    assert_eq!(shown_limit(&guest, "net0"), unknown);
    assert!(fs::read_to_string(guest.dlmp.config()).unwrap().contains("mcast-limit"));
    guest.end_daemon(Signal::SIGTERM);
    guest.start_daemon();
    assert_eq!(shown_limit(&guest, "net1"), "64");
    guest.reboot();
    wait_for("the port is back", || shown_limit(&guest, "net1") == "64");
    typed(&guest.dlmp, "dladm reset-linkprop -p mcast-limit net1");
    assert_eq!(shown_limit(&guest, "net1"), unknown);
    assert!(!fs::read_to_string(guest.dlmp.config()).unwrap().contains("mcast-limit"));

    typed(&guest.dlmp, "dladm set-linkprop -t -p mcast-limit=0 net1");
    assert_eq!(shown_limit(&guest, "net1"), "0");
    assert!(!fs::read_to_string(guest.dlmp.config()).unwrap().contains("mcast-limit"));
}

#[test]
fn a_limit_that_makes_no_sense_is_refused_and_changes_nothing() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm set-linkprop -p mcast-limit=64 net1");
    let before = fs::read_to_string(guest.dlmp.config()).unwrap();
    for bad in ["-1", "1000001", "many", "", "64,65", "6 4"] {
        let message = refused(&guest.dlmp, &format!("dladm set-linkprop -p 'mcast-limit={bad}' net1"));
        assert!(message.contains("mcast-limit"), "{bad:?}: {message}");
    }
    for link in ["aggr0", "lo", "nosuch0"] {
        let message = refused(&guest.dlmp, &format!("dladm set-linkprop -p mcast-limit=64 {link}"));
        assert!(message.contains(link), "{message}");
    }
    assert_eq!(shown_limit(&guest, "net1"), "64");
    assert_eq!(fs::read_to_string(guest.dlmp.config()).unwrap(), before);
    let message = refused(&guest.dlmp, "dladm show-mcast nosuch0");
    assert!(message.contains("nosuch0"), "{message}");
}
