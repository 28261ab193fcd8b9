//! Measures dlmp side by side with what it is to be compared to, in one run, and prints tables. Needs
//! root. Machines are noisy: read ratios and medians, not absolute figures.
//!
//! - `dlmp-bench`: on the running kernel.
//! - `dlmp-bench peers`: beside bonding, teamd and Open vSwitch, on a kernel that has them (scripts/vm).

mod aggregator;
mod datapath;
mod failover;
mod flood;
mod network;
mod report;
mod throughput;

use std::process::ExitCode;

use anyhow::{Result, bail};
use dlmp_testbed::InterruptGuard;

use aggregator::System;
use failover::Fault;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dlmp-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let _guard = InterruptGuard::install()?;
    match std::env::args().nth(1).as_deref() {
        None => local(),
        Some("peers") => peers(),
        Some(other) => bail!("unknown part {other:?}; without one the running kernel is measured, `peers` compares"),
    }
}

fn local() -> Result<()> {
    println!("## On the running kernel\n\n{}", report::machine());
    println!("### Failover\n\n{}", failover::measure(Fault::Carrier, &[System::Dlmp])?);
    let probing = [System::DlmpProbing("1s"), System::DlmpProbing("10ms")];
    println!("{}", failover::measure(Fault::Silent, &probing)?);
    println!("### Throughput\n\n{}", throughput::measure()?);
    println!("### Programs\n\n{}", datapath::measure()?);
    Ok(())
}

fn peers() -> Result<()> {
    println!("## Beside others\n\n{}", report::machine());
    let by_link = [System::Dlmp, System::Bonding, System::Teamd, System::OpenVswitch];
    println!("### Carrier loss\n\n{}", failover::measure(Fault::Carrier, &by_link)?);
    let by_probes = [System::DlmpProbing("1s"), System::DlmpProbing("10ms"), System::BondingArp];
    println!("### Silent fault\n\n{}", failover::measure(Fault::Silent, &by_probes)?);
    Ok(())
}
