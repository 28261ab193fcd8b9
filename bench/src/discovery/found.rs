//! How soon `dlmp discover` shows hundreds of managers, and whether it shows them all.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dlmp_testbed::{Environment, Namespace, Pins, veth};
use serde_json::Value;

use super::crowd::Crowd;
use super::link::{self, ALONE, Datagrams, LINK};
use crate::report::{Spread, Table};

const MANAGERS: usize = 500;
const RUNS: usize = 20;
/// Within which time `ldmd` answers.
const OURS: Duration = Duration::from_millis(100);
/// `dlmp discover` asks three times, and hears each question itself.
const OWN_QUESTIONS: u64 = 3;
const ASK: &str = "dlmp discover -j";

/// What one run showed.
struct Run {
    found: usize,
    /// From the start of the command until the last manager was shown, in ms.
    shown: f64,
    /// From the first question to that manager's answer as the command tells it, in ms.
    delay: f64,
    /// Answers that were sent.
    answers: u64,
    /// Of these, not read.
    lost: u64,
    /// Of these, dropped by a full socket.
    dropped: u64,
}

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let [asker, managers] = ["asker", "managers"].map(|name| Namespace::new("bd", name));
    let (asker, managers) = (asker?, managers?);
    [&asker, &managers].into_iter().try_for_each(Namespace::without_ipv6)?;
    veth((&asker, LINK), (&managers, LINK))?;
    asker.ip(&format!("address add {ALONE}/16 dev {LINK}"))?;
    link::settle(&managers, 0..MANAGERS)?;
    let dlmp = Environment::new(&asker, Pins::None)?;
    let mut table = Table::new(&[
        "who answers",
        "runs that found all",
        "found at least",
        "until the last was shown, ms",
        "of it since the first question, ms",
        "answers a run",
        "lost in all",
        "of these dropped by a full socket",
    ]);
    for (who, within) in [("as `ldmd`, within 100 ms", OURS), ("as an original, at once", Duration::ZERO)] {
        let crowd = Crowd::start(&managers, MANAGERS, within)?;
        eprintln!("discovery: {who}");
        let runs = (0..RUNS).map(|_| run(&dlmp, &crowd)).collect::<Result<Vec<_>>>()?;
        let spread = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value).collect()).text(0);
        let sum = |value: fn(&Run) -> u64| runs.iter().map(value).sum::<u64>().to_string();
        let least = runs.iter().map(|run| run.found).min().unwrap_or_default();
        table.row(&[
            who,
            &format!("{} of {RUNS}", runs.iter().filter(|run| run.found == MANAGERS).count()),
            &least.to_string(),
            &spread(|run| run.shown),
            &spread(|run| run.delay),
            &spread(|run| run.answers as f64),
            &sum(|run| run.lost),
            &sum(|run| run.dropped),
        ]);
    }
    Ok(format!(
        "`{ASK}`, {RUNS} times, on a link with {MANAGERS} managers, which one process plays: each answers to the group, from its own\n\
         address, once to all questions that come until then; three questions are asked, 250 ms apart. Until the\n\
         last was shown: from the start of the command until its {MANAGERS}th line was read. An answer is lost if it was sent and not read.\n\
         Aim: all found within 2 s, nothing lost.\n\n{table}"
    ))
}

fn run(dlmp: &Environment, crowd: &Crowd) -> Result<Run> {
    let (answers, before) = (crowd.answers(), Datagrams::of(dlmp.namespace())?);
    let start = Instant::now();
    let mut child = dlmp.line(&format!("exec {ASK}")).stdout(Stdio::piped()).spawn().context("cannot run dlmp")?;
    let output = child.stdout.take().context("no output to read")?;
    let (mut found, mut shown, mut delay) = (0, 0.0, 0.0_f64);
    for manager in BufReader::new(output).lines() {
        let manager: Value = serde_json::from_str(&manager?).context("dlmp discover -j prints no JSON")?;
        shown = start.elapsed().as_secs_f64() * 1e3;
        delay = delay.max(manager["delay"].as_f64().context("a manager without a delay")?);
        found += 1;
    }
    ensure!(child.wait()?.success(), "dlmp discover has failed");
    // Whatever was late is still to be counted.
    thread::sleep(OURS);
    let (answers, after) = (crowd.answers() - answers, Datagrams::of(dlmp.namespace())?);
    let lost = (answers + OWN_QUESTIONS).saturating_sub(after.read - before.read);
    Ok(Run { found, shown, delay, answers, lost, dropped: after.dropped - before.dropped })
}
