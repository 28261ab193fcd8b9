//! Clients that report more groups than are kept, or faster: what is kept is bounded, and whoever wants a group gets it at
//! every moment, those who flood included.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use dlmp_engine::{
    AGGREGATION_GROUPS, Action, CLIENT_GROUPS, Event, Excess, FILTER_GROUPS, GroupAction, GroupEvent, LinkState,
    PortIndex, Reception, SlotIndex,
};
use dlmp_wire::MacAddr;
use dlmp_wire::membership::{Change, Version};
use proptest::prelude::*;

use world::{GUEST, HOST, NET0, NET1, NET2, World, listed, mac, reported, restored};

/// More than hosts take to answer.
const ANSWERED: Duration = Duration::from_secs(15);
/// So long a client rests that exceeds for the first time.
const REST: Duration = Duration::from_secs(10);

/// Group `number` of many, of either family, all with addresses of their own.
fn group(number: u32) -> IpAddr {
    match number % 2 {
        0 => IpAddr::V4(Ipv4Addr::from_bits(239 << 24 | number)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(0xff15 << 112 | u128::from(number))),
    }
}

fn macs(numbers: impl IntoIterator<Item = u32>) -> Vec<MacAddr> {
    numbers.into_iter().map(|number| MacAddr::group(group(number))).collect()
}

/// A report of many groups.
fn report(slot: SlotIndex, numbers: impl IntoIterator<Item = u32>, joined: bool) -> Event {
    let change = |number| Change { group: group(number), version: Version::Current, joined };
    Event::Groups(GroupEvent::Reported { slot, changes: numbers.into_iter().map(change).collect() })
}

fn kept(world: &World, slot: SlotIndex) -> usize {
    world.engine.multicast().memberships().filter(|membership| membership.slot == slot).count()
}

fn excesses(world: &World) -> Vec<(SlotIndex, Excess)> {
    world.engine.multicast().excesses().collect()
}

fn held(world: &World) -> Vec<usize> {
    world.ports.values().map(|filter| filter.groups.len()).collect()
}

/// Ports that are known to take all groups when they are told to.
fn willing() -> World {
    let mut world = World::new(&[NET0, NET1]);
    for port in [NET0, NET1] {
        world.tell(Event::Groups(GroupEvent::TakesAll(port, true)));
    }
    world
}

#[test]
fn a_client_with_more_groups_than_are_kept_gets_all_of_them_and_none_is_kept() {
    let mut world = willing();
    world.tell(listed(&[1], &[]));
    let many = u32::try_from(CLIENT_GROUPS).unwrap();
    world.tell(report(GUEST, 0..many, true));
    assert_eq!((kept(&world, GUEST), excesses(&world)), (CLIENT_GROUPS, vec![]));
    assert!(!world.all_admitted);
    let done = world.tell(report(GUEST, many..many + 1, true)).to_vec();
    assert!(done.contains(&GroupAction::Exceeds(GUEST, Some(Excess::Client)).into()));
    assert_eq!((kept(&world, GUEST), excesses(&world)), (0, vec![(GUEST, Excess::Client)]));
    assert!(macs([0, many, many + 4711]).into_iter().all(|group| world.takes(group)));
    assert_eq!(world.admitted, BTreeSet::from([mac(1)]), "of the others all is kept");
    // What it goes on reporting costs nothing.
    assert_eq!(world.tell(report(GUEST, many * 2..many * 3, true)), []);
}

#[test]
fn who_exceeded_is_asked_again_and_has_what_it_wants_exactly_when_that_is_within_bounds() {
    let mut world = willing();
    world.tell(report(GUEST, 0..9000, true));
    assert!(world.pass(REST).contains(&GroupAction::Ask.into()));
    world.tell(report(GUEST, 0..20, true));
    assert!(world.takes(macs([4711])[0]), "it may not have said everything yet");
    let done = world.pass(ANSWERED).to_vec();
    assert!(done.contains(&GroupAction::Exceeds(GUEST, None).into()));
    assert!(!world.all_admitted && !world.ports[&NET0].all && !world.ports[&NET1].all);
    assert!(macs(0..20).into_iter().all(|group| world.takes(group) && world.lets_through(NET1, group)));
    assert!(!world.takes(macs([4711])[0]));
}

