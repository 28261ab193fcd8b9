//! `dlstat show-aggr -P`: probes as they go out and are answered.

use std::time::Duration;

use clap::ValueEnum;
use dlmp_api::ProbeNews;
use dlmp_api::client::Dlmpd;
use futures_util::{StreamExt, pin_mut};

use crate::cell::Cell;
use crate::daemon;
use crate::daemon::stream::{broken, ended, refuse_unknown, tell_missed};
use crate::failure::Result;
use crate::names::Names;
use crate::output::{Column, Format, Table};

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

/// Prints probes of these kinds as they go out and are answered, until it is interrupted; for `length`
/// if that is given. Addresses are shown by name, unless they are to be `numeric`, as soon as it is known.
///
/// # Errors
/// There is no daemon or no such aggregation, or the daemon went away.
pub async fn show(
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
}
