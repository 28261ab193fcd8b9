//! TCP throughput, small packets a second and TCP transactions a second, over the aggregation and over the
//! plain veth beside it, in turn.

use anyhow::Result;

use crate::aggregator::System;
use crate::network::{HOST_LINK, Network, OVER_AGGREGATION, OVER_PLAIN, Path};
use crate::report::Table;
use crate::way::{self, LENGTH, PAIRS, Way};

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let network = Network::new()?;
    let _dlmp = System::Dlmp.start(&network)?;
    network.wait_for(OVER_PLAIN)?;
    let way = |path: Path| Way { from: &network.guest, to: &network.host, address: path.host, link: HOST_LINK };
    let mut table = Table::new(&["from guest to host", "aggregation", "plain veth", "ratio, pair by pair"]);
    way::compare([way(OVER_AGGREGATION), way(OVER_PLAIN)], |row| table.row(row))?;
    Ok(format!("In turn, {PAIRS} pairs of {} s each. Aim: a ratio of 0.95 or more.\n\n{table}", LENGTH.as_secs_f64()))
}
