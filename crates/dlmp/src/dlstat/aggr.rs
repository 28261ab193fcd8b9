//! `dlstat show-aggr`: the traffic of aggregations and their ports.

use std::time::Duration;

use clap::Args;
use dlmp_api::client::Dlmpd;

use super::probes::{self, ProbeType};
use super::{Counted, Repeat, traffic_cells, with_sums};
use crate::cell::Cell;
use crate::command::Run;
use crate::daemon::{self, answer, only};
use crate::failure::Result;
use crate::output::{Column, Format};

/// Show the traffic of aggregations and of each of their ports
#[derive(Debug, Args)]
pub struct ShowAggr {
    /// Show also how often each rule of the datapath applied
    #[arg(short)]
    verbose: bool,
    /// Show probes of these kinds instead, as they go out and are answered: t (transitive), i (to
    /// targets), all
    #[arg(short = 'P', value_name = "TYPE,...", value_delimiter = ',', conflicts_with = "verbose")]
    probes: Vec<ProbeType>,
    /// With -P: addresses, not their names
    #[arg(short = 'n', requires = "probes")]
    numeric: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    repeat: Repeat,
}

const AGGREGATIONS: [Column; 7] = [
    Column::new("LINK", 10),
    Column::new("PORT", 10),
    Column::new("IPKTS", 8),
    Column::new("RBYTES", 8),
    Column::new("OPKTS", 8),
    Column::new("OBYTES", 8),
    Column::extra("RULES", 5),
];

impl Run for ShowAggr {
    async fn run(self) -> Result<()> {
        let (link, count) = self.repeat.operands()?;
        if !self.probes.is_empty() {
            // What goes out is shown at once; -i says only how long, together with a count.
            let length = self
                .repeat
                .interval
                .zip(count)
                .map(|(interval, count)| Duration::from_secs(interval.get().into()) * count);
            return probes::show(&self.probes, link, length, self.numeric, &self.format).await;
        }
        let format = if self.verbose { self.format.all_columns() } else { self.format };
        self.repeat.print(&format, &AGGREGATIONS, count, port_row, async || count_ports(link).await).await
    }
}

async fn count_ports(name: Option<&str>) -> Result<Vec<Counted>> {
    let ports = match daemon::find_to_show().await? {
        Some(mut daemon) => answer(daemon.get_statistics().await)?.ports,
        None => Vec::new(),
    };
    only(with_sums(&ports), name, |counted| &counted.link)
}

fn port_row(counted: &Counted) -> Vec<Cell> {
    let mut row = match &counted.port {
        None => vec![Cell::Text(counted.link.clone()), Cell::Absent],
        Some(port) => vec![Cell::Repeated(counted.link.clone()), Cell::Text(port.clone())],
    };
    row.extend(traffic_cells(counted));
    row.push(Cell::Counters(counted.rules.clone().into_iter().collect()));
    row
}

#[cfg(test)]
mod tests {
    use super::super::tests::port;
    use super::*;
    use crate::output::Table;

    fn table(counted: &[Counted], format: &Format) -> String {
        let rows = counted.iter().map(port_row).collect();
        format.render(&Table { columns: &AGGREGATIONS, rows }, true).unwrap()
    }

    #[test]
    fn an_aggregation_is_the_sum_of_its_ports_and_of_what_concerned_none() {
        let ports = [port("aggr0", "net0", 1234), port("aggr0", "net1", 70_000), port("aggr0", "", 3)];
        let all = with_sums(&[&ports[..], &[port("aggr1", "net2", 0)]].concat());
        insta::assert_snapshot!(table(&all, &Format::default()), @r"
        LINK        PORT        IPKTS     RBYTES    OPKTS     OBYTES
        aggr0       --          71.23K    71.23M    71.24K    4.55M
                    net0        1.23K     1.23M     1.23K     78.97K
                    net1        70.00K    70.00M    70.00K    4.48M
        aggr1       --          0         0         1         0
                    net2        0         0         1         0
        ");
        insta::assert_snapshot!(table(&all, &Format::default().all_columns()), @r"
        LINK        PORT        IPKTS     RBYTES    OPKTS     OBYTES    RULES
        aggr0       --          71.23K    71.23M    71.24K    4.55M     rx-reflection=5
                    net0        1.23K     1.23M     1.23K     78.97K    rx-reflection=2
                    net1        70.00K    70.00M    70.00K    4.48M     --
        aggr1       --          0         0         1         0         --
                    net2        0         0         1         0         --
        ");
    }
}
