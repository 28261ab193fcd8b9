//! What an aggregation decides about groups: a table of cases, and the promises that hold after every single
//! action, whatever happens.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use dlmp_engine::{Action, Event, GroupAction, GroupEvent, LinkState, PortIndex, Reception};
use dlmp_wire::MacAddr;
use dlmp_wire::membership::{Change, Version};
use proptest::prelude::*;

use world::{Filter, GUEST, HOST, NET0, NET1, NET2, World, ip, listed, mac, reported, restored, twin};

#[test]
fn a_group_asked_for_twice_is_one_entry_and_the_last_one_to_leave_removes_it() {
    let mut world = World::new(&[NET0, NET1]);
    world.tell(listed(&[1], &[]));
    assert_eq!(world.tell(reported(GUEST, ip(1), true)), []);
    assert_eq!(world.ports[&NET0].groups, BTreeSet::from([mac(1)]));
    assert_eq!(world.tell(listed(&[], &[1])), []);
    assert!(world.takes(mac(1)));
    world.tell(reported(GUEST, ip(1), false));
    assert!(world.admitted.is_empty() && world.ports[&NET0].groups.is_empty() && world.ports[&NET1].groups.is_empty());
}

#[test]
fn two_groups_with_one_address_are_both_left_before_it_goes() {
    let mut world = World::new(&[NET0, NET1]);
    world.tell(reported(GUEST, ip(1), true));
    world.tell(reported(GUEST, twin(1), true));
    world.tell(reported(GUEST, ip(1), false));
    assert!(world.takes(mac(1)));
    world.tell(reported(GUEST, twin(1), false));
    assert!(!world.takes(mac(1)));
}

#[test]
fn a_host_that_reports_a_leave_keeps_what_the_kernel_still_lists() {
    let mut world = World::new(&[NET0, NET1]);
    world.tell(listed(&[1], &[]));
    world.tell(reported(HOST, ip(1), true));
    world.tell(reported(HOST, ip(1), false));
    assert!(world.takes(mac(1)), "a program may have asked for the address itself");
    assert_eq!(world.engine.multicast().memberships().count(), 0);
    world.tell(listed(&[], &[1]));
    assert!(!world.takes(mac(1)));
}

#[test]
fn what_a_client_asked_for_goes_with_it() {
    let mut world = World::new(&[NET0, NET1]);
    world.tell(reported(GUEST, ip(1), true));
    world.tell(listed(&[2], &[]));
    world.tell(Event::ClientsRemoved(vec![GUEST]));
    assert_eq!(world.admitted, BTreeSet::from([mac(2)]));
    assert_eq!(world.engine.multicast().memberships().count(), 0);
}

#[test]
fn the_successor_is_ready_before_it_is_needed_and_others_have_nothing() {
    let mut world = World::new(&[NET0, NET1, NET2]);
    world.tell(listed(&[1, 2], &[]));
    let both = BTreeSet::from([mac(1), mac(2)]);
    assert_eq!(world.ports[&NET0].groups, both);
    assert_eq!(world.ports[&NET1].groups, both);
    assert!(world.ports[&NET2].groups.is_empty());

    let done = world.tell(Event::Link(NET0, LinkState::Down)).to_vec();
    let place = |wanted: Action| done.iter().position(|&action| action == wanted).unwrap();
    let switch = place(Action::SetMulticastPort(Some(NET1)));
    let report = place(GroupAction::Report(NET1).into());
    let next = place(GroupAction::Add(NET2, mac(1)).into());
    let old = place(GroupAction::Remove(NET0, mac(1)).into());
    assert!(switch < report && report < next && next < old, "{done:?}");
    assert!(place(GroupAction::Ask.into()) > switch);
    // One report can get lost.
    assert!(world.pass(Duration::from_secs(1)).contains(&GroupAction::Report(NET1).into()));
}

#[test]
fn a_port_that_was_not_ready_takes_all_first_and_the_exact_groups_then() {
    let mut world = World::new(&[NET0, NET1, NET2]);
    world.tell(listed(&(1..=100).collect::<Vec<u8>>(), &[]));
    // The engine thinks of one port at a time: the last one is a surprise.
    world.tell(Event::PortRemoved(NET1));
    world.tell(Event::Link(NET2, LinkState::Down));
    world.tell(Event::Link(NET2, LinkState::Absent));
    world.tell(Event::Link(NET0, LinkState::Down));
    let done = world.tell(Event::Link(NET2, LinkState::Up)).to_vec();
    let place = |wanted: Action| done.iter().position(|&action| action == wanted).unwrap();
    let open = place(GroupAction::TakeAll(NET2, true).into());
    let switch = place(Action::SetMulticastPort(Some(NET2)));
    let exact = place(GroupAction::Add(NET2, mac(1)).into());
    let close = place(GroupAction::TakeAll(NET2, false).into());
    assert!(open < exact && exact < close && close < switch, "{done:?}");
}

