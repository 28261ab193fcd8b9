//! Nanoseconds a packet of each BPF program, from the kernel's own statistics (bpf(2), BPF_ENABLE_STATS).

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::aggregator::System;
use crate::flood;
use crate::network::{Network, OVER_AGGREGATION, output};
use crate::report::{Spread, Table};

/// Switches the statistics on (Documentation/admin-guide/sysctl/kernel.rst).
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
const FLOODS: usize = 5;
const LENGTH: Duration = Duration::from_secs(1);
/// Names of the programs, and what they do.
const PROGRAMS: [(&str, &str); 2] =
    [("dlmp_egress", "egress of the aggregation"), ("dlmp_ingress", "ingress of a port")];

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let others = programs()?.into_iter().filter_map(|program| program["id"].as_u64()).collect();
    let network = Network::new()?;
    let _dlmp = System::Dlmp.start(&network)?;
    let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
    fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
    let figures = floods(&network, &others);
    fs::write(SWITCH, before)?;

    let mut table = Table::new(&["program", "ns a packet"]);
    for ((_, does), nanoseconds) in PROGRAMS.iter().zip(figures?) {
        table.row(&[does, &Spread::of(nanoseconds).text(0)]);
    }
    Ok(format!(
        "By the kernel's statistics, whose own two clock reads a packet are in the figure, under a flood of 64-byte packets\neach way, {FLOODS} of {} s. Aim: 60 or less.\n\n{table}",
        LENGTH.as_secs()
    ))
}

/// Nanoseconds a packet in each flood, for each of [`PROGRAMS`].
fn floods(network: &Network, others: &BTreeSet<u64>) -> Result<[Vec<f64>; 2]> {
    let mut figures = [Vec::new(), Vec::new()];
    for flood in 1..=FLOODS {
        eprintln!("programs: flood {flood} of {FLOODS}");
        let before = runs(others)?;
        flood::send(&network.guest, (&network.host, OVER_AGGREGATION.host), LENGTH)?;
        flood::send(&network.host, (&network.guest, OVER_AGGREGATION.guest), LENGTH)?;
        let after = runs(others)?;
        for (figures, (before, after)) in figures.iter_mut().zip(before.into_iter().zip(after)) {
            figures.push((after.nanoseconds - before.nanoseconds) / (after.packets - before.packets));
        }
    }
    Ok(figures)
}

/// What programs of one name have done so far.
#[derive(Default)]
struct Runs {
    nanoseconds: f64,
    packets: f64,
}

/// For each of [`PROGRAMS`], those loaded since `others` were listed.
fn runs(others: &BTreeSet<u64>) -> Result<[Runs; 2]> {
    let mut runs = [Runs::default(), Runs::default()];
    for program in programs()?.iter().filter(|program| program["id"].as_u64().is_none_or(|id| !others.contains(&id))) {
        for (runs, (name, _)) in runs.iter_mut().zip(PROGRAMS) {
            if program["name"] == name {
                runs.nanoseconds += program["run_time_ns"].as_f64().unwrap_or(0.0);
                runs.packets += program["run_cnt"].as_f64().unwrap_or(0.0);
            }
        }
    }
    Ok(runs)
}

/// All programs that are loaded on this machine.
fn programs() -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&output(Command::new("bpftool").args(["-j", "prog", "show"]))?)?)
}
