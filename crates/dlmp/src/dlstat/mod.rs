//! Traffic counters of links and aggregations.
//!
//! Frames of an aggregation pass the devices' own counters by, so the daemon counts for it.

pub mod aggr;
pub mod link;
pub mod probes;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use dlmp_api::PortStatistics;

use crate::cell::Cell;
use crate::failure::{Failure, Result};
use crate::output::{Column, Format, Table};

/// Which link, how often and how many times.
#[derive(Debug, Args)]
struct Repeat {
    /// Print again every so many seconds: first what was counted so far, then what each interval adds
    #[arg(short, value_name = "SECONDS")]
    interval: Option<NonZeroU32>,
    /// Only this link; with -i, a number is how many times to print
    #[arg(value_name = "LINK] [COUNT", num_args = 0..=2)]
    operands: Vec<String>,
}

/// What was counted for one row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    link: String,
    /// Absent for a link as a whole.
    port: Option<String>,
    /// Absent when only a daemon knows and none is there.
    traffic: Option<Traffic>,
    /// Frames by the datapath's rules.
    rules: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Traffic {
    ipackets: u64,
    rbytes: u64,
    opackets: u64,
    obytes: u64,
}

impl Repeat {
    /// The link and the count, in whichever order: a count is a number and needs `-i`.
    fn operands(&self) -> Result<(Option<&str>, Option<u32>)> {
        let (mut link, mut count) = (None, None);
        for operand in &self.operands {
            match operand.parse::<NonZeroU32>() {
                Ok(number) if self.interval.is_some() && count.is_none() => count = Some(number.get()),
                _ if link.is_none() => link = Some(operand.as_str()),
                _ => {
                    return Err(Failure::Usage(format!(
                        "unexpected {operand:?}: one link, and with -i seconds the number of times to print"
                    )));
                }
            }
        }
        Ok((link, count))
    }

    async fn print(
        &self,
        format: &Format,
        columns: &'static [Column],
        count: Option<u32>,
        row: fn(&Counted) -> Vec<Cell>,
        sample: impl AsyncFn() -> Result<Vec<Counted>>,
    ) -> Result<()> {
        format.check(columns)?;
        let times = if self.interval.is_some() { count.unwrap_or(u32::MAX) } else { 1 };
        let period = Duration::from_secs(self.interval.map_or(1, NonZeroU32::get).into());
        let mut ticks = tokio::time::interval(period);
        let mut before = Vec::new();
        for time in 0..times {
            ticks.tick().await;
            let now = sample().await?;
            let rows = since(&now, &before).iter().map(row).collect();
            format.print_rows(&Table { columns, rows }, time == 0)?;
            before = now;
        }
        Ok(())
    }
}

/// The ports of each aggregation, behind their sum. What concerns no port (its name is empty), such
/// as frames sent while no port was usable, is in the sum only.
fn with_sums(ports: &[PortStatistics]) -> Vec<Counted> {
    let mut all = Vec::new();
    for ports in ports.chunk_by(|one, next| one.aggregation == next.aggregation) {
        let counted: Vec<Counted> = ports.iter().map(Counted::from).collect();
        all.extend(sum(&counted));
        all.extend(counted.into_iter().filter(|counted| counted.port.as_deref() != Some("")));
    }
    all
}

fn sum(ports: &[Counted]) -> Option<Counted> {
    let mut total = Counted { port: None, ..ports.first()?.clone() };
    for port in &ports[1..] {
        total.traffic = total.traffic.zip(port.traffic).map(|(one, other)| Traffic {
            ipackets: one.ipackets + other.ipackets,
            rbytes: one.rbytes + other.rbytes,
            opackets: one.opackets + other.opackets,
            obytes: one.obytes + other.obytes,
        });
        for (name, count) in &port.rules {
            *total.rules.entry(name.clone()).or_default() += count;
        }
    }
    Some(total)
}

