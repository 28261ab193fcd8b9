//! Whether the machine stayed reachable: the outage behind each event, and the judgement.

use std::time::Duration;

use dlmp_testbed::{Outage, Record};

use super::machine::Migration;

/// The longest outage that is still good after a failure.
const FAILURE_LIMIT: Duration = Duration::from_millis(200);
/// The same at a migration, for which the machine has to stand still.
const MIGRATION_LIMIT: Duration = Duration::from_secs(1);

/// What happened to the traffic.
pub struct Verdict {
    /// The echoes, and what happened meanwhile; the last event is the migration.
    pub record: Record,
    /// How the migration went.
    pub migration: Migration,
}

impl Verdict {
    /// Whether the traffic went on within the limits and nothing was answered twice.
    pub fn good(&self) -> bool {
        let last = self.record.events.len() - 1;
        let within = |event: usize| {
            let limit = if event == last { MIGRATION_LIMIT } else { FAILURE_LIMIT };
            let outage = self.record.forth.report(self.record.after_event(event)).outage;
            outage.is_none_or(|outage| outage.ended && outage.length < limit)
        };
        self.record.forth.total().duplicated == 0 && (0..=last).all(within)
    }

    /// The figures as a table.
    pub fn table(&self) -> String {
        let mut table =
            format!("{:<30}  {:>5}  {:>5}  {:>10}  {:>14}", "", "sent", "lost", "duplicated", "longest outage");
        for (index, event) in self.record.events.iter().enumerate() {
            let report = self.record.forth.report(self.record.after_event(index));
            let outage = length(report.outage);
            table += &format!(
                "\n{:<30}  {:>5}  {:>5}  {:>10}  {outage:>14}",
                event.label, report.sent, report.lost, report.duplicated
            );
        }
        table + "\n"
    }

    /// The judgement in a sentence.
    pub fn sentence(&self) -> String {
        let Migration { total, downtime } = self.migration;
        format!(
            "The migration took {} ms; the machine ran on neither host for {} ms.\n{}\n(wanted: less than {} ms, \
             {} ms at the migration, nothing duplicated).",
            total.as_millis(),
            downtime.as_millis(),
            if self.good() { "PASSED" } else { "FAILED" },
            FAILURE_LIMIT.as_millis(),
            MIGRATION_LIMIT.as_millis()
        )
    }
}

/// An outage in milliseconds; with `>` when it never ended.
fn length(outage: Option<Outage>) -> String {
    outage.map_or("0 ms".to_owned(), |outage| {
        let open = if outage.ended { "" } else { ">" };
        format!("{open}{:.0} ms", outage.length.as_secs_f64() * 1000.0)
    })
}
