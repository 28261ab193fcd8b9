//! The slow watch: suspicion, questions about once a second, and learning which port reaches which
//! target.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::burst::Burst;
use super::pairs::{pair, star};
use super::ports::PortSet;
use super::questions::Purpose;
use super::{Phase, Probing};
use crate::{Action, PortIndex};

/// The longest time between two attempts to learn which port reaches which target, and to find hosts.
const LESSON_GAP: Duration = Duration::from_secs(60);
/// Suspects of one island that ask the targets: enough to tell a port from its island.
const ASKING: usize = 4;
/// Ports of a suspect island that ask at least, so that one vouches for the other.
const AT_LEAST: usize = 2;

impl Probing {
    /// Looks for suspects and fires a burst if there are any; else asks what is due.
    pub(super) fn watch(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        if matches!(self.phase, Phase::AllFailed(_)) {
            if now >= self.next_lesson {
                self.look_for_hosts(now, actions);
            }
            return;
        }
        self.suspect(now);
        if self.targets.vouching().next().is_none() {
            self.suspects = PortSet::EMPTY;
        }
        if !self.suspects.is_empty() && now >= self.no_burst_before {
            let suspects = std::mem::take(&mut self.suspects);
            return self.fire(suspects, PortSet::EMPTY, now);
        }
        if now >= self.next_watch {
            self.targets.review(self.timing.interval, now);
            self.ask_in_turn(now, actions);
        }
        if now >= self.next_failed {
            self.ask_failed(now, actions);
        }
        if now >= self.next_lesson {
            self.learn(now, actions);
        }
    }

    /// Ports that have gone silent, and ports that have never been heard.
    fn suspect(&mut self, now: Instant) {
        let good = self.good();
        if let Some(hub) = self.hub.filter(|&hub| good.contains(hub)) {
            for pair in star(hub, good) {
                if self.pairs.is_broken(pair, self.timing.silence, now) {
                    self.suspects.insert(pair.0);
                    self.suspects.insert(pair.1);
                }
            }
        }
        let torn = self.is_torn(now);
        for port in good.iter() {
            if torn || self.is_unproven(port, now) {
                self.suspects.insert(port);
            }
        }
    }

    /// Whether a port has had time to show something and has shown nothing at all, though it can ask; or was
    /// spared for want of evidence, of which there is some now.
    fn is_unproven(&self, port: PortIndex, now: Instant) -> bool {
        if !self.has_had_time(port, now) {
            return false;
        }
        let never = self.good().len() > 1
            && self.pairs.last_answer(port).is_none()
            && !self.targets.all().any(|target| target.reached.contains(port));
        if never && self.can_tell(port) {
            return true;
        }
        let spared = self.ports.get(&port).is_some_and(|port| port.spared) && !self.is_joined_with_good(port, now);
        // It can ask by now, or another one can that it has lost its join with.
        let asks = |others: PortSet| others.intersection(self.good()).iter().any(|other| self.can_tell(other));
        spared && asks(self.pairs.once_joined_with(port))
    }

    /// Whether a port's link is up for as long as a path may take to show that it is dead.
    fn has_had_time(&self, port: PortIndex, now: Instant) -> bool {
        let up_since = self.ports.get(&port).map(|port| port.up_since);
        up_since.is_some_and(|since| now.saturating_duration_since(since) >= self.timing.fdt)
    }

    /// Whether the targets were taken for dead, since all ports reached each other, and a port has come since that
    /// reaches none of them.
    fn is_torn(&self, now: Instant) -> bool {
        let out = || self.up().without(self.good());
        matches!(self.phase, Phase::TargetsSilent)
            && out().iter().any(|port| self.has_had_time(port, now) && !self.is_joined_with_good(port, now))
    }

    /// Starts a burst over the good ports and those on trial.
    pub(super) fn fire(&mut self, suspects: PortSet, on_trial: PortSet, now: Instant) {
        let judged = self.good().union(on_trial);
        let silence = self.timing.silence;
        let islands = self.pairs.islands(judged, |pairs, pair| pairs.is_joined(pair, silence, now));
        let mut asking = PortSet::EMPTY;
        for island in islands {
            let suspects = island.intersection(suspects);
            let wanted = if suspects.is_empty() { 1 } else { suspects.len().clamp(AT_LEAST, ASKING) };
            // Suspects first, then those from which a source can ask.
            let mut order: Vec<PortIndex> = island.iter().collect();
            order.sort_by_key(|port| (!suspects.contains(*port), !self.seats.contains_key(port)));
            asking = order.into_iter().take(wanted).fold(asking, |mut asking, port| {
                asking.insert(port);
                asking
            });
        }
        self.phase = Phase::Burst(Box::new(Burst::new(now, judged, on_trial, asking)));
    }

