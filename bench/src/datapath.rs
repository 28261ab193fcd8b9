//! Nanoseconds a packet of each BPF program, from the kernel's own statistics (bpf(2), BPF_ENABLE_STATS).

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use dlmp_datapath::bpf::{Attachment, Bpf, Entry, Served};
use dlmp_datapath::{ClientAddress, Datapath, Placement, PortIndex, SlotIndex};
use dlmp_wire::MacAddr;
use serde_json::Value;

use crate::aggregator::System;
use crate::flood;
use crate::network::{Network, OVER_AGGREGATION, output};
use crate::report::{Spread, Table};

/// Switches the statistics on (Documentation/admin-guide/sysctl/kernel.rst).
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
const FLOODS: usize = 5;
/// Runs over one frame.
const REPEAT: u32 = 1_000_000;
const LENGTH: Duration = Duration::from_secs(1);
/// Names of the programs, and what they do.
const PROGRAMS: [(&str, &str); 2] =
    [("dlmp_egress", "egress of the aggregation"), ("dlmp_ingress", "ingress of a port")];

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let others = Programs::loaded()?;
    let network = Network::new()?;
    let _dlmp = System::Dlmp.start(&network)?;
    let figures = Programs::with_statistics(|| floods(&network, &others))?;

    let mut table = Table::new(&["program", "ns a packet, net", "ns a packet under a flood"]);
    for (((_, does), nanoseconds), net) in PROGRAMS.iter().zip(figures).zip(net_costs()?) {
        table.row(&[does, &Spread::of(net).text(0), &Spread::of(nanoseconds).text(0)]);
    }
    Ok(format!(
        "Net: one data frame run {REPEAT} times by the kernel (BPF_PROG_TEST_RUN), {FLOODS} times. Under a flood of 64-byte packets each\nway, {FLOODS} of {} s: by the kernel's statistics, whose own two clock reads a packet are in the figure. Aim: 60 or less.\n\n{table}",
        LENGTH.as_secs()
    ))
}

/// Nanoseconds a run of each of [`PROGRAMS`] over a frame of a client, everything else left out.
fn net_costs() -> Result<[Vec<f64>; 2]> {
    // The test run takes any interface that exists: the loopback stands for aggregation and port.
    const LOOPBACK: u32 = 1;
    /// The index of no link.
    const NO_LINK: u32 = u32::MAX;
    let (client, stranger) = (MacAddr([2, 8, 0x20, 1, 2, 3]), MacAddr([0x52, 0x54, 0, 9, 9, 9]));
    let served =
        Served { name: "bench".into(), ifindex: LOOPBACK, lower: NO_LINK, lower_name: "dlmp0".into(), netns_cookie: 0 };
    let mut bpf = Bpf::load(served, Attachment::Clsact)?;
    let (port, backup) = (PortIndex(0), PortIndex(1));
    for (index, last) in [(port, 1), (backup, 2)] {
        bpf.set_port(index, 100 + u32::from(index.0), MacAddr([0, 0x14, 0x4f, 0xf9, 0, last]))?;
        bpf.set_usable(index, true)?;
    }
    bpf.set_client(ClientAddress { mac: client, vlan: 0 }, SlotIndex::PRIMARY)?;
    bpf.restore(SlotIndex::PRIMARY, Placement { port, backup: Some(backup) })?;
    bpf.set_multicast_port(Some(port))?;
    bpf.alias_ifindex(LOOPBACK, port)?;
    let frame = |to: MacAddr, from: MacAddr| {
        let mut frame = [&to.0[..], &from.0, &[8, 0, 0x45]].concat();
        frame.resize(60, 0);
        frame
    };
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..FLOODS {
        for (costs, (entry, frame)) in costs
            .iter_mut()
            .zip([(Entry::Link, frame(stranger, client)), (Entry::Port(LOOPBACK), frame(client, stranger))])
        {
            let (_, _, duration) = bpf.test_run(entry, &frame, REPEAT)?;
            costs.push(duration.as_nanos() as f64);
        }
    }
    Ok(costs)
}

/// Nanoseconds a packet in each flood, for each of [`PROGRAMS`].
fn floods(network: &Network, others: &Programs) -> Result<[Vec<f64>; 2]> {
    let mut figures = [Vec::new(), Vec::new()];
    for flood in 1..=FLOODS {
        eprintln!("programs: flood {flood} of {FLOODS}");
        let costs = others.costs(|| {
            flood::send(&network.guest, (&network.host, OVER_AGGREGATION.host), LENGTH)?;
            flood::send(&network.host, (&network.guest, OVER_AGGREGATION.guest), LENGTH)?;
            Ok(())
        })?;
        for (figures, cost) in figures.iter_mut().zip(costs) {
            figures.push(cost);
        }
    }
    Ok(figures)
}

/// The programs that were loaded on this machine at one moment. What is measured are those loaded since.
pub struct Programs(BTreeSet<u64>);

impl Programs {
    /// Those that are loaded now.
    pub fn loaded() -> Result<Self> {
        Ok(Self(programs()?.into_iter().filter_map(|program| program["id"].as_u64()).collect()))
    }

    /// Has the kernel keep statistics of its programs during the work.
    pub fn with_statistics<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        let result = work();
        fs::write(SWITCH, before)?;
        result
    }

    /// Nanoseconds a packet of egress and ingress during the work, by the kernel's statistics.
    pub fn costs(&self, work: impl FnOnce() -> Result<()>) -> Result<[f64; 2]> {
        let before = runs(&self.0)?;
        work()?;
        let mut costs = [0.0; 2];
        for (cost, (before, after)) in costs.iter_mut().zip(before.into_iter().zip(runs(&self.0)?)) {
            *cost = (after.nanoseconds - before.nanoseconds) / (after.packets - before.packets);
        }
        Ok(costs)
    }
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
