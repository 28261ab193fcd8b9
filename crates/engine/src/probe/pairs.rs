//! Transitive probes: which pairs of ports ask each other, who has heard whom, and the islands that
//! follow. An answer has crossed the network both ways, so one answer shows both directions.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::ports::PortSet;
use super::rtt::Rtt;
use crate::PortIndex;

/// Probes of a pair that are remembered until they are answered; more than fit into any round trip.
const REMEMBERED: usize = 64;

/// Two ports, the lower index first: that one asks.
pub(crate) type Pair = (PortIndex, PortIndex);

/// The pair of two ports.
pub(crate) fn pair(one: PortIndex, other: PortIndex) -> Pair {
    (one.min(other), one.max(other))
}

/// What is known of every pair.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    known: BTreeMap<Pair, State>,
    /// The sequence number that every pair begins after.
    begin: u32,
}

#[derive(Debug, Default)]
struct State {
    sequence: u32,
    /// Sent and not answered, nor overtaken by an answer to a later one.
    open: VecDeque<(u32, Instant)>,
    /// When the newest probe that was answered had been sent.
    answered: Option<Instant>,
    /// They reached each other through a third port, which is gone.
    met: bool,
    /// Answers since the pair was last silent for too long, and when the first of them came.
    row: Option<(u32, Instant)>,
    rtt: Rtt,
}

impl Pairs {
    /// Pairs whose numbers go on after this one: whoever answers takes an older number for a replay.
    pub(crate) fn after(begin: u32) -> Self {
        Self { known: BTreeMap::new(), begin }
    }

    /// The highest sequence number so far.
    pub(crate) fn last(&self) -> u32 {
        self.known.values().map(|state| state.sequence).max().unwrap_or(self.begin)
    }

    /// Notes that a probe of this pair leaves at `now`; returns its sequence number. A pair that has been
    /// silent for too long begins a new row of answers.
    pub(crate) fn ask(&mut self, pair: Pair, silence: Duration, now: Instant) -> u32 {
        let joined = self.is_joined(pair, silence, now);
        let begin = self.begin;
        let state = self.known.entry(pair).or_insert_with(|| State { sequence: begin, ..State::default() });
        state.sequence = state.sequence.wrapping_add(1);
        if !joined {
            state.row = None;
        }
        if state.open.len() == REMEMBERED {
            // The oldest but one: the oldest says since when there is silence.
            state.open.remove(1);
        }
        state.open.push_back((state.sequence, now));
        state.sequence
    }

    /// Notes an answer. Says whether it was wanted.
    pub(crate) fn answered(&mut self, pair: Pair, sequence: u32, rtt: Duration, now: Instant) -> bool {
        let Some(state) = self.known.get_mut(&pair) else { return false };
        let Some(at) = state.open.iter().position(|&(open, _)| open == sequence) else { return false };
        let sent = state.open.drain(..=at).next_back().map(|(_, sent)| sent);
        state.answered = state.answered.max(sent);
        state.rtt.sample(rtt);
        state.row = match state.row {
            Some((count, since)) => Some((count + 1, since)),
            None => Some((1, now)),
        };
        true
    }

    /// Whether this pair has ever been joined since its ports' links came up, if need be through a third port.
    fn was_joined(&self, pair: Pair) -> bool {
        self.known.get(&pair).is_some_and(|state| state.answered.is_some() || state.met)
    }

    /// Whether this pair was joined once, and what was asked since is unanswered for too long.
    pub(crate) fn is_broken(&self, pair: Pair, silence: Duration, now: Instant) -> bool {
        self.was_joined(pair) && self.known.get(&pair).is_some_and(|state| !state.is_patient(silence, now))
    }

    /// Whether this pair is joined: it has been, and is silent for no longer than `silence` beside
    /// its round-trip time.
    pub(crate) fn is_joined(&self, pair: Pair, silence: Duration, now: Instant) -> bool {
        self.known.get(&pair).is_some_and(|state| state.answered.is_some() && state.is_patient(silence, now))
    }

    /// Whether a probe sent at `since` or later was answered.
    pub(crate) fn answered_since(&self, pair: Pair, since: Instant) -> bool {
        self.known.get(&pair).and_then(|state| state.answered).is_some_and(|sent| sent >= since)
    }

