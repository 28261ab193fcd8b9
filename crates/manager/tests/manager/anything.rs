//! Whatever may happen to a manager.

use proptest::prelude::*;

use super::*;

/// What may happen to a manager.
#[derive(Debug, Clone)]
enum Event {
    Hears { kind: u8, number: u32, source: u8, order: bool },
    Bytes(Vec<u8>),
    Time { millis: u64 },
    Due,
    Request { count: usize },
    GiveBack,
    Follow { used: BTreeSet<u32>, freed: Vec<u32> },
    Interface { there: bool },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..4u8, 0..8u32, 95..105u8, any::<bool>())
            .prop_map(|(kind, number, source, order)| Event::Hears { kind, number, source, order }),
        1 => proptest::collection::vec(any::<u8>(), 0..LEN + 1).prop_map(Event::Bytes),
        2 => (0..100_000u64).prop_map(|millis| Event::Time { millis }),
        8 => Just(Event::Due),
        2 => (0..100usize).prop_map(|count| Event::Request { count }),
        1 => Just(Event::GiveBack),
        2 => (proptest::collection::btree_set(0..8u32, 0..5), proptest::collection::vec(0..8u32, 0..5))
            .prop_map(|(used, freed)| Event::Follow { used, freed }),
        1 => any::<bool>().prop_map(|there| Event::Interface { there }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_goes_on_within_its_bounds(events in proptest::collection::vec(event(), 1..200), seed: u64) {
        let mut host = Host::new(Start { seed, ..Start::default() });
        let (mut open, mut lent, mut requests) = (0, Vec::new(), 0);
        for event in events {
            match event {
                Event::Hears { kind, number, source, order } => {
                    let address = Ipv4Addr::new(192, 0, 2, source);
                    // Of its own addresses too.
                    let own = host.manager.pool().nth(number as usize);
                    let mac = own.unwrap_or(automatic(number));
                    let lookup = Lookup { mac, source: Some(address) };
                    let message = match kind {
                        0 => Message::Lookup(lookup),
                        1 => Message::Taken(lookup),
                        2 => Message::Discover,
                        _ => Message::Here(Name { version: "1", host: "host", address, port: 6482 }),
                    };
                    let order = if order { ByteOrder::Big } else { ByteOrder::Little };
                    let bytes = bytes(message, order);
                    let from = SocketAddrV4::new(address, PORT);
                    host.manager.hear(Origin { interface: LINK, from }, &bytes, host.now);
                }
                Event::Bytes(bytes) => {
                    host.manager.hear(Origin { interface: LINK, from: NEIGHBOUR }, &bytes, host.now);
                }
                Event::Time { millis } => {
                    host.now += Duration::from_millis(millis);
                    host.manager.handle_timeout(host.now);
                }
                Event::Due => {
                    if let Some(due) = host.manager.poll_timeout(host.now) {
                        host.now = host.now.max(due);
                        // What is due is done, in a few goes at most where much is to be claimed.
                        let goes = (0..2000).take_while(|_| {
                            host.manager.handle_timeout(host.now);
                            host.manager.poll_timeout(host.now).is_some_and(|due| due <= host.now)
                        });
                        prop_assert!(goes.count() < 2000, "it stands still");
                    }
                }
                Event::Request { count } => {
                    requests += 1;
                    open += count;
                    host.manager.request(RequestId(requests), count, host.now);
                }
                Event::GiveBack => host.manager.give_back(&std::mem::take(&mut lent), host.now),
                Event::Follow { used, freed } => {
                    let used = used.into_iter().map(automatic).collect();
                    let freed: Vec<MacAddr> = freed.into_iter().map(automatic).collect();
                    host.manager.follow(&used, &freed, host.now);
                }
                Event::Interface { there } => {
                    let interface = Interface { address: OWN, networks: vec![(OWN, 24)] };
                    host.manager.set_interfaces(there.then_some((LINK, interface)).into_iter().collect(), host.now);
                }
            }
            for action in host.actions() {
                if let Action::Grant { addresses, .. } = action {
                    lent.extend(addresses);
                }
            }
            // What is kept ready at most, and what is asked for and not yet there.
            prop_assert!(host.manager.pool().count() <= 64 + open);
        }
    }
}