#[test]
fn a_port_that_would_overflow_takes_all_and_is_exact_again_when_it_fits() {
    let mut world = World::new(&[NET0, NET1]);
    world.tell(Event::Groups(GroupEvent::Limit(NET0, Some(2))));
    world.tell(listed(&[1, 2], &[]));
    assert!(!world.ports[&NET0].all);
    world.tell(listed(&[3], &[]));
    assert!(world.ports[&NET0].all && world.ports[&NET0].groups.len() == 2);
    assert!(!world.ports[&NET1].all && world.ports[&NET1].groups.len() == 3);
    world.tell(listed(&[], &[1]));
    assert!(!world.ports[&NET0].all);
    assert_eq!(world.ports[&NET0].groups, BTreeSet::from([mac(2), mac(3)]));
}

#[test]
fn a_refusal_is_a_limit_that_nobody_knew() {
    let mut world = World::new(&[NET0, NET1]);
    world.ports.get_mut(&NET0).unwrap().slots = Some(2);
    world.tell(listed(&[1, 2, 3, 4], &[]));
    assert!(world.ports[&NET0].all);
    let port = world.engine.multicast().ports().next().unwrap();
    assert_eq!((port.reception, port.limit, port.held), (Reception::All, Some(2), 2));
    // A limit that is set is tried.
    world.ports.get_mut(&NET0).unwrap().slots = Some(9);
    world.tell(Event::Groups(GroupEvent::Limit(NET0, Some(9))));
    assert!(!world.ports[&NET0].all && world.ports[&NET0].groups.len() == 4);
}

#[test]
fn a_port_that_can_neither_hold_nor_take_all_is_avoided_while_another_exists() {
    let mut world = World::new(&[NET0, NET1]);
    world.tell(Event::Groups(GroupEvent::Limit(NET0, Some(1))));
    world.tell(Event::Groups(GroupEvent::TakesAll(NET0, false)));
    world.tell(listed(&[1], &[]));
    assert_eq!(world.multicast_port, Some(NET0), "it fits");
    world.tell(listed(&[2], &[]));
    assert_eq!(world.multicast_port, Some(NET1));
    world.tell(Event::Link(NET1, LinkState::Down));
    assert_eq!(world.multicast_port, Some(NET0), "better than nothing");
    assert!(world.short);
    world.tell(Event::Link(NET1, LinkState::Up));
    assert_eq!(world.multicast_port, Some(NET1));
    assert!(!world.short);
}

#[test]
fn whoever_wants_every_group_gets_every_group() {
    let mut world = World::new(&[NET0, NET1]);
    world.tell(listed(&[1], &[]));
    world.tell(Event::Groups(GroupEvent::AllWanted(true)));
    assert!(world.takes(mac(99)) && world.lets_through(NET1, mac(99)));
    world.tell(Event::Groups(GroupEvent::AllWanted(false)));
    assert!(!world.takes(mac(99)) && world.takes(mac(1)));
}

#[test]
fn groups_of_an_earlier_daemon_stay_until_whoever_asked_has_asked_again() {
    let mut world = World::new(&[]);
    let both = BTreeSet::from([mac(1), mac(2)]);
    let mut done = Vec::new();
    for port in [NET0, NET1] {
        world.ports.insert(port, Filter { groups: both.clone(), all: true, ..Filter::default() });
    }
    let filter = |port| restored(port, &[1, 2], true);
    for event in [
        Event::Groups(GroupEvent::AllWanted(true)),
        Event::PortAdded(NET0),
        Event::PortAdded(NET1),
        Event::Groups(GroupEvent::Restored(vec![mac(1), mac(2)])),
        filter(NET0),
        filter(NET1),
        listed(&[3], &[]),
        Event::MulticastRestored(NET1),
        Event::Link(NET0, LinkState::Up),
        Event::Link(NET1, LinkState::Up),
        reported(GUEST, ip(1), true),
    ] {
        done.extend_from_slice(world.tell(event));
    }
    assert_eq!(world.engine.multicast().port(), Some(NET1));
    let takes_away = |action: &Action| {
        matches!(
            action,
            Action::SetCarrier(false)
                | Action::Groups(GroupAction::Remove(..) | GroupAction::TakeAll(..) | GroupAction::Dismiss(_))
        )
    };
    assert!(!done.iter().any(takes_away), "{done:?}");
    world.pass(Duration::from_secs(15));
    assert_eq!(world.admitted, BTreeSet::from([mac(1), mac(3)]));
    assert_eq!(world.ports[&NET0].groups, BTreeSet::from([mac(1)]), "nothing is put into a filter that takes all");
    assert!(world.done.contains(&GroupAction::ForgetRestored.into()));
}

