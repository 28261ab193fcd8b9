//! The promises of the design, checked after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dlmp_datapath::FRESH_MOVE;
use dlmp_wire::ethernet::Frame;

use crate::guest::{Guest, is_client};

/// What of the promises cannot be seen in one moment.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// Data frames by number: how often each was delivered.
    delivered: BTreeMap<u64, u32>,
    last_move: Option<Duration>,
}

impl Promises {
    /// After a step of the host under test: engine, what it told the datapath, and the datapath agree, and
    /// while a port is active every client sits on exactly one active port.
    pub(crate) fn check(&mut self, guest: &mut Guest, now: Duration) {
        // The first placement too: switches do not know the client yet.
        self.last_move = guest.places.values().map(|&(_, at)| at).max();
        let (mut active, mut seats) = (BTreeSet::new(), Vec::new());
        for view in guest.views(now) {
            seats.extend(view.slots.iter().map(|&slot| (slot, view.port)));
            if view.health.is_active() {
                active.insert(view.port);
            }
        }
        assert_eq!(active, guest.usable, "the datapath has other ports marked usable than the engine takes for active");
        seats.sort();
        let told: Vec<_> = guest.places.iter().map(|(&slot, &(port, _))| (slot, port)).collect();
        assert_eq!(seats, told, "clients sit elsewhere than the datapath was told");
        if active.is_empty() {
            return;
        }
        for (slot, port) in told {
            assert!(active.contains(&port), "{slot:?} sits on {port:?}, active are {active:?}");
            assert_eq!(guest.leaves_by(slot), Some(port), "{slot:?} sends through another port than its own");
        }
    }

    /// A frame was delivered to the host under test.
    pub(crate) fn came_in(&self, bytes: &[u8]) {
        let own = Frame::parse(bytes).is_ok_and(|frame| is_client(frame.source()));
        assert!(!own, "a frame of a client came back to its sender");
    }

    /// A data frame was delivered to a program, once more perhaps.
    pub(crate) fn delivered(&mut self, number: u64, now: Duration) {
        let count = self.delivered.entry(number).or_default();
        *count += 1;
        let fresh = self.last_move.is_some_and(|at| now.saturating_sub(at) <= FRESH_MOVE);
        assert!(*count == 1 || fresh, "frame {number} was delivered {count} times at {now:?}");
    }

    /// How many of the frames of these numbers never came.
    pub(crate) fn lost(&self, numbers: impl Iterator<Item = u64>) -> usize {
        numbers.filter(|number| !self.delivered.contains_key(number)).count()
    }
}
