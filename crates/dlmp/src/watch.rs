//! What is streamed: probes as they go out and are answered (`dlstat show-aggr -P`), and changes of state
//! (`dlmp monitor`).

use std::io::Write;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dlmp_api::client::{Connection, Dlmpd};
use dlmp_api::{ProbeNews, StateNews};
use futures_util::{StreamExt, pin_mut};
use serde_json::{Value, json};

use crate::aggr::only;
use crate::cell::Cell;
use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};
use crate::names::Names;
use crate::output::{self, Column, Format, Table};
use crate::table::Run;

/// Kinds of probes, as `-P` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProbeType {
    /// Transitive: from port to port.
    T,
    /// To targets: ICMP echoes, ARP probes, neighbour solicitations.
    I,
    /// All of them.
    All,
}

/// Follow changes of state: ports that fail and recover, clients that move, and why
#[derive(Debug, Args)]
pub struct Monitor {
    /// Print JSON, an object a line
    #[arg(short)]
    json: bool,
    /// Only this aggregation
    link: Option<String>,
}

const COLUMNS: [Column; 8] = [
    Column::new("TIME", 8),
    Column::new("AGGR", 7),
    Column::new("PORT", 5),
    Column::new("LOCAL", 11),
    Column::new("TARGET", 11),
    Column::new("PROBE", 6),
    Column::new("NETRTT", 9),
    Column::new("RTT", 9),
];

impl Run for Monitor {
    async fn run(self) -> Result<()> {
        let mut daemon = daemon::require()?;
        refuse_unknown(&mut daemon, self.link.as_deref()).await?;
        let changes = daemon.watch_states().await.map_err(broken)?;
        pin_mut!(changes);
        while let Some(reply) = changes.next().await {
            let reply = reply.map_err(broken)??;
            tell_missed(reply.missed);
            let wanted = |change: &StateNews| self.link.as_ref().is_none_or(|link| *link == change.aggregation);
            if let Some(change) = reply.change.filter(wanted) {
                let text = if self.json { state_json(&change) } else { state_text(&change) };
                output::print(&format!("{text}\n"))?;
            }
        }
        Err(ended())
    }
}

