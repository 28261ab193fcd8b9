//! How failed ports come back, and what happens while none is left.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use super::pairs::pair;
use super::ports::PortSet;
use super::questions::Purpose;
use super::{Phase, Probing, Search};
use crate::{Action, PortIndex, Source, Way};

/// Transitive probes that a port has to answer in a row (in.mpathd: NUM_PROBE_REPAIRS).
const ROW: u32 = 10;
/// Echoes that a target hears in one turn of a port while all have failed: switches may learn late where the source
/// sits now, from a frame that it sent before.
const ECHOES: u32 = 3;
/// Answers of targets in a row where no port can be reached.
const QUESTIONS: u32 = 3;

impl Probing {
    /// Takes ports back that have been well for long enough.
    ///
    /// One that the hub hears again lives on the hub's island. One that only targets hear has to show in
    /// a burst that it reaches as much as the others.
    pub(super) fn repair(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Watching | Phase::TargetsSilent) {
            return;
        }
        let Some(hub) = self.hub.filter(|&hub| self.good().contains(hub)) else { return };
        let mut on_trial = PortSet::EMPTY;
        let mut repaired = PortSet::EMPTY;
        for (&index, port) in self.ports.iter().filter(|(_, port)| port.up && !port.is_good()) {
            let proof = port.proof(self.timing.fdt, now);
            let long_enough = |row: Option<(u32, Instant)>, least: u32| {
                row.is_some_and(|(count, since)| count >= least && now.saturating_duration_since(since) >= proof)
            };
            let pair = pair(hub, index);
            if self.pairs.is_joined(pair, self.timing.silence, now) && long_enough(self.pairs.row(pair), ROW) {
                repaired.insert(index);
            } else if long_enough(port.row, QUESTIONS) {
                on_trial.insert(index);
            }
        }
        for port in repaired.iter() {
            self.make_good(port);
        }
        if !on_trial.is_empty() && now >= self.no_burst_before {
            for port in on_trial.iter() {
                // If the trial ends badly, the next one is a while away.
                self.ports.get_mut(&port).map(|port| port.row.take());
            }
            self.fire(on_trial, on_trial, now);
        }
    }

    /// Without a target that vouches nobody can prove anything: after a while the link alone decides, about
    /// ports that failed before as well.
    pub(super) fn give_up_without_targets(&mut self, now: Instant) {
        if self.targets.vouching().next().is_some() {
            self.vouched = now;
        } else if now.saturating_duration_since(self.vouched) >= self.timing.fdt {
            for port in self.up().without(self.good()).iter() {
                self.make_good(port);
            }
            self.settle(now);
        }
    }

    /// Asks the targets through failed ports that no other port hears: only targets can tell there.
    pub(super) fn ask_failed(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        let ports = self.ports.iter().filter(|(_, port)| port.up && !port.is_good()).map(|(&port, _)| port);
        let alone: Vec<PortIndex> = ports.filter(|&port| !self.is_joined_with_good(port, now)).collect();
        let targets: Vec<IpAddr> = self.targets.active().map(|target| target.address).collect();
        for port in alone {
            if let Some(&target) = targets.get(self.turn % targets.len().max(1)) {
                self.ask_by(Way::Address, port, target, Purpose::Other, now, actions);
            }
        }
        self.next_failed = now + self.timing.split_interval;
    }

    /// Brings the phase in line with the ports.
    pub(super) fn settle(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Burst(_)) {
            return;
        }
        self.hasten(now);
        let failed: PortSet = self.up().without(self.good());
        match self.phase {
            _ if failed.is_empty() || !self.good().is_empty() => {
                if matches!(self.phase, Phase::AllFailed(_)) {
                    self.phase = Phase::Watching;
                }
            }
            Phase::AllFailed(_) => {}
            _ => {
                // The turn goes on from the hub to another port: the hub was heard last.
                if let Some(prober) = self.hub.or(failed.first()) {
                    self.phase = Phase::AllFailed(Search::new(prober, now));
                    self.targets.retry(now);
                    self.learn_anew(now);
                }
            }
        }
    }

    /// All failed: one port at a time asks the targets, those that answer nothing else by echo as soon as it has a
    /// source.
    pub(super) fn probe_in_turn(&mut self, search: Search, now: Instant, actions: &mut VecDeque<Action>) {
        let up = self.up();
        let silence = self.timing.silence;
        let islands = self.pairs.islands(up, |pairs, pair| pairs.is_joined(pair, silence, now));
        if let [island] = islands[..]
            && island.len() > 1
        {
            // All reach each other: the targets died, not the paths. Nobody moves.
            for port in island.iter() {
                self.make_good(port);
            }
            self.phase = Phase::TargetsSilent;
            return;
        }
        let mut search = search;
        if now >= search.until {
            let Some(prober) = up.after(search.prober) else { return };
            let (until, lent_until) = (now + self.timing.turn, now + self.timing.loan);
            search = Search { prober, until, lent_until, may_borrow: true, echoes: ECHOES };
            let targets: Vec<IpAddr> = self.targets.active().map(|target| target.address).collect();
            for target in targets {
                self.ask_by(Way::Address, prober, target, Purpose::Other, now, actions);
            }
        }
        let prober = search.prober;
        search.may_borrow = now < search.lent_until;
        if search.echoes > 0 && search.may_borrow {
            let by_echo = self.targets.active().filter(|target| target.wants_echo()).map(|target| target.address);
            let questions: Vec<_> =
                by_echo.filter_map(|target| Some((self.source(prober, target)?.address, target))).collect();
            search.echoes -= u32::from(!questions.is_empty());
            for (source, target) in questions {
                self.ask_by(Way::Echo { source }, prober, target, Purpose::Other, now, actions);
            }
        }
        self.phase = Phase::AllFailed(search);
    }

    /// The port that looks for a target and that a source may be lent to for it.
    pub(crate) fn borrower(&self) -> Option<PortIndex> {
        let Phase::AllFailed(search) = self.phase else { return None };
        search.may_borrow.then_some(search.prober).filter(|&prober| self.up().contains(prober))
    }

    /// Whether a port could ask a target from this source that answers nothing but echoes.
    pub(crate) fn can_echo_from(&self, source: &Source) -> bool {
        self.targets.active().any(|target| target.wants_echo() && source.is_near(target.address))
    }

    /// All had failed and a target has answered this port: it lives, and so does its island.
    pub(super) fn bring_back(&mut self, port: PortIndex, now: Instant) {
        let silence = self.timing.silence;
        let islands = self.pairs.islands(self.up(), |pairs, pair| pairs.is_joined(pair, silence, now));
        for member in islands.into_iter().filter(|island| island.contains(port)).flat_map(PortSet::iter) {
            self.make_good(member);
        }
        self.phase = Phase::Watching;
        self.hasten(now);
    }
}
