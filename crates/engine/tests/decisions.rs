//! What an aggregation decides: its table of inputs, and the promises that hold after any of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dlmp_engine::{Action, Aggregation, Event, Health, LinkState, Notice, Placement, PortIndex, SlotIndex};
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
        Event::ClientAdded(PRIMARY),
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
    for event in [Event::PortAdded(NET0), Event::PortAdded(NET1), Event::ClientAdded(PRIMARY)] {
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
    assert!(!last.iter().any(|action| matches!(action, Action::Announce(..) | Action::SetMulticastPort(_))));
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
        Event::ClientRestored(PRIMARY, NET1),
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
    for event in [Event::PortAdded(NET0), Event::ClientAdded(PRIMARY), Event::Link(NET0, LinkState::Up)] {
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

fn any_event() -> impl Strategy<Value = Event> {
    let port = (0u8..4).prop_map(PortIndex);
    let slot = (0u16..6).prop_map(SlotIndex);
    let state = prop_oneof![3 => Just(LinkState::Up), 2 => Just(LinkState::Down), 1 => Just(LinkState::Absent)];
    prop_oneof![
        1 => port.clone().prop_map(Event::PortAdded),
        1 => port.clone().prop_map(Event::PortRemoved),
        8 => (port, state).prop_map(|(port, state)| Event::Link(port, state)),
        2 => slot.clone().prop_map(Event::ClientAdded),
        1 => slot.prop_map(Event::Stray),
    ]
}

proptest! {
    /// The promises: whenever a live port exists, every client sits on exactly one live port;
    /// announcements leave only through the client's own live port; the carrier follows the links.
    #[test]
    fn promises_hold_after_every_event(events in proptest::collection::vec((any_event(), 0u64..400), 1..120)) {
        let mut engine = Aggregation::new(Instant::now());
        let mut now = Instant::now();
        let (mut links, mut clients) = (BTreeMap::new(), BTreeMap::new());
        let (mut carrier, mut multicast) = (None, None);
        for (event, pause) in events {
            now += Duration::from_millis(pause);
            engine.handle_timeout(now);
            while let Some(action) = engine.poll_action() {
                let announced = |slot, port| clients[&slot] == Some(port) && links.get(&port) == Some(&LinkState::Up);
                prop_assert!(matches!(action, Action::Announce(slot, port) if announced(slot, port)), "{:?}", action);
            }
            match event {
                Event::PortAdded(port) => { links.insert(port, LinkState::Unknown); }
                Event::PortRemoved(port) => { links.remove(&port); }
                Event::Link(port, state) => { links.entry(port).and_modify(|link| *link = state); }
                Event::ClientAdded(slot) => { clients.entry(slot).or_insert(None); }
                _ => {}
            }
            let live = |port: PortIndex| links.get(&port) == Some(&LinkState::Up);
            for action in actions(&mut engine, event, now) {
                match action {
                    Action::Place(slot, placement) => {
                        prop_assert!(placement.backup.is_none_or(|backup| live(backup) && backup != placement.port));
                        clients.insert(slot, Some(placement.port));
                    }
                    Action::Announce(slot, port) => prop_assert!(clients[&slot] == Some(port) && live(port)),
                    Action::SetCarrier(up) => carrier = Some(up),
                    Action::SetMulticastPort(port) => multicast = port,
                    Action::SetUsable(..) | Action::Notify(_) => {}
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
    }
}
