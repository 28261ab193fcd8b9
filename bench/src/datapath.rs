//! Nanoseconds a packet of each BPF program, from the kernel's own statistics under a flow of packets.

use std::fs;
use std::process::Command;
use std::time::Duration;

use dlmp_testbed::Flow;
use serde_json::Value;

use crate::report::Spread;
use crate::site::{Site, output};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
const RUNS: usize = 5;
const RATE: u32 = 20_000;

/// Measures and returns the table.
pub fn measure(site: &Site) -> anyhow::Result<String> {
    let before = fs::read_to_string(SWITCH)?;
    fs::write(SWITCH, "1")?;
    let figures = figures(site);
    fs::write(SWITCH, before)?;
    let [egress, ingress] = figures?;
    Ok(format!(
        "\n## Programs\n\nNanoseconds a packet by the kernel's statistics, which add their own clock reads; {RUNS} runs of {RATE} packets a second each\nway. Aim: 60.\n\n| program | ns a packet |\n|---|---|\n| egress of the aggregation | {} |\n| ingress of a port | {} |\n",
        Spread::of(egress).text(0),
        Spread::of(ingress).text(0)
    ))
}

fn figures(site: &Site) -> anyhow::Result<[Vec<f64>; 2]> {
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        let before = [runs("dlmp_egress")?, runs("dlmp_ingress")?];
        let (first, second) = site.ends();
        Flow::new(first, second, RATE, Duration::from_secs(1)).run()?;
        let after = [runs("dlmp_egress")?, runs("dlmp_ingress")?];
        for (values, (before, after)) in all.iter_mut().zip(before.into_iter().zip(after)) {
            values.push((after.0 - before.0) / (after.1 - before.1));
        }
    }
    Ok(all)
}

/// Nanoseconds and runs so far of the programs of a name.
fn runs(name: &str) -> anyhow::Result<(f64, f64)> {
    let programs: Value = serde_json::from_str(&output(Command::new("bpftool").args(["-j", "prog", "show"]))?)?;
    let mut sum = (0.0, 0.0);
    for program in programs.as_array().into_iter().flatten().filter(|program| program["name"] == name) {
        sum.0 += program["run_time_ns"].as_f64().unwrap_or(0.0);
        sum.1 += program["run_cnt"].as_f64().unwrap_or(0.0);
    }
    Ok(sum)
}
