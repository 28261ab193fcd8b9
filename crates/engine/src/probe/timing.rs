//! All times of probing, from the one that people set: the failure detection time.

use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// Rounds of questions in a burst. At 30 % loss each way the chance that all answers are lost is
/// 0.51 to the 16th: 2 in 100000.
pub(crate) const ROUNDS: u32 = 16;

/// Transitive probes that have to be missing in a row before a pair is suspect.
const MISSING: u32 = 3;

/// The times that follow from a failure detection time.
///
/// At the default of 1 s: a transitive probe every 10 ms, suspicion after 30 ms of silence, a burst
/// of 30 ms. Longer detection times stretch all of it, shorter ones press it together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// The failure detection time (`probe-fdt`).
    pub(crate) fdt: Duration,
    /// Between two transitive probes of a pair, and between two looks at everything else.
    pub(crate) beat: Duration,
    /// Silence of a pair, beside its usual round-trip time, that makes both ends suspect.
    pub(crate) silence: Duration,
    /// Between two rounds of questions in a burst.
    pub(crate) round: Duration,
    /// From the last round to the verdict, unless a target is known to take longer.
    pub(crate) grace: Duration,
    /// From the start of one burst to the next: what keeps bursts from flooding a router.
    pub(crate) burst_gap: Duration,
    /// Between two questions to the targets while all is well. One target hears at most 1.25 a second.
    pub(crate) interval: Duration,
    /// The same where transitive probes do not join all ports or some have failed, so that only targets
    /// can tell.
    pub(crate) split_interval: Duration,
    /// Every question is lost after this, at the latest.
    pub(crate) patience: Duration,
    /// No question is lost before this has passed.
    pub(crate) least_patience: Duration,
    /// How long a port is prober before it is the next one's turn.
    pub(crate) turn: Duration,
    /// How long a source may sit on the prober for its sake, up to the beat that ends it: 200 ms at most with it.
    pub(crate) loan: Duration,
}

impl Timing {
    /// The times for this failure detection time, 10 ms to 10 min.
    pub(crate) fn new(fdt: Duration) -> Self {
        let beat = (fdt / 10).min(10 * MS).max(fdt / 100);
        let burst = (fdt * 3 / 10).min(30 * MS).max(fdt * 3 / 100);
        Self {
            fdt,
            beat,
            silence: beat * MISSING,
            round: burst * 3 / 4 / ROUNDS,
            grace: burst / 4,
            burst_gap: fdt / 4,
            interval: (fdt * 8 / 10).max(800 * MS),
            split_interval: fdt * 4 / 10,
            patience: fdt / 5,
            least_patience: fdt / 20,
            turn: fdt / 5,
            loan: (fdt / 5).min(200 * MS).saturating_sub(beat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_fault_is_found_within_the_detection_time_and_the_router_hears_little() {
        for fdt in [10, 20, 50, 100, 500, 1000, 10_000, 600_000].map(Duration::from_millis) {
            let timing = Timing::new(fdt);
            let burst = timing.round * ROUNDS + timing.grace;
            // The fault comes just after a probe; the pair is looked at on the next beat.
            let by_transitive = timing.beat + timing.silence + timing.beat + burst;
            assert!(by_transitive <= fdt, "{fdt:?}: {by_transitive:?}");
            let by_targets = timing.split_interval + timing.patience + timing.beat + burst;
            assert!(by_targets <= fdt, "{fdt:?}: {by_targets:?}");
            assert!(1.0 / timing.interval.as_secs_f64() <= 1.5);
        }
        let default = Timing::new(Duration::from_secs(1));
        assert_eq!((default.beat, default.silence), (10 * MS, 30 * MS));
        assert_eq!(default.round * ROUNDS + default.grace, 30 * MS);
    }
}
