//! Thousands of managers that share MAC addresses, simulated (crates/sim): duplicates, packets on the wire, and time.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use dlmp_sim::managers::{Crowd, Kind, Wire, allocate, denied, join, power_returns, request_among_others};

use crate::report::Table;

const MANAGERS: usize = 10_000;
const VNETS: usize = 10;
const LOSSES: [f64; 3] = [0.0, 0.01, 0.1];
const SEED: u64 = 1;

/// All parts.
pub fn measure() -> Result<String> {
    let mut text = format!(
        "By `dlmp-bench managers` (2 minutes). Simulated (crates/sim) in a time of its own, so that the machine does not matter and a run\n\
         is repeated exactly. A datagram takes up to 5 ms to each receiver, 1 % come twice; what is lost is lost for each receiver by\n\
         itself. A manager decides in no time. Packets are those on the wire: one to the group counts once. The original algorithm asks\n\
         once and waits a second.\n\n\
         ### Allocation\n\n\
         {MANAGERS} managers start within a minute on one segment, and ask for {VNETS} addresses each. At rest: in the third minute\n\
         after the last answer.\n\n"
    );
    text += &allocation().to_string();
    write!(
        text,
        "\n### Two segments joined\n\n\
         Two segments of {} managers, with {VNETS} addresses each that were allocated apart. Aim: all known on both sides within 60 s,\n\
         nothing else reported. Looked at for two minutes.\n\n{}",
        MANAGERS / 2,
        joined()
    )?;
    write!(
        text,
        "\n### All at once\n\n\
         {MANAGERS} managers start within a second with {VNETS} different addresses each from before. Aim: nothing is reported.\n\n{}",
        power()
    )?;
    write!(
        text,
        "\n### Many addresses for one\n\n\
         A manager starts among 1000 others, which have {VNETS} addresses each, and asks for addresses at once. Nothing is lost. Aim:\n\
         1000 take about the time of one.\n\n{}",
        many()?
    )?;
    write!(
        text,
        "\n### A forger\n\n\
         100 managers ask for {VNETS} addresses each on a segment with one that says of every address that it is taken. Aim: refused\n\
         after 30 s, with its address.\n\n{}",
        forged()
    )?;
    Ok(text)
}

fn crowd(kind: Kind, managers: usize, requests: Vec<usize>, loss: f64) -> Crowd {
    let wire = Wire { delay: Duration::from_millis(5), loss, doubled: 0.01 };
    Crowd { kind, managers, requests, within: Duration::from_secs(60), wire, seed: SEED }
}

fn allocation() -> Table {
    let mut table = Table::new(&[
        "managers",
        "asked for",
        "lost",
        "addresses given twice",
        "requests refused",
        "time of a request: median, s",
        "99 %, s",
        "worst, s",
        "packets a second while allocating",
        "at rest",
    ]);
    let (at_once, in_turn) = (vec![VNETS], vec![1; VNETS]);
    for (name, kind, way, requests) in [
        ("ours", Kind::Ours, "at once", &at_once),
        ("ours", Kind::Ours, "one after the other", &in_turn),
        ("original", Kind::Original, "one after the other", &in_turn),
    ] {
        for loss in LOSSES {
            let (_, allocation) = allocate(&crowd(kind, MANAGERS, requests.clone(), loss));
            let time =
                |percent: usize| seconds(allocation.times.get((allocation.times.len().max(1) - 1) * percent / 100));
            table.row(&[
                name,
                way,
                &share(loss),
                &allocation.duplicates.to_string(),
                &allocation.refused.to_string(),
                &time(50),
                &time(99),
                &time(100),
                &format!("{:.0}", allocation.busy.a_second()),
                &format!("{:.0}", allocation.rest.a_second()),
            ]);
        }
    }
    table
}

fn joined() -> Table {
    let mut table = Table::new(&[
        "lost",
        "duplicates",
        "all known after, s",
        "packets a second until then",
        "reported wrongly",
        "of these still there after two minutes",
    ]);
    for loss in LOSSES {
        let joined = join(&crowd(Kind::Ours, MANAGERS, vec![VNETS], loss));
        table.row(&[
            &share(loss),
            &joined.duplicates.to_string(),
            &seconds(joined.known_after.as_ref()),
            &format!("{:.0}", joined.busy.a_second()),
            &joined.false_reports.to_string(),
            &joined.false_reports_at_end.to_string(),
        ]);
    }
    table
}

fn power() -> Table {
    let mut table = Table::new(&["lost", "reported wrongly", "packets a second in the first minute"]);
    for loss in LOSSES {
        let crowd = Crowd { within: Duration::from_secs(1), ..crowd(Kind::Ours, MANAGERS, Vec::new(), loss) };
        let (wrong, first_minute) = power_returns(&crowd, VNETS);
        table.row(&[&share(loss), &wrong.to_string(), &format!("{:.0}", first_minute.a_second())]);
    }
    table
}

fn many() -> Result<Table> {
    let mut table = Table::new(&["addresses", "ours, s", "original, s"]);
    for count in [1, 10, 100, 1000] {
        let time = |kind| {
            let took = request_among_others(&crowd(kind, 1000, vec![VNETS], 0.0), count);
            took.context("no addresses on a segment with enough of them").map(|took| seconds(Some(&took)))
        };
        table.row(&[&count.to_string(), &time(Kind::Ours)?, &time(Kind::Original)?]);
    }
    Ok(table)
}

fn forged() -> Table {
    let mut table = Table::new(&[
        "managers",
        "refused",
        "of these blaming the forger most",
        "longest, s",
        "packets a second until then",
        "in the minute after",
    ]);
    let denied = denied(&crowd(Kind::Ours, 100, vec![VNETS], 0.0));
    table.row(&[
        "100",
        &denied.refused.to_string(),
        &denied.named.to_string(),
        &seconds(Some(&denied.longest)),
        &format!("{:.0}", denied.busy.a_second()),
        &format!("{:.0}", denied.after.a_second()),
    ]);
    table
}

fn share(loss: f64) -> String {
    format!("{:.0} %", loss * 100.0)
}

fn seconds(time: Option<&Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.2}", time.as_secs_f64()))
}
