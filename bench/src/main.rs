//! Measures dlmp side by side with what it is to be compared to, in one run, and writes the tables into
//! `docs/benchmarks.md`. Needs root. Machines are noisy: read ratios and medians, not absolute figures.

mod datapath;
mod failover;
mod report;
mod site;
mod throughput;

use std::process::ExitCode;

use dlmp_testbed::InterruptGuard;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dlmp-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let _guard = InterruptGuard::install()?;
    let site = site::Site::new()?;
    let mut text = report::machine();
    for part in [failover::measure, throughput::measure, datapath::measure] {
        let table = part(&site)?;
        println!("{table}");
        text.push_str(&table);
    }
    report::write(&text)
}
