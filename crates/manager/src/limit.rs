//! Limits of rate: tokens that come with time.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Tokens that come with time, up to a limit.
#[derive(Debug, Clone)]
pub struct Bucket {
    limit: u32,
    /// Time for one token.
    each: Duration,
    /// When it is full again; absent: it was never used.
    full_at: Option<Instant>,
}

impl Bucket {
    /// A full one: `limit` tokens at once, `a_second` on the long run.
    pub fn new(limit: u32, a_second: u32) -> Self {
        Self { limit, each: Duration::from_secs(1) / a_second.max(1), full_at: None }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_after_one_more(now);
        let there = full_at <= now + self.each * self.limit;
        if there {
            self.full_at = Some(full_at);
        }
        there
    }

    /// When the next token is there; now, if one is.
    pub fn next(&self, now: Instant) -> Instant {
        let full_at = self.full_after_one_more(now);
        full_at.checked_sub(self.each * self.limit).map_or(now, |next| next.max(now))
    }

    fn full_after_one_more(&self, now: Instant) -> Instant {
        self.full_at.map_or(now, |full_at| full_at.max(now)) + self.each
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= now)
    }
}

/// Answers that one source gets a second. A question costs its sender as much as the answer us.
const SOURCE_RATE: u32 = 500;
/// Answers that one source gets at once.
const SOURCE_BURST: u32 = 1000;
/// Answers a second in all to hosts on the own networks, and as many to others: those can have any number of addresses.
const RATE: u32 = 5000;
/// Sources that are told apart. What more there are share one limit.
const SOURCES_MAX: usize = 1024;

/// The limit of answers, for each source and in all.
#[derive(Debug)]
pub struct Answers {
    sources: BTreeMap<Ipv4Addr, Bucket>,
    others: Bucket,
    near: Bucket,
    far: Bucket,
}

impl Answers {
    pub fn new() -> Self {
        let source = Bucket::new(SOURCE_BURST, SOURCE_RATE);
        let all = Bucket::new(RATE, RATE);
        Self { sources: BTreeMap::new(), others: source, near: all.clone(), far: all }
    }

    /// Whether this source may have one more answer.
    pub fn allow(&mut self, source: Ipv4Addr, near: bool, now: Instant) -> bool {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.sources.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            &mut self.others
        } else {
            self.sources.entry(source).or_insert_with(|| Bucket::new(SOURCE_BURST, SOURCE_RATE))
        };
        let all = if near { &mut self.near } else { &mut self.far };
        bucket.take(now) && all.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_limit_at_once_and_its_rate_afterwards() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, 10);
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        assert_eq!(bucket.next(start), start + Duration::from_millis(100));
        let later = start + Duration::from_millis(250);
        assert_eq!((0..5).filter(|_| bucket.take(later)).count(), 2);
        let much_later = start + Duration::from_secs(60);
        assert_eq!((0..5).filter(|_| bucket.take(much_later)).count(), 3);
    }

    #[test]
    fn a_source_that_asks_too_much_takes_nothing_from_others_and_no_memory() {
        let now = Instant::now();
        let mut answers = Answers::new();
        let source = |number: u32| Ipv4Addr::from(number);
        assert_eq!((0..10_000).filter(|_| answers.allow(source(1), true, now)).count(), 1000);
        assert!(answers.allow(source(2), true, now));
        // A forger with as many addresses as it likes: one answer for each that is told apart, and those that all others share.
        let allowed = (3..1_000_000).filter(|number| answers.allow(source(*number), true, now)).count();
        assert_eq!(allowed, SOURCES_MAX - 2 + 1000);
        assert_eq!(answers.sources.len(), SOURCES_MAX);
        // The table is forgotten once it is idle.
        let later = now + Duration::from_secs(10);
        assert!(answers.allow(source(2_000_000), true, later));
        assert_eq!(answers.sources.len(), 1);
    }
}