/// Prints probes of these kinds as they go out and are answered, until it is interrupted; for `length`
/// if that is given. Addresses are shown by name, unless they are to be `numeric`, as soon as it is known.
///
/// # Errors
/// There is no daemon or no such aggregation, or the daemon went away.
pub async fn probes(
    types: &[ProbeType],
    link: Option<&str>,
    length: Option<Duration>,
    numeric: bool,
    format: &Format,
) -> Result<()> {
    format.check(&COLUMNS)?;
    let mut daemon = daemon::require()?;
    refuse_unknown(&mut daemon, link).await?;
    let mut names = Names::default();
    let start = monotonic();
    let news = daemon.watch_probes().await.map_err(broken)?;
    pin_mut!(news);
    let end = async {
        match length {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    pin_mut!(end);
    let mut first = true;
    loop {
        let reply = tokio::select! {
            () = &mut end => return Ok(()),
            reply = news.next() => reply,
        };
        let Some(reply) = reply else { return Err(ended()) };
        let reply = reply.map_err(broken)??;
        tell_missed(reply.missed);
        let Some(mut probe) = reply.probe else { continue };
        let transitive = probe.probe.starts_with('t');
        let kind = if transitive { ProbeType::T } else { ProbeType::I };
        let wanted = types.contains(&ProbeType::All) || types.contains(&kind);
        if wanted && link.is_none_or(|link| link == probe.aggregation) {
            if !numeric {
                (probe.local, probe.target) = (names.of(&probe.local), names.of(&probe.target));
            }
            format.print_stream(&Table { columns: &COLUMNS, rows: vec![row(&probe, start)] }, first)?;
            first = false;
        }
    }
}

fn row(probe: &ProbeNews, start: i64) -> Vec<Cell> {
    let text = |text: &str| if text.is_empty() { Cell::Absent } else { Cell::Text(text.to_owned()) };
    let milliseconds = |time: Option<i64>| time.map_or(Cell::Absent, Cell::Milliseconds);
    vec![
        Cell::Seconds(probe.time.saturating_sub(start)),
        text(&probe.aggregation),
        text(&probe.port),
        text(&probe.local),
        text(&probe.target),
        text(&probe.probe),
        milliseconds(probe.netrtt),
        milliseconds(probe.rtt),
    ]
}

fn state_text(change: &StateNews) -> String {
    let StateNews { time, aggregation, port, state, reason } = change;
    let time = clock_time(*time);
    match port {
        Some(port) if state == "moved" => format!("{time} {aggregation} {port}: {reason}"),
        Some(port) => format!("{time} {aggregation} {port} {state}: {reason}"),
        None => format!("{time} {aggregation} {state}: {reason}"),
    }
}

fn state_json(change: &StateNews) -> String {
    let StateNews { time, aggregation, port, state, reason } = change;
    let value: Value =
        json!({"time": time, "aggregation": aggregation, "port": port, "state": state, "reason": reason});
    value.to_string()
}

/// Time of day in UTC, with milliseconds.
fn clock_time(nanoseconds: i64) -> String {
    let milliseconds = nanoseconds.div_euclid(1_000_000);
    let (seconds, rest) = (milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000));
    let day = seconds.rem_euclid(24 * 3600);
    format!("{:02}:{:02}:{:02}.{rest:03}Z", day / 3600, day / 60 % 60, day % 60)
}

/// A name that nobody has would show nothing, for ever.
async fn refuse_unknown(daemon: &mut Connection, link: Option<&str>) -> Result<()> {
    if link.is_some() {
        let aggregations = answer(daemon.list_aggregations().await)?.aggregations;
        only(aggregations, link, |aggregation| &aggregation.name)?;
    }
    Ok(())
}

fn tell_missed(missed: i64) {
    if missed > 0 {
        // With nobody reading standard error there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{missed} missed: they came faster than they could be printed");
    }
}

fn ended() -> Failure {
    Failure::refused("dlmpd has ended", "dladm show-aggr")
}

fn broken(error: zlink::Error) -> Failure {
    Failure::Refused(format!("dlmpd did not answer: {error}"))
}

/// CLOCK_MONOTONIC in nanoseconds.
fn monotonic() -> i64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_a_line_when_it_goes_out_and_one_when_it_is_answered() {
        let sent = ProbeNews {
            time: 12_530_000_000,
            aggregation: "aggr1".into(),
            port: "net0".into(),
            local: "net0".into(),
            target: "net1".into(),
            probe: "t16148".into(),
            netrtt: None,
            rtt: None,
        };
        let answered = ProbeNews { netrtt: Some(620_000), rtt: Some(870_000), ..sent.clone() };
        let rows = [sent, answered].iter().map(|probe| row(probe, 12_000_000_000)).collect();
        insta::assert_snapshot!(Format::default().render(&Table { columns: &COLUMNS, rows }, true).unwrap(), @r"
        TIME      AGGR     PORT   LOCAL        TARGET       PROBE   NETRTT     RTT
        0.53s     aggr1    net0   net0         net1         t16148  --         --
        0.53s     aggr1    net0   net0         net1         t16148  0.62ms     0.87ms
        ");
    }

    #[test]
    fn a_change_of_state_says_when_what_and_why() {
        let change = StateNews {
            time: 1_800_000_000_123_000_000,
            aggregation: "aggr0".into(),
            port: Some("net1".into()),
            state: "failed".into(),
            reason: "no target and no transitive peer for 48 ms".into(),
        };
        assert_eq!(state_text(&change), "08:00:00.123Z aggr0 net1 failed: no target and no transitive peer for 48 ms");
        assert_eq!(
            state_json(&change),
            r#"{"time":1800000000123000000,"aggregation":"aggr0","port":"net1","state":"failed","reason":"no target and no transitive peer for 48 ms"}"#
        );
    }
}
