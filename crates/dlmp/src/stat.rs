//! Traffic: `dlstat`.
//!
//! Frames leave an aggregation before its device counts them, so for aggregations the datapath's own
//! counters are shown; for every other link the device's.

use std::collections::BTreeMap;
use std::time::Duration;

use dlmp_api::PortStatistics;
use dlmp_api::client::Dlmpd;
use dlmp_netlink::{Link, Netlink};

use crate::cli::{Output, Stat};
use crate::failure::Failure;
use crate::output::{Cell, Table};
use crate::{aggr, daemon, link};

/// Packets and bytes in, packets and bytes out.
type Counts = [i64; 4];

/// `dlstat show-link`.
pub async fn show_links(arguments: Stat) -> Result<(), Failure> {
    let netlink = Netlink::connect()?;
    let mut before = BTreeMap::new();
    repeat(&arguments, async |output| {
        let links = link::named(netlink.links().await?, arguments.name.as_deref())?;
        let ports = statistics(&links).await?;
        let mut table = Table::new(&["LINK", "IPKTS", "RBYTES", "OPKTS", "OBYTES"]);
        for link in links.iter().filter(|link| link::is_shown(link)) {
            let now = counts(link, &ports);
            let since = difference(now, before.insert(link.name.clone(), now));
            let [a, b, c, d] = since.map(scaled);
            table.row([Cell::text(&link.name), a, b, c, d]);
        }
        table.put_out(output)
    })
    .await
}

/// `dlstat show-aggr`.
pub async fn show_aggregations(arguments: Stat) -> Result<(), Failure> {
    let mut before = BTreeMap::new();
    repeat(&arguments, async |output| {
        let aggregations = aggr::list(arguments.name.as_deref()).await?;
        let all = if aggregations.is_empty() { Vec::new() } else { daemon::connect()?.get_statistics().await??.ports };
        let mut table = Table::new(&["LINK", "PORT", "IPKTS", "RBYTES", "OPKTS", "OBYTES"]);
        let mut rules = Table::new(&["LINK", "PORT", "RULE", "COUNT"]);
        for aggregation in &aggregations {
            let ports: Vec<_> = all.iter().filter(|port| port.aggregation == aggregation.name).collect();
            let mut sum = [0; 4];
            let mut rows = Vec::new();
            for port in &ports {
                let now = port_counts(port);
                let since = difference(now, before.insert((port.aggregation.clone(), port.port.clone()), now));
                sum = add(sum, since);
                rows.push((port, since.map(scaled)));
                for rule in port.rules.iter().filter(|rule| rule.count != 0) {
                    rules.row([
                        Cell::text(&port.aggregation),
                        Cell::maybe(Some(&port.port).filter(|name| !name.is_empty())),
                        Cell::text(&rule.name),
                        Cell::number(rule.count),
                    ]);
                }
            }
            let [a, b, c, d] = sum.map(scaled);
            table.row([Cell::text(&aggregation.name), Cell::None, a, b, c, d]);
            // The row of no port holds only what was refused before a port was chosen.
            for (port, [a, b, c, d]) in rows.into_iter().filter(|(port, _)| !port.port.is_empty()) {
                table.row([Cell::Ditto(aggregation.name.clone()), Cell::text(&port.port), a, b, c, d]);
            }
        }
        table.put_out(output)?;
        if arguments.verbose {
            rules.put_out(output)?;
        }
        Ok(())
    })
    .await
}

/// Puts a table out once, or at every interval.
async fn repeat(arguments: &Stat, mut put_out: impl AsyncFnMut(&Output) -> Result<(), Failure>) -> Result<(), Failure> {
    put_out(&arguments.output).await?;
    let Some(interval) = arguments.interval else {
        return Ok(());
    };
    let mut left = arguments.count;
    while left.is_none_or(|left| left > 0) {
        tokio::time::sleep(Duration::from_secs(interval)).await;
        put_out(&arguments.output).await?;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

async fn statistics(links: &[Link]) -> Result<Vec<PortStatistics>, Failure> {
    match daemon::look(links)? {
        Some(mut connection) => Ok(connection.get_statistics().await??.ports),
        None => Ok(Vec::new()),
    }
}

fn counts(link: &Link, ports: &[PortStatistics]) -> Counts {
    if link::is_aggregation(link) {
        return (ports.iter()).filter(|port| port.aggregation == link.name).map(port_counts).fold([0; 4], add);
    }
    let device = &link.statistics;
    [device.rx_packets, device.rx_bytes, device.tx_packets, device.tx_bytes].map(u64::cast_signed)
}

const fn port_counts(port: &PortStatistics) -> Counts {
    [port.ipackets, port.rbytes, port.opackets, port.obytes]
}

fn add(a: Counts, b: Counts) -> Counts {
    std::array::from_fn(|at| a[at] + b[at])
}

fn difference(now: Counts, before: Option<Counts>) -> Counts {
    let before = before.unwrap_or_default();
    std::array::from_fn(|at| now[at] - before[at])
}

/// As Solaris scales: up to five digits as they are, then thousands with two decimals.
fn scaled(count: i64) -> Cell {
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    if count < 100_000 {
        return Cell::number(count);
    }
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    Cell::Number(count, format!("{value:.2}{}", UNITS[unit]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_counts_are_scaled_for_people_and_kept_for_programs() {
        assert_eq!(scaled(0), Cell::Number(0, "0".into()));
        assert_eq!(scaled(99_999), Cell::Number(99_999, "99999".into()));
        assert_eq!(scaled(123_456), Cell::Number(123_456, "123.46K".into()));
        assert_eq!(scaled(7_654_321_000), Cell::Number(7_654_321_000, "7.65G".into()));
    }
}
