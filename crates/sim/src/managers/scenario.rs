//! What the benchmark and the tests look at: many managers that ask, are joined, come back, or are lied to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dlmp_manager::{Refusal, range};
use dlmp_wire::MacAddr;

use super::member::MemberId;
use super::party::Kind;
use super::site::{Sent, Site, Wire};

/// Managers that ask for addresses.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// What all of them are.
    pub kind: Kind,
    /// How many.
    pub managers: usize,
    /// How many addresses each asks for at once when it starts, and then, each time that it has them.
    pub requests: Vec<usize>,
    /// All start within this time, by chance.
    pub within: Duration,
    /// What they are joined by.
    pub wire: Wire,
    /// What chance begins with.
    pub seed: u64,
}

/// Datagrams in a time.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// How many.
    pub sent: Sent,
    /// How long.
    pub time: Duration,
}

/// How a crowd got its addresses.
#[derive(Debug)]
pub struct Allocation {
    /// Addresses that several have.
    pub duplicates: usize,
    /// How long each request took that was granted, in ascending order.
    pub times: Vec<Duration>,
    /// Requests that were refused.
    pub refused: usize,
    /// From the first start to the last answer.
    pub busy: Rate,
    /// A minute two minutes later.
    pub rest: Rate,
}

/// What followed when two segments were joined.
#[derive(Debug)]
pub struct Joined {
    /// Addresses that managers on both have.
    pub duplicates: usize,
    /// When the last one was known to all who have it; absent: not within the two minutes that were looked at.
    pub known_after: Option<Duration>,
    /// Until then.
    pub busy: Rate,
    /// Managers and addresses that were reported within the two minutes although nobody else uses the address.
    pub false_reports: usize,
    /// Those of them that were still there at the end.
    pub false_reports_at_end: usize,
}

/// What a crowd got that a forger denied every address.
#[derive(Debug)]
pub struct Denied {
    /// Requests that were refused.
    pub refused: usize,
    /// Those of them that blame the forger most.
    pub named: usize,
    /// The longest time until an answer.
    pub longest: Duration,
    /// From the first start to the last answer.
    pub busy: Rate,
    /// The minute that follows.
    pub after: Rate,
}

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

impl Rate {
    /// Datagrams a second.
    #[must_use]
    pub fn a_second(self) -> f64 {
        self.sent.all() as f64 / self.time.as_secs_f64()
    }
}

/// All start and ask on one segment. Returns the site at rest, too.
#[must_use]
pub fn allocate(crowd: &Crowd) -> (Site, Allocation) {
    let mut site = Site::new(crowd.wire, crowd.seed);
    let members: Vec<MemberId> = (0..crowd.managers).map(|_| site.add(crowd.kind)).collect();
    let allocation = start_all(&mut site, &members, crowd);
    (site, allocation)
}

/// Two halves get their addresses apart from each other; then they are joined.
#[must_use]
pub fn join(crowd: &Crowd) -> Joined {
    let mut site = Site::new(crowd.wire, crowd.seed);
    let members: Vec<MemberId> = (0..crowd.managers).map(|_| site.add(crowd.kind)).collect();
    for (index, member) in members.iter().enumerate() {
        site.place(*member, index % 2);
    }
    start_all(&mut site, &members, crowd);
    let duplicates = site.duplicates();
    for member in &members {
        site.place(*member, 0);
    }
    let (begin, before) = (site.now(), site.sent());
    let mut joined = Joined {
        duplicates: duplicates.len(),
        known_after: None,
        busy: Rate { sent: Sent::default(), time: Duration::ZERO },
        false_reports: 0,
        false_reports_at_end: 0,
    };
    let mut wrong = BTreeSet::new();
    while site.now() < begin + 2 * MINUTE {
        site.run(SECOND / 4);
        if joined.known_after.is_none() {
            let knows = |mac, user: &MemberId| site.reports(*user).contains_key(mac);
            let all_know = duplicates.iter().all(|(mac, users)| users.iter().all(|user| knows(mac, user)));
            joined.known_after = all_know.then(|| site.now() - begin);
            joined.busy = since(&site, before, begin);
        }
        let now_wrong = false_reports(&site, &members, &duplicates);
        joined.false_reports_at_end = now_wrong.len();
        wrong.extend(now_wrong);
    }
    joined.false_reports = wrong.len();
    joined
}

