//! When to take something off a link that somebody keeps putting there: at once, and ever more rarely if it is back at
//! once.

use std::time::{Duration, Instant};

use super::found::Found;

/// How soon it is taken off again when it comes back sooner than that.
const FIRST: Duration = Duration::from_secs(1);
/// The longest that it is left there.
const LAST: Duration = Duration::from_mins(1);
/// How long nothing must have been there for the problem to be solved.
const QUIET: Duration = Duration::from_mins(1);

/// What to do about something that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// Take it off.
    TakeOff,
    /// Leave it until [`Fight::due`].
    Wait,
}

/// Somebody who puts things on a link.
#[derive(Debug)]
pub(super) struct Fight {
    /// The aggregation that the link belongs to.
    pub(super) aggregation: String,
    /// What is told of it.
    pub(super) problem: String,
    /// All that was found since it began.
    pub(super) known: Found,
    /// What is left on the link for now.
    pub(super) stands: Found,
    /// When it may be taken off.
    next: Instant,
    /// How long it is left alone after it was taken off.
    pause: Duration,
    /// When something was there.
    last: Instant,
}

impl Fight {
    /// Something is there for the first time.
    pub(super) fn new(aggregation: &str, now: Instant) -> Self {
        Self {
            aggregation: aggregation.to_owned(),
            problem: String::new(),
            known: Found::default(),
            stands: Found::default(),
            next: now,
            pause: FIRST,
            last: now,
        }
    }

    /// This is there.
    pub(super) fn seen(&mut self, now: Instant, found: &Found) -> Move {
        self.last = now;
        if now < self.next {
            self.stands = found.clone();
            return Move::Wait;
        }
        // Who waits longer than it is left alone is not in a hurry, and is answered sooner.
        self.pause = if self.stands.is_nothing() { (self.pause / 2).max(FIRST) } else { (self.pause * 2).min(LAST) };
        self.next = now + self.pause;
        self.stands = Found::default();
        Move::TakeOff
    }

    /// Nothing is there.
    pub(super) fn gone(&mut self) {
        self.stands = Found::default();
    }

    /// Whether it has come to an end.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.last + QUIET
    }

    /// When to look at the latest.
    pub(super) fn due(&self) -> Instant {
        if self.stands.is_nothing() { self.last + QUIET } else { self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found { addresses: vec![("192.0.2.1".parse().unwrap(), 24)], ..Found::default() }
    }

    #[test]
    fn who_comes_back_at_once_is_answered_ever_more_rarely_down_to_once_a_minute() {
        let mut now = Instant::now();
        let mut fight = Fight::new("aggr0", now);
        assert_eq!(fight.seen(now, &found()), Move::TakeOff);
        let mut waits = Vec::new();
        for _ in 0..9 {
            let taken_off = now;
            now += Duration::from_millis(1);
            assert_eq!(fight.seen(now, &found()), Move::Wait);
            now = fight.due();
            waits.push((now - taken_off).as_secs());
            assert_eq!(fight.seen(now, &found()), Move::TakeOff);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn who_comes_back_later_is_answered_at_once() {
        let mut now = Instant::now();
        let mut fight = Fight::new("aggr0", now);
        for _ in 0..20 {
            assert_eq!(fight.seen(now, &found()), Move::TakeOff);
            fight.gone();
            now += Duration::from_secs(8);
            assert!(!fight.is_over(now));
        }
    }

    #[test]
    fn it_is_over_when_nothing_was_there_for_a_minute() {
        let now = Instant::now();
        let mut fight = Fight::new("aggr0", now);
        fight.seen(now, &found());
        fight.gone();
        assert!(!fight.is_over(now + Duration::from_secs(59)));
        assert!(fight.is_over(fight.due()));
        assert_eq!(fight.due(), now + Duration::from_mins(1));
    }
}
