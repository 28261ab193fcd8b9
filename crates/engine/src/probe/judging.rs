//! The course of a burst and what follows from its verdict.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::burst::Burst;
use super::pairs::mesh;
use super::port::{Cause, Standing};
use super::ports::PortSet;
use super::questions::Purpose;
use super::timing::ROUNDS;
use super::verdict::{Island, Verdict, judge};
use super::{Phase, Probing};
use crate::{Action, PortIndex};

impl Probing {
    /// Carries a burst on: asks the next round, or judges.
    pub(super) fn go_on(
        &mut self,
        mut burst: Box<Burst>,
        clock: Instant,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        let (islands, unjudged) = burst.evidence(&self.pairs, &self.targets);
        let over = burst.ends.is_some_and(|ends| now >= ends);
        if !over && !burst.judged.is_empty() && !burst.is_clear(&islands, &self.targets) {
            if burst.rounds == ROUNDS && burst.ends.is_none() {
                burst.ends = Some(now + self.grace());
            }
            // Rounds that we were late for leave together, so that a coarse timer does not stretch it.
            for _ in burst.rounds..burst.rounds_due(clock, self.timing.round) {
                for (port, target) in burst.round(&self.targets) {
                    let way = self.known_way(port, target);
                    if self.targets.tells(target, way.is_echo()) {
                        burst.tells(port);
                    }
                    self.ask_by(way, port, target, Purpose::Other, now, actions);
                }
            }
            self.phase = Phase::Burst(burst);
            return;
        }
        self.no_burst_before = burst.start + self.timing.burst_gap;
        for target in burst.mute_targets(&self.targets) {
            self.lose_target(target, burst.rounds, now);
        }
        for pair in mesh(burst.judged).filter(|&pair| self.pairs.answered_since(pair, burst.start)).collect::<Vec<_>>()
        {
            self.pairs.rest(pair);
        }
        // Without anything to ask, or anything that vouches, there is nothing to judge by.
        if !islands.is_empty() && self.targets.vouching().next().is_some() {
            self.carry_out(&burst, &islands, unjudged, now);
        }
        self.settle(now);
    }

    fn carry_out(&mut self, burst: &Burst, islands: &[Island], unjudged: PortSet, now: Instant) {
        match judge(islands) {
            Verdict::Live(live) => {
                for port in burst.judged.without(live).without(unjudged).iter() {
                    let cut_off = islands.iter().any(|island| island.ports.contains(port) && island.reached != [0; 3]);
                    let cause = if cut_off { Cause::CutOff } else { Cause::Silent(self.silent_for(port, now)) };
                    self.fail(port, cause, now);
                }
                for island in islands {
                    let spared = island.reached == [0; 3];
                    for port in island.ports.intersection(live).iter() {
                        self.ports.entry(port).and_modify(|port| port.spared = spared);
                        // It gets a source with its clients, and is asked at once.
                        self.next_watch = if spared { now } else { self.next_watch };
                    }
                }
                for port in burst.on_trial.intersection(live).iter() {
                    self.make_good(port);
                }
                // Its island vouches for a port that no target answers; asking on would show nothing new.
                for port in burst.asking.intersection(live).iter().filter(|&port| !burst.has_answer(port)) {
                    self.ports.get_mut(&port).map(|port| port.answered.take());
                }
            }
            Verdict::Unknown => {}
            Verdict::TargetsSilent if self.is_whole(now) => {
                self.phase = Phase::TargetsSilent;
                self.targets.retry(now);
                self.learn_anew(now);
            }
            // A port that failed before may reach a target by now: each one has to be asked.
            Verdict::TargetsSilent | Verdict::AllFailed => {
                for port in burst.judged.iter() {
                    self.fail(port, Cause::AllSilent, now);
                }
            }
        }
    }

    /// Whether no port is apart from the others, failed ones included.
    fn is_whole(&self, now: Instant) -> bool {
        let silence = self.timing.silence;
        self.pairs.islands(self.up(), |pairs, pair| pairs.is_joined(pair, silence, now)).len() == 1
    }

    /// How long to wait for the answers to the last round.
    fn grace(&self) -> Duration {
        let slowest = self.targets.active().filter_map(|target| target.rtt.bound()).max().unwrap_or_default();
        self.timing.grace.max(slowest.min(self.timing.fdt / 4))
    }

    /// Since when nothing was heard through a port.
    fn silent_for(&self, port: PortIndex, now: Instant) -> Duration {
        let known = self.ports.get(&port);
        let heard = known.and_then(|port| port.answered).max(self.pairs.last_answer(port));
        let since = heard.or(known.map(|port| port.up_since));
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn fail(&mut self, port: PortIndex, cause: Cause, now: Instant) {
        if let Some(port) = self.ports.get_mut(&port) {
            // A port that stays failed keeps the cause that people were told.
            if !matches!(port.standing, Standing::Failed(_)) {
                port.standing = Standing::Failed(cause);
            }
            port.note_failure(now);
        }
    }

    pub(super) fn make_good(&mut self, port: PortIndex) {
        if let Some(port) = self.ports.get_mut(&port) {
            port.standing = Standing::Good;
        }
    }
}
