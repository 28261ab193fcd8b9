//! When to announce which client: more than once, since an announcement can be lost, and paced,
//! since thousands of clients can move at once.

use std::collections::BTreeMap;
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

/// The announcements that are due.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    rows: BTreeMap<SlotIndex, Row>,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Row {
    start: Instant,
    sent: usize,
}

impl Announcements {
    /// Starts the row of announcements of a slot, or starts it again.
    pub(crate) fn start(&mut self, slot: SlotIndex, now: Instant) {
        self.rows.insert(slot, Row { start: now, sent: 0 });
    }

    /// Forgets a slot.
    pub(crate) fn cancel(&mut self, slot: SlotIndex) {
        self.rows.remove(&slot);
    }

    /// When [`due`](Self::due) will next return something.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = self.rows.values().map(Row::due).min()?;
        Some(self.not_before.map_or(due, |earliest| due.max(earliest)))
    }

    /// The slots to announce now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<SlotIndex> {
        if self.rows.is_empty() || self.not_before.is_some_and(|earliest| now < earliest) {
            return Vec::new();
        }
        let slots: Vec<SlotIndex> =
            (self.rows.iter()).filter(|(_, row)| row.due() <= now).map(|(&slot, _)| slot).take(BATCH).collect();
        for slot in &slots {
            if let Some(row) = self.rows.get_mut(slot) {
                row.sent += 1;
            }
        }
        self.rows.retain(|_, row| row.sent < SCHEDULE.len());
        self.not_before = (slots.len() == BATCH).then(|| now + PACE);
        slots
    }
}

impl Row {
    fn due(&self) -> Instant {
        self.start + SCHEDULE[self.sent]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs until nothing is due any more; the times at which each batch left.
    fn run(mut announcements: Announcements, start: Instant) -> Vec<(Duration, usize)> {
        let mut batches = Vec::new();
        while let Some(at) = announcements.next() {
            batches.push((at - start, announcements.due(at).len()));
        }
        batches
    }

    #[test]
    fn one_client_is_announced_exactly_on_schedule() {
        let start = Instant::now();
        let mut announcements = Announcements::default();
        announcements.start(SlotIndex(0), start);
        let wanted: Vec<_> = SCHEDULE.iter().map(|&at| (at, 1)).collect();
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
        assert!(batches.iter().all(|&(_, count)| (1..=BATCH).contains(&count)));
        assert!(batches.windows(2).all(|pair| pair[1].0 >= pair[0].0 + PACE || pair[0].1 < BATCH));
        assert_eq!(batches.iter().map(|&(_, count)| count).sum::<usize>(), 200 * SCHEDULE.len());
    }
}
