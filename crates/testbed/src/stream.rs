//! What became of the packets of one direction of a flow. Pure: it works on what was recorded.

use std::ops::Range;
use std::time::Duration;

/// One direction of a flow, as it was recorded. All times count from the start of the flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// Time between two packets, as planned.
    pub interval: Duration,
    /// When each packet was sent, by sequence number.
    pub sent: Vec<Duration>,
    /// What arrived, in the order of arrival, copies included.
    pub arrivals: Vec<Arrival>,
}

/// A packet that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its sequence number, an index into [`Stream::sent`].
    pub sequence: usize,
    /// When the receiver's kernel got it.
    pub at: Duration,
}

/// What became of one packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    /// How often it arrived: 0 is lost, more than 1 is duplicated.
    pub copies: u32,
    /// Its first copy came after a packet that was sent later (RFC 4737, section 3).
    pub reordered: bool,
}

/// The packets of one direction that were sent in one window of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Packets sent.
    pub sent: u64,
    /// Packets that never arrived.
    pub lost: u64,
    /// Copies that arrived beyond the first one of each packet.
    pub duplicated: u64,
    /// Packets that came after one that was sent later.
    pub reordered: u64,
    /// The longest of the outages that began in the window.
    pub outage: Option<Outage>,
    /// The longest time by which the sender was late for a packet after the one before: no fault of the
    /// network, but an outage within it cannot be told from a shorter one.
    pub held_up: Duration,
}

/// A run of consecutive losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When the first lost packet was sent.
    pub start: Duration,
    /// Time between the send times of the two received packets around the losses, less one
    /// interval. A missing neighbour is replaced by the start or the end of the stream.
    pub length: Duration,
    /// False when no packet arrived any more: the true length is unknown.
    pub ended: bool,
}

impl Stream {
    /// What became of each packet, by sequence number. Arrivals of packets that were never sent do
    /// not count.
    #[must_use]
    pub fn fates(&self) -> Vec<Fate> {
        let mut fates = vec![Fate::default(); self.sent.len()];
        let mut next_expected = 0;
        for arrival in &self.arrivals {
            let Some(fate) = fates.get_mut(arrival.sequence) else {
                continue;
            };
            if fate.copies == 0 {
                fate.reordered = arrival.sequence < next_expected;
                next_expected = next_expected.max(arrival.sequence + 1);
            }
            fate.copies += 1;
        }
        fates
    }

    /// The packets sent in `window`.
    #[must_use]
    pub fn report(&self, window: Range<Duration>) -> Report {
        let fates = self.fates();
        let mut report = Report::default();
        for (sent, fate) in self.sent.iter().zip(&fates) {
            if window.contains(sent) {
                report.sent += 1;
                report.lost += u64::from(fate.copies == 0);
                report.duplicated += u64::from(fate.copies.saturating_sub(1));
                report.reordered += u64::from(fate.reordered);
            }
        }
        let pauses =
            self.sent.windows(2).filter(|pair| window.contains(&pair[1])).map(|pair| pair[1].saturating_sub(pair[0]));
        report.held_up = pauses.max().unwrap_or_default().saturating_sub(self.interval);
        report.outage = self
            .outages(&fates)
            .into_iter()
            .filter(|outage| window.contains(&outage.start))
            .max_by_key(|outage| outage.length);
        report
    }

    /// All packets of the stream.
    #[must_use]
    pub fn total(&self) -> Report {
        self.report(Duration::ZERO..Duration::MAX)
    }

    /// All runs of consecutive losses, in order.
    fn outages(&self, fates: &[Fate]) -> Vec<Outage> {
        let mut outages = Vec::new();
        let mut first_lost = None;
        for (sequence, fate) in fates.iter().enumerate() {
            match (fate.copies, first_lost) {
                (0, None) => first_lost = Some(sequence),
                (1.., Some(first)) => {
                    outages.push(self.outage(first, Some(sequence)));
                    first_lost = None;
                }
                _ => {}
            }
        }
        outages.extend(first_lost.map(|first| self.outage(first, None)));
        outages
    }

