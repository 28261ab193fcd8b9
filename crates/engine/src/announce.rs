//! When to announce which client: more than once, since an announcement can be lost, and paced,
//! since thousands of clients can move at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::SlotIndex;

/// Times of the announcements of one move, counted from the move. QEMU sends five after a migration,
/// spread over about half a second; a switch that was busy gets its last chance a second later.
const SCHEDULE: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];

/// At most this many announcements leave in one [`PACE`].
const BATCH: usize = 32;
/// The least time between two batches.
const PACE: Duration = Duration::from_millis(1);

/// The announcements that are to be made.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    rows: BTreeMap<SlotIndex, Row>,
    /// For each step of the schedule who waits for it, by the time when it is due: those who were not
    /// announced at all go before all who were.
    waiting: [BTreeSet<(Instant, SlotIndex)>; SCHEDULE.len()],
    not_before: Option<Instant>,
}

/// A client that is being announced.
#[derive(Debug, Clone, Copy)]
struct Row {
    start: Instant,
    /// The next step, an index into the schedule.
    step: usize,
}

impl Announcements {
    /// Starts the row of announcements of a slot, or starts it again.
    pub(crate) fn start(&mut self, slot: SlotIndex, now: Instant) {
        self.cancel(slot);
        self.wait(slot, Row { start: now, step: 0 });
    }

    /// Forgets a slot.
    pub(crate) fn cancel(&mut self, slot: SlotIndex) {
        if let Some(row) = self.rows.remove(&slot) {
            self.waiting[row.step].remove(&(row.due(), slot));
        }
    }

    /// When [`due`](Self::due) will next return something.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = self.waiting.iter().filter_map(|step| step.first()).map(|&(due, _)| due).min()?;
        Some(self.not_before.map_or(due, |earliest| due.max(earliest)))
    }

    /// The slots to announce now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<SlotIndex> {
        if self.rows.is_empty() || self.not_before.is_some_and(|earliest| now < earliest) {
            return Vec::new();
        }
        let due = self.waiting.iter().flat_map(|step| step.iter().take_while(|(due, _)| *due <= now));
        let slots: Vec<SlotIndex> = due.map(|&(_, slot)| slot).take(BATCH).collect();
        for &slot in &slots {
            let Some(&row) = self.rows.get(&slot) else { continue };
            self.cancel(slot);
            if row.step + 1 < SCHEDULE.len() {
                self.wait(slot, Row { step: row.step + 1, ..row });
            }
        }
        self.not_before = (slots.len() == BATCH).then(|| now + PACE);
        slots
    }

    fn wait(&mut self, slot: SlotIndex, row: Row) {
        self.waiting[row.step].insert((row.due(), slot));
        self.rows.insert(slot, row);
    }
}

impl Row {
    fn due(&self) -> Instant {
        self.start + SCHEDULE[self.step]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs until nothing is due any more; the times at which each batch left, and who was in it.
    fn run(mut announcements: Announcements, start: Instant) -> Vec<(Duration, Vec<SlotIndex>)> {
        let mut batches = Vec::new();
        while let Some(at) = announcements.next() {
            batches.push((at - start, announcements.due(at)));
        }
        batches
    }

    #[test]
    fn one_client_is_announced_exactly_on_schedule() {
        let start = Instant::now();
        let mut announcements = Announcements::default();
        announcements.start(SlotIndex(0), start);
        let wanted: Vec<_> = SCHEDULE.iter().map(|&at| (at, vec![SlotIndex(0)])).collect();
        assert_eq!(run(announcements, start), wanted);
    }

    #[test]
    fn many_clients_are_paced_and_none_is_forgotten() {
        let start = Instant::now();
        let mut announcements = Announcements::default();
        for slot in 0..200 {
            announcements.start(SlotIndex(slot), start);
        }
        let batches = run(announcements, start);
        assert!(batches.iter().all(|(_, slots)| (1..=BATCH).contains(&slots.len())));
        assert!(batches.windows(2).all(|pair| pair[1].0 >= pair[0].0 + PACE || pair[0].1.len() < BATCH));
        let mut counts = BTreeMap::new();
        batches.into_iter().flat_map(|(_, slots)| slots).for_each(|slot| *counts.entry(slot).or_insert(0) += 1);
        assert_eq!(counts, (0..200).map(|slot| (SlotIndex(slot), SCHEDULE.len())).collect());
    }

    #[test]
    fn everybody_is_announced_once_before_anybody_is_again() {
        let start = Instant::now();
        let mut announcements = Announcements::default();
        // More than fit in before the first one's second turn, and some that come after that was due.
        let late = start + SCHEDULE[1] + PACE;
        (0..4096).for_each(|slot| announcements.start(SlotIndex(slot), start));
        let mut order = Vec::new();
        while let Some(at) = announcements.next() {
            if at >= late && order.len() < 4096 && !announcements.rows.contains_key(&SlotIndex(5000)) {
                (5000..5100).for_each(|slot| announcements.start(SlotIndex(slot), late));
            }
            order.extend(announcements.due(at));
        }
        let mut first = order[..4196].to_vec();
        first.sort();
        first.dedup();
        assert_eq!(first.len(), 4196);
        assert_eq!(order.len(), 4196 * SCHEDULE.len());
    }

    #[test]
    fn a_client_that_is_gone_is_not_announced_any_more() {
        let start = Instant::now();
        let mut announcements = Announcements::default();
        announcements.start(SlotIndex(0), start);
        announcements.start(SlotIndex(1), start);
        announcements.due(start);
        announcements.cancel(SlotIndex(0));
        assert!(run(announcements, start).iter().all(|(_, slots)| *slots == [SlotIndex(1)]));
    }
}