    /// Closes lost questions; the loss of a watching one makes its port suspect.
    pub(super) fn lose(&mut self, now: Instant) {
        for open in self.questions.lost(now) {
            let Some(port) = self.ports.get_mut(&open.port) else { continue };
            port.row = None;
            // A port that no target answered before loses nothing new.
            if open.purpose != Purpose::Watch || !port.is_good() || port.answered.is_none() {
                continue;
            }
            if self.targets.vouching().any(|target| target.address == open.target) {
                if !matches!(self.phase, Phase::TargetsSilent) {
                    self.suspects.insert(open.port);
                }
            } else {
                self.lose_target(open.target, 1, now);
            }
        }
    }

    /// Questions to a target were lost while others answered; for one that is given up another is looked for.
    pub(super) fn lose_target(&mut self, target: IpAddr, questions: u32, now: Instant) {
        if self.targets.lost_alone(target, questions, now) {
            self.learn_anew(now);
        }
    }

    /// One question from each island of good ports: its ports take turns, and so do the targets.
    fn ask_in_turn(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        let islands = self.good_islands(now);
        let targets: Vec<IpAddr> = self.targets.active().map(|target| target.address).collect();
        let turn = self.turn;
        self.turn = self.turn.wrapping_add(1);
        for &island in &islands {
            // Ports with a source ask; without any, the first one asks from its own address.
            let seated: Vec<PortIndex> = island.iter().filter(|port| self.seats.contains_key(port)).collect();
            let port = if seated.is_empty() { island.first() } else { Some(seated[turn % seated.len()]) };
            let round = turn / seated.len().max(1);
            if let (Some(port), Some(&target)) = (port, targets.get(round % targets.len().max(1))) {
                self.ask(port, target, Purpose::Watch, now, actions);
            }
        }
        self.next_watch = now + self.timing.interval;
        self.hasten(now);
    }

    /// Watches more often where only targets can tell who dies: good ports that do not reach each other,
    /// and beside failed ports, which raise no suspicion.
    pub(super) fn hasten(&mut self, now: Instant) {
        if self.good_islands(now).len() > 1 || self.up() != self.good() {
            self.next_watch = self.next_watch.min(now + self.timing.split_interval);
        }
    }

    /// The islands of the good ports, as the hub hears them.
    pub(super) fn good_islands(&self, now: Instant) -> Vec<PortSet> {
        let silence = self.timing.silence;
        self.pairs.islands(self.good(), |pairs, pair| pairs.is_joined(pair, silence, now))
    }

    /// Asks every target through every port that has not reached it yet, less and less often.
    fn learn(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        let mut questions = Vec::new();
        for target in self.targets.active() {
            questions.extend(self.up().without(target.reached).iter().map(|port| (port, target.address)));
        }
        for (port, target) in questions {
            self.ask(port, target, Purpose::Other, now, actions);
        }
        self.look_for_hosts(now, actions);
    }

    /// Looks for hosts by multicast echoes, less and less often, while nothing better is known and too few answer.
    fn look_for_hosts(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        let silent = matches!(self.phase, Phase::TargetsSilent | Phase::AllFailed(_));
        if self.targets.may_be_hosts() && (silent || self.targets.are_few()) {
            for v6 in [false, true] {
                let mut sources = self.seats.values().flatten().map(|source| source.address);
                if let Some(source) = sources.find(|address| address.is_ipv6() == v6) {
                    actions.push_back(Action::Discover(source));
                }
            }
        }
        self.next_lesson = now + self.lesson_gap;
        self.lesson_gap = (self.lesson_gap * 2).min(LESSON_GAP);
    }

    /// Something is new: learning starts over.
    pub(super) fn learn_anew(&mut self, now: Instant) {
        self.lesson_gap = self.timing.turn;
        self.next_lesson = self.next_lesson.min(now);
    }

    /// Whether this port is joined by transitive probes with a good one.
    pub(super) fn is_joined_with_good(&self, port: PortIndex, now: Instant) -> bool {
        let good = self.good();
        good.iter().any(|other| other != port && self.pairs.is_joined(pair(port, other), self.timing.silence, now))
    }
}
