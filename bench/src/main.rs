//! Measures dlmp side by side with what it is to be compared to, in one run, and prints tables in
//! Markdown. Needs root. Machines are noisy: read ratios and medians, not absolute figures.
//!
//! - `dlmp-bench`: on the running kernel.
//! - `dlmp-bench programs`: of that only the cost of the BPF programs.
//! - `dlmp-bench peers [NAME]`: beside bonding, teamd and Open vSwitch, on a kernel that has them (scripts/vm);
//!   NAME is part of a heading ("Carrier loss") or of a system's name.
//! - `dlmp-bench cost`: what one daemon with 256 probed aggregations of 4 ports takes.
//! - `dlmp-bench clients`: thousands of clients on one aggregation.
//! - `dlmp-bench discovery`: 500 managers found, and what a flood of questions costs one (6 minutes).
//! - `dlmp-bench groups`: what multicast groups cost, 10 to 100,000 of them.
//! - `dlmp-bench guard`: what the guard of a vnet costs, with 1 and 4096 MAC addresses.
//! - `dlmp-bench managers`: 10,000 managers that share MAC addresses, simulated.
//! - `dlmp-bench multicast`: streams to groups through faults, and what groups take.
//! - `dlmp-bench vnets`: throughput, link state and number of virtual network devices.
//! - `dlmp-bench starved`: false failovers in 10 minutes with every core saturated.

mod aggregator;
mod clients;
mod cost;
mod crossing;
mod datapath;
mod discovery;
mod failover;
mod flood;
mod groups;
mod guard;
mod managers;
mod multicast;
mod network;
mod report;
mod starved;
mod throughput;
mod vnets;
mod way;

use std::process::ExitCode;

use anyhow::{Result, bail};
use dlmp_testbed::InterruptGuard;

use aggregator::System;
use failover::Fault;

const TITLE: &str = "# Benchmarks

Made by `sudo make bench`, which writes this file anew (about 20 minutes). The machines are small and noisy: ratios within
one run and medians count, absolute figures do not. A flow of 1000 packets a second each way measures an outage to a millisecond.
";

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
        Some("programs") => {
            println!("{}", datapath::measure()?);
            Ok(())
        }
        Some("peers") => peers(),
        Some("clients") => clients(),
        Some("cost") => cost(),
        Some("discovery") => discovery(),
        Some("groups") => groups(),
        Some("guard") => {
            println!("## The guard of a vnet\n\n{}\n{}", report::machine(), guard::measure()?);
            Ok(())
        }
        Some("managers") => {
            println!("## Managers\n\n{}", managers::measure()?);
            Ok(())
        }
        Some("multicast") => {
            println!("## Multicast\n\n{}\n{}", report::machine(), multicast::measure()?);
            Ok(())
        }
        Some("vnets") => {
            println!("## Virtual networks\n\n{}\n{}", report::machine(), vnets::measure()?);
            Ok(())
        }
        Some("starved") => starved(),
        Some(other) => bail!("unknown part {other:?}; see the first lines of bench/src/main.rs"),
    }
}

fn local() -> Result<()> {
    println!("{TITLE}\n## On the running kernel\n\n{}", report::machine());
    println!("### Failover\n\n{}", failover::measure(Fault::Carrier, &[System::Dlmp])?);
    let probing = [System::DlmpProbing("1s"), System::DlmpProbing("10ms")];
    println!("{}", failover::measure(Fault::Silent, &probing)?);
    println!("### Throughput\n\n{}", throughput::measure()?);
    println!("### Programs\n\n{}", datapath::measure()?);
    Ok(())
}

fn cost() -> Result<()> {
    println!("## Cost\n\n{}\n{}", report::machine(), cost::measure()?);
    Ok(())
}

fn clients() -> Result<()> {
    println!("## Many clients\n\n{}", report::machine());
    clients::measure()
}

fn discovery() -> Result<()> {
    println!("## Discovery\n\n{}", report::machine());
    discovery::measure()
}

fn groups() -> Result<()> {
    println!("## Many groups\n\n{}", report::machine());
    println!("### Cost of the group test\n\n{}", groups::measure()?);
    Ok(())
}

fn starved() -> Result<()> {
    println!("## Starved\n\n{}\n{}", report::machine(), starved::measure()?);
    Ok(())
}

fn peers() -> Result<()> {
    println!("## Beside others\n\n{}", report::machine());
    let only = std::env::args().nth(2).unwrap_or_default();
    let by_link = [System::Dlmp, System::Bonding, System::Teamd, System::OpenVswitch];
    let by_probes = [System::DlmpProbing("1s"), System::DlmpProbing("10ms"), System::BondingArp];
    for (title, fault, systems) in
        [("Silent fault", Fault::Silent, &by_probes[..]), ("Carrier loss", Fault::Carrier, &by_link[..])]
    {
        let is_chosen = |system: &&System| title.contains(&only) || system.name().contains(&only);
        let chosen: Vec<System> = systems.iter().filter(is_chosen).copied().collect();
        if !chosen.is_empty() {
            println!("### {title}\n\n{}", failover::measure(fault, &chosen)?);
        }
    }
    Ok(())
}
