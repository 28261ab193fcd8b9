//! Probe-based failure and repair detection of one aggregation (in.dlmpd), without I/O.
//!
//! Two kinds of probes. *Transitive* ones go from port to port every few milliseconds; they are local
//! and cheap. *Questions* go to targets (ICMP echo, ARP probe, neighbour solicitation) about once a
//! second. Missing answers of either kind make ports suspect; suspicion fires a [burst] of
//! questions, and the burst is judged ([verdict]):
//!
//! ```text
//!                 suspicion                 one island lives
//!   +----------+ ----------> +-------+ -----------------------> Watching, the others failed
//!   | Watching |             | Burst |  no answer, one island
//!   +----------+ <---------- +-------+ -----------------------> Targets silent: nobody moves
//!                 all well       |      no answer, torn apart
//!                                +----------------------------> All failed: one prober at a time
//! ```
//! Without targets that vouch ([targets]) nobody is judged, and the link state alone decides.

mod asking;
mod attention;
mod burst;
mod judging;
mod pairs;
mod port;
mod ports;
mod questions;
mod repair;
mod rtt;
mod targets;
mod timing;
mod verdict;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use attention::Attention;
use burst::Burst;
use pairs::{Pairs, pair};
pub use port::Cause;
use port::Port;
pub(crate) use port::Standing;
pub(crate) use ports::PortSet;
use questions::Questions;
use targets::Targets;
use timing::Timing;

use serde::{Deserialize, Serialize};

use crate::{Action, PortIndex, QuestionId, Source};

/// The state of probing.
#[derive(Debug)]
pub(crate) struct Probing {
    timing: Timing,
    /// Beats of all aggregations of a host fall together, so that one wake-up serves all.
    epoch: Instant,
    /// The next beat, by the clock.
    next: Instant,
    attention: Attention,
    ports: BTreeMap<PortIndex, Port>,
    /// The sources whose clients sit on each port.
    seats: BTreeMap<PortIndex, Vec<Source>>,
    pairs: Pairs,
    hub: Option<PortIndex>,
    /// Where in a long list of pairs to go on.
    pairs_asked: usize,
    targets: Targets,
    questions: Questions,
    phase: Phase,
    suspects: PortSet,
    /// When a target last vouched for ports.
    vouched: Instant,
    no_burst_before: Instant,
    next_watch: Instant,
    /// Whose turn it is to be watched.
    turn: usize,
    next_failed: Instant,
    next_lesson: Instant,
    lesson_gap: Duration,
}

#[derive(Debug)]
enum Phase {
    Watching,
    Burst(Box<Burst>),
    TargetsSilent,
    AllFailed(Search),
}

/// All ports have failed, and one of them looks for a target.
#[derive(Debug, Clone, Copy)]
struct Search {
    prober: PortIndex,
    /// When it is the next one's turn.
    until: Instant,
    /// A source may be lent to the prober before this.
    lent_until: Instant,
    may_borrow: bool,
    /// How often it may still ask from a source in this turn.
    echoes: u32,
}

impl Search {
    /// A search that goes on from this port to the next one at once.
    const fn new(from: PortIndex, now: Instant) -> Self {
        Self { prober: from, until: now, lent_until: now, may_borrow: false, echoes: 0 }
    }
}

/// What decides about the ports at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detection {
    /// The link state alone: no probing is configured.
    Link,
    /// The link state alone: there is no target that vouches for ports.
    NoTargets,
    /// Link state and probes.
    Probes,
    /// Link state and transitive probes: the targets have died, and all ports reach each other.
    TargetsSilent,
    /// No port reaches a target; this one looks for one.
    Prober(PortIndex),
}

impl Probing {
    /// Probing with this failure detection time. Beats are counted from `epoch`, transitive probes from
    /// the `last` one of an earlier probing.
    pub(crate) fn new(fdt: Duration, last: u32, epoch: Instant, now: Instant) -> Self {
        let timing = Timing::new(fdt);
        Self {
            timing,
            epoch,
            next: now,
            attention: Attention::default(),
            ports: BTreeMap::new(),
            seats: BTreeMap::new(),
            pairs: Pairs::after(last),
            hub: None,
            pairs_asked: 0,
            targets: Targets::default(),
            questions: Questions::default(),
            phase: Phase::Watching,
            suspects: PortSet::EMPTY,
            vouched: now,
            no_burst_before: now,
            next_watch: now,
            turn: 0,
            next_failed: now,
            next_lesson: now,
            lesson_gap: timing.turn,
        }
    }