impl From<&PortStatistics> for Counted {
    fn from(port: &PortStatistics) -> Self {
        // The protocol has signed numbers only; counters are never below zero.
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        Self {
            link: port.aggregation.clone(),
            port: Some(port.port.clone()),
            traffic: Some(Traffic {
                ipackets: unsigned(port.ipackets),
                rbytes: unsigned(port.rbytes),
                opackets: unsigned(port.opackets),
                obytes: unsigned(port.obytes),
            }),
            rules: port.rules.iter().map(|rule| (rule.name.clone(), unsigned(rule.count))).collect(),
        }
    }
}

/// What was counted since the sample before. What was not there then, or started again from zero
/// since, is counted from zero.
fn since(now: &[Counted], before: &[Counted]) -> Vec<Counted> {
    let difference = |now: &Counted| {
        let before = before.iter().find(|before| before.link == now.link && before.port == now.port);
        let Some((before, traffic)) = before.and_then(|before| Some((before, before.traffic?))) else {
            return now.clone();
        };
        let less = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        let rules = now
            .rules
            .iter()
            .map(|(name, &count)| (name.clone(), less(count, before.rules.get(name).copied().unwrap_or(0))));
        Counted {
            traffic: now.traffic.map(|now| Traffic {
                ipackets: less(now.ipackets, traffic.ipackets),
                rbytes: less(now.rbytes, traffic.rbytes),
                opackets: less(now.opackets, traffic.opackets),
                obytes: less(now.obytes, traffic.obytes),
            }),
            rules: rules.collect(),
            ..now.clone()
        }
    };
    now.iter().map(difference).collect()
}

fn traffic_cells(counted: &Counted) -> [Cell; 4] {
    match counted.traffic {
        Some(traffic) => [traffic.ipackets, traffic.rbytes, traffic.opackets, traffic.obytes].map(Cell::Counter),
        None => [Cell::Unknown, Cell::Unknown, Cell::Unknown, Cell::Unknown],
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use dlmp_api::RuleCount;

    /// What was counted of a port.
    pub fn port(aggregation: &str, port: &str, packets: i64) -> PortStatistics {
        PortStatistics {
            aggregation: aggregation.into(),
            port: port.into(),
            ipackets: packets,
            rbytes: packets * 1000,
            opackets: packets + 1,
            obytes: packets * 64,
            rules: vec![RuleCount { name: "rx-reflection".into(), count: packets % 7 }],
        }
    }

    #[test]
    fn an_interval_shows_what_it_added() {
        let before = with_sums(&[port("aggr0", "net0", 10), port("aggr0", "net1", 0)]);
        let now = with_sums(&[port("aggr0", "net0", 17), port("aggr0", "net1", 1)]);
        let packets = |counted: Vec<Counted>| -> Vec<u64> {
            counted.into_iter().map(|counted| counted.traffic.unwrap().ipackets).collect()
        };
        assert_eq!(packets(since(&now, &before)), [8, 7, 1]);
        assert_eq!(packets(since(&now, &[])), [18, 17, 1]);
    }

    #[test]
    fn a_counter_that_started_again_counts_from_zero() {
        let before = with_sums(&[port("aggr0", "net0", 100)]);
        let now = with_sums(&[port("aggr0", "net0", 5)]);
        assert_eq!(since(&now, &before)[1].traffic.unwrap().ipackets, 5);
    }

    #[test]
    fn a_number_is_a_count_only_with_an_interval() {
        let repeat = |interval, operands: &[&str]| Repeat {
            interval: NonZeroU32::new(interval),
            operands: operands.iter().map(|&operand| operand.to_owned()).collect(),
        };
        assert_eq!(repeat(1, &["5", "aggr0"]).operands().unwrap(), (Some("aggr0"), Some(5)));
        assert_eq!(repeat(1, &["aggr0", "5"]).operands().unwrap(), (Some("aggr0"), Some(5)));
        assert_eq!(repeat(0, &["5"]).operands().unwrap(), (Some("5"), None));
        assert_eq!(repeat(0, &["aggr0", "5"]).operands().unwrap_err().exit_code(), 2);
        assert_eq!(repeat(1, &["aggr0", "0"]).operands().unwrap_err().exit_code(), 2);
    }
}