#[test]
fn who_exceeds_each_time_that_it_is_asked_is_asked_less_and_less() {
    let mut world = willing();
    world.tell(report(GUEST, 0..9000, true));
    let mut questions = 0;
    for _ in 0..3600 {
        if world.pass(Duration::from_secs(1)).contains(&GroupAction::Ask.into()) {
            questions += 1;
            world.tell(report(GUEST, 0..9000, true));
        }
        assert!(world.takes(macs([4711])[0]));
    }
    assert!(questions < 15, "asked {questions} times in an hour");
}

#[test]
fn many_clients_with_few_groups_each_exceed_only_when_there_is_no_room_for_all() {
    let mut world = willing();
    let each = 64;
    let clients = u16::try_from(AGGREGATION_GROUPS).unwrap() / each;
    let slot = |number: u16| SlotIndex(600 + number);
    world.tell(Event::ClientsAdded((1..clients + 20).map(slot).collect()));
    for number in 0..clients + 20 {
        let first = u32::from(number) * u32::from(each);
        world.tell(report(slot(number), first..first + u32::from(each), true));
        assert!(macs(first..first + u32::from(each)).into_iter().all(|group| world.takes(group)));
        assert_eq!(excesses(&world).is_empty(), number < clients, "{number}");
    }
    assert!(excesses(&world).iter().all(|&(_, why)| why == Excess::Aggregation));
    assert!(world.engine.multicast().memberships().count() <= AGGREGATION_GROUPS);
    assert_eq!(held(&world), [0, 0]);
}

#[test]
fn a_client_whose_list_is_known_never_exceeds() {
    let mut world = willing();
    world.tell(listed(&[1], &[]));
    world.tell(report(HOST, 0..9000, true));
    world.tell(Event::Groups(GroupEvent::TooFast(vec![HOST])));
    assert_eq!((excesses(&world), kept(&world, HOST)), (vec![], CLIENT_GROUPS));
    assert!(!world.all_admitted);
    // The list of one that moves here tells everything.
    world.tell(report(GUEST, 0..9000, true));
    let joined = macs(20_000..20_010);
    world.tell(Event::Groups(GroupEvent::Listed { slot: GUEST, joined: joined.clone(), left: Vec::new() }));
    assert_eq!(excesses(&world), []);
    assert!(!world.all_admitted && joined.into_iter().all(|group| world.takes(group)));
}

#[test]
fn a_client_that_reports_too_fast_gets_all_until_it_is_slow_and_was_asked() {
    let mut world = willing();
    world.tell(reported(GUEST, group(7), true));
    for _ in 0..5 {
        world.tell(Event::Groups(GroupEvent::TooFast(vec![GUEST])));
        assert!(world.takes(macs([4711])[0]) && kept(&world, GUEST) == 0);
        assert!(!world.pass(REST / 2).contains(&GroupAction::Ask.into()), "it is still fast");
    }
    assert!(world.pass(REST / 2).contains(&GroupAction::Ask.into()));
    world.tell(reported(GUEST, group(8), true));
    world.pass(ANSWERED);
    assert!(world.takes(macs([8])[0]) && !world.takes(macs([7])[0]));
}

#[test]
fn a_client_that_goes_takes_its_excess_along() {
    let mut world = willing();
    world.tell(report(GUEST, 0..9000, true));
    world.tell(Event::ClientsRemoved(vec![GUEST]));
    assert!(!world.all_admitted && excesses(&world).is_empty());
    assert!(!world.pass(Duration::from_secs(3600)).contains(&GroupAction::Ask.into()));
}

#[test]
fn a_filter_of_more_groups_than_cards_hold_takes_all_and_holds_none() {
    let mut world = willing();
    let most = u32::try_from(FILTER_GROUPS).unwrap();
    world.tell(report(GUEST, 0..most, true));
    assert_eq!(held(&world), [FILTER_GROUPS; 2]);
    world.tell(report(GUEST, most..most + 1, true));
    assert!(world.ports.values().all(|filter| filter.all));
    assert_eq!(held(&world), [0, 0]);
    assert!(!world.takes(macs([4711])[0]), "the datapath picks those that are wanted");
    // One less is not enough to have all of them written again.
    world.tell(report(GUEST, [0], false));
    assert!(world.ports[&NET0].all);
    world.tell(report(GUEST, 1..most / 8 + 1, false));
    assert!(!world.ports[&NET0].all);
    assert_eq!(held(&world), [FILTER_GROUPS - FILTER_GROUPS / 8; 2]);
    // Whoever knows that a card holds more may say so.
    world.tell(Event::Groups(GroupEvent::Limit(NET0, Some(100_000))));
    world.tell(report(GUEST, 1000..3000, true));
    let wanted = FILTER_GROUPS - FILTER_GROUPS / 8 + 2000;
    assert_eq!(held(&world), [wanted, 0]);
}