    /// The outage from the packet `first`, lost, to the packet `next`, received.
    fn outage(&self, first: usize, next: Option<usize>) -> Outage {
        let start = self.sent[first];
        let from = match first.checked_sub(1) {
            Some(previous) => self.sent[previous] + self.interval,
            None => start,
        };
        let until = match (next, self.sent.last()) {
            (Some(next), _) => self.sent[next],
            (None, last) => last.map_or(start, |&last| last + self.interval),
        };
        Outage { start, length: until.saturating_sub(from), ended: next.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// A packet each millisecond, the n-th one sent at n ms; `arriving` are the sequence numbers
    /// in the order of arrival.
    fn stream(sent: u64, arriving: &[usize]) -> Stream {
        Stream {
            interval: ms(1),
            sent: (0..sent).map(ms).collect(),
            arrivals: arriving.iter().map(|&sequence| Arrival { sequence, at: ms(sequence as u64) }).collect(),
        }
    }

    #[test]
    fn a_stream_that_arrives_whole_has_nothing_to_report() {
        let report = stream(4, &[0, 1, 2, 3]).total();
        assert_eq!(report, Report { sent: 4, ..Report::default() });
    }

    #[test]
    fn an_outage_lasts_from_the_packet_before_to_the_packet_after_less_one_interval() {
        let report = stream(10, &[0, 1, 2, 6, 7, 8, 9]).total();
        assert_eq!(report.lost, 3);
        let expected = Outage { start: ms(3), length: ms(3), ended: true };
        assert_eq!(report.outage, Some(expected));
    }

    #[test]
    fn an_outage_counts_true_send_times_not_planned_ones() {
        let mut stream = stream(4, &[0, 3]);
        stream.sent = vec![ms(0), ms(1), ms(2), ms(9)];
        assert_eq!(stream.total().outage.unwrap().length, ms(8));
    }

    #[test]
    fn a_sender_that_was_held_up_is_reported_and_is_no_outage() {
        let mut stream = stream(4, &[0, 1, 2, 3]);
        stream.sent = vec![ms(0), ms(1), ms(8), ms(9)];
        let report = stream.total();
        assert_eq!((report.outage, report.held_up), (None, ms(6)));
        assert_eq!(stream.report(ms(0)..ms(8)).held_up, ms(0));
    }

    #[test]
    fn the_longest_outage_is_reported() {
        let report = stream(10, &[0, 2, 3, 6, 7, 9]).total();
        assert_eq!(report.lost, 4);
        assert_eq!(report.outage.unwrap().length, ms(2));
    }

    #[test]
    fn an_outage_that_does_not_end_is_open() {
        let expected = Outage { start: ms(2), length: ms(3), ended: false };
        assert_eq!(stream(5, &[0, 1]).total().outage, Some(expected));
    }

    #[test]
    fn a_stream_of_which_nothing_arrives_is_one_open_outage() {
        let report = stream(5, &[]).total();
        assert_eq!((report.sent, report.lost), (5, 5));
        let expected = Outage { start: ms(0), length: ms(5), ended: false };
        assert_eq!(report.outage, Some(expected));
    }

    #[test]
    fn losses_at_the_start_count_from_the_start() {
        let expected = Outage { start: ms(0), length: ms(2), ended: true };
        assert_eq!(stream(4, &[2, 3]).total().outage, Some(expected));
    }

    #[test]
    fn every_copy_beyond_the_first_is_a_duplicate_and_not_reordering() {
        let report = stream(4, &[0, 1, 2, 1, 1, 3]).total();
        assert_eq!((report.lost, report.duplicated, report.reordered), (0, 2, 0));
    }

    #[test]
    fn a_packet_overtaken_by_a_later_one_is_reordered_once() {
        let report = stream(5, &[0, 3, 1, 2, 4]).total();
        assert_eq!((report.lost, report.duplicated, report.reordered), (0, 0, 2));
    }

    #[test]
    fn a_window_counts_the_packets_sent_in_it() {
        let stream = stream(10, &[0, 1, 2, 3, 4, 5, 5, 8, 9]);
        let before = stream.report(ms(0)..ms(5));
        let after = stream.report(ms(5)..Duration::MAX);
        assert_eq!((before.sent, before.lost, before.duplicated), (5, 0, 0));
        assert_eq!((after.sent, after.lost, after.duplicated), (5, 2, 1));
        assert_eq!(before.outage, None);
    }

    #[test]
    fn an_outage_belongs_to_the_window_in_which_it_began() {
        let stream = stream(10, &[0, 1, 2, 8, 9]);
        assert_eq!(stream.report(ms(0)..ms(5)).outage.unwrap().length, ms(5));
        assert_eq!(stream.report(ms(5)..ms(10)).outage, None);
    }

    #[test]
    fn a_sequence_number_that_was_never_sent_is_ignored() {
        let report = stream(2, &[0, 1, 7]).total();
        assert_eq!(report, Report { sent: 2, ..Report::default() });
    }
}
