//! What an aggregation decides: its table of inputs, and the promises that hold after any of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dlmp_engine::{
    Action, Aggregation, Event, GroupAction, Health, LinkState, Notice, Placement, PortIndex, SlotIndex,
};
use proptest::prelude::*;

const NET0: PortIndex = PortIndex(0);
const NET1: PortIndex = PortIndex(1);
const PRIMARY: SlotIndex = SlotIndex::PRIMARY;

fn actions(engine: &mut Aggregation, event: Event, now: Instant) -> Vec<Action> {
    engine.handle_event(event, now);
    std::iter::from_fn(|| engine.poll_action()).collect()
}

/// Two ports that are up and the primary client on net0.
fn settled(now: Instant) -> Aggregation {
    let mut engine = Aggregation::new(now);
    for event in [
        Event::PortAdded(NET0),
        Event::PortAdded(NET1),
        Event::ClientsAdded(vec![PRIMARY]),
        Event::Link(NET0, LinkState::Up),
        Event::Link(NET1, LinkState::Up),
    ] {
        actions(&mut engine, event, now);
    }
    engine
}

const fn place(port: PortIndex, backup: Option<PortIndex>) -> Action {
    Action::Place(PRIMARY, Placement { port, backup })
}

#[test]
fn nothing_is_decided_before_every_port_was_looked_at() {
    let now = Instant::now();
    let mut engine = Aggregation::new(now);
    for event in [Event::PortAdded(NET0), Event::PortAdded(NET1), Event::ClientsAdded(vec![PRIMARY])] {
        assert_eq!(actions(&mut engine, event, now), []);
    }
    let first = actions(&mut engine, Event::Link(NET1, LinkState::Up), now);
    assert!(!first.iter().any(|action| matches!(action, Action::Place(..) | Action::SetCarrier(_))), "{first:?}");
    let second = actions(&mut engine, Event::Link(NET0, LinkState::Up), now);
    assert!(second.contains(&place(NET0, Some(NET1))), "{second:?}");
    assert!(second.contains(&Action::SetMulticastPort(Some(NET0))));
    assert!(second.contains(&Action::SetCarrier(true)));
    assert!(second.contains(&Action::Announce(PRIMARY, NET0)));
}

#[test]
fn switches_that_have_changed_behind_a_port_are_told_its_clients_and_groups_and_nobody_moves() {
    let now = Instant::now();
    let mut engine = settled(now);
    engine.handle_timeout(now + Duration::from_secs(2));
    while engine.poll_action().is_some() {}
    let later = now + Duration::from_secs(3);
    assert_eq!(
        actions(&mut engine, Event::NewPeers(NET0), later),
        [Action::Announce(PRIMARY, NET0), GroupAction::Report(NET0).into(), GroupAction::Ask.into()]
    );
    // Nobody sits on the other one.
    assert_eq!(actions(&mut engine, Event::NewPeers(NET1), later), []);
    // A port that has failed tells its switches nothing.
    actions(&mut engine, Event::Link(NET0, LinkState::Down), later);
    assert_eq!(actions(&mut engine, Event::NewPeers(NET0), later), []);
}

#[test]
fn a_lost_link_moves_the_client_at_once_and_announces_it_from_its_new_port() {
    let now = Instant::now();
    let mut engine = settled(now);
    let done = actions(&mut engine, Event::Link(NET0, LinkState::Down), now);
    // The datapath's own backup first, then the slot, then everything else.
    assert_eq!(done[..2], [Action::SetUsable(NET0, false), place(NET1, None)]);
    assert!(done.contains(&Action::SetMulticastPort(Some(NET1))));
    assert!(done.contains(&Action::Announce(PRIMARY, NET1)));
    assert!(done.contains(&Action::Notify(Notice::Moved { slot: PRIMARY, from: Some(NET0), to: NET1 })));
    assert!(!done.iter().any(|action| matches!(action, Action::SetCarrier(_))), "one port is left");
}