    /// The highest number of a transitive probe so far.
    pub(crate) fn last(&self) -> u32 {
        self.pairs.last()
    }

    /// Takes the time: every input begins with it. Returns `now` in time that counts.
    pub(crate) fn arrive(&mut self, now: Instant) -> Instant {
        self.attention.arrive(now, &mut self.next)
    }

    /// Changes the failure detection time. What was to come by the old one comes at once.
    pub(crate) fn set_fdt(&mut self, fdt: Duration, clock: Instant, now: Instant) {
        self.timing = Timing::new(fdt);
        self.next = self.next.min(clock);
        (self.no_burst_before, self.next_watch, self.next_failed) = (now, now, now);
        self.learn_anew(now);
    }

    /// The targets that people gave and the routers on the sources' networks.
    pub(crate) fn set_targets(&mut self, given: &[IpAddr], routers: &[IpAddr], now: Instant) {
        self.targets.set(given, routers, now);
        self.learn_anew(now);
    }

    /// All addresses of this host: none of them is ever a target.
    pub(crate) fn set_own(&mut self, own: &[IpAddr], now: Instant) {
        self.targets.set_own(own, now);
        self.learn_anew(now);
    }

    /// A host has answered a multicast echo.
    pub(crate) fn found(&mut self, host: IpAddr, now: Instant) {
        if self.targets.found(host, now) {
            self.learn_anew(now);
        }
    }

    /// Which sources sit on which port, from this time by the clock on.
    pub(crate) fn set_seats(&mut self, seats: BTreeMap<PortIndex, Vec<Source>>, clock: Instant, now: Instant) {
        if self.seats != seats {
            self.seats = seats;
            // While all have failed they change with every turn: there is nothing to learn, and no time to lose.
            if matches!(self.phase, Phase::AllFailed(_)) {
                self.next = self.next.min(clock);
            } else {
                self.learn_anew(now);
            }
        }
    }

    /// A port's link is up or down. A port that is new starts as good: nothing is known against it. So
    /// does the only one with a link. Beside others it has to prove itself, also when those have failed.
    pub(crate) fn link(&mut self, port: PortIndex, up: bool, now: Instant) {
        let others = self.up().iter().any(|other| other != port);
        let vouched = self.targets.vouching().next().is_some();
        let Some(known) = self.ports.get_mut(&port) else {
            self.ports.insert(port, Port::new(up, now));
            return self.learn_anew(now);
        };
        if known.up == up {
            return;
        }
        known.up = up;
        (known.up_since, known.answered, known.spared) = (now, None, false);
        if up {
            known.standing = if others && vouched { Standing::Returning } else { Standing::Good };
            self.learn_anew(now);
        } else {
            known.note_failure(now);
            self.forget(port);
        }
        self.settle(now);
    }

    /// A port is gone.
    pub(crate) fn remove(&mut self, port: PortIndex, now: Instant) {
        self.ports.remove(&port);
        self.forget(port);
        self.settle(now);
    }

    /// A port has failed already, at a takeover: it has to prove itself.
    pub(crate) fn restore_failed(&mut self, port: PortIndex, now: Instant) {
        if let Some(port) = self.ports.get_mut(&port).filter(|port| port.up) {
            port.standing = Standing::Returning;
            self.settle(now);
        }
    }

    /// A question was answered.
    pub(crate) fn answered(&mut self, id: QuestionId, rtt: Duration, now: Instant) {
        let Some(open) = self.questions.close(id) else { return };
        let Some(port) = self.ports.get_mut(&open.port).filter(|port| port.up) else { return };
        port.note_answer(now);
        self.targets.answered(open.target, open.port, open.echo, rtt);
        match &mut self.phase {
            Phase::Watching => {}
            Phase::Burst(burst) if open.sent >= burst.start => burst.answered(open.port, open.target),
            Phase::Burst(_) => {}
            Phase::TargetsSilent => {
                self.phase = Phase::Watching;
                // The targets live, and it may be this port alone that reaches them.
                if !self.good().contains(open.port) {
                    self.suspects = self.good();
                }
            }
            Phase::AllFailed(_) => self.bring_back(open.port, now),
        }
    }

    /// A question could not be sent: its silence says nothing.
    pub(crate) fn not_sent(&mut self, id: QuestionId) {
        if let (Some(open), Phase::Burst(burst)) = (self.questions.close(id), &mut self.phase) {
            burst.not_sent(open.port);
        }
    }

