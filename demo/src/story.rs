//! The story: the virtual network built by `ldm`, the commands of the seed, then traffic during which `primary` reboots.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dlmp_testbed::{End, Environment, Flow, Pins, Record, Scene};

/// Packets a second, each way.
const RATE: u32 = 1000;
/// How long the traffic lasts.
const TRAFFIC: Duration = Duration::from_secs(10);
/// When `primary` goes down, from the start of the traffic.
pub const REBOOT: Duration = Duration::from_secs(3);
/// How long `primary` is away.
const ABSENCE: Duration = Duration::from_secs(3);
/// Lines of the daemon's log that are shown when a command fails.
const LOG_LINES: usize = 20;

/// What shows the virtual network, typed in the domain named before it, word for word as the seed has it.
const PREPARATIONS: [(&str, &str); 5] = [
    ("primary", "dladm show-phys  net0"),
    ("ldg5", "dladm show-phys net2"),
    ("primary", "ldm list-netdev ldg6"),
    ("ldg6", "dladm show-phys"),
    ("primary", "ldm list \u{2013}o network ldg6"),
];

/// What is typed in the guest, word for word as the seed has it, its en dashes included.
const LINES: [&str; 6] = [
    "dladm  create-aggr -m dlmp -l net0 -l net1 aggr0",
    "ipadm create-ip aggr0",
    "ipadm create-addr \u{2013}T dhcp aggr0/v4",
    "dladm show-aggr aggr0",
    "dladm show-aggr \u{2013}x",
    "ipadm",
];

const INTRODUCTION: &str = "\
The guest ldg6 gets two virtual network devices: net0, on the virtual switch of
the service domain primary, and net1, on that of the service domain ldg5. Both
switches have an uplink into one external switch, and behind it is the external
host domain with a DHCP server. ldmd runs in primary and builds what ldm says.
";

/// Plays the story and returns what was recorded of the traffic.
pub fn play(out: &mut impl Write, pins: Pins) -> Result<Record> {
    let scene = Scene::new("dlmp-demo")?;
    let _dhcp = scene.start_dhcp()?;
    let primary = scene.primary.dlmp();
    let ldg5 = Environment::new(&scene.ldg5, Pins::None)?;
    let ldg6 = Environment::new(&scene.ldg6, pins)?;
    scene.primary.start()?;
    writeln!(out, "{INTRODUCTION}")?;

    for line in scene.lines() {
        type_line(out, primary, "primary", &line)?;
    }
    for (domain, line) in PREPARATIONS {
        let environment = match domain {
            "primary" => primary,
            "ldg5" => &ldg5,
            _ => &ldg6,
        };
        type_line(out, environment, domain, line)?;
    }
    for line in LINES {
        type_line(out, &ldg6, "ldg6", line)?;
    }
    let address = guest_address(&scene)?;
    let record = traffic(out, &scene, address)?;
    writeln!(out)?;
    type_line(out, &ldg6, "ldg6", "dladm show-aggr \u{2013}x")?;
    type_line(out, primary, "primary", "ldm list-netdev ldg6")?;
    Ok(record)
}

/// Shows a line behind its prompt, runs it and shows its output.
pub fn type_line(out: &mut impl Write, environment: &Environment, prompt: &str, line: &str) -> Result<()> {
    writeln!(out, "{prompt}# {line}")?;
    out.flush()?;
    let output = environment.line(line).output().with_context(|| format!("cannot run {line}"))?;
    out.write_all(&output.stdout)?;
    out.write_all(&output.stderr)?;
    writeln!(out)?;
    if !output.status.success() {
        let daemon = if line.starts_with("ldm") { "ldmd.log" } else { "dlmpd.log" };
        let log = environment.runtime_dir().join(daemon);
        bail!("`{line}` in {prompt}: {}{}", output.status, last_lines(&log));
    }
    Ok(())
}

/// The end of the daemon's log, as the log itself is about to be removed.
fn last_lines(log: &Path) -> String {
    let Ok(text) = fs::read_to_string(log) else {
        return String::new();
    };
    let lines: Vec<_> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    format!("\nthe daemon's log ends with:\n{}", last.join("\n"))
}

/// The address that the guest got by DHCP.
fn guest_address(scene: &Scene) -> Result<IpAddr> {
    let addresses = scene.ldg6.addresses("aggr0")?;
    addresses.into_iter().find(IpAddr::is_ipv4).context("aggr0 has no IPv4 address")
}

/// Sends packets both ways between the guest and the external host while `primary` reboots.
fn traffic(out: &mut impl Write, scene: &Scene, address: IpAddr) -> Result<Record> {
    writeln!(
        out,
        "Traffic both ways between ldg6 ({address}) and domain ({}),\n{RATE} packets a second \
         each way for {} s:",
        Scene::DOMAIN,
        TRAFFIC.as_secs()
    )?;
    out.flush()?;
    let (guest, domain) = (End::new(&scene.ldg6, address), End::new(&scene.domain, Scene::DOMAIN));
    Flow::new(guest, domain, RATE, TRAFFIC)
        .watch(&scene.ldg6, &["net0", "net1"])
        .event(REBOOT, "primary reboots", || {
            announce(REBOOT, "primary# reboot")?;
            scene.primary_goes_down();
            Ok(())
        })
        .event(REBOOT + ABSENCE, "primary is back", || {
            scene.primary_comes_back()?;
            announce(REBOOT + ABSENCE, "primary is back")
        })
        .run()
}

/// Tells what happens while it happens.
fn announce(at: Duration, what: &str) -> Result<()> {
    writeln!(io::stdout(), "{:4} s  {what}", at.as_secs()).context("cannot write")
}