#[test]
fn a_repaired_link_moves_nobody_when_the_spread_is_even() {
    let now = Instant::now();
    let mut engine = settled(now);
    actions(&mut engine, Event::Link(NET0, LinkState::Down), now);
    let done = actions(&mut engine, Event::Link(NET0, LinkState::Up), now);
    let wanted =
        [Action::SetUsable(NET0, true), place(NET1, Some(NET0)), Action::Notify(Notice::Health(NET0, Health::LinkUp))];
    assert_eq!(done, wanted);
}

#[test]
fn with_no_link_left_clients_stay_and_the_first_to_return_gets_them() {
    let now = Instant::now();
    let mut engine = settled(now);
    actions(&mut engine, Event::Link(NET0, LinkState::Down), now);
    let last = actions(&mut engine, Event::Link(NET1, LinkState::Absent), now);
    assert!(last.contains(&Action::SetCarrier(false)), "{last:?}");
    assert!(!last.iter().any(|action| matches!(action, Action::Announce(..) | Action::SetMulticastPort(Some(_)))));
    let back = actions(&mut engine, Event::Link(NET0, LinkState::Up), now);
    assert_eq!(back[..2], [Action::SetUsable(NET0, true), place(NET0, None)]);
    assert!(back.contains(&Action::SetCarrier(true)) && back.contains(&Action::SetMulticastPort(Some(NET0))));
}

#[test]
fn a_takeover_moves_nobody_although_ports_are_looked_at_one_after_another() {
    let now = Instant::now();
    let mut engine = Aggregation::new(now);
    let mut all = Vec::new();
    for event in [
        Event::PortAdded(NET0),
        Event::PortAdded(NET1),
        Event::ClientsSeated(vec![(PRIMARY, NET1)]),
        Event::MulticastRestored(NET1),
        Event::Link(NET0, LinkState::Up),
        Event::Link(NET1, LinkState::Up),
    ] {
        all.extend(actions(&mut engine, event, now));
    }
    let moved = |action: &Action| match action {
        Action::Place(_, placement) => placement.port != NET1,
        Action::SetCarrier(carrier) => !carrier,
        Action::SetMulticastPort(_) | Action::Announce(..) => true,
        _ => false,
    };
    assert!(!all.iter().any(moved), "{all:?}");
}

#[test]
fn a_client_that_waited_for_its_own_port_is_announced_when_that_returns() {
    let now = Instant::now();
    let mut engine = Aggregation::new(now);
    for event in [Event::PortAdded(NET0), Event::ClientsAdded(vec![PRIMARY]), Event::Link(NET0, LinkState::Up)] {
        actions(&mut engine, event, now);
    }
    actions(&mut engine, Event::Link(NET0, LinkState::Down), now);
    let back = actions(&mut engine, Event::Link(NET0, LinkState::Up), now + Duration::from_secs(60));
    assert!(back.contains(&Action::Announce(PRIMARY, NET0)), "{back:?}");
}

#[test]
fn a_stray_frame_makes_the_client_announce_itself_from_its_own_port() {
    let now = Instant::now();
    let mut engine = settled(now);
    let later = now + Duration::from_secs(10);
    engine.handle_timeout(later);
    while engine.poll_action().is_some() {}
    assert_eq!(actions(&mut engine, Event::Stray(PRIMARY), later), [Action::Announce(PRIMARY, NET0)]);
}

#[test]
fn an_announcement_that_is_queued_when_its_port_fails_is_not_made() {
    let now = Instant::now();
    let mut engine = settled(now);
    // Both come in before anything is carried out.
    engine.handle_event(Event::Stray(PRIMARY), now);
    let done = actions(&mut engine, Event::Link(NET0, LinkState::Down), now);
    assert!(!done.contains(&Action::Announce(PRIMARY, NET0)), "{done:?}");
    assert!(done.contains(&Action::Announce(PRIMARY, NET1)), "{done:?}");
}

