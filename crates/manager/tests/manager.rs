//! One manager, to which the test plays all others: what it says, what it hands out, and what it bears.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use dlmp_manager::claim;
use dlmp_manager::range::{AUTOMATIC, automatic};
use dlmp_manager::{Action, Collision, Interface, Manager, Origin, Refusal, RequestId, Start, To};
use dlmp_wire::MacAddr;
use dlmp_wire::manager::{Buffer, ByteOrder, LEN, Lookup, Manager as Name, Message, PORT};
use proptest::prelude::*;

const LINK: u32 = 3;
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const NEIGHBOUR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), PORT);
const FAR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 4000);
const SECOND: Duration = Duration::from_secs(1);

/// A manager, and the time that it lives in.
struct Host {
    manager: Manager,
    now: Instant,
}

impl Host {
    fn new(start: Start) -> Self {
        let now = Instant::now();
        let mut manager = Manager::new(start, now);
        let interface = Interface { address: OWN, networks: vec![(OWN, 24)] };
        manager.set_interfaces(BTreeMap::from([(LINK, interface)]), now);
        Self { manager, now }
    }

    /// One with a device that has this address, and which has asked its first questions.
    fn using(mac: MacAddr) -> Self {
        let mut host = Self::new(Start { used: BTreeSet::from([mac]), ..Start::default() });
        host.actions();
        host
    }

    fn hear(&mut self, from: SocketAddrV4, message: Message<'_>, order: ByteOrder) -> Vec<Action> {
        self.hear_bytes(from, &bytes(message, order))
    }

    fn hear_bytes(&mut self, from: SocketAddrV4, bytes: &[u8]) -> Vec<Action> {
        self.manager.hear(Origin { interface: LINK, from }, bytes, self.now);
        self.actions()
    }

    /// "Taken", from a neighbour.
    fn deny(&mut self, mac: MacAddr) -> Vec<Action> {
        let taken = Message::Taken(Lookup { mac, source: Some(*NEIGHBOUR.ip()) });
        self.hear(NEIGHBOUR, taken, ByteOrder::Big)
    }

    fn request(&mut self, number: u64, count: usize) -> Vec<Action> {
        self.manager.request(RequestId(number), count, self.now);
        self.actions()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.manager.poll_action()).collect()
    }

    /// Lets time pass; `react` is told each action at its time.
    fn pass(&mut self, time: Duration, mut react: impl FnMut(&mut Self, &Action)) {
        let end = self.now + time;
        loop {
            for action in self.actions() {
                react(self, &action);
            }
            match self.manager.poll_timeout(self.now).filter(|due| *due <= end) {
                Some(due) => self.now = due.max(self.now),
                None => break,
            }
            self.manager.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// What it does while time passes and nobody says anything.
    fn watch(&mut self, time: Duration) -> Vec<Action> {
        let mut seen = Vec::new();
        self.pass(time, |_, action| seen.push(action.clone()));
        seen
    }
}

fn bytes(message: Message<'_>, order: ByteOrder) -> Buffer {
    let mut buffer = [0; LEN];
    message.emit(order, &mut buffer);
    buffer
}

fn question(mac: MacAddr, source: SocketAddrV4) -> Message<'static> {
    Message::Lookup(Lookup { mac, source: Some(*source.ip()) })
}

fn says_taken(mac: MacAddr, to: To, order: ByteOrder) -> Action {
    let message = Message::Taken(Lookup { mac, source: Some(OWN) });
    Action::Send { interface: LINK, to, message, order }
}

/// The address that an action asks about.
fn asked(action: &Action) -> Option<MacAddr> {
    match action {
        Action::Send { message: Message::Lookup(lookup), .. } => Some(lookup.mac),
        _ => None,
    }
}

fn granted(actions: &[Action]) -> Vec<MacAddr> {
    let granted = actions.iter().filter_map(|action| match action {
        Action::Grant { addresses, .. } => Some(addresses.clone()),
        _ => None,
    });
    granted.flatten().collect()
}