#[test]
fn a_port_that_an_earlier_daemon_had_take_all_groups_goes_on_until_they_fit() {
    let mut world = World::new(&[]);
    let both = BTreeSet::from([mac(1), mac(2)]);
    for port in [NET0, NET1] {
        world.ports.insert(port, Filter { groups: both.clone(), all: true, ..Filter::default() });
        world.tell(Event::PortAdded(port));
        // What was measured of it outlives the daemon.
        world.tell(Event::Groups(GroupEvent::Limit(port, Some(2))));
    }
    let filter = |port| restored(port, &[1, 2], true);
    let restored = Event::Groups(GroupEvent::Restored(vec![mac(1), mac(2)]));
    for event in [restored, filter(NET0), filter(NET1), listed(&[1, 2, 3], &[]), Event::MulticastRestored(NET0)] {
        world.tell(event);
    }
    for port in [NET0, NET1] {
        world.tell(Event::Link(port, LinkState::Up));
    }
    for view in world.engine.multicast().ports() {
        assert_eq!((view.reception, view.limit), (Reception::All, Some(2)));
    }
    assert!(world.admitted.contains(&mac(3)));
    assert!(world.ports.values().all(|filter| filter.all && filter.groups == both));
    world.tell(listed(&[], &[1]));
    world.pass(Duration::from_secs(15));
    let rest = BTreeSet::from([mac(2), mac(3)]);
    assert!(world.ports.values().all(|filter| !filter.all && filter.groups == rest));
}

fn events() -> impl Strategy<Value = Event> {
    let port = (0..3u8).prop_map(PortIndex);
    let slot = prop_oneof![Just(HOST), Just(GUEST)];
    let group = prop_oneof![(0..6u8).prop_map(ip), (0..6u8).prop_map(twin)];
    let state = prop_oneof![3 => Just(LinkState::Up), 1 => Just(LinkState::Down), 1 => Just(LinkState::Absent)];
    let changes = proptest::collection::vec((group, any::<bool>()), 1..4).prop_map(|changes| {
        let change = |(group, joined)| Change { group, version: Version::Old, joined };
        changes.into_iter().map(change).collect()
    });
    prop_oneof![
        4 => (port.clone(), state).prop_map(|(port, state)| Event::Link(port, state)),
        6 => (slot, changes)
            .prop_map(|(slot, changes)| Event::Groups(GroupEvent::Reported { slot, changes })),
        4 => (proptest::collection::btree_set(0..6u8, 0..4), 0..4usize).prop_map(|(numbers, cut)| {
            let numbers: Vec<u8> = numbers.into_iter().collect();
            let (joined, left) = numbers.split_at(cut.min(numbers.len()));
            listed(joined, left)
        }),
        1 => Just(Event::ClientsRemoved(vec![GUEST])),
        1 => Just(Event::ClientsAdded(vec![GUEST])),
        1 => any::<bool>().prop_map(|all| Event::Groups(GroupEvent::AllWanted(all))),
        1 => (port, proptest::option::of(0..6usize))
            .prop_map(|(port, limit)| Event::Groups(GroupEvent::Limit(port, limit))),
    ]
}

proptest! {
    /// What is received before an event and wanted after it is received at every moment in between, as long as the
    /// port stays; ports never hold more than they can, and only those that take groups or would next hold any.
    #[test]
    fn a_group_that_stays_wanted_is_never_lost(events in proptest::collection::vec(events(), 1..60)) {
        let mut world = World::new(&[NET0, NET1, NET2]);
        for event in events {
            let limit = match event {
                Event::Groups(GroupEvent::Limit(port, limit)) => Some((port, limit)),
                _ => None,
            };
            let before: BTreeSet<MacAddr> = world.admitted.iter().copied().filter(|&group| world.takes(group)).collect();
            let port = world.multicast_port;
            let gone = matches!(event, Event::Link(changed, LinkState::Absent) if Some(changed) == port);
            let mut trace = Vec::new();
            world.tell_and_check(event, |world| {
                let lost = before.iter().copied().filter(|&group| !world.takes(group)).collect::<Vec<_>>();
                trace.push(lost);
            });
            let wanted: BTreeSet<MacAddr> =
                world.engine.multicast().entries().map(|(group, _)| group).collect();
            prop_assert_eq!(&world.admitted, &wanted);
            if !gone {
                for lost in trace {
                    prop_assert!(lost.iter().all(|group| !wanted.contains(group)), "{:?} {:?}", lost, world.done);
                }
            }
            if let Some((port, limit)) = limit {
                world.ports.get_mut(&port).unwrap().slots = limit;
            }
            let serving = [world.engine.multicast().port(), world.engine.multicast().successor()];
            for view in world.engine.multicast().ports() {
                let filter = &world.ports[&view.port];
                prop_assert_eq!(view.held, filter.groups.len());
                prop_assert!(filter.slots.is_none_or(|slots| filter.groups.len() <= slots));
                if serving.contains(&Some(view.port)) {
                    prop_assert!(wanted.iter().all(|&group| world.lets_through(view.port, group)), "{:?}", view);
                } else {
                    prop_assert!(filter.groups.is_empty() && !filter.all, "{:?}", view);
                }
            }
        }
    }
}