    /// When the newest answered probe of a port had been sent, over all its pairs.
    pub(crate) fn last_answer(&self, port: PortIndex) -> Option<Instant> {
        self.of(port).filter_map(|(_, state)| state.answered).max()
    }

    /// Answers of a pair since it was last silent for too long: how many, and since when.
    pub(crate) fn row(&self, pair: Pair) -> Option<(u32, Instant)> {
        self.known.get(&pair).and_then(|state| state.row)
    }

    /// The ports that this one is joined with.
    pub(crate) fn joined_with(&self, port: PortIndex, silence: Duration, now: Instant) -> PortSet {
        self.of(port)
            .filter(|&(&pair, _)| self.is_joined(pair, silence, now))
            .map(|(&(one, other), _)| if one == port { other } else { one })
            .collect()
    }

    /// Splits ports into islands: ports that reach each other, if need be through others of them.
    pub(crate) fn islands(&self, ports: PortSet, joined: impl Fn(&Self, Pair) -> bool) -> Vec<PortSet> {
        let mut islands: Vec<PortSet> = Vec::new();
        for port in ports.iter() {
            let mut island = PortSet::EMPTY;
            island.insert(port);
            let (near, far): (Vec<_>, Vec<_>) =
                islands.into_iter().partition(|other| other.iter().any(|other| joined(self, pair(port, other))));
            islands = far;
            islands.push(near.into_iter().fold(island, PortSet::union));
        }
        islands.sort();
        islands
    }

    /// The ports that have ever reached this one since their links came up, if need be through others, itself
    /// included.
    pub(crate) fn once_joined_with(&self, port: PortIndex) -> PortSet {
        let all = self.known.keys().flat_map(|&(one, other)| [one, other]).chain([port]).collect();
        let islands = self.islands(all, |pairs, pair| pairs.was_joined(pair));
        islands.into_iter().find(|island| island.contains(port)).unwrap_or_default()
    }

    /// Forgets everything about a port, but not who reached each other through it.
    pub(crate) fn forget(&mut self, port: PortIndex) {
        let mut others = self.once_joined_with(port);
        others.remove(port);
        for pair in mesh(others) {
            let begin = self.begin;
            self.known.entry(pair).or_insert_with(|| State { sequence: begin, ..State::default() }).met = true;
        }
        self.known.retain(|&(one, other), state| {
            // The numbers go on: an answer to an old probe must not pass for one to a new one.
            if one == port || other == port {
                *state = State { sequence: state.sequence, ..State::default() };
            }
            true
        });
    }

    /// Stops waiting for probes of a pair that is not asked any more though it is well: they would age.
    pub(crate) fn rest(&mut self, pair: Pair) {
        if let Some(state) = self.known.get_mut(&pair) {
            state.open.clear();
        }
    }

    fn of(&self, port: PortIndex) -> impl Iterator<Item = (&Pair, &State)> {
        self.known.iter().filter(move |&(&(one, other), _)| one == port || other == port)
    }
}

impl State {
    /// Whether nothing has been unanswered for longer than `silence` beside the round-trip time.
    fn is_patient(&self, silence: Duration, now: Instant) -> bool {
        let patience = silence + self.rtt.bound().unwrap_or_default().min(silence * 10);
        self.open.front().is_none_or(|&(_, sent)| now.saturating_duration_since(sent) < patience)
    }
}

/// All pairs of these ports.
pub(crate) fn mesh(ports: PortSet) -> impl Iterator<Item = Pair> {
    ports.iter().flat_map(move |one| ports.iter().filter(move |&other| one < other).map(move |other| (one, other)))
}