#[test]
fn its_own_messages_come_back_and_mean_nothing() {
    let mut host = Host::new(Start::default());
    let mut answers = 0;
    host.pass(10 * SECOND, |host, action| {
        if let Action::Send { message, order, .. } = action {
            answers += usize::from(matches!(message, Message::Taken(_)));
            let echo = bytes(*message, *order);
            host.manager.hear(Origin { interface: LINK, from: SocketAddrV4::new(OWN, PORT) }, &echo, host.now);
        }
    });
    assert_eq!((host.manager.pool().count(), answers), (4, 0));
}

#[test]
fn a_host_with_its_ip_address_keeps_no_address_from_being_found_taken() {
    let mac = automatic(1);
    let mut host = Host::using(mac);
    host.watch(60 * SECOND);
    // Longer than an echo takes.
    host.now += 5 * SECOND;
    let from = SocketAddrV4::new(OWN, PORT);
    let answer = host.hear(from, question(mac, from), ByteOrder::Big);
    assert_eq!(answer, [says_taken(mac, To::Group, ByteOrder::Big)]);
}

#[test]
fn an_answer_is_in_the_asker_s_byte_order() {
    let mac = automatic(1);
    for order in [ByteOrder::Big, ByteOrder::Little] {
        let answer = Host::using(mac).hear(NEIGHBOUR, question(mac, NEIGHBOUR), order);
        assert_eq!(answer, [says_taken(mac, To::Group, order)]);
    }
}

#[test]
fn who_asks_through_a_router_is_answered_alone() {
    let mac = automatic(1);
    let mut host = Host::new(Start { far: true, used: BTreeSet::from([mac]), ..Start::default() });
    host.actions();
    assert_eq!(host.hear(FAR, question(mac, FAR), ByteOrder::Big), [says_taken(mac, To::Host(FAR), ByteOrder::Big)]);
    host.hear(FAR, Message::Discover, ByteOrder::Big);
    let introduction = Action::Introduce { interface: LINK, to: To::Host(FAR), order: ByteOrder::Big };
    assert!(host.watch(SECOND).contains(&introduction));
}

#[test]
fn what_comes_from_another_network_is_not_heard_unless_managers_may_be_there() {
    let mac = automatic(1);
    let mut host = Host::using(mac);
    assert_eq!(host.hear(FAR, question(mac, FAR), ByteOrder::Big), []);
    assert_eq!(host.hear(FAR, Message::Discover, ByteOrder::Big), []);
    assert_eq!(host.hear(FAR, Message::Taken(Lookup { mac, source: Some(*NEIGHBOUR.ip()) }), ByteOrder::Big), []);
    assert_eq!(host.manager.counters().foreign, 3);
    assert!(!host.watch(SECOND).iter().any(|action| matches!(action, Action::Introduce { .. })));
}

#[test]
fn a_small_request_does_not_wait_behind_a_large_one() {
    let mut host = Host::new(Start::default());
    host.watch(claim::TIME);
    assert_eq!(granted(&host.request(1, 100)), []);
    assert_eq!(granted(&host.request(2, 1)).len(), 1);
}

#[test]
fn a_list_of_freed_addresses_holds_nothing_that_may_not_be_chosen() {
    let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    let good = automatic(7);
    let mut host = Host::new(Start { freed: vec![group, MacAddr::default(), good, good], ..Start::default() });
    host.watch(claim::TIME);
    let given = granted(&host.request(1, 3));
    assert!(given[0] == good && !given.contains(&group) && given[1..].iter().all(|mac| *mac != good), "{given:?}");
}

#[test]
fn what_is_foreign_is_not_answered() {
    let mut host = Host::using(automatic(1));
    assert_eq!(host.hear(NEIGHBOUR, question(automatic(2), NEIGHBOUR), ByteOrder::Big), []);
    assert_eq!(host.deny(automatic(2)), []);
}

