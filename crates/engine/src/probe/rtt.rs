//! Round-trip time and its spread, by the estimator of TCP (RFC 6298, section 2).

use std::time::Duration;

/// What is known of a round-trip time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rtt(Option<Estimate>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Estimate {
    mean: Duration,
    deviation: Duration,
}

impl Rtt {
    /// Takes in one measurement.
    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.0 = Some(match self.0 {
            None => Estimate { mean: rtt, deviation: rtt / 2 },
            Some(Estimate { mean, deviation }) => {
                Estimate { mean: (mean * 7 + rtt) / 8, deviation: (deviation * 3 + mean.abs_diff(rtt)) / 4 }
            }
        });
    }

    /// Mean and four deviations: an answer seldom takes longer.
    pub(crate) fn bound(self) -> Option<Duration> {
        self.0.map(|estimate| estimate.mean + estimate.deviation * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_follows_the_measurements() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.bound(), None);
        rtt.sample(Duration::from_millis(8));
        assert_eq!(rtt.bound(), Some(Duration::from_millis(24)));
        for _ in 0..100 {
            rtt.sample(Duration::from_millis(2));
        }
        assert!(rtt.bound().is_some_and(|bound| bound < Duration::from_micros(2100)));
    }
}