/// The pairs of one port with each of the others.
pub(crate) fn star(hub: PortIndex, ports: PortSet) -> impl Iterator<Item = Pair> {
    ports.iter().filter(move |&port| port != hub).map(move |port| pair(hub, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const AB: Pair = (PortIndex(0), PortIndex(1));

    fn set(of: &[u8]) -> PortSet {
        of.iter().copied().map(PortIndex).collect()
    }

    #[test]
    fn a_pair_is_joined_until_it_has_been_silent_for_too_long() {
        let start = Instant::now();
        let mut pairs = Pairs::default();
        let first = pairs.ask(AB, 30 * MS, start);
        assert!(!pairs.is_joined(AB, 30 * MS, start), "never heard");
        assert!(pairs.answered(AB, first, MS / 100, start + MS));
        for beat in 1..=3 {
            pairs.ask(AB, 30 * MS, start + beat * 10 * MS);
        }
        assert!(pairs.is_joined(AB, 30 * MS, start + 39 * MS));
        assert!(!pairs.is_joined(AB, 30 * MS, start + 41 * MS));
        assert!(pairs.was_joined(AB));
    }

    #[test]
    fn an_answer_that_nobody_waits_for_counts_for_nothing() {
        let start = Instant::now();
        let mut pairs = Pairs::default();
        assert!(!pairs.answered(AB, 1, MS, start));
        let first = pairs.ask(AB, 30 * MS, start);
        let second = pairs.ask(AB, 30 * MS, start + MS);
        assert!(pairs.answered(AB, second, MS, start + 2 * MS));
        assert!(!pairs.answered(AB, second, MS, start + 2 * MS), "twice");
        assert!(!pairs.answered(AB, first, MS, start + 2 * MS), "overtaken");
    }

    #[test]
    fn a_row_of_answers_goes_on_over_a_lost_one_and_ends_with_silence() {
        let start = Instant::now();
        let mut pairs = Pairs::default();
        for beat in 0..20 {
            let now = start + beat * 10 * MS;
            let sequence = pairs.ask(AB, 30 * MS, now);
            if beat != 7 {
                pairs.answered(AB, sequence, MS / 100, now);
            }
        }
        assert_eq!(pairs.row(AB), Some((19, start)));
        for beat in 20..25 {
            pairs.ask(AB, 30 * MS, start + beat * 10 * MS);
        }
        assert_eq!(pairs.row(AB), None);
    }

    #[test]
    fn who_reached_each_other_through_a_port_that_is_gone_is_missed_when_silent() {
        let start = Instant::now();
        let mut pairs = Pairs::default();
        let [a, b, c] = [0, 1, 2].map(PortIndex);
        for other in [b, c] {
            let sequence = pairs.ask(pair(a, other), 30 * MS, start);
            pairs.answered(pair(a, other), sequence, MS / 100, start);
        }
        pairs.forget(a);
        assert_eq!((pairs.once_joined_with(a), pairs.once_joined_with(b)), (set(&[0]), set(&[1, 2])));
        assert!(!pairs.is_joined(pair(b, c), 30 * MS, start), "it has not shown that itself");
        pairs.ask(pair(b, c), 30 * MS, start);
        assert!(!pairs.is_broken(pair(b, c), 30 * MS, start + 20 * MS));
        assert!(pairs.is_broken(pair(b, c), 30 * MS, start + 31 * MS));
        assert!(!pairs.is_broken(pair(a, b), 30 * MS, start + 31 * MS), "nobody missed it");
    }

    #[test]
    fn numbers_go_on_when_probing_is_set_up_again() {
        let (start, mut before) = (Instant::now(), Pairs::default());
        before.ask(AB, 30 * MS, start);
        let last = before.ask(AB, 30 * MS, start);
        assert_eq!(Pairs::after(before.last()).ask(AB, 30 * MS, start), last + 1);
        assert_eq!(Pairs::after(before.last()).last(), last);
    }

    #[test]
    fn silence_counts_from_the_oldest_open_probe_however_many_followed() {
        let start = Instant::now();
        let mut pairs = Pairs::default();
        let first = pairs.ask(AB, 30 * MS, start);
        pairs.answered(AB, first, MS / 100, start);
        for beat in 1..1000 {
            pairs.ask(AB, 30 * MS, start + beat * MS);
        }
        assert!(!pairs.is_joined(AB, 500 * MS, start + 1000 * MS));
    }

    #[test]
    fn islands_are_what_hangs_together() {
        let joined = |_: &Pairs, (one, other): Pair| matches!((one.0, other.0), (0, 2) | (2, 4) | (1, 3));
        let islands = Pairs::default().islands(set(&[0, 1, 2, 3, 4, 5]), joined);
        assert_eq!(islands, [set(&[1, 3]), set(&[0, 2, 4]), set(&[5])]);
    }
}