/// All come back at the same second with addresses from before, `vnets` each, all different. Returns how many were reported, and
/// what was sent in the first minute.
#[must_use]
pub fn power_returns(crowd: &Crowd, vnets: usize) -> (usize, Rate) {
    let mut site = Site::new(crowd.wire, crowd.seed);
    let mut random = fastrand::Rng::with_seed(crowd.seed);
    let mut numbers: Vec<u32> = (0..range::AUTOMATIC).collect();
    random.shuffle(&mut numbers);
    let mut addresses = numbers.into_iter().map(range::automatic);
    let mut members = Vec::new();
    for _ in 0..crowd.managers {
        let member = site.add(crowd.kind);
        site.remember(member, addresses.by_ref().take(vnets).collect(), Vec::new());
        members.push(member);
    }
    start(&mut site, &members, crowd);
    let mut wrong = BTreeSet::new();
    let mut first_minute = since(&site, Sent::default(), Duration::ZERO);
    while site.now() < 2 * MINUTE {
        site.run(SECOND);
        wrong.extend(false_reports(&site, &members, &BTreeMap::new()));
        if site.now() <= MINUTE + crowd.within {
            first_minute = since(&site, Sent::default(), Duration::ZERO);
        }
    }
    (wrong.len(), first_minute)
}

/// A crowd is at rest; then one manager more starts and asks for `count` addresses. Returns how long that took.
#[must_use]
pub fn request_among_others(crowd: &Crowd, count: usize) -> Option<Duration> {
    let (mut site, _) = allocate(crowd);
    let before = site.outcomes().len();
    let member = site.add(crowd.kind);
    site.start(member);
    site.ask(member, &[count]);
    // An original one finds each address by itself, within 30 seconds.
    while site.outcomes().len() == before {
        site.run(SECOND);
    }
    let outcome = site.outcomes().last().filter(|outcome| outcome.refusal.is_none());
    outcome.map(|outcome| outcome.took)
}

/// A crowd and a forger who says of every address that it is taken.
#[must_use]
pub fn denied(crowd: &Crowd) -> Denied {
    let mut site = Site::new(crowd.wire, crowd.seed);
    let forger = site.add(Kind::Forger);
    site.start(forger);
    let members: Vec<MemberId> = (0..crowd.managers).map(|_| site.add(crowd.kind)).collect();
    start(&mut site, &members, crowd);
    until_all_are_served(&mut site, crowd);
    let busy = since(&site, Sent::default(), Duration::ZERO);
    let (begin, before) = (site.now(), site.sent());
    site.run(MINUTE);
    // Claims of others come in between: who denied the most is named first.
    let blames_forger = |refusal: &Refusal| {
        let worst = refusal.denied.iter().max_by_key(|(_, count)| **count);
        worst.is_some_and(|(address, _)| *address == site.address(forger))
    };
    let refusals = || site.outcomes().iter().filter_map(|outcome| outcome.refusal.as_ref());
    Denied {
        refused: refusals().count(),
        named: refusals().filter(|refusal| blames_forger(refusal)).count(),
        longest: site.outcomes().iter().map(|outcome| outcome.took).max().unwrap_or_default(),
        busy,
        after: since(&site, before, begin),
    }
}

fn start_all(site: &mut Site, members: &[MemberId], crowd: &Crowd) -> Allocation {
    start(site, members, crowd);
    until_all_are_served(site, crowd);
    let busy = since(site, Sent::default(), Duration::ZERO);
    // What is kept ready is reduced a minute after the last request.
    site.run(2 * MINUTE);
    let (begin, before) = (site.now(), site.sent());
    site.run(MINUTE);
    let granted = site.outcomes().iter().filter(|outcome| outcome.refusal.is_none());
    let mut times: Vec<Duration> = granted.map(|outcome| outcome.took).collect();
    times.sort();
    Allocation {
        duplicates: site.duplicates().len(),
        refused: site.outcomes().len() - times.len(),
        times,
        busy,
        rest: since(site, before, begin),
    }
}

fn start(site: &mut Site, members: &[MemberId], crowd: &Crowd) {
    let mut random = fastrand::Rng::with_seed(crowd.seed);
    let mut starts: Vec<(Duration, MemberId)> =
        members.iter().map(|member| (crowd.within.mul_f64(random.f64()), *member)).collect();
    starts.sort();
    for (at, member) in starts {
        site.run_until(at);
        site.start(member);
        site.ask(member, &crowd.requests);
    }
}

fn until_all_are_served(site: &mut Site, crowd: &Crowd) {
    while site.outcomes().len() < crowd.managers * crowd.requests.len() {
        site.run(SECOND / 10);
    }
}

fn since(site: &Site, before: Sent, begin: Duration) -> Rate {
    let sent = site.sent();
    let sent = Sent {
        questions: sent.questions - before.questions,
        taken: sent.taken - before.taken,
        others: sent.others - before.others,
    };
    Rate { sent, time: site.now() - begin }
}

/// Who reports an address that nobody else uses.
fn false_reports(
    site: &Site,
    members: &[MemberId],
    duplicates: &BTreeMap<MacAddr, Vec<MemberId>>,
) -> Vec<(MemberId, MacAddr)> {
    let reports = members.iter().flat_map(|member| site.reports(*member).keys().map(move |mac| (*member, *mac)));
    reports.filter(|(member, mac)| duplicates.get(mac).is_none_or(|users| !users.contains(member))).collect()
}
