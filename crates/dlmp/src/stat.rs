//! `dlstat show-link` and `dlstat show-aggr`: traffic counters, once or at intervals.
//!
//! The counters of an aggregation come from its datapath: frames leave before the counters of the
//! link itself see them.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use dlmp_api::PortStatistics;
use dlmp_api::client::Dlmpd;
use dlmp_netlink::LinkStatistics;
use serde_json::{Map, Value};

use crate::aggr;
use crate::commands::Run;
use crate::daemon::{self, answer};
use crate::failure::Failure;
use crate::inventory::{Inventory, is_aggregation};
use crate::link::{connect, is_wanted, no_link};
use crate::output::{Cell, Column, Format, Printer};

/// Show the traffic of links
#[derive(Debug, Default, Args)]
pub struct ShowLink {
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    repeat: Repeat,
}

/// Show the traffic of aggregations, with each port
#[derive(Debug, Args)]
pub struct ShowAggr {
    /// Verbose: also what the rules of the datapath dropped or treated specially
    #[arg(short)]
    verbose: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    repeat: Repeat,
}

#[derive(Debug, Default, Args)]
struct Repeat {
    /// Show the totals, then every so many seconds what came since
    #[arg(short, value_name = "interval", value_parser = RangedU64ValueParser::<u64>::new().range(1..=86400))]
    interval: Option<u64>,
    /// Only this link
    #[arg(value_name = "link")]
    link: Option<String>,
    /// With -i: end after so many tables
    #[arg(value_name = "count")]
    count: Option<String>,
}

/// The counters of a link, an aggregation or a port.
#[derive(Debug, Clone)]
struct Row {
    link: String,
    /// The port of a row below its aggregation's.
    port: Option<String>,
    /// Absent when it takes the daemon to tell, and none runs.
    traffic: Option<Traffic>,
}

#[derive(Debug, Clone, Default)]
struct Traffic {
    ipackets: u64,
    rbytes: u64,
    opackets: u64,
    obytes: u64,
    /// Frames that a rule dropped or treated specially, by the rule's name.
    rules: BTreeMap<String, u64>,
}

const LINK: &[Column<Row>] = &[Column::new("LINK", 12, |row| Cell::text(&row.link)), IPKTS, RBYTES, OPKTS, OBYTES];

const AGGR: &[Column<Row>] = &[
    // As in `dladm show-aggr -x`.
    Column::new("LINK", 12, |row| {
        let cell = Cell::text(&row.link);
        if row.port.is_some() { cell.table("") } else { cell }
    }),
    Column::new("PORT", 12, |row| Cell::optional(row.port.as_deref())),
    IPKTS,
    RBYTES,
    OPKTS,
    OBYTES,
    Column::extra("RULES", 5, |row| row.traffic.as_ref().map_or_else(Cell::absent, rules)),
];

const IPKTS: Column<Row> = Column::right("IPKTS", 8, |row| count(row, |traffic| traffic.ipackets));
const RBYTES: Column<Row> = Column::right("RBYTES", 8, |row| count(row, |traffic| traffic.rbytes));
const OPKTS: Column<Row> = Column::right("OPKTS", 8, |row| count(row, |traffic| traffic.opackets));
const OBYTES: Column<Row> = Column::right("OBYTES", 8, |row| count(row, |traffic| traffic.obytes));

fn count(row: &Row, of: fn(&Traffic) -> u64) -> Cell {
    row.traffic.as_ref().map_or_else(Cell::absent, |traffic| Cell::count(of(traffic)))
}

/// Those that applied at all; in JSON every one.
fn rules(traffic: &Traffic) -> Cell {
    let applied = traffic.rules.iter().filter(|(_, count)| **count != 0);
    let applied: Vec<String> = applied.map(|(name, count)| format!("{name}={count}")).collect();
    let all = traffic.rules.iter().map(|(name, count)| (name.clone(), Value::from(*count)));
    Cell::names(&applied).json(Map::from_iter(all))
}

impl Run for ShowLink {
    async fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        let printer = Printer::new(&self.format, LINK)?;
        self.repeat.print(printer, links, no_link, out).await
    }
}

impl Run for ShowAggr {
    async fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.format, AGGR)?;
        if self.verbose {
            printer = printer.with_all(AGGR);
        }
        self.repeat.print(printer, aggregations, aggr::no_aggregation, out).await
    }
}

impl Repeat {
    /// Prints what `sample` finds, as often as asked for.
    async fn print(
        self,
        mut printer: Printer<Row>,
        sample: impl AsyncFn() -> Result<Vec<Row>, Failure>,
        unknown: fn(&str) -> Failure,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let (link, count) = self.operands()?;
        let mut ticks = tokio::time::interval(Duration::from_secs(self.interval.unwrap_or(1)));
        let mut before: Vec<Row> = Vec::new();
        for _ in 0..count {
            ticks.tick().await;
            let mut rows = sample().await?;
            rows.retain(|row| is_wanted(link.as_deref(), &row.link));
            if let (Some(link), true) = (&link, rows.is_empty()) {
                return Err(unknown(link));
            }
            printer.print(&since(&rows, &before), out)?;
            if let Some(row) = rows.iter().find(|row| row.traffic.is_none()) {
                return Err(daemon::not_running_beside(&row.link));
            }
            out.flush()?;
            before = rows;
        }
        Ok(())
    }

