//! Clients whose groups are not kept, since they are too many or come too fast: every group is let in for such a client,
//! until it has said what it wants anew, in bounds.
//!
//! ```text
//!            exceeds                 has rested              has answered within bounds
//!  in bounds --------> rests, unheard -------> is heard anew ---------------------------> in bounds
//!                          ^                      | exceeds again: rests twice as long
//!                          +----------------------+
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ANSWERED;
use crate::SlotIndex;

/// How long a client that exceeded is not heard at first.
const REST: Duration = Duration::from_secs(10);
/// How long at most, when it has exceeded each time that it was heard.
const REST_MAX: Duration = Duration::from_mins(10);
/// Those who have rested but for this are heard together, since everybody is asked: questions are this far apart.
const TOGETHER: Duration = Duration::from_secs(5);

/// Why every group is let in for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Excess {
    /// It has reported more groups than are kept of one client ([`CLIENT_GROUPS`](super::CLIENT_GROUPS)).
    Client,
    /// It has reported more when there was no room left ([`AGGREGATION_GROUPS`](super::AGGREGATION_GROUPS)).
    Aggregation,
    /// It reports faster than is read, so that reports of it may have been missed.
    Rate,
}

#[derive(Debug, Clone, Copy)]
struct Exceeding {
    why: Excess,
    rest: Duration,
    /// When it has rested, or has been heard for long enough.
    until: Instant,
    heard: bool,
}

/// The clients that exceed.
#[derive(Debug, Default)]
pub(super) struct Excesses {
    clients: BTreeMap<SlotIndex, Exceeding>,
    /// The same by time.
    due: BTreeSet<(Instant, SlotIndex)>,
}

impl Excesses {
    /// A client exceeds, at `now`. Says whether it did not before.
    pub(super) fn enter(&mut self, slot: SlotIndex, why: Excess, now: Instant) -> bool {
        let before = self.clients.get(&slot).copied();
        let rest = match before {
            Some(before) if before.heard => (before.rest * 2).min(REST_MAX),
            Some(before) => before.rest,
            None => REST,
        };
        self.set(slot, Exceeding { why, rest, until: now + rest, heard: false });
        before.is_none()
    }

    /// Forgets a client. Says whether it exceeded.
    pub(super) fn leave(&mut self, slot: SlotIndex) -> bool {
        let Some(old) = self.clients.remove(&slot) else { return false };
        self.due.remove(&(old.until, slot));
        true
    }

    /// Whether what a client says is not heard now.
    pub(super) fn is_unheard(&self, slot: SlotIndex) -> bool {
        self.clients.get(&slot).is_some_and(|client| !client.heard)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Who exceeds, and why.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SlotIndex, Excess)> + '_ {
        self.clients.iter().map(|(&slot, client)| (slot, client.why))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Those who are in bounds again.
    pub(super) fn calmed(&mut self, now: Instant) -> Vec<SlotIndex> {
        let calmed = |&&(at, slot): &&(Instant, SlotIndex)| at <= now && !self.is_unheard(slot);
        let calmed: Vec<SlotIndex> =
            self.due.iter().take_while(|(at, _)| *at <= now).filter(calmed).map(|&(_, slot)| slot).collect();
        for &slot in &calmed {
            self.leave(slot);
        }
        calmed
    }

    /// Hears those who have rested. Says whether there are any: then everybody is to be asked what he wants.
    pub(super) fn hear(&mut self, now: Instant) -> bool {
        if !self.due.iter().take_while(|(at, _)| *at <= now).any(|&(_, slot)| self.is_unheard(slot)) {
            return false;
        }
        let rested: Vec<SlotIndex> = (self.due.iter().take_while(|(at, _)| *at <= now + TOGETHER))
            .map(|&(_, slot)| slot)
            .filter(|&slot| self.is_unheard(slot))
            .collect();
        for slot in rested {
            if let Some(client) = self.clients.get(&slot).copied() {
                self.set(slot, Exceeding { until: now + ANSWERED, heard: true, ..client });
            }
        }
        true
    }

    fn set(&mut self, slot: SlotIndex, client: Exceeding) {
        if let Some(old) = self.clients.insert(slot, client) {
            self.due.remove(&(old.until, slot));
        }
        self.due.insert((client.until, slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SlotIndex = SlotIndex(1);
    const OTHER: SlotIndex = SlotIndex(2);

    #[test]
    fn who_exceeds_rests_is_heard_and_is_in_bounds_again() {
        let (mut excesses, start) = (Excesses::default(), Instant::now());
        assert!(excesses.enter(ONE, Excess::Client, start));
        assert!(!excesses.enter(ONE, Excess::Client, start));
        assert!(excesses.is_unheard(ONE) && !excesses.hear(start + REST / 2));
        assert_eq!(excesses.poll_timeout(), Some(start + REST));
        assert!(excesses.hear(start + REST));
        assert!(!excesses.is_unheard(ONE) && !excesses.is_empty());
        assert_eq!(excesses.calmed(start + REST), []);
        assert_eq!(excesses.calmed(start + REST + ANSWERED), [ONE]);
        assert!(excesses.is_empty() && excesses.poll_timeout().is_none());
    }

    #[test]
    fn who_exceeds_each_time_rests_longer_and_longer() {
        let (mut excesses, mut now) = (Excesses::default(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..9 {
            excesses.enter(ONE, Excess::Client, now);
            // One who goes on while he is not heard is not worse than one who stops.
            excesses.enter(ONE, Excess::Rate, now);
            let until = excesses.poll_timeout().unwrap();
            rests.push((until - now).as_secs());
            now = until;
            assert!(excesses.hear(now));
        }
        assert_eq!(rests, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    }

    #[test]
    fn those_who_have_nearly_rested_are_heard_at_the_same_time() {
        let (mut excesses, start) = (Excesses::default(), Instant::now());
        excesses.enter(ONE, Excess::Client, start);
        excesses.enter(OTHER, Excess::Aggregation, start + TOGETHER);
        assert!(excesses.hear(start + REST));
        assert!(!excesses.is_unheard(ONE) && !excesses.is_unheard(OTHER));
        assert!(!excesses.hear(start + REST + TOGETHER));
        assert_eq!(excesses.calmed(start + REST + ANSWERED), [ONE, OTHER]);
        assert!(!excesses.leave(ONE));
    }
}