#[test]
fn of_two_moves_that_are_carried_out_together_the_later_one_counts() {
    let now = Instant::now();
    let mut engine = settled(now);
    engine.handle_event(Event::Link(NET0, LinkState::Down), now);
    engine.handle_event(Event::Link(NET0, LinkState::Up), now);
    let done = actions(&mut engine, Event::Link(NET1, LinkState::Down), now);
    let last = done.iter().rfind(|action| matches!(action, Action::Place(..)));
    assert_eq!(last, Some(&place(NET0, None)), "{done:?}");
}

#[test]
fn the_same_state_again_is_no_news() {
    let now = Instant::now();
    let mut engine = settled(now);
    assert_eq!(actions(&mut engine, Event::Link(NET0, LinkState::Up), now), []);
    assert_eq!(actions(&mut engine, Event::Link(PortIndex(9), LinkState::Up), now), [], "no such port");
}

/// Ports net0 to net3 that are up, and so many clients on the first `on` of them.
fn crowded(clients: u16, on: u8, now: Instant) -> Aggregation {
    let mut engine = Aggregation::new(now);
    let seat = |slot: u16| (SlotIndex(slot), PortIndex((slot % u16::from(on)) as u8));
    (0..4).for_each(|port| engine.handle_event(Event::PortAdded(PortIndex(port)), now));
    engine.handle_event(Event::ClientsSeated((0..clients).map(seat).collect()), now);
    for port in 0..4 {
        let state = if port < on { LinkState::Up } else { LinkState::Down };
        engine.handle_event(Event::Link(PortIndex(port), state), now);
    }
    while engine.poll_action().is_some() {}
    engine
}

fn moved(done: &[Action]) -> Vec<SlotIndex> {
    let slot = |action: &Action| match action {
        Action::Notify(Notice::Moved { slot, .. }) => Some(*slot),
        _ => None,
    };
    done.iter().filter_map(slot).collect()
}

#[test]
fn a_failed_port_with_thousands_of_clients_is_left_at_once_and_every_client_for_its_backup() {
    let now = Instant::now();
    let mut engine = Aggregation::new(now);
    (0..4).for_each(|port| engine.handle_event(Event::PortAdded(PortIndex(port)), now));
    (0..4).for_each(|port| engine.handle_event(Event::Link(PortIndex(port), LinkState::Up), now));
    let first = actions(&mut engine, Event::ClientsAdded((0..4096).map(SlotIndex).collect()), now);
    let placed = |done: &[Action]| -> BTreeMap<SlotIndex, Placement> {
        let place = |action: &Action| match action {
            Action::Place(slot, placement) => Some((*slot, *placement)),
            _ => None,
        };
        done.iter().filter_map(place).collect()
    };
    let before = placed(&first);
    assert_eq!(before.len(), 4096);
    let done = actions(&mut engine, Event::Link(NET0, LinkState::Down), now);
    assert_eq!(done[0], Action::SetUsable(NET0, false));
    let lost: Vec<SlotIndex> = before.iter().filter(|(_, place)| place.port == NET0).map(|(&slot, _)| slot).collect();
    assert_eq!(lost.len(), 1024);
    let told: Vec<SlotIndex> = done[1..=1024]
        .iter()
        .map(|action| match action {
            Action::Place(slot, placement) if Some(placement.port) == before[slot].backup => *slot,
            other => panic!("{other:?} before all have left"),
        })
        .collect();
    assert_eq!(told, lost);
    assert_eq!(moved(&done), lost, "nobody else moves");
    let again = |(slot, placement): (&SlotIndex, &Placement)| before[slot] == *placement;
    assert!(!placed(&done).iter().any(again), "no placement is told that has not changed");
}

