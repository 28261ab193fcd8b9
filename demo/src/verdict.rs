//! Whether the link stayed up: the figures of both directions and the judgement.

use std::time::Duration;

use dlmp_testbed::{Outage, Record, Report};

use crate::picture::Style;

/// The longest outage that is still good.
const LIMIT: Duration = Duration::from_millis(200);

/// The figures of both directions.
pub struct Verdict {
    forth: Report,
    back: Report,
}

impl Verdict {
    /// Counts what was recorded.
    pub fn of(record: &Record) -> Self {
        Self { forth: record.forth.total(), back: record.back.total() }
    }

    /// Whether the traffic went on within the limit and nothing arrived twice.
    pub fn good(&self) -> bool {
        [&self.forth, &self.back]
            .iter()
            .all(|way| way.duplicated == 0 && way.outage.is_none_or(|outage| outage.ended && outage.length < LIMIT))
    }

    /// The figures as a table.
    pub fn table(&self, style: Style) -> String {
        let arrow = style.arrow();
        let mut table = String::from("                  sent    lost  duplicated  reordered  longest outage");
        for (name, way) in [(format!("ldg6 {arrow} domain"), &self.forth), (format!("domain {arrow} ldg6"), &self.back)]
        {
            table += &format!(
                "\n{name:<14}  {:>6}  {:>6}  {:>10}  {:>9}  {:>14}",
                way.sent,
                way.lost,
                way.duplicated,
                way.reordered,
                length(way.outage)
            );
        }
        table + "\n"
    }

    /// The judgement in a sentence.
    pub fn sentence(&self) -> String {
        let outages = [self.forth.outage, self.back.outage].into_iter().flatten();
        let longest = outages.max_by_key(|outage| (!outage.ended, outage.length));
        let duplicated = self.forth.duplicated + self.back.duplicated;
        let outage = match longest {
            None => "no packet was lost".to_owned(),
            Some(Outage { ended: false, .. }) => "the traffic did not come back".to_owned(),
            Some(_) => format!("the longest outage was {}", length(longest)),
        };
        let copies = match duplicated {
            0 => "nothing was duplicated".to_owned(),
            count => format!("{count} packets were duplicated"),
        };
        let judgement = if self.good() { "PASSED" } else { "FAILED" };
        format!("{judgement}: {outage}, {copies}\n(wanted: less than {} ms, nothing duplicated).", LIMIT.as_millis())
    }
}

/// An outage in milliseconds; with `>` when it never ended.
fn length(outage: Option<Outage>) -> String {
    match outage {
        None => "0 ms".to_owned(),
        Some(Outage { length, ended, .. }) => {
            let open = if ended { "" } else { ">" };
            format!("{open}{:.1} ms", length.as_secs_f64() * 1000.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outage: Option<(u64, bool)>, duplicated: u64) -> Verdict {
        let outage = outage.map(|(ms, ended)| Outage {
            start: Duration::from_secs(3),
            length: Duration::from_millis(ms),
            ended,
        });
        let back = Report { sent: 10_000, outage, duplicated, ..Report::default() };
        Verdict { forth: Report::default(), back }
    }

    #[test]
    fn traffic_without_outage_and_copies_is_good() {
        assert!(verdict(None, 0).good());
        assert!(verdict(Some((199, true)), 0).good());
    }

    #[test]
    fn a_long_or_endless_outage_is_not_good() {
        assert!(!verdict(Some((200, true)), 0).good());
        assert!(!verdict(Some((5, false)), 0).good());
    }

    #[test]
    fn a_single_duplicate_is_not_good() {
        assert!(!verdict(None, 1).good());
    }

    #[test]
    fn the_sentence_says_what_was_wrong() {
        assert_eq!(
            verdict(Some((250, true)), 3).sentence(),
            "FAILED: the longest outage was 250.0 ms, 3 packets were duplicated\n(wanted: less \
             than 200 ms, nothing duplicated)."
        );
        assert!(verdict(Some((250, false)), 0).sentence().contains("did not come back"));
    }
}
