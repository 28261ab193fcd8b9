//! Time that counts: what passed while nobody was there to look does not.
//!
//! A starved or suspended host sends no probes and reads no answers. Were that time counted, its
//! own sleep would look like dead ports (design: "a late wake-up extends deadlines").

use std::time::{Duration, Instant};

/// Translates the clock into time that counts. All deadlines of probing are in the latter.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    missed: Duration,
}

impl Attention {
    /// We are called at `now` and wanted to be called at `due` at the latest, which becomes `now`
    /// when that has passed. Returns `now` in time that counts.
    pub(crate) fn arrive(&mut self, now: Instant, due: &mut Instant) -> Instant {
        if now > *due {
            self.missed += now - *due;
            *due = now;
        }
        self.count(now)
    }

    /// A time by the clock in time that counts.
    pub(crate) fn count(&self, now: Instant) -> Instant {
        now - self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn time_in_which_we_were_not_called_does_not_count() {
        let start = Instant::now();
        let mut attention = Attention::default();
        let mut due = start + 10 * MS;
        assert_eq!(attention.arrive(start + 4 * MS, &mut due), start + 4 * MS);
        // Asleep for a minute, then input before the timer: it counts once.
        let late = start + 60_000 * MS;
        assert_eq!(attention.arrive(late, &mut due), start + 10 * MS);
        assert_eq!(attention.arrive(late, &mut due), start + 10 * MS);
        due = late + 10 * MS;
        assert_eq!(attention.arrive(late + 5 * MS, &mut due), start + 15 * MS);
    }
}
