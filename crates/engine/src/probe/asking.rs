//! Which probe leaves where: questions to targets, and transitive probes between ports.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use super::pairs::{Pair, mesh, star};
use super::questions::Purpose;
use super::{Phase, Probing};
use crate::{Action, PortIndex, Source, Way};

/// Pairs that are asked on one beat, at most.
const PAIRS: usize = 64;

impl Probing {
    /// Asks a target through a port: by echo where a source of its network sits, unless the target is
    /// known to answer nothing but its address being asked for.
    pub(super) fn ask(
        &mut self,
        port: PortIndex,
        target: IpAddr,
        purpose: Purpose,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        let way = match self.source(port, target) {
            Some(source) if self.targets.choose_echo(target) => Way::Echo { source: source.address },
            _ => Way::Address,
        };
        self.ask_by(way, port, target, purpose, now, actions);
    }

    /// The way that a target is known to answer, if the port can ask in it; else the one whose turn it is.
    pub(super) fn known_way(&mut self, port: PortIndex, target: IpAddr) -> Way {
        let names_only = self.targets.get(target).is_some_and(|target| target.names && !target.echoes);
        match self.source(port, target) {
            Some(source) if !names_only && self.targets.choose_echo(target) => Way::Echo { source: source.address },
            _ => Way::Address,
        }
    }

    /// Whether a port can ask a target that vouches so that silence says something.
    pub(super) fn can_tell(&self, port: PortIndex) -> bool {
        let mut vouching = self.targets.vouching();
        vouching.any(|target| target.names || (target.echoes && self.source(port, target.address).is_some()))
    }

    /// The source that a port asks a target from: the first on its network.
    pub(super) fn source(&self, port: PortIndex, target: IpAddr) -> Option<Source> {
        self.seats.get(&port)?.iter().find(|source| source.is_near(target)).copied()
    }

    /// Asks a target through a port in this way.
    pub(super) fn ask_by(
        &mut self,
        way: Way,
        port: PortIndex,
        target: IpAddr,
        purpose: Purpose,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        let Some(known) = self.targets.get(target) else { return };
        // Never so long that a verdict would pass the detection time: a suspended host measures anything.
        let patience = known.rtt.bound().map_or(self.timing.patience, |bound| bound * 2);
        let patience = patience.clamp(self.timing.least_patience, self.timing.patience);
        actions.push_back(Action::Ask(self.questions.open(port, target, way, purpose, now, patience)));
    }

    /// Transitive probes: each port with the hub; in doubt every port with every other.
    pub(super) fn ask_pairs(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        let up = self.up();
        let pairs: Vec<Pair> = match &self.phase {
            Phase::Burst(burst) => mesh(burst.judged).collect(),
            Phase::AllFailed(_) => mesh(up).collect(),
            Phase::Watching | Phase::TargetsSilent => {
                let Some(hub) = self.choose_hub() else { return };
                star(hub, up).collect()
            }
        };
        let count = pairs.len().min(PAIRS);
        for &pair in pairs.iter().cycle().skip(self.pairs_asked).take(count) {
            let sequence = self.pairs.ask(pair, self.timing.silence, now);
            actions.push_back(Action::AskPort { from: pair.0, to: pair.1, sequence });
        }
        self.pairs_asked = if pairs.is_empty() { 0 } else { (self.pairs_asked + count) % pairs.len() };
    }

    /// The port that the others ask: it stays the same while it is good.
    fn choose_hub(&mut self) -> Option<PortIndex> {
        let (good, up) = (self.good(), self.up());
        let hub = self.hub.filter(|&hub| good.contains(hub)).or(good.first()).or(up.first());
        self.hub = hub;
        hub
    }
}