#[test]
fn groups_stay_in_a_filter_until_it_is_known_that_the_port_takes_all() {
    let mut world = World::new(&[NET0, NET1]);
    world.tell(listed(&[1, 2], &[]));
    world.tell(Event::Groups(GroupEvent::AllWanted(true)));
    world.tell(listed(&[3], &[]));
    assert_eq!(held(&world), [2, 2]);
    world.tell(Event::Groups(GroupEvent::TakesAll(NET0, true)));
    world.tell(Event::Groups(GroupEvent::TakesAll(NET1, false)));
    assert_eq!(held(&world), [0, 3], "one that does not holds what it can");
    world.tell(Event::Groups(GroupEvent::AllWanted(false)));
    assert_eq!(held(&world), [3, 3]);
}

#[test]
fn after_a_restart_ports_take_all_while_it_is_not_known_what_their_filters_held() {
    for (more, all) in [(true, false), (false, true), (true, true)] {
        let mut world = World::new(&[]);
        for port in [NET0, NET1] {
            world.ports.insert(port, world::Filter { all, ..world::Filter::default() });
            world.tell(Event::PortAdded(port));
        }
        world.tell(Event::Groups(GroupEvent::Restored(Vec::new())));
        world.tell(Event::Groups(GroupEvent::FilterRestored { port: NET0, groups: Vec::new(), more, all }));
        world.tell(restored(NET1, &[], false));
        world.tell(Event::MulticastRestored(NET0));
        for port in [NET0, NET1] {
            world.tell(Event::Link(port, LinkState::Up));
        }
        world.tell(reported(GUEST, group(7), true));
        assert!(world.ports.values().all(|filter| filter.all && filter.groups.is_empty()), "{more} {all}");
        assert!(!world.all_admitted, "the datapath knows which are wanted");
        world.pass(ANSWERED);
        let wanted = macs([7]).into_iter().collect::<BTreeSet<_>>();
        assert!(world.ports.values().all(|filter| !filter.all && filter.groups == wanted), "{more} {all}");
    }
}

/// What hosts do.
#[derive(Debug, Clone)]
enum Step {
    /// A client joins so many groups from a number on, and says so.
    Join(u16, u32, u32),
    /// It leaves them.
    Leave(u16, u32, u32),
    /// It is too fast.
    Hurry(u16),
    /// It goes, and comes again without any group.
    Renew(u16),
    Link(u8, LinkState),
    TakesAll(u8, bool),
    All(bool),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let client = 0..6u16;
    let many = prop_oneof![4 => 1..40u32, 2 => 200..400u32, 2 => 6000..10_000u32];
    let first = (0..6u32).prop_map(|number| number * 5000);
    prop_oneof![
        8 => (client.clone(), first.clone(), many.clone()).prop_map(|(client, first, count)| Step::Join(client, first, count)),
        4 => (client.clone(), first, many).prop_map(|(client, first, count)| Step::Leave(client, first, count)),
        1 => client.clone().prop_map(Step::Hurry),
        1 => client.prop_map(Step::Renew),
        2 => (0..3u8, prop_oneof![3 => Just(LinkState::Up), 1 => Just(LinkState::Down)])
            .prop_map(|(port, state)| Step::Link(port, state)),
        2 => (0..3u8, any::<bool>()).prop_map(|(port, takes_all)| Step::TakesAll(port, takes_all)),
        1 => any::<bool>().prop_map(Step::All),
        5 => (0..30_000u64).prop_map(Step::Pass),
    ]
}

/// Clients that want groups, and answer when they are asked.
struct Hosts {
    world: World,
    wants: BTreeMap<SlotIndex, BTreeSet<u32>>,
    /// Groups that somebody wants all the time.
    steady: Vec<MacAddr>,
    /// What ports do when they are told to take all groups.
    takes_all: BTreeMap<PortIndex, bool>,
}

impl Hosts {
    fn tell(&mut self, event: Event) {
        let (steady, known) = (self.steady.clone(), self.takes_all.values().all(|&takes_all| takes_all));
        let mut lost = 0;
        self.world.tell_and_check(event, |world| lost += steady.iter().filter(|&&group| !world.takes(group)).count());
        assert!(lost == 0 || !known, "{:?}", self.world.done);
        self.answer();
    }

