//! A burst: many questions on every suspect port within a few tens of milliseconds, and what they
//! have shown. The burst decides; suspicion never does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::pairs::{Pair, Pairs};
use super::ports::PortSet;
use super::targets::{Class, Targets};
use super::timing::ROUNDS;
use super::verdict::Island;
use crate::PortIndex;

/// Questions of one round at most, over all ports: what a burst may cost a large aggregation.
const QUESTIONS: usize = 20;
/// A port of which fewer questions than this could be sent is not judged by them.
const ENOUGH: u32 = ROUNDS / 2;

/// A burst at work.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) start: Instant,
    /// When its first round was asked, by the clock.
    began: Option<Instant>,
    /// The ports that are judged.
    pub(crate) judged: PortSet,
    /// Those of them that are failed and want to show that they are well again.
    pub(crate) on_trial: PortSet,
    /// The ports that ask the targets.
    pub(crate) asking: PortSet,
    pub(crate) rounds: u32,
    /// When the verdict comes; not known before the last round.
    pub(crate) ends: Option<Instant>,
    /// Questions that left, by port.
    asked: BTreeMap<PortIndex, u32>,
    /// Those of them whose silence says something.
    telling: BTreeMap<PortIndex, u32>,
    /// Targets that answered, by port.
    reached: BTreeMap<PortIndex, Vec<IpAddr>>,
}

impl Burst {
    pub(crate) fn new(now: Instant, judged: PortSet, on_trial: PortSet, asking: PortSet) -> Self {
        Self {
            start: now,
            began: None,
            judged,
            on_trial,
            asking,
            rounds: 0,
            ends: None,
            asked: BTreeMap::new(),
            telling: BTreeMap::new(),
            reached: BTreeMap::new(),
        }
    }

    /// How many rounds should have been asked by now, by the clock.
    pub(crate) fn rounds_due(&mut self, clock: Instant, round: Duration) -> u32 {
        let began = *self.began.get_or_insert(clock);
        let passed = clock.saturating_duration_since(began).as_nanos() / round.as_nanos().max(1);
        u32::try_from(passed).map_or(ROUNDS, |passed| (passed + 1).min(ROUNDS))
    }

    /// The questions of the next round. A large aggregation asks its targets in turn.
    pub(crate) fn round(&mut self, targets: &Targets) -> Vec<(PortIndex, IpAddr)> {
        let addresses: Vec<IpAddr> = targets.active().map(|target| target.address).collect();
        let all = self.asking.len() * addresses.len() <= QUESTIONS;
        let mut questions = Vec::new();
        for port in self.asking.iter() {
            let turn = self.rounds as usize + usize::from(port.0);
            for (at, &address) in addresses.iter().enumerate() {
                if all || at == turn % addresses.len() {
                    questions.push((port, address));
                    *self.asked.entry(port).or_default() += 1;
                }
            }
        }
        self.rounds += 1;
        questions
    }

    /// A port asks in a way that the target is known to answer.
    pub(crate) fn tells(&mut self, port: PortIndex) {
        *self.telling.entry(port).or_default() += 1;
    }

    /// A target has answered a port.
    pub(crate) fn answered(&mut self, port: PortIndex, target: IpAddr) {
        let reached = self.reached.entry(port).or_default();
        if !reached.contains(&target) {
            reached.push(target);
        }
    }

    /// A question could not be sent.
    pub(crate) fn not_sent(&mut self, port: PortIndex) {
        for counts in [&mut self.asked, &mut self.telling] {
            if let Some(count) = counts.get_mut(&port) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// A port's link went down: there is nothing left to judge.
    pub(crate) fn leave(&mut self, port: PortIndex) {
        self.judged.remove(port);
        self.on_trial.remove(port);
        self.asking.remove(port);
    }

    /// Whether any target has answered a port.
    pub(crate) fn has_answer(&self, port: PortIndex) -> bool {
        self.reached.contains_key(&port)
    }

    /// What the burst has shown so far: the islands that can be judged, and the ports that cannot be,
    /// since their questions did not leave.
    pub(crate) fn evidence(&self, pairs: &Pairs, targets: &Targets) -> (Vec<Island>, PortSet) {
        let heard = |pairs: &Pairs, pair: Pair| pairs.answered_since(pair, self.start);
        let mut unjudged = PortSet::EMPTY;
        let mut islands = Vec::new();
        for ports in pairs.islands(self.judged, heard) {
            let enough = |counts: &BTreeMap<PortIndex, u32>| {
                ports.iter().any(|port| counts.get(&port).is_some_and(|&count| count >= ENOUGH))
            };
            if self.ends.is_some() && !enough(&self.asked) {
                unjudged = unjudged.union(ports);
                continue;
            }
            let mut reached = [0; 3];
            for target in targets.vouching().filter(|target| self.has_reached(ports, target.address)) {
                reached[place(target.class)] += 1;
            }
            let others = self.judged.without(ports);
            let before = ports.first().map(|port| pairs.once_joined_with(port)).unwrap_or_default();
            let parted = !before.intersection(others).is_empty();
            // On trial is who has answered a while: then no answer says enough.
            let tested = enough(&self.telling) || ports.without(self.on_trial).is_empty();
            islands.push(Island { ports, reached, tested, parted });
        }
        (islands, unjudged)
    }

    /// Whether more questions could change nothing: every island reaches all there is to reach, or
    /// there is one island and it reaches a target.
    pub(crate) fn is_clear(&self, islands: &[Island], targets: &Targets) -> bool {
        let mut all = [0; 3];
        for target in targets.vouching() {
            all[place(target.class)] += 1;
        }
        let one = matches!(islands, [island] if island.reached != [0; 3]);
        one || islands.iter().all(|island| island.reached == all)
    }

    /// Targets that answered nobody, though another one did: not the ports are to blame.
    pub(crate) fn mute_targets(&self, targets: &Targets) -> Vec<IpAddr> {
        if self.reached.is_empty() {
            return Vec::new();
        }
        let addresses = targets.active().map(|target| target.address);
        addresses.filter(|&address| !self.has_reached(self.judged, address)).collect()
    }

    fn has_reached(&self, ports: PortSet, target: IpAddr) -> bool {
        (self.reached.iter()).any(|(&port, reached)| ports.contains(port) && reached.contains(&target))
    }
}

const fn place(class: Class) -> usize {
    match class {
        Class::Given => 0,
        Class::Router => 1,
        Class::Host => 2,
    }
}
