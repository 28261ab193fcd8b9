//! What the daemon takes: processor time and memory with many aggregations probed.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dlmp_testbed::{Environment, Namespace, Pins};

use crate::network::output;
use crate::report::{Spread, Table};

/// As many as the figure is asked for; DLMP_BENCH_AGGREGATIONS takes another number.
const AGGREGATIONS: usize = 256;
const PORTS: usize = 4;
const SAMPLES: usize = 9;
const SAMPLE: Duration = Duration::from_secs(2);
/// Clock ticks a second in /proc/PID/stat (proc(5): USER_HZ is 100 on every architecture that we build for).
const TICKS: f64 = 100.0;

/// Builds the aggregations, each on a switch of its own with a target, measures and returns the table.
pub fn measure() -> Result<String> {
    let aggregations = match std::env::var("DLMP_BENCH_AGGREGATIONS") {
        Ok(number) => number.parse().context("DLMP_BENCH_AGGREGATIONS is no number")?,
        Err(_) => AGGREGATIONS,
    };
    let [guest, switch, host] = ["guest", "switch", "host"].map(|name| Namespace::new("bc", name));
    let (guest, switch, host) = (guest?, switch?, host?);
    for number in 0..aggregations {
        connect(&guest, &switch, &host, number)?;
    }
    let dlmp = Environment::new(&guest, Pins::None)?;
    for number in 0..aggregations {
        eprint!("\raggregation {} of {aggregations}", number + 1);
        create(&dlmp, number)?;
    }
    eprintln!();
    settle(&dlmp, aggregations)?;
    let [pid] = dlmp.daemons()[..] else { bail!("not one daemon") };

    let mut shares = Vec::new();
    for _ in 0..SAMPLES {
        let (before, start) = (cpu_seconds(pid)?, Instant::now());
        thread::sleep(SAMPLE);
        shares.push((cpu_seconds(pid)? - before) / start.elapsed().as_secs_f64() * 100.0);
    }
    let mut table = Table::new(&["aggregations", "ports", "% of one core", "resident memory, MiB"]);
    let share = Spread::of(shares).text(1);
    let memory = format!("{:.1}", resident_mebibytes(pid)?);
    table.row(&[&aggregations.to_string(), &(aggregations * PORTS).to_string(), &share, &memory]);
    Ok(format!(
        "One daemon, every aggregation probed at the default detection time. The processor time is the process's own, with\nthe kernel's work for it that is accounted to it. Aim: 10 % and 30 MiB.\n\n{table}"
    ))
}

fn connect(guest: &Namespace, switch: &Namespace, host: &Namespace, number: usize) -> Result<()> {
    let mut lines = vec![
        format!("link add name b{number} type bridge stp_state 0 mcast_snooping 0"),
        format!("link set b{number} up"),
    ];
    switch.ip(&lines.join("\n"))?;
    for port in 0..PORTS {
        guest.ip(&format!(
            "link add name a{number}p{port} type veth peer name a{number}q{port} netns {}",
            switch.name()
        ))?;
    }
    host.ip(&format!("link add name h{number} type veth peer name h{number} netns {}", switch.name()))?;
    lines.clear();
    for end in (0..PORTS).map(|port| format!("a{number}q{port}")).chain([format!("h{number}")]) {
        lines.push(format!("link set {end} master b{number}\nlink set {end} up"));
    }
    switch.ip(&lines.join("\n"))?;
    host.ip(&format!("address add {}/24 dev h{number}\nlink set h{number} up", address(number, 1)))
}

fn create(dlmp: &Environment, number: usize) -> Result<()> {
    let ports: String = (0..PORTS).map(|port| format!(" -l a{number}p{port}")).collect();
    for line in [
        format!("dladm create-aggr -t{ports} aggr{number}"),
        format!("ipadm create-ip -t aggr{number}"),
        format!("ipadm create-addr -t -a {}/24 aggr{number}/v4", address(number, 2)),
        format!("dladm set-linkprop -t -p probe-ip=+{} aggr{number}", address(number, 1)),
    ] {
        output(&mut dlmp.line(&line))?;
    }
    Ok(())
}

fn address(number: usize, last: u8) -> String {
    format!("10.{}.{}.{last}", number / 200, number % 200)
}

/// Waits until probes decide in every aggregation.
fn settle(dlmp: &Environment, aggregations: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = output(&mut dlmp.line("dladm show-aggr -p -o detection"))?;
        let probed = text.lines().filter(|line| *line == "link and probes").count();
        if probed == aggregations {
            thread::sleep(Duration::from_secs(3));
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("probes decide in {probed} of {aggregations} aggregations after a minute");
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// User and system time of a process (proc_pid_stat(5), fields 14 and 15).
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    let field = |at: usize| rest.split(' ').nth(at).and_then(|text| text.parse::<f64>().ok());
    let ticks = field(11).zip(field(12)).context("/proc/PID/stat is not as it should be")?;
    Ok((ticks.0 + ticks.1) / TICKS)
}

fn resident_mebibytes(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}
