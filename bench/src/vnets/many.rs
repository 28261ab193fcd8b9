//! Hundreds of vnets on one host: making them, and a restart of `ldmd`.

use std::time::Instant;

use anyhow::Result;
use dlmp_testbed::{Host, Namespace, veth};
use nix::sys::signal::Signal;

use crate::network::output;
use crate::report::Table;

const DOMAINS: usize = 50;
const VNETS: usize = 10;

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let (namespace, outside) = (Namespace::new("bn", "host")?, Namespace::new("bn", "outside")?);
    veth((&namespace, "net0"), (&outside, "out0"))?;
    let guests: Vec<Namespace> =
        (0..DOMAINS).map(|number| Namespace::new("bn", &format!("g{number}"))).collect::<Result<_>>()?;
    let host = Host::new(&namespace)?;
    host.start()?;
    let ldm = |line: String| output(&mut host.dlmp().line(&line));
    ldm("ldm add-vsw net-dev=net0 vsw0 primary".into())?;
    for (number, guest) in guests.iter().enumerate() {
        ldm(format!("ldm add-domain --netns {} g{number}", guest.name()))?;
    }
    eprintln!("{} vnets", DOMAINS * VNETS);
    let start = Instant::now();
    for number in 0..DOMAINS {
        for vnet in 0..VNETS {
            ldm(format!("ldm add-vnet linkprop=phys-state custom=enable vnet{vnet} vsw0 g{number}"))?;
        }
    }
    let made = start.elapsed();

    eprintln!("restart");
    host.end(Signal::SIGKILL)?;
    let start = Instant::now();
    host.start()?;
    let taken_over = start.elapsed();

    eprintln!("restart without the links");
    host.end(Signal::SIGKILL)?;
    // With its links' other ends each namespace loses them all.
    guests.iter().try_for_each(|guest| (0..VNETS).try_for_each(|vnet| guest.ip(&format!("link delete net{vnet}"))))?;
    namespace.ip("link delete vsw0")?;
    let start = Instant::now();
    host.start()?;
    let rebuilt = start.elapsed();

    let mut table = Table::new(&["what", "seconds", "aim"]);
    let mut row = |what: &str, taken: std::time::Duration, aim: &str| {
        table.row(&[what, &format!("{:.1}", taken.as_secs_f64()), aim]);
    };
    row("making them, each by a command", made, "30");
    row("restart of ldmd, until all are taken over", taken_over, "10");
    row("restart of ldmd, until all that were deleted meanwhile are there again", rebuilt, "10");
    Ok(format!("{} vnets of {DOMAINS} domains on one switch.\n\n{table}", DOMAINS * VNETS))
}
