//! The promises of the design, checked after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dlmp_datapath::FRESH_MOVE;

use crate::guest::Guest;

/// What of the promises cannot be seen in one moment.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// Data frames by number: how often each was delivered.
    delivered: BTreeMap<u64, u32>,
    last_move: Option<Duration>,
}

impl Promises {
    /// After a step of the host under test.
    pub(crate) fn check(&mut self, guest: &Guest, now: Duration) {
        // The first placement too: switches do not know the client yet.
        self.last_move = guest.places.values().map(|&(_, at)| at).max();
        let active = guest.active(now);
        assert_eq!(active, guest.usable, "the datapath has other ports marked usable than the engine takes for active");
        let seats: BTreeSet<_> = guest.places.values().map(|&(port, _)| port).collect();
        if !active.is_empty() {
            assert!(seats.is_subset(&active), "clients sit on {seats:?}, active are {active:?}");
        }
    }

    /// A data frame was delivered to a program, once more perhaps.
    pub(crate) fn delivered(&mut self, number: u64, now: Duration) {
        let count = self.delivered.entry(number).or_default();
        *count += 1;
        let fresh = self.last_move.is_some_and(|at| now - at <= FRESH_MOVE);
        assert!(*count == 1 || fresh, "frame {number} was delivered {count} times at {now:?}");
    }

    /// How many of the frames of these numbers never came.
    pub(crate) fn lost(&self, numbers: impl Iterator<Item = u64>) -> usize {
        numbers.filter(|number| !self.delivered.contains_key(number)).count()
    }
}