    /// The link, and the number of tables. A lone number after `-i` is the latter, so that
    /// `-i 1 5` and `-i 1 net0 5` both read as they do elsewhere.
    fn operands(&self) -> Result<(Option<String>, u64), Failure> {
        let is_number = |text: &String| text.bytes().all(|byte| byte.is_ascii_digit());
        let (link, count) = match (&self.link, &self.count) {
            (Some(only), None) if self.interval.is_some() && is_number(only) => (None, Some(only)),
            (Some(number), Some(link)) if is_number(number) && !is_number(link) => (Some(link), Some(number)),
            (link, count) => (link.as_ref(), count.as_ref()),
        };
        let count = match (count, self.interval) {
            (None, None) => 1,
            (None, Some(_)) => u64::MAX,
            (Some(_), None) => return Err(Failure::Usage("a count needs an interval: -i interval".into())),
            (Some(text), Some(_)) => (text.parse().ok().filter(|&count| count > 0))
                .ok_or_else(|| Failure::Usage(format!("{text:?} is no count: a number from 1 up")))?,
        };
        Ok((link.cloned(), count))
    }
}

/// All data links, with true counters for aggregations.
async fn links() -> Result<Vec<Row>, Failure> {
    let inventory = Inventory::read(&connect()?).await?;
    let aggregations = match inventory.aggregation() {
        Some(_) => statistics().await?,
        None => None,
    };
    let traffic = |link: &dlmp_netlink::Link| match &aggregations {
        _ if !is_aggregation(link) => Some(Traffic::from(link.statistics)),
        Some(ports) => Some(sum(ports.iter().filter(|port| port.aggregation == link.name))),
        None => None,
    };
    let row = |link: &dlmp_netlink::Link| Row { link: link.name.clone(), port: None, traffic: traffic(link) };
    Ok(inventory.data_links().map(row).collect())
}

/// Each aggregation, which is the sum of its ports, and then the ports.
async fn aggregations() -> Result<Vec<Row>, Failure> {
    let Some(statistics) = statistics().await? else {
        let inventory = Inventory::read(&connect()?).await?;
        return inventory.aggregation().map_or(Ok(Vec::new()), |name| Err(daemon::not_running_beside(name)));
    };
    Ok(aggregation_rows(&statistics))
}

async fn statistics() -> Result<Option<Vec<PortStatistics>>, Failure> {
    match daemon::find()? {
        Some(mut daemon) => Ok(Some(answer(daemon.get_statistics().await)?.ports)),
        None => Ok(None),
    }
}

fn aggregation_rows(statistics: &[PortStatistics]) -> Vec<Row> {
    let mut rows = Vec::new();
    for ports in statistics.chunk_by(|one, next| one.aggregation == next.aggregation) {
        rows.extend(ports.first().map(|first| Row {
            link: first.aggregation.clone(),
            port: None,
            traffic: Some(sum(ports.iter())),
        }));
        rows.extend(ports.iter().map(|port| Row {
            link: port.aggregation.clone(),
            port: Some(port.port.clone()),
            traffic: Some(port.into()),
        }));
    }
    rows
}

fn sum<'a>(ports: impl Iterator<Item = &'a PortStatistics>) -> Traffic {
    ports.map(Traffic::from).fold(Traffic::default(), |sum, port| sum.combined(&port, u64::saturating_add))
}

/// What came since an earlier look, row by row. A row that was not there then is new, and so is a
/// link that counts from zero again.
fn since(now: &[Row], before: &[Row]) -> Vec<Row> {
    let difference = |row: &Row| {
        let earlier = before.iter().find(|earlier| (&earlier.link, &earlier.port) == (&row.link, &row.port));
        let traffic = match (&row.traffic, earlier.and_then(|earlier| earlier.traffic.as_ref())) {
            (Some(now), Some(before)) => Some(now.combined(before, u64::saturating_sub)),
            (now, _) => now.clone(),
        };
        Row { traffic, ..row.clone() }
    };
    now.iter().map(difference).collect()
}

impl Traffic {
    fn combined(&self, other: &Self, by: fn(u64, u64) -> u64) -> Self {
        let mut rules = self.rules.clone();
        for (name, count) in &other.rules {
            let own = rules.entry(name.clone()).or_default();
            *own = by(*own, *count);
        }
        Self {
            ipackets: by(self.ipackets, other.ipackets),
            rbytes: by(self.rbytes, other.rbytes),
            opackets: by(self.opackets, other.opackets),
            obytes: by(self.obytes, other.obytes),
            rules,
        }
    }
}

impl From<LinkStatistics> for Traffic {
    fn from(link: LinkStatistics) -> Self {
        Self {
            ipackets: link.rx_packets,
            rbytes: link.rx_bytes,
            opackets: link.tx_packets,
            obytes: link.tx_bytes,
            rules: BTreeMap::new(),
        }
    }
}

impl From<&PortStatistics> for Traffic {
    fn from(port: &PortStatistics) -> Self {
        Self {
            ipackets: port.ipackets.cast_unsigned(),
            rbytes: port.rbytes.cast_unsigned(),
            opackets: port.opackets.cast_unsigned(),
            obytes: port.obytes.cast_unsigned(),
            rules: port.rules.iter().map(|rule| (rule.name.clone(), rule.count.cast_unsigned())).collect(),
        }
    }
}