#[test]
fn a_question_has_one_answer_of_its_own_length_and_a_flood_has_fewer() {
    let mac = automatic(1);
    let mut host = Host::using(mac);
    let question = bytes(question(mac, NEIGHBOUR), ByteOrder::Big);
    let mut answers = 0;
    for _ in 0..10_000 {
        for action in host.hear_bytes(NEIGHBOUR, &question) {
            let Action::Send { message, order, .. } = action else { panic!("{action:?} is no answer") };
            assert_eq!(bytes(message, order).len(), question.len());
            answers += 1;
        }
    }
    // What one source gets at once.
    assert_eq!(answers, 1000);
    let counters = host.manager.counters();
    assert_eq!((counters.answers, counters.limited), (1000, 9000));
}

#[test]
fn it_introduces_itself_once_to_all_who_ask_at_the_same_time() {
    let mut host = Host::using(automatic(1));
    for number in 1..=200 {
        let from = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, number), PORT);
        assert_eq!(host.hear(from, Message::Discover, ByteOrder::Big), []);
    }
    let introductions: Vec<Action> =
        host.watch(SECOND).into_iter().filter(|action| matches!(action, Action::Introduce { .. })).collect();
    assert_eq!(introductions, [Action::Introduce { interface: LINK, to: To::Group, order: ByteOrder::Big }]);
}

#[test]
fn freed_addresses_are_handed_out_first() {
    let freed = vec![automatic(9), automatic(5)];
    let mut host = Host::new(Start { freed: freed.clone(), ..Start::default() });
    host.watch(claim::TIME);
    assert_eq!(granted(&host.request(1, 2)), freed);
}

#[test]
fn a_request_waits_for_a_freed_address_that_is_being_asked_for() {
    let mut host = Host::new(Start::default());
    host.watch(claim::TIME);
    let freed = automatic(5);
    host.manager.follow(&BTreeSet::new(), &[freed], host.now);
    host.actions();
    assert_eq!(granted(&host.request(1, 1)), []);
    assert_eq!(granted(&host.watch(claim::TIME)), [freed]);
}

#[test]
fn a_freed_address_that_is_taken_is_struck_from_the_list() {
    let (taken, free) = (automatic(5), automatic(9));
    let mut host = Host::new(Start { freed: vec![taken, free], ..Start::default() });
    assert!(host.deny(taken).contains(&Action::Forget(taken)));
    host.watch(claim::TIME);
    let granted = granted(&host.request(1, 2));
    assert_eq!(granted[0], free);
    assert_ne!(granted[1], taken);
}

#[test]
fn who_denies_everything_is_named_in_the_refusal() {
    let mut host = Host::new(Start::default());
    let begin = host.now;
    host.request(1, 1);
    let (mut questions, mut refusals) = (0, Vec::new());
    host.pass(40 * SECOND, |host, action| {
        if let Some(mac) = asked(action) {
            questions += 1;
            let taken = Message::Taken(Lookup { mac, source: Some(*NEIGHBOUR.ip()) });
            let origin = Origin { interface: LINK, from: NEIGHBOUR };
            host.manager.hear(origin, &bytes(taken, ByteOrder::Big), host.now);
        }
        if let Action::Refuse { request, refusal } = action {
            refusals.push((host.now - begin, *request, refusal.clone()));
        }
    });
    let [(after, request, Refusal { denied })] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!((*after, *request), (30 * SECOND, RequestId(1)));
    assert_eq!(denied.keys().collect::<Vec<_>>(), [NEIGHBOUR.ip()]);
    // Claims that are begun at once, and each second.
    assert!(questions <= 4096 + 200 * 41, "{questions} questions");
}

