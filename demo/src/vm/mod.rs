//! The same story with a guest that is a virtual machine: an uplink is unplugged, a service domain reboots, and at last the
//! machine migrates to a second host while the traffic goes on.

mod echoes;
mod machine;
mod verdict;

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dlmp_testbed::{Host, Namespace, Scene};

use self::machine::{Machine, Migration};
pub use self::verdict::Verdict;
use crate::story::type_line;

/// When things happen, from the start of the traffic.
const UNPLUGGED: Duration = Duration::from_secs(3);
const PLUGGED: Duration = Duration::from_secs(6);
const REBOOT: Duration = Duration::from_secs(9);
const BACK: Duration = Duration::from_secs(12);
const MIGRATION: Duration = Duration::from_secs(16);
/// How long the traffic lasts.
const TRAFFIC: Duration = Duration::from_secs(26);

/// What is typed in the guest, as the seed has it.
const LINES: [&str; 7] = [
    "dladm  create-aggr -m dlmp -l net0 -l net1 aggr0",
    "dladm show-phys",
    "ipadm create-ip aggr0",
    "ipadm create-addr \u{2013}T dhcp aggr0/v4",
    "dladm show-aggr aggr0",
    "dladm show-aggr \u{2013}x",
    "ipadm",
];

const INTRODUCTION: &str = "\
The guest ldg6 is a virtual machine with a stock Debian kernel and dlmpd inside.
Its two network cards are vnets: net0, on the virtual switch of the service
domain primary, and net1, on that of the service domain ldg5. A second host has
the same switches and vnets, at the same external switch, for the machine to
migrate to.
";

/// The second host: its control domain and its other service domain.
struct Second {
    primary: Host,
    ldg5: Namespace,
}

/// Plays the story with the machine's kernel and root file system from `images`.
///
/// # Errors
/// When a command fails, or the machine does not start.
pub fn play(out: &mut impl Write, images: &Path) -> Result<Verdict> {
    let scene = Scene::new("dlmp-demo")?;
    let second = Second {
        primary: Host::new(&Namespace::new("dlmp-demo", "second")?)?,
        ldg5: Namespace::new("dlmp-demo", "second-ldg5")?,
    };
    scene.connect(second.primary.dlmp().namespace(), "net0", "to-second0")?;
    scene.connect(&second.ldg5, "net2", "to-second2")?;
    let _dhcp = scene.start_dhcp()?;
    scene.primary.start()?;
    second.primary.start()?;
    writeln!(out, "{INTRODUCTION}")?;

    build(out, &scene.primary, "primary", &scene.ldg5)?;
    let mut machine = Machine::start(&scene.primary, images, None)?;
    machine.boot()?;
    type_line(out, scene.primary.dlmp(), "primary", "ldm list")?;
    type_line(out, scene.primary.dlmp(), "primary", "ldm list-netdev ldg6")?;
    for line in LINES {
        type_in(out, &mut machine, line)?;
    }
    let address = address(&mut machine)?;

    build(&mut io::sink(), &second.primary, "second", &second.ldg5)?;
    let socket = second.primary.dlmp().runtime_dir().join("migration");
    let mut there = Machine::start(&second.primary, images, Some(&socket))?;
    let (record, migration) = traffic(out, &scene, &machine, &socket, address)?;
    drop(machine);
    writeln!(out)?;
    type_in(out, &mut there, "dladm show-aggr \u{2013}x")?;
    type_line(out, second.primary.dlmp(), "second", "ldm list-netdev ldg6")?;
    Ok(Verdict { record, migration })
}

/// Builds the virtual network of a host.
fn build(out: &mut impl Write, host: &Host, prompt: &str, ldg5: &Namespace) -> Result<()> {
    let custom = "linkprop=phys-state custom=enable";
    for line in [
        format!("ldm add-domain --netns {} ldg5", ldg5.name()),
        format!("ldm add-domain --vm {} ldg6", Machine::control(host).display()),
        "ldm add-vsw net-dev=net0 primary-vsw0 primary".into(),
        "ldm add-vsw net-dev=net2 ldg5-vsw0 ldg5".into(),
        format!("ldm add-vnet mac-addr={} {custom} vnet6 primary-vsw0 ldg6", Scene::NET0),
        format!("ldm add-vnet mac-addr={} {custom} vnet1 ldg5-vsw0 ldg6", Scene::NET1),
    ] {
        type_line(out, host.dlmp(), prompt, &line)?;
    }
    Ok(())
}

/// Shows a line behind the guest's prompt, runs it there and shows its output.
fn type_in(out: &mut impl Write, machine: &mut Machine, line: &str) -> Result<()> {
    writeln!(out, "ldg6# {line}")?;
    out.flush()?;
    let (printed, code) = machine.run(line)?;
    writeln!(out, "{printed}")?;
    if code != 0 {
        let (log, _) = machine.run("tail -n 20 /run/dlmp/dlmpd.log")?;
        bail!("`{line}` in ldg6 ended with code {code}; the daemon's log ends with:\n{log}");
    }
    Ok(())
}

/// The address that the guest got by DHCP.
fn address(machine: &mut Machine) -> Result<Ipv4Addr> {
    let (listing, _) = machine.run("ip -4 -o address show dev aggr0")?;
    let mut words = listing.split_whitespace().skip_while(|word| *word != "inet");
    let address = words.nth(1).and_then(|word| word.split('/').next()?.parse().ok());
    address.context("aggr0 has no IPv4 address")
}

fn traffic(
    out: &mut impl Write,
    scene: &Scene,
    machine: &Machine,
    second: &Path,
    address: Ipv4Addr,
) -> Result<(dlmp_testbed::Record, Migration)> {
    writeln!(out, "domain sends echo requests to ldg6 ({address}) for {} s:", TRAFFIC.as_secs())?;
    out.flush()?;
    let mut migration = None;
    let record = echoes::run(
        &scene.domain,
        address,
        TRAFFIC,
        vec![
            (
                UNPLUGGED,
                "primary's net0 is unplugged",
                Box::new(|| {
                    announce(UNPLUGGED, "the cable of primary's net0 is unplugged")?;
                    scene.switch.ip("link set dev to0 down")
                }),
            ),
            (
                PLUGGED,
                "it is plugged in again",
                Box::new(|| {
                    scene.switch.ip("link set dev to0 up")?;
                    announce(PLUGGED, "it is plugged in again")
                }),
            ),
            (
                REBOOT,
                "ldg5 reboots",
                Box::new(|| {
                    announce(REBOOT, "ldg5# reboot")?;
                    scene.ldg5.shut_down();
                    Ok(())
                }),
            ),
            (
                BACK,
                "ldg5 is back",
                Box::new(|| {
                    scene.ldg5.boot()?;
                    scene.connect(&scene.ldg5, "net2", "to2")?;
                    announce(BACK, "ldg5 is back")
                }),
            ),
            (
                MIGRATION,
                "ldg6 migrates",
                Box::new(|| {
                    announce(MIGRATION, "ldg6 migrates to the second host")?;
                    migration = Some(machine.migrate(second)?);
                    Ok(())
                }),
            ),
        ],
    )?;
    Ok((record, migration.context("it did not migrate")?))
}

/// Tells what happens while it happens.
fn announce(at: Duration, what: &str) -> Result<()> {
    writeln!(io::stdout(), "{:4} s  {what}", at.as_secs()).context("cannot write")
}
