//! Watches which links of a namespace carry the traffic, by the kernel's own counters.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock;

/// Time between two samples.
const PERIOD: Duration = Duration::from_millis(1);

/// The packet counters of the watched links, sampled every millisecond.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortTraffic {
    /// The samples, in order of time.
    pub samples: Vec<Sample>,
}

/// The packet counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Time since the start of the flow.
    pub at: Duration,
    /// Packets received and sent by each link so far; a link that does not exist is missing.
    pub packets: BTreeMap<String, u64>,
}

impl PortTraffic {
    /// Packets that `link` received and sent in `window`. A counter that went back belongs to a
    /// link that was made anew, which began at 0.
    #[must_use]
    pub fn packets(&self, link: &str, window: Range<Duration>) -> u64 {
        let mut previous = None;
        let mut count = 0;
        for sample in &self.samples {
            let now = sample.packets.get(link).copied();
            if window.contains(&sample.at)
                && let (Some(first), Some(now)) = (previous, now)
            {
                count += if now < first { now } else { now - first };
            }
            previous = now.or(previous);
        }
        count
    }
}

/// Samples the counters of `links` in the network namespace of the calling thread until `stop`.
pub(crate) fn watch(links: &[String], start: Duration, stop: &AtomicBool) -> Result<PortTraffic> {
    let file = File::open("/proc/thread-self/net/dev").context("cannot open /proc/net/dev")?;
    let mut traffic = PortTraffic::default();
    let mut next = start;
    while !stop.load(Ordering::Relaxed) {
        clock::sleep_until(next);
        let at = clock::now().saturating_sub(start);
        let text = read_whole(&file).context("cannot read /proc/net/dev")?;
        let packets = counters(&text).filter(|(name, _)| links.iter().any(|link| link == name));
        let packets = packets.map(|(name, count)| (name.to_owned(), count)).collect();
        traffic.samples.push(Sample { at, packets });
        next = clock::now().max(next + PERIOD);
    }
    Ok(traffic)
}

/// The whole text of an open file, from its beginning.
fn read_whole(file: &File) -> io::Result<String> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match file.read_at(&mut chunk, text.len() as u64)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            length => text.extend_from_slice(&chunk[..length]),
        }
    }
}

/// Name and packets, received plus sent, of each link in the text of /proc/net/dev
/// (proc_pid_net(5)): after the name come 8 columns of what was received and 8 of what was sent,
/// each beginning with bytes and packets.
fn counters(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, columns) = line.rsplit_once(':')?;
        let mut columns = columns.split_whitespace();
        let received: u64 = columns.nth(1)?.parse().ok()?;
        let sent: u64 = columns.nth(7)?.parse().ok()?;
        Some((name.trim(), received + sent))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(counts: &[Option<u64>]) -> PortTraffic {
        let samples = counts.iter().zip(0..).map(|(count, at)| Sample {
            at: Duration::from_millis(at),
            packets: count.iter().map(|&count| ("net0".to_owned(), count)).collect(),
        });
        PortTraffic { samples: samples.collect() }
    }

    fn all() -> Range<Duration> {
        Duration::ZERO..Duration::MAX
    }

    #[test]
    fn counters_are_received_plus_sent_packets() {
        let text = "Inter-|   Receive                            |  Transmit\n \
            face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs\n  \
            net0: 1000 7 0 0 0 0 0 0 2000 5 0 0 0 0 0 0\n";
        assert_eq!(counters(text).collect::<Vec<_>>(), [("net0", 12)]);
    }

    #[test]
    fn packets_are_counted_from_the_sample_before_the_window() {
        let traffic = traffic(&[Some(10), Some(15), Some(40)]);
        let window = Duration::from_millis(1)..Duration::from_millis(2);
        assert_eq!(traffic.packets("net0", window), 5);
        assert_eq!(traffic.packets("net0", all()), 30);
        assert_eq!(traffic.packets("net1", all()), 0);
    }

    #[test]
    fn a_link_that_was_made_anew_counts_from_zero() {
        assert_eq!(traffic(&[Some(10), Some(12), None, Some(3)]).packets("net0", all()), 5);
    }
}