#[test]
fn an_address_of_the_pool_is_granted_at_once_and_the_pool_filled_again() {
    let mut host = Host::new(Start::default());
    host.watch(claim::TIME);
    let pool: Vec<MacAddr> = host.manager.pool().collect();
    assert_eq!(pool.len(), 4);
    let granted = granted(&host.request(1, 1));
    assert!(granted.len() == 1 && pool.contains(&granted[0]), "{granted:?} of {pool:?}");
    assert!(!host.manager.pool().any(|mac| mac == granted[0]));
    host.watch(claim::TIME);
    assert_eq!(host.manager.pool().count(), 4);
}

#[test]
fn addresses_from_all_of_the_range_are_handed_out_alike() {
    let mut in_lower_half = 0;
    for seed in 0..100 {
        let mut host = Host::new(Start { seed, ..Start::default() });
        host.request(1, 10);
        let addresses = granted(&host.watch(5 * SECOND));
        assert_eq!(addresses.len(), 10);
        in_lower_half += addresses.iter().filter(|mac| **mac < automatic(AUTOMATIC / 2)).count();
    }
    assert!((450..550).contains(&in_lower_half), "{in_lower_half} of 1000 are in the lower half of the range");
}

/// How many addresses are kept ready after requests of which each found too few.
fn kept_ready(is_taken: impl Fn(MacAddr) -> bool) -> usize {
    let mut host = Host::new(Start::default());
    for number in 0..5 {
        let too_many = host.manager.pool().count() + 1;
        host.request(number, too_many);
        host.pass(5 * SECOND, |host, action| {
            if let Some(mac) = asked(action).filter(|mac| is_taken(*mac)) {
                host.deny(mac);
            }
        });
    }
    host.manager.pool().count()
}

#[test]
fn many_requests_make_it_keep_more_ready_except_where_much_of_the_range_is_taken() {
    assert_eq!(kept_ready(|_| false), 64);
    assert!(kept_ready(|mac| mac.0[5] % 2 == 0) < 32);
}

#[test]
fn a_thousand_addresses_take_the_time_of_one() {
    let mut host = Host::new(Start::default());
    assert_eq!(granted(&host.request(1, 1000)), []);
    let granted = granted(&host.watch(claim::TIME));
    assert_eq!(granted.iter().collect::<BTreeSet<_>>().len(), 1000);
}

#[test]
fn a_denied_address_of_the_pool_is_given_up() {
    let mut host = Host::new(Start::default());
    host.watch(claim::TIME);
    let denied = host.manager.pool().next().unwrap();
    host.deny(denied);
    assert!(!host.manager.pool().any(|mac| mac == denied));
}

#[test]
fn what_is_handed_out_is_defended_until_it_is_given_back_and_not_needed() {
    let mut host = Host::new(Start::default());
    let mac = granted(&[host.request(1, 1), host.watch(claim::TIME)].concat())[0];
    assert_eq!(
        host.hear(NEIGHBOUR, question(mac, NEIGHBOUR), ByteOrder::Big),
        [says_taken(mac, To::Group, ByteOrder::Big)]
    );
    host.manager.follow(&BTreeSet::from([mac]), &[], host.now);
    host.manager.give_back(&[mac], host.now);
    assert_eq!(host.hear(NEIGHBOUR, question(mac, NEIGHBOUR), ByteOrder::Big).len(), 1, "a device has it");
    host.manager.follow(&BTreeSet::new(), &[], host.now);
    assert_eq!(host.hear(NEIGHBOUR, question(mac, NEIGHBOUR), ByteOrder::Big), []);
}

#[test]
fn a_claim_that_was_overslept_begins_again() {
    let mut host = Host::new(Start::default());
    host.request(1, 1);
    let almost = claim::TIME - Duration::from_millis(1);
    assert_eq!(granted(&host.watch(almost)), []);
    host.now += 3 * SECOND;
    host.manager.handle_timeout(host.now);
    assert_eq!(granted(&host.watch(almost)), []);
    assert_eq!(granted(&host.watch(SECOND)).len(), 1);
}

