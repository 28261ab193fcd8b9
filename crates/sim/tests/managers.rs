//! Managers that share MAC addresses: what they promise each other, on segments that lose, delay, double and fall apart.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use dlmp_manager::{Action, Interface, Manager, Origin, RequestId, Start, range};
use dlmp_sim::managers::{
    Crowd, Kind, MemberId, Site, Wire, allocate, denied, join, power_returns, request_among_others,
};
use dlmp_wire::MacAddr;
use dlmp_wire::manager::{self as wire, ByteOrder, LEN, Lookup, Message, PORT};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

const GOOD: Wire = Wire { delay: Duration::from_millis(5), loss: 0.0, doubled: 0.0 };
const POOR: Wire = Wire { delay: Duration::from_millis(20), loss: 0.01, doubled: 0.01 };
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn crowd(managers: usize, requests: Vec<usize>, wire: Wire) -> Crowd {
    Crowd { kind: Kind::Ours, managers, requests, within: SECOND, wire, seed: 7 }
}

/// Managers that all want to use the same addresses next, which they freed.
fn rivals(site: &mut Site, kinds: &[Kind], addresses: u32) -> Vec<MemberId> {
    let freed: Vec<MacAddr> = (0..addresses).map(range::automatic).collect();
    let members: Vec<MemberId> = kinds.iter().map(|kind| site.add(*kind)).collect();
    for member in &members {
        site.remember(*member, BTreeSet::new(), freed.clone());
    }
    members
}

fn start_and_ask(site: &mut Site, members: &[MemberId], most_between: Duration, random: &mut fastrand::Rng) {
    for member in members {
        site.run(most_between.mul_f64(random.f64()));
        site.start(*member);
        site.ask(*member, &[2, 1, 3]);
    }
}

#[test]
fn managers_that_want_the_same_addresses_at_the_same_time_get_different_ones() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut site = Site::new(if random.bool() { GOOD } else { POOR }, seed);
        let members = rivals(&mut site, &[Kind::Ours; 20], 30);
        start_and_ask(&mut site, &members, SECOND.mul_f64(random.f64()), &mut random);
        site.run(MINUTE);
        assert_eq!(site.outcomes().len(), 3 * members.len(), "seed {seed}");
        assert!(site.outcomes().iter().all(|outcome| outcome.refusal.is_none()), "seed {seed}");
        assert!(site.duplicates().is_empty(), "seed {seed}: {:?}", site.duplicates());
        assert!(members.iter().all(|member| site.reports(*member).is_empty()), "seed {seed}");
        let used: BTreeSet<MacAddr> = members.iter().flat_map(|member| site.used(*member)).copied().collect();
        assert!((0..30).map(range::automatic).any(|mac| used.contains(&mac)), "seed {seed}: no freed one was used");
    }
}

#[test]
fn original_managers_that_want_the_same_addresses_at_the_same_time_get_the_same() {
    let mut site = Site::new(GOOD, 1);
    let members = rivals(&mut site, &[Kind::Original; 2], 6);
    start_and_ask(&mut site, &members, SECOND / 2, &mut fastrand::Rng::with_seed(1));
    site.run(MINUTE);
    assert_eq!(site.duplicates().len(), 6);
}

#[test]
fn an_original_manager_among_ours_gets_addresses_of_its_own() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut site = Site::new(GOOD, seed);
        let mut kinds = [Kind::Ours; 6];
        kinds[random.usize(..6)] = Kind::Original;
        let members = rivals(&mut site, &kinds, 12);
        start_and_ask(&mut site, &members, SECOND.mul_f64(random.f64()), &mut random);
        site.run(MINUTE);
        assert!(site.duplicates().is_empty(), "seed {seed}: {:?}", site.duplicates());
    }
}

