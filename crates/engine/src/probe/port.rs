//! What probing knows of one port, and how long a failed one must be well before it is used again.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Failures and losses of link that are remembered for damping.
const MEMORY: Duration = Duration::from_secs(60);
/// Doublings of the time that a port has to be well: a port that flaps is left alone.
const DOUBLINGS: u32 = 6;

/// How a port stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may carry traffic: proven, or not yet proven otherwise.
    Good,
    /// Its link has come back; other ports are good, so it has to prove itself.
    Returning,
    /// It failed.
    Failed(Cause),
}

/// Why a port failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// No target answered it and no port that reaches one heard it, for this long when it was judged.
    Silent(Duration),
    /// Ports that it does not reach any more reach more of the targets.
    CutOff,
    /// No target answers any port, and the ports do not reach each other.
    AllSilent,
}

/// What is known of a port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) up: bool,
    pub(crate) standing: Standing,
    /// Since when its link is up.
    pub(crate) up_since: Instant,
    /// When a target last answered it.
    pub(crate) answered: Option<Instant>,
    /// Answers of targets without a loss: how many, and since when.
    pub(crate) row: Option<(u32, Instant)>,
    /// It is good for want of evidence: it could not ask when it was judged, and nobody heard it.
    pub(crate) spared: bool,
    /// When it failed, or lost its link.
    failures: Vec<Instant>,
}

impl Port {
    pub(crate) fn new(up: bool, now: Instant) -> Self {
        let standing = Standing::Good;
        Self { up, standing, up_since: now, answered: None, row: None, spared: false, failures: Vec::new() }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.up && self.standing == Standing::Good
    }

    /// Notes a failure, for damping.
    pub(crate) fn note_failure(&mut self, now: Instant) {
        self.failures.retain(|&at| now.saturating_duration_since(at) < MEMORY);
        self.failures.push(now);
        self.row = None;
    }

    /// How long it has to be well: the detection time, doubled for each further failure in the last
    /// minute.
    pub(crate) fn proof(&self, fdt: Duration, now: Instant) -> Duration {
        let recent = self.failures.iter().filter(|&&at| now.saturating_duration_since(at) < MEMORY).count();
        let doublings = u32::try_from(recent).unwrap_or(DOUBLINGS).saturating_sub(1).min(DOUBLINGS);
        (fdt * 2u32.pow(doublings)).min(MEMORY.max(fdt))
    }

    /// A target answered.
    pub(crate) fn note_answer(&mut self, now: Instant) {
        self.answered = Some(now);
        self.spared = false;
        self.row = Some(self.row.map_or((1, now), |(count, since)| (count + 1, since)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_flaps_has_to_prove_itself_longer_and_longer_and_is_forgiven_in_the_end() {
        let (fdt, start) = (Duration::from_secs(1), Instant::now());
        let mut port = Port::new(true, start);
        let mut proofs = Vec::new();
        for _ in 0..9 {
            port.note_failure(start);
            proofs.push(port.proof(fdt, start).as_secs());
        }
        assert_eq!(proofs, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(port.proof(fdt, start + MEMORY), fdt);
    }
}
