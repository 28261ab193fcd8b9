//! False failovers: ports that are found failed though nothing is broken, while every core is saturated.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use dlmp_testbed::{Environment, Pins};

use crate::network::{Network, OVER_AGGREGATION, PORTS, output};
use crate::report::Table;

/// How long each detection time is held; DLMP_BENCH_SECONDS takes another number.
const SECONDS: u64 = 600;

/// Measures the default and the fastest detection time at once, which is no relief for either, and returns the table.
pub fn measure() -> Result<String> {
    let seconds = match std::env::var("DLMP_BENCH_SECONDS") {
        Ok(number) => number.parse().context("DLMP_BENCH_SECONDS is no number")?,
        Err(_) => SECONDS,
    };
    let mut table = Table::new(&["probe-fdt", "seconds", "ports found failed"]);
    let times = ["1s", "10ms"].map(|fdt| (fdt, thread::spawn(move || failures(fdt, seconds))));
    for (fdt, measured) in times {
        let failed = measured.join().map_err(|_| anyhow::anyhow!("the measurement at {fdt} ended badly"))??;
        table.row(&[fdt, &seconds.to_string(), &failed.to_string()]);
    }
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(format!(
        "With {} processes that only calculate (stress-ng --cpu) on {cores} cores. Aim: 0 at the default.\n\n{table}",
        4 * cores
    ))
}

fn failures(fdt: &str, seconds: u64) -> Result<usize> {
    let network = Network::new()?;
    let dlmp = Environment::new(&network.guest, Pins::None)?;
    for line in [
        format!("dladm create-aggr -l {} -l {} aggr0", PORTS[0], PORTS[1]),
        "ipadm create-ip aggr0".to_owned(),
        format!("ipadm create-addr -a {}/24 aggr0/v4", OVER_AGGREGATION.guest),
        format!("dladm set-linkprop -p probe-ip=+{},probe-fdt={fdt} aggr0", OVER_AGGREGATION.host),
    ] {
        output(&mut dlmp.line(&line))?;
    }
    thread::sleep(Duration::from_secs(3));
    let mut monitor = Ended(dlmp.command("dlmp").args(["monitor", "-j", "aggr0"]).stdout(Stdio::piped()).spawn()?);
    let changes = monitor.0.stdout.take().context("no output")?;
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut stress = Command::new("stress-ng");
    stress.args(["--quiet", "--cpu", &(2 * cores).to_string(), "--timeout", &seconds.to_string()]);
    let counter = thread::spawn(move || {
        let lines = BufReader::new(changes).lines().map_while(Result::ok);
        lines.filter(|line| line.contains("\"state\":\"failed\"")).count()
    });
    let status = stress.status().context("cannot run stress-ng (package stress-ng)")?;
    anyhow::ensure!(status.success(), "stress-ng: {status}");
    drop(monitor);
    counter.join().map_err(|_| anyhow::anyhow!("the counter ended badly"))
}

/// A process that is ended when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