    /// A port was heard by another and has heard it.
    pub(crate) fn pair_answered(&mut self, from: PortIndex, to: PortIndex, sequence: u32, rtt: Duration, now: Instant) {
        let up = |port| self.ports.get(&port).is_some_and(|port| port.up);
        if up(from) && up(to) {
            self.pairs.answered(pair(from, to), sequence, rtt, now);
        }
    }

    /// When [`beat`](Self::beat) is next wanted, by the clock.
    pub(crate) const fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// Does what is due. `clock` is the time by the clock, `now` what [`arrive`](Self::arrive) made of it.
    pub(crate) fn beat(&mut self, clock: Instant, now: Instant, actions: &mut VecDeque<Action>) {
        if clock < self.next {
            return;
        }
        self.lose(now);
        self.give_up_without_targets(now);
        match std::mem::replace(&mut self.phase, Phase::Watching) {
            Phase::Burst(burst) => self.go_on(burst, clock, now, actions),
            phase => {
                self.phase = phase;
                self.watch(now, actions);
            }
        }
        if let Phase::AllFailed(search) = self.phase {
            self.probe_in_turn(search, now, actions);
        }
        self.repair(now);
        self.ask_pairs(now, actions);
        self.next = match self.phase {
            Phase::Burst(_) => clock.max(self.next + self.timing.round),
            _ => self.next_beat(clock),
        };
    }

    /// The first beat after this time.
    fn next_beat(&self, clock: Instant) -> Instant {
        let (since, beat) = (clock.saturating_duration_since(self.epoch).as_nanos(), self.timing.beat.as_nanos());
        let into = u64::try_from(since % beat).unwrap_or_default();
        clock + (self.timing.beat - Duration::from_nanos(into))
    }

    /// Forgets what was learned through a port whose link went away.
    fn forget(&mut self, port: PortIndex) {
        self.pairs.forget(port);
        self.questions.forget(port);
        self.targets.forget_port(port);
        self.suspects.remove(port);
        if let Phase::Burst(burst) = &mut self.phase {
            burst.leave(port);
        }
    }

    /// The ports whose link is up.
    fn up(&self) -> PortSet {
        self.ports.iter().filter(|(_, port)| port.up).map(|(&port, _)| port).collect()
    }

    /// The ports that may carry traffic.
    fn good(&self) -> PortSet {
        self.ports.iter().filter(|(_, port)| port.is_good()).map(|(&port, _)| port).collect()
    }

    /// What decides about the ports at present.
    pub(crate) fn detection(&self) -> Detection {
        match self.phase {
            Phase::AllFailed(search) => Detection::Prober(search.prober),
            // Also while they are silent: with every link away since a target last answered, nobody is judged.
            _ if self.targets.vouching().next().is_none() => Detection::NoTargets,
            Phase::TargetsSilent => Detection::TargetsSilent,
            Phase::Watching | Phase::Burst(_) => Detection::Probes,
        }
    }

    /// How a port stands; nothing while it is not probed.
    pub(crate) fn standing(&self, port: PortIndex) -> Option<Standing> {
        self.ports.get(&port).map(|port| port.standing)
    }

    /// What probing says of a port whose link is up, at a time by the clock.
    pub(crate) fn view(&self, port: PortIndex, clock: Instant) -> View {
        let Some(known) = self.ports.get(&port) else { return View::default() };
        let now = self.attention.count(clock);
        // A few turns: each port of an island is asked every so many intervals only.
        let turns = u32::try_from(self.seats.len()).unwrap_or(1) + 2;
        let fresh = |at: Instant| now.saturating_duration_since(at) < self.timing.interval * turns;
        let asks = self.seats.contains_key(&port) || known.answered.is_some_and(fresh);
        View {
            standing: Some(known.standing),
            prober: self.detection() == Detection::Prober(port),
            icmp: known.answered.is_some_and(fresh),
            joined: self.is_joined_with_good(port, now),
            targets: if asks { self.targets.active().map(|target| target.address).collect() } else { Vec::new() },
            peers: self.pairs.joined_with(port, self.timing.silence, now),
        }
    }
}

/// What probing says of a port.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// How it stands; nothing while it is not probed.
    pub(crate) standing: Option<Standing>,
    /// It is the one that looks for a target while all have failed.
    pub(crate) prober: bool,
    /// A target has answered it lately.
    pub(crate) icmp: bool,
    /// It reaches a good port.
    pub(crate) joined: bool,
    /// The targets that it asks.
    pub(crate) targets: Vec<IpAddr>,
    /// The ports that it exchanges transitive probes with.
    pub(crate) peers: PortSet,
}