#[test]
fn a_port_that_comes_back_fills_batch_by_batch_until_the_load_is_even() {
    let now = Instant::now();
    let mut engine = crowded(400, 3, now);
    let mut batches = vec![moved(&actions(&mut engine, Event::Link(PortIndex(3), LinkState::Up), now)).len()];
    let (mut at, mut last) = (now, now);
    while let Some(next) = engine.poll_timeout() {
        assert!(next > at, "no timeout is asked for twice");
        at = next;
        engine.handle_timeout(at);
        let batch = moved(&std::iter::from_fn(|| engine.poll_action()).collect::<Vec<_>>()).len();
        if batch > 0 {
            assert!(at >= last + Duration::from_millis(10), "{:?}", at - last);
            batches.push(batch);
            last = at;
        }
    }
    assert_eq!(batches, [32, 32, 32, 4], "a hundred clients are its share");
    assert!(engine.ports(at).all(|port| port.slots.len() == 100));
}

#[test]
fn evening_the_load_stops_when_the_port_fails_again() {
    let now = Instant::now();
    let mut engine = crowded(400, 3, now);
    let there = moved(&actions(&mut engine, Event::Link(PortIndex(3), LinkState::Up), now));
    let back = actions(&mut engine, Event::Link(PortIndex(3), LinkState::Down), now + Duration::from_millis(1));
    let mut returned = moved(&back);
    returned.sort();
    assert_eq!(returned, there, "those that had come leave, and nobody else");
    let later = now + Duration::from_secs(10);
    engine.handle_timeout(later);
    let rest: Vec<_> = std::iter::from_fn(|| engine.poll_action()).collect();
    assert_eq!(moved(&rest), []);
}

#[test]
fn a_learned_client_gets_a_backup_and_is_neither_moved_nor_announced() {
    let now = Instant::now();
    let mut engine = settled(now);
    let learned = SlotIndex(256);
    let done = actions(&mut engine, Event::ClientsSeated(vec![(learned, NET1)]), now);
    assert_eq!(done, [Action::Place(learned, Placement { port: NET1, backup: Some(NET0) })]);
}

#[test]
fn of_a_client_that_has_gone_nothing_more_is_told() {
    let now = Instant::now();
    let mut engine = settled(now);
    // Both come in before anything is carried out.
    engine.handle_event(Event::ClientsAdded(vec![SlotIndex(7)]), now);
    let done = actions(&mut engine, Event::ClientsRemoved(vec![SlotIndex(7)]), now);
    let of_it = |action: &Action| matches!(action, Action::Place(slot, _) | Action::Announce(slot, _) if slot.0 == 7);
    assert!(!done.iter().any(of_it), "{done:?}");
    engine.handle_timeout(now + Duration::from_secs(1));
    let later: Vec<_> = std::iter::from_fn(|| engine.poll_action()).collect();
    assert!(!later.iter().any(of_it), "{later:?}");
}

fn any_event() -> impl Strategy<Value = Event> {
    let port = (0u8..4).prop_map(PortIndex);
    let slot = (0u16..100).prop_map(SlotIndex);
    let slots = proptest::collection::vec(slot.clone(), 1..60);
    let state = prop_oneof![3 => Just(LinkState::Up), 2 => Just(LinkState::Down), 1 => Just(LinkState::Absent)];
    prop_oneof![
        1 => port.clone().prop_map(Event::PortAdded),
        1 => port.clone().prop_map(Event::PortRemoved),
        8 => (port, state).prop_map(|(port, state)| Event::Link(port, state)),
        2 => slots.clone().prop_map(Event::ClientsAdded),
        1 => slots.clone().prop_map(Event::ClientsRemoved),
        // A burst of learning: each client on some port, which may have failed meanwhile or be gone.
        1 => (slots, 0u8..4).prop_map(|(slots, port)| {
            let seat = |slot: SlotIndex| (slot, PortIndex((u8::try_from(slot.0).unwrap() + port) % 4));
            Event::ClientsSeated(slots.into_iter().map(seat).collect())
        }),
        1 => slot.prop_map(Event::Stray),
    ]
}

