//! `dlstat show-link`: the traffic of links.

use std::collections::BTreeMap;

use clap::Args;
use dlmp_api::client::Dlmpd;
use dlmp_netlink::Link;

use super::{Counted, Repeat, Traffic, traffic_cells, with_sums};
use crate::cell::Cell;
use crate::command::Run;
use crate::daemon::{self, answer};
use crate::failure::Result;
use crate::links::{self, Class};
use crate::output::{Column, Format};

/// Show the traffic of links
#[derive(Debug, Args)]
pub struct ShowLink {
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    repeat: Repeat,
}

const LINKS: [Column; 5] = [
    Column::new("LINK", 12),
    Column::new("IPKTS", 8),
    Column::new("RBYTES", 8),
    Column::new("OPKTS", 8),
    Column::new("OBYTES", 8),
];

impl Run for ShowLink {
    async fn run(self) -> Result<()> {
        let (link, count) = self.repeat.operands()?;
        self.repeat.print(&self.format, &LINKS, count, link_row, async || count_links(link).await).await
    }
}

/// The links' own counters, except an aggregation's, which are the sums of its ports'.
async fn count_links(name: Option<&str>) -> Result<Vec<Counted>> {
    let links = links::links().await?;
    let shown = links::shown(&links, name)?;
    let aggregations = match daemon::find_for(&shown)? {
        Some(mut daemon) => with_sums(&answer(daemon.get_statistics().await)?.ports),
        None => Vec::new(),
    };
    let counted = |(link, class): (&Link, Class)| Counted {
        link: link.name.clone(),
        port: None,
        traffic: match class {
            Class::Aggr => aggregations.iter().find(|sum| sum.link == link.name).and_then(|sum| sum.traffic),
            _ => Some(Traffic {
                ipackets: link.statistics.rx_packets,
                rbytes: link.statistics.rx_bytes,
                opackets: link.statistics.tx_packets,
                obytes: link.statistics.tx_bytes,
            }),
        },
        rules: BTreeMap::new(),
    };
    Ok(shown.into_iter().map(counted).collect())
}

fn link_row(counted: &Counted) -> Vec<Cell> {
    let mut row = vec![Cell::Text(counted.link.clone())];
    row.extend(traffic_cells(counted));
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Table;

    #[test]
    fn a_link_whose_counters_only_a_missing_daemon_knows_shows_question_marks() {
        let counted = Counted { link: "aggr0".into(), port: None, traffic: None, rules: BTreeMap::new() };
        let rows = vec![link_row(&counted)];
        insta::assert_snapshot!(Format::default().render(&Table { columns: &LINKS, rows }, true).unwrap(), @r"
        LINK          IPKTS     RBYTES    OPKTS     OBYTES
        aggr0         ?         ?         ?         ?
        ");
    }
}