/// Managers that ask, remove devices, crash, start again, fall apart and are joined, all wanting the same addresses.
#[test]
fn whatever_happens_each_duplicate_is_known_within_a_minute_to_all_who_have_it_and_at_last_to_nobody_else() {
    let mut duplicates = 0;
    for seed in 0..25 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut site = Site::new(GOOD, seed);
        let members = rivals(&mut site, &[Kind::Ours; 8], 12);
        for _ in 0..100 {
            disturb(&mut site, members[random.usize(..members.len())], &mut random);
            site.run((4 * SECOND).mul_f64(random.f64()));
        }
        for member in &members {
            site.place(*member, 0);
            if !site.is_up(*member) {
                site.start(*member);
            }
        }
        // What is asked for at the join is settled before the time is taken.
        site.run(30 * SECOND);
        let known: BTreeMap<MacAddr, Vec<MemberId>> = site.duplicates();
        duplicates += known.len();
        site.run(30 * SECOND);
        for (mac, users) in &known {
            let all_know = users.iter().all(|user| site.reports(*user).contains_key(mac));
            assert!(all_know, "seed {seed}: not all of {users:?} know that they share {mac}");
        }
        site.run(2 * MINUTE);
        let known = site.duplicates();
        for member in &members {
            let reported: Vec<&MacAddr> = site.reports(*member).keys().collect();
            let shared = known.iter().filter(|(_, users)| users.contains(member));
            assert_eq!(reported, shared.map(|(mac, _)| mac).collect::<Vec<_>>(), "seed {seed}: {member:?}");
        }
    }
    assert!(duplicates > 25, "these faults make too few duplicates to tell: {duplicates}");
}

/// Something happens to a member.
fn disturb(site: &mut Site, member: MemberId, random: &mut fastrand::Rng) {
    match (random.u8(..10), site.is_up(member)) {
        (0, true) => site.crash(member),
        (0..=3, false) => site.start(member),
        (1..=3, true) => site.ask(member, &[random.usize(1..4)]),
        (4, true) => site.remove_devices(member),
        (5..=6, _) => site.place(member, random.usize(..2)),
        _ => {}
    }
}

#[test]
fn a_crowd_gets_its_addresses_without_a_duplicate() {
    for requests in [vec![10], vec![1; 10]] {
        let wanted = requests.len() * 300;
        let (site, allocation) = allocate(&crowd(300, requests, POOR));
        assert_eq!((allocation.duplicates, allocation.refused, allocation.times.len()), (0, 0, wanted));
        assert!(allocation.busy.a_second() > allocation.rest.a_second());
        assert!(site.duplicates().is_empty());
    }
}

#[test]
fn what_was_given_twice_while_apart_is_known_on_both_sides_within_a_minute() {
    let joined = join(&crowd(100, vec![100], GOOD));
    assert!(joined.duplicates > 20, "the crowd is too small to tell");
    assert!(joined.known_after.is_some_and(|after| after <= MINUTE), "{joined:?}");
    assert_eq!((joined.false_reports, joined.false_reports_at_end), (0, 0));
}

#[test]
fn nothing_is_reported_when_all_come_back_at_once_with_addresses_of_their_own() {
    let (reports, sent) = power_returns(&crowd(200, vec![], POOR), 100);
    assert_eq!(reports, 0);
    assert!(sent.sent.questions > 200 * 100, "not all were asked about");
}

#[test]
fn a_thousand_addresses_take_about_the_time_of_one() {
    let others = crowd(100, vec![10], GOOD);
    let one = request_among_others(&others, 1).expect("one address");
    let thousand = request_among_others(&others, 1000).expect("a thousand addresses");
    assert!(thousand < one + SECOND / 4, "{one:?} and {thousand:?}");
}

#[test]
fn a_forger_that_denies_everything_is_named_after_30_seconds() {
    let denied = denied(&crowd(10, vec![10], GOOD));
    assert_eq!((denied.refused, denied.named, denied.longest), (10, 10, 30 * SECOND));
}

/// What happens to a manager.
#[derive(Debug, Clone)]
enum Step {
    Wait(u16),
    Request(u8),
    RemoveDevices,
    /// A question or "taken" for one of the addresses that it asked about or uses, from a lower or a higher address.
    Hear {
        is_question: bool,
        which: prop::sample::Index,
        is_low: bool,
    },
}

/// A manager, and what it did.
struct Stage {
    manager: Manager,
    begin: Instant,
    now: Duration,
    used: BTreeSet<MacAddr>,
    /// What it asked about or used, in the order of time.
    concerned: Vec<MacAddr>,
    told_by: BTreeSet<Ipv4Addr>,
    done: Vec<(Duration, Action)>,
}

const INTERFACE: u32 = 1;
const LOW: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const HIGH: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

