//! How long a new port takes until its filter has every group, and the memory that a group takes.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use dlmp_testbed::{Environment, Groups, Members, Namespace, Pins, veth};

use super::{PATIENCE, wait_until};
use crate::cost::resident_mebibytes;
use crate::network::{PORTS, output};
use crate::report::{Spread, Table};

/// Groups of the port that is new, and how often.
const GROUPS_OF_PORT: u32 = 4096;
const ROUNDS: usize = 9;
/// Groups whose memory is measured.
const GROUPS_IN_MEMORY: u32 = 100_000;
/// So long the daemon is left alone before its memory is looked at.
const REST: Duration = Duration::from_secs(3);

/// Measures and returns the table.
pub(super) fn measure() -> Result<String> {
    let mut table = Table::new(&["what", "median (least to greatest)"]);
    eprintln!("multicast: {GROUPS_OF_PORT} groups on a new port");
    let [from_command, from_first] = new_port()?;
    table.row(&["from the command that adds the port to the last group, ms", &Spread::of(from_command).text(0)]);
    table.row(&["from its first group to the last, ms", &Spread::of(from_first).text(0)]);
    eprintln!("multicast: memory of {GROUPS_IN_MEMORY} groups");
    let [before, after] = memory()?;
    table.row(&["resident memory of dlmpd without groups, MiB", &format!("{before:.1}")]);
    table.row(&[&format!("with {GROUPS_IN_MEMORY} groups, MiB"), &format!("{after:.1}")]);
    let each = (after - before) * f64::from(1 << 20) / f64::from(GROUPS_IN_MEMORY);
    table.row(&["bytes a group", &format!("{each:.0}")]);
    Ok(format!(
        "A port that is added to an aggregation with {GROUPS_OF_PORT} groups, {ROUNDS} times, and the daemon's memory. The groups are\n\
         joined on the aggregation's link.\n\n{table}"
    ))
}

/// A machine with two ports, the first of which is the aggregation's.
struct Machine {
    dlmp: Environment,
    guest: Namespace,
    _far: Namespace,
}

impl Machine {
    fn new() -> Result<Self> {
        let (guest, far) = (Namespace::new("bm", "guest")?, Namespace::new("bm", "far")?);
        for port in PORTS {
            veth((&guest, port), (&far, port))?;
        }
        let dlmp = Environment::new(&guest, Pins::Mounted)?;
        for line in [
            &format!("dladm create-aggr -l {} aggr0", PORTS[0]),
            "ipadm create-ip aggr0",
            "ipadm create-addr -T static -a 10.9.0.1/24 aggr0/v4",
        ] {
            output(&mut dlmp.line(line))?;
        }
        Ok(Self { dlmp, guest, _far: far })
    }

    /// Joins so many groups and waits until the port of the aggregation has them.
    fn join(&self, count: u32) -> Result<Members> {
        let members = Members::join(&self.guest, "aggr0", &[Groups::v4(0, count)])?;
        wait_until("the port has every group", || Ok(self.groups_of(PORTS[0])? >= count as usize))?;
        Ok(members)
    }

    /// Groups in the kernel's list of a link.
    fn groups_of(&self, link: &str) -> Result<usize> {
        let lists = self.guest.enter(|| fs::read_to_string("/proc/thread-self/net/dev_mcast"))??;
        Ok(lists.lines().filter(|line| line.split_ascii_whitespace().nth(1) == Some(link)).count())
    }

    /// When the second port has the first group more than `before`, and when as many as are wanted.
    fn watch(&self, before: usize, start: Instant) -> Result<[Duration; 2]> {
        let mut first = None;
        loop {
            let (count, now) = (self.groups_of(PORTS[1])?, start.elapsed());
            if count > before {
                first.get_or_insert(now);
            }
            if count >= GROUPS_OF_PORT as usize {
                return Ok([first.unwrap_or(now), now]);
            }
            ensure!(now < PATIENCE, "after {PATIENCE:?} the new port has {count} of {GROUPS_OF_PORT} groups");
            thread::sleep(Duration::from_micros(500));
        }
    }
}

/// Milliseconds from the command, and from the first group, until a new port has all groups.
fn new_port() -> Result<[Vec<f64>; 2]> {
    let machine = Machine::new()?;
    let _members = machine.join(GROUPS_OF_PORT)?;
    let (mut from_command, mut from_first) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = machine.groups_of(PORTS[1])?;
        let start = Instant::now();
        let (added, watched) = thread::scope(|scope| {
            let watch = scope.spawn(|| machine.watch(before, start));
            let added = output(&mut machine.dlmp.line(&format!("dladm add-aggr -l {} aggr0", PORTS[1])));
            (added, watch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        added?;
        let [first, last] = watched?;
        from_command.push(last.as_secs_f64() * 1e3);
        from_first.push((last - first).as_secs_f64() * 1e3);
        output(&mut machine.dlmp.line(&format!("dladm remove-aggr -l {} aggr0", PORTS[1])))?;
        wait_until("the port is as it was", || Ok(machine.groups_of(PORTS[1])? <= before))?;
    }
    Ok([from_command, from_first])
}

/// Resident mebibytes of the daemon without groups and with them.
fn memory() -> Result<[f64; 2]> {
    let machine = Machine::new()?;
    let [pid] = machine.dlmp.daemons()[..] else { bail!("not one daemon") };
    thread::sleep(REST);
    let before = resident_mebibytes(pid)?;
    let _members = machine.join(GROUPS_IN_MEMORY)?;
    thread::sleep(REST);
    Ok([before, resident_mebibytes(pid)?])
}