    /// Answers questions.
    fn answer(&mut self) {
        while self.world.done.contains(&GroupAction::Ask.into()) {
            let mut done = Vec::new();
            for (&slot, wants) in &self.wants {
                done.extend_from_slice(self.world.tell(report(slot, wants.iter().copied(), true)));
            }
            self.world.done = done;
        }
    }

    fn check(&self) {
        let (world, multicast) = (&self.world, self.world.engine.multicast());
        let mut counts: BTreeMap<SlotIndex, usize> = BTreeMap::new();
        multicast.memberships().for_each(|membership| *counts.entry(membership.slot).or_default() += 1);
        assert!(counts.values().all(|&count| count <= CLIENT_GROUPS));
        assert!(counts.values().sum::<usize>() <= AGGREGATION_GROUPS);
        assert!(multicast.entries().count() <= AGGREGATION_GROUPS + self.steady.len());
        assert_eq!(world.all_admitted, multicast.wants_all());
        for view in multicast.ports() {
            let filter = &world.ports[&view.port];
            assert_eq!(view.held, filter.groups.len());
            assert!(filter.groups.len() <= FILTER_GROUPS);
            if self.takes_all.get(&view.port) == Some(&true) && view.reception == Reception::All {
                assert!(filter.all && filter.groups.is_empty(), "{view:?}");
            }
        }
        if multicast.port().is_some_and(|port| self.takes_all.get(&port) != Some(&false)) {
            for wants in self.wants.values() {
                let lost =
                    macs(wants.iter().copied().step_by(23)).into_iter().filter(|&group| !world.takes(group)).count();
                assert_eq!(lost, 0, "of {} groups", wants.len());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_clients_report_what_is_kept_is_bounded_and_every_wanted_group_is_received(
        steps in proptest::collection::vec(steps(), 1..25),
    ) {
        let mut hosts = Hosts {
            world: World::new(&[NET0, NET1, NET2]),
            wants: BTreeMap::new(),
            steady: vec![mac(1), mac(2)],
            takes_all: BTreeMap::new(),
        };
        hosts.world.tell(listed(&[1, 2], &[]));
        hosts.tell(Event::ClientsAdded((0..6).map(|number| SlotIndex(700 + number)).collect()));
        for step in steps {
            let slot = |client: u16| SlotIndex(700 + client);
            match step {
                Step::Join(client, first, count) => {
                    hosts.wants.entry(slot(client)).or_default().extend(first..first + count);
                    hosts.tell(report(slot(client), first..first + count, true));
                }
                Step::Leave(client, first, count) => {
                    hosts.wants.entry(slot(client)).or_default().retain(|group| !(first..first + count).contains(group));
                    hosts.tell(report(slot(client), first..first + count, false));
                }
                Step::Hurry(client) => hosts.tell(Event::Groups(GroupEvent::TooFast(vec![slot(client)]))),
                Step::Renew(client) => {
                    hosts.wants.remove(&slot(client));
                    hosts.tell(Event::ClientsRemoved(vec![slot(client)]));
                    hosts.tell(Event::ClientsAdded(vec![slot(client)]));
                }
                Step::Link(port, state) => hosts.tell(Event::Link(PortIndex(port), state)),
                Step::TakesAll(port, takes_all) => {
                    hosts.takes_all.insert(PortIndex(port), takes_all);
                    hosts.tell(Event::Groups(GroupEvent::TakesAll(PortIndex(port), takes_all)));
                }
                Step::All(all) => hosts.tell(Event::Groups(GroupEvent::AllWanted(all))),
                Step::Pass(millis) => {
                    hosts.world.pass(Duration::from_millis(millis));
                    hosts.answer();
                }
            }
            hosts.check();
        }
    }
}

/// The actions of a report of a client whose groups are not kept are none, so that a flood costs next to nothing.
#[test]
fn a_flood_of_one_that_exceeds_has_no_actions() {
    let mut world = willing();
    world.tell(report(GUEST, 0..9000, true));
    let actions: usize =
        (0..100).map(|number| world.tell(report(GUEST, number * 180..(number + 1) * 180, true)).len()).sum();
    assert_eq!(actions, 0);
    assert!(!world.done.iter().any(|action| matches!(action, Action::Groups(GroupAction::Admit(_)))));
}
