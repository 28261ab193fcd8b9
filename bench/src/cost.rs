//! What the daemon takes: processor time and memory with many aggregations probed.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dlmp_testbed::{Environment, Namespace, Pins};
use serde_json::Value;

use crate::crossing;
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

    guest.ip("link add name bare type veth peer name end\nlink set bare up\nlink set end up")?;
    let (mut user, mut kernel, mut network) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let (before, frames, start) = (processor_time(pid)?, received(&guest)?, Instant::now());
        thread::sleep(SAMPLE);
        let (after, frames, length) = (processor_time(pid)?, received(&guest)? - frames, start.elapsed());
        let share = |seconds: f64| seconds / length.as_secs_f64() * 100.0;
        // The call and a driver are there on real ports too.
        let crossing = crossing::cost(&guest, "a0p1", "a0p0")?.saturating_sub(crossing::cost(&guest, "bare", "a0p0")?);
        user.push(share(after.0 - before.0));
        kernel.push(share(after.1 - before.1));
        network.push(share(frames as f64 * crossing.as_secs_f64()));
    }
    let all = user.iter().zip(&kernel).map(|(user, kernel)| user + kernel).collect();
    let mut table = Table::new(&[
        "aggregations",
        "ports",
        "% of one core",
        "of it user mode",
        "of it the kernel",
        "the simulated network, estimated",
        "resident memory, MiB",
    ]);
    let memory = format!("{:.1}", resident_mebibytes(pid)?);
    table.row(&[
        &aggregations.to_string(),
        &(aggregations * PORTS).to_string(),
        &Spread::of(all).text(1),
        &Spread::of(user).text(1),
        &Spread::of(kernel).text(1),
        &Spread::of(network).text(1),
        &memory,
    ]);
    Ok(format!(
        "One daemon, every aggregation probed at the default detection time. The processor time is the process's own, with\n\
         the kernel's work for it that is accounted to it. The simulated switches (veth, bridge) run inside the calls that send:\n\
         their part is the frames that the ports received, times what a frame of the same length from a bare socket takes more\n\
         to another port than over a single veth. Aim: 10 % and 30 MiB.\n\n{table}"
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
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let text = output(&mut dlmp.line("dladm show-aggr -p -o detection"))?;
        let probed = text.lines().filter(|line| *line == "link and probes").count();
        if probed == aggregations {
            thread::sleep(Duration::from_secs(3));
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("probes decide in {probed} of {aggregations} aggregations after two minutes");
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// User and system time of a process in seconds (proc_pid_stat(5), fields 14 and 15).
pub fn processor_time(pid: u32) -> Result<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    let field = |at: usize| rest.split(' ').nth(at).and_then(|text| text.parse::<f64>().ok());
    let (user, kernel) = field(11).zip(field(12)).context("/proc/PID/stat is not as it should be")?;
    Ok((user / TICKS, kernel / TICKS))
}

/// Frames that all ports have received so far.
fn received(guest: &Namespace) -> Result<u64> {
    let mut ip = guest.command("ip");
    let links: Value = serde_json::from_str(&output(ip.args(["-j", "-s", "link", "show", "type", "veth"]))?)?;
    let ports = links.as_array().into_iter().flatten();
    let ports =
        ports.filter(|link| link["ifname"].as_str().is_some_and(|name| name.starts_with('a') && name.contains('p')));
    Ok(ports.filter_map(|link| link["stats64"]["rx"]["packets"].as_u64()).sum())
}

/// Memory of a process that is in RAM (VmRSS in proc_pid_status(5)).
pub fn resident_mebibytes(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}