#[test]
fn what_waits_to_be_used_is_claimed_anew_when_an_interface_comes() {
    let mut host = Host::new(Start::default());
    host.watch(claim::TIME);
    let interface = |number| Interface { address: Ipv4Addr::new(10, 0, number, 1), networks: Vec::new() };
    let both = BTreeMap::from([(LINK, interface(1)), (LINK + 1, interface(2))]);
    host.manager.set_interfaces(both.clone(), host.now);
    assert_eq!(granted(&host.request(1, 1)), []);
    assert_eq!(granted(&host.watch(claim::TIME)).len(), 1);
    // One that stays, or has another address, is no new one.
    host.manager.set_interfaces(BTreeMap::from([(LINK, interface(3))]), host.now);
    assert_eq!(granted(&host.request(2, 1)).len(), 1);
}

/// A host that uses an address, has heard twice that a neighbour has it too, and what it did the second time.
fn colliding(mac: MacAddr) -> (Host, Vec<Action>) {
    let mut host = Host::using(mac);
    // The neighbour learns of it.
    assert_eq!(host.deny(mac), [says_taken(mac, To::Group, ByteOrder::Big)]);
    assert_eq!(host.deny(mac), [], "once");
    assert_eq!(host.manager.collisions().count(), 0);
    let asks = host.watch(claim::TIME);
    assert!(asks.iter().any(|action| asked(action) == Some(mac)));
    let confirmed = host.deny(mac);
    (host, confirmed)
}

#[test]
fn a_collision_is_reported_at_the_second_word_of_it_and_the_other_host_asked_for_its_name() {
    let mac = automatic(1);
    let with = *NEIGHBOUR.ip();
    let (mut host, confirmed) = colliding(mac);
    let unnamed = Collision { mac, with, host: None };
    let asks =
        Action::Send { interface: LINK, to: To::Host(NEIGHBOUR), message: Message::Discover, order: ByteOrder::Big };
    assert_eq!(confirmed, [Action::Collides(unnamed), asks]);

    let name = Message::Here(Name { version: "1", host: "rack7", address: with, port: 6482 });
    let named = Collision { mac, with, host: Some("rack7".to_owned()) };
    assert_eq!(host.hear(NEIGHBOUR, name, ByteOrder::Big), [Action::Collides(named.clone())]);
    assert_eq!(host.manager.collisions().collect::<Vec<_>>(), [named]);
    assert_eq!(host.hear(NEIGHBOUR, name, ByteOrder::Big), []);
}

#[test]
fn a_collision_is_over_when_nobody_speaks_of_it_for_three_rounds() {
    let mac = automatic(1);
    let (mut host, _) = colliding(mac);
    assert!(!host.watch(90 * SECOND - Duration::from_millis(1)).contains(&Action::Over(mac)));
    assert!(host.watch(30 * SECOND).contains(&Action::Over(mac)));
    assert_eq!(host.manager.collisions().count(), 0);
}

#[test]
fn a_collision_goes_on_while_the_other_host_answers_and_ends_with_the_device() {
    let mac = automatic(1);
    let (mut host, _) = colliding(mac);
    let mut over = 0;
    host.pass(600 * SECOND, |host, action| {
        over += usize::from(matches!(action, Action::Over(_)));
        if asked(action) == Some(mac) {
            assert_eq!(host.deny(mac), []);
        }
    });
    assert_eq!((host.manager.collisions().count(), over), (1, 0));
    host.manager.follow(&BTreeSet::new(), &[], host.now);
    assert!(host.actions().contains(&Action::Over(mac)));
}

#[test]
fn who_only_claims_an_address_makes_no_collision() {
    let mac = automatic(1);
    let mut host = Host::using(mac);
    host.deny(mac);
    host.watch(60 * SECOND);
    assert_eq!(host.deny(mac), [says_taken(mac, To::Group, ByteOrder::Big)], "a new suspicion");
    assert_eq!(host.manager.collisions().count(), 0);
}

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