impl Stage {
    fn new(seed: u64) -> Self {
        let begin = Instant::now();
        let used: BTreeSet<MacAddr> = (0..3).map(range::automatic).collect();
        let freed = (3..9).map(range::automatic).collect();
        let mut manager = Manager::new(Start { used: used.clone(), freed, seed, ..Start::default() }, begin);
        manager.set_interfaces([(INTERFACE, Interface { address: OWN, networks: vec![(OWN, 8)] })].into(), begin);
        let concerned = used.iter().copied().collect();
        let (told_by, done) = (BTreeSet::new(), Vec::new());
        let mut stage = Self { manager, begin, now: Duration::ZERO, used, concerned, told_by, done };
        stage.carry_out();
        stage
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Wait(milliseconds) => self.wait(self.now + Duration::from_millis((*milliseconds).into())),
            Step::Request(count) => {
                self.manager.request(RequestId(0), (*count).into(), self.begin + self.now);
            }
            Step::RemoveDevices => {
                let freed: Vec<MacAddr> = std::mem::take(&mut self.used).into_iter().collect();
                self.manager.follow(&self.used, &freed, self.begin + self.now);
            }
            Step::Hear { is_question, which, is_low } => {
                let source = if *is_low { LOW } else { HIGH };
                let lookup = Lookup { mac: *which.get(&self.concerned), source: Some(source) };
                let message = if *is_question { Message::Lookup(lookup) } else { Message::Taken(lookup) };
                self.told_by.extend((!is_question).then_some(source));
                self.hear(source, &message);
            }
        }
        self.carry_out();
    }

    fn wait(&mut self, end: Duration) {
        while let Some(due) = self.manager.poll_timeout(self.begin + self.now).filter(|due| *due <= self.begin + end) {
            self.now = self.now.max(due - self.begin);
            self.manager.handle_timeout(self.begin + self.now);
            self.carry_out();
        }
        self.now = end;
    }

    fn hear(&mut self, source: Ipv4Addr, message: &Message<'_>) {
        let mut bytes = [0; LEN];
        message.emit(ByteOrder::Big, &mut bytes);
        let origin = Origin { interface: INTERFACE, from: SocketAddrV4::new(source, PORT) };
        self.manager.hear(origin, &bytes, self.begin + self.now);
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.manager.poll_action() {
            match &action {
                Action::Send { message: Message::Lookup(lookup), .. } if !self.concerned.contains(&lookup.mac) => {
                    self.concerned.push(lookup.mac);
                }
                Action::Grant { addresses, .. } => {
                    self.used.extend(addresses);
                    self.manager.follow(&self.used, &[], self.begin + self.now);
                }
                _ => {}
            }
            self.done.push((self.now, action));
        }
    }

    /// All that is said of those of these addresses that it neither asked about nor used so far, and who everybody is who
    /// did not tell it that an address is taken.
    fn hear_what_is_foreign(&mut self, addresses: &[MacAddr]) {
        for source in [LOW, HIGH] {
            for mac in addresses.iter().filter(|mac| !self.concerned.contains(mac)).copied().collect::<Vec<_>>() {
                self.hear(source, &Message::Lookup(Lookup { mac, source: Some(source) }));
                self.hear(source, &Message::Taken(Lookup { mac, source: Some(source) }));
            }
            if !self.told_by.contains(&source) {
                self.hear(
                    source,
                    &Message::Here(wire::Manager { version: "1", host: "host", address: source, port: 6482 }),
                );
            }
        }
        assert!(self.manager.poll_action().is_none(), "it does something about it at once");
    }
}

proptest! {
    /// That is why the simulator need not hand it over. The addresses are those that the manager asks about later.
    #[test]
    fn what_is_foreign_to_a_manager_changes_nothing_in_it(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut quiet = Stage::new(seed);
        for step in &steps {
            quiet.take(step);
        }
        let mut told = Stage::new(seed);
        for step in &steps {
            told.hear_what_is_foreign(&quiet.concerned);
            told.take(step);
        }
        assert_eq!(told.done, quiet.done);
        let both = [quiet, told];
        let [due_quiet, due_told] =
            both.each_ref().map(|stage| stage.manager.poll_timeout(stage.begin + stage.now).map(|due| due - stage.begin));
        assert_eq!(due_told, due_quiet);
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u16..2000).prop_map(Step::Wait),
        1 => Just(Step::Wait(30_000)),
        2 => (1_u8..12).prop_map(Step::Request),
        1 => Just(Step::RemoveDevices),
        6 => (any::<bool>(), any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(is_question, which, is_low)| Step::Hear { is_question, which, is_low }),
    ]
}
