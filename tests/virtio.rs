//! Ports that are virtio-net cards, which filter addresses by themselves: groups survive a failover between them. Such
//! cards are in the machine that scripts/vm-virtio makes; elsewhere this test has nothing to do.
//!
//! DLMP_TEST_VIRTIO names three of them on one hub: two for the guest, one for the host.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use dlmp_testbed::{
    Environment, GroupReceiver, GroupSender, Groups, Members, Namespace, Pins, Received, mac_of_group, up,
};
use dlmp_tests::{json, run, typed, wait_for};

/// Frames a second: an emulated processor is slow.
const RATE: u32 = 500;

/// The filter and the role of a port.
fn shown(dlmp: &Environment, port: &str) -> (String, String) {
    let rows = json(dlmp, "dladm show-mcast -P -j aggr0");
    let row = rows.as_array().unwrap().iter().find(|row| row["port"] == port).unwrap().clone();
    let text = |field: &str| row[field].as_str().unwrap_or("--").to_owned();
    (text("filter"), text("role"))
}

fn groups(count: u32) -> [Groups; 2] {
    [Groups::v4(0, count / 2), Groups::v6(0, count / 2)]
}

#[test]
fn groups_survive_failover_between_cards_that_filter() {
    let Ok(cards) = std::env::var("DLMP_TEST_VIRTIO") else {
        eprintln!("skipped: DLMP_TEST_VIRTIO names no cards");
        return;
    };
    let cards: Vec<&str> = cards.split_whitespace().collect();
    let (guest, host) = (Namespace::new("ee", "guest").unwrap(), Namespace::new("ee", "host").unwrap());
    for (card, namespace, name) in [(cards[0], &guest, "net0"), (cards[1], &guest, "net1"), (cards[2], &host, "net0")] {
        let moved = ["link", "set", "dev", card, "netns", namespace.name(), "name", name];
        let outcome = run(std::process::Command::new("ip").args(moved));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        up(namespace, name).unwrap();
    }
    host.ip("address add 10.9.0.1/24 dev net0").unwrap();
    let dlmp = Environment::new(&guest, Pins::Mounted).unwrap();
    typed(&dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
    typed(&dlmp, "ipadm create-ip aggr0");
    typed(&dlmp, "ipadm create-addr -T static -a 10.9.0.2/24 aggr0/v4");
    let unwanted = [Groups::v4(1_000_000, 20)];

    // 40 fit into a card's 64 entries, 90 do not.
    for (count, filter) in [(40, "exact"), (90, "all")] {
        let wanted = groups(count);
        let members = Members::join(&guest, "aggr0", &wanted).unwrap();
        let ready = || ["net0", "net1"].map(|port| shown(&dlmp, port).0) == [filter, filter];
        wait_for("both filters are as they must be", ready);
        let lists = || guest.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev_mcast")).unwrap().unwrap();
        let last = mac_of_group(wanted[1].addresses().last().unwrap()).map(|byte| format!("{byte:02x}")).concat();
        if filter == "exact" {
            wait_for("both cards have the last group", || lists().matches(&last).count() == 3);
        }

        let sent = [&wanted[..], &unwanted].concat();
        let sender = GroupSender::start(&host, "net0", &sent, RATE).unwrap();
        let above = GroupReceiver::start(&guest, "aggr0").unwrap();
        let all_arrive = |when: &str| {
            let (active, _) = if shown(&dlmp, "net0").1 == "active" { ("net0", "net1") } else { ("net1", "net0") };
            let port = GroupReceiver::start(&guest, active).unwrap();
            let rounds = sender.rounds(3);
            assert_eq!(above.received(rounds.clone(), &wanted).unwrap(), Received::default(), "{when}, {count} groups");
            let foreign = port.received(rounds, &wanted).unwrap().foreign;
            assert_eq!(foreign.is_empty(), filter == "exact", "{when}: {active} let {foreign:?} in");
        };
        all_arrive("at first");
        for _ in 0..2 {
            let (from, to) = if shown(&dlmp, "net0").1 == "active" { ("net0", "net1") } else { ("net1", "net0") };
            guest.ip(&format!("link set dev {from} down")).unwrap();
            wait_for("the other card takes multicast", || shown(&dlmp, to).1 == "active");
            all_arrive(&format!("from {from} to {to}"));
            up(&guest, from).unwrap();
            wait_for("both cards are ready", || ["net0", "net1"].iter().all(|port| shown(&dlmp, port).1 != "--"));
            all_arrive(&format!("{from} is back"));
        }
        drop(members);
    }
}