proptest! {
    /// The promises: whenever a live port exists, every client sits on exactly one live port;
    /// announcements leave only through the client's own live port; the carrier follows the links; the load
    /// is even once the batches are through.
    #[test]
    fn promises_hold_after_every_event(events in proptest::collection::vec((any_event(), 0u64..400), 1..120)) {
        let mut engine = Aggregation::new(Instant::now());
        let mut now = Instant::now();
        let (mut links, mut clients) = (BTreeMap::new(), BTreeMap::new());
        let (mut carrier, mut multicast) = (None, None);
        for (event, pause) in events {
            now += Duration::from_millis(pause);
            engine.handle_timeout(now);
            let mut batch = 0;
            while let Some(action) = engine.poll_action() {
                let up = |port| links.get(&port) == Some(&LinkState::Up);
                match action {
                    Action::Place(slot, placement) => {
                        prop_assert!(up(placement.port));
                        clients.insert(slot, Some(placement.port));
                    }
                    Action::Announce(slot, port) => prop_assert!(clients[&slot] == Some(port) && up(port)),
                    Action::Notify(Notice::Moved { from, .. }) => {
                        prop_assert!(from.is_some_and(up), "only to even the load");
                        batch += 1;
                    }
                    // Sent a second time, a second after the ports came up.
                    Action::Groups(GroupAction::Report(_)) => {}
                    _ => prop_assert!(false, "{action:?}"),
                }
            }
            prop_assert!(batch <= 32);
            match &event {
                &Event::PortAdded(port) => { links.insert(port, LinkState::Unknown); }
                &Event::PortRemoved(port) => { links.remove(&port); }
                &Event::Link(port, state) => { links.entry(port).and_modify(|link| *link = state); }
                Event::ClientsAdded(slots) => slots.iter().for_each(|&slot| { clients.entry(slot).or_insert(None); }),
                Event::ClientsSeated(seats) => clients.extend(seats.iter().map(|&(slot, port)| (slot, Some(port)))),
                Event::ClientsRemoved(slots) => slots.iter().for_each(|slot| { clients.remove(slot); }),
                _ => {}
            }
            let live = |port: PortIndex| links.get(&port) == Some(&LinkState::Up);
            for action in actions(&mut engine, event, now) {
                match action {
                    Action::Place(slot, placement) => {
                        prop_assert!(placement.backup.is_none_or(|backup| live(backup) && backup != placement.port));
                        prop_assert!(clients.contains_key(&slot), "{:?} is gone", slot);
                        clients.insert(slot, Some(placement.port));
                    }
                    Action::Announce(slot, port) => prop_assert!(clients[&slot] == Some(port) && live(port)),
                    Action::SetCarrier(up) => carrier = Some(up),
                    Action::SetMulticastPort(port) => multicast = port,
                    Action::SetUsable(..) | Action::Notify(_) | Action::Groups(_) => {}
                    Action::Ask(_) | Action::AskPort { .. } | Action::Discover(_) => {
                        prop_assert!(false, "nobody configured probing: {action:?}");
                    }
                }
            }
            if links.values().any(|&link| link == LinkState::Unknown) {
                continue;
            }
            let any = links.keys().any(|&port| live(port));
            if any {
                prop_assert!(clients.values().all(|place| place.is_some_and(live)), "{:?} {:?}", clients, links);
                prop_assert!(multicast.is_some_and(live));
            }
            prop_assert_eq!(carrier.unwrap_or(false), any);
        }
        while let Some(next) = engine.poll_timeout() {
            engine.handle_timeout(next);
        }
        let views: Vec<_> = engine.ports(now).collect();
        let loads = || views.iter().filter(|view| view.link == LinkState::Up).map(|view| view.slots.len());
        let known = views.iter().all(|view| view.link != LinkState::Unknown);
        prop_assert!(!known || loads().max().unwrap_or(0) - loads().min().unwrap_or(0) <= 1, "{:?}", views);
    }
}
