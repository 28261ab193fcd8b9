//! Carrier loss of the port that carries the traffic: how long the traffic stops, and what is lost when
//! the port returns.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use dlmp_testbed::Flow;

use crate::aggregator::System;
use crate::network::{Network, PORTS, packets};
use crate::report::{Spread, Table};

const FAULTS: usize = 20;
/// After so many everything is made anew: a port that fails again and again is left alone by some systems,
/// which is not what is measured here.
const FAULTS_EACH: usize = 2;
/// Packets a second, each way.
const RATE: u32 = 1000;
/// The fault comes after this time at the earliest, and at random within the next [`PHASE`], which is
/// longer than any of the systems' own periods.
const QUIET: Duration = Duration::from_millis(400);
const PHASE: Duration = Duration::from_millis(250);
/// So long before the fault the ports' traffic is looked at.
const LOOK: Duration = Duration::from_millis(150);
/// From the fault to the repair, and from there to the end.
const FAULT: Duration = Duration::from_millis(2000);
const REPAIRED: Duration = Duration::from_millis(800);

/// What became of one direction over all faults.
#[derive(Default)]
struct Way {
    /// The longest outage after each fault, in milliseconds; 0 if nothing was lost.
    outages: Vec<f64>,
    lost_on_return: u64,
    /// Without any fault of the network.
    lost_before: u64,
    /// The longest time by which a sender was late.
    held_up: Duration,
    duplicated: u64,
}

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The port loses its carrier.
    Carrier,
    /// The switch behind it loses its uplink; every carrier stays up.
    Silent,
}

impl Fault {
    const fn text(self) -> &'static str {
        match self {
            Self::Carrier => "The busy port loses its carrier and gets it back",
            Self::Silent => {
                "The switch of the busy port is cut off from the rest and joined again, with every carrier up"
            }
        }
    }
}

/// Puts the systems through the same faults, one after the other, and returns the table.
pub fn measure(fault: Fault, systems: &[System]) -> Result<String> {
    let mut table = Table::new(&[
        "system",
        "guest to host: outage, ms",
        "host to guest: outage, ms",
        "lost on return",
        "lost before the fault",
        "duplicated",
        "sender late by at most, ms",
    ]);
    for &system in systems {
        eprintln!("{}: {FAULTS} faults, {fault:?}", system.name());
        let [forth, back] = faults(fault, system)?;
        let outage = |way: &Way| Spread::of(way.outages.clone()).text(1);
        eprintln!("outage, ms: {} and {}", outage(&forth), outage(&back));
        table.row(&[
            system.name(),
            &outage(&forth),
            &outage(&back),
            &format!("{} + {}", forth.lost_on_return, back.lost_on_return),
            &format!("{} + {}", forth.lost_before, back.lost_before),
            &format!("{} + {}", forth.duplicated, back.duplicated),
            &forth.held_up.max(back.held_up).as_millis().to_string(),
        ]);
    }
    Ok(format!("{}, {FAULTS} times, under {RATE} packets a second each way.\n\n{table}", fault.text()))
}

fn faults(fault: Fault, system: System) -> Result<[Way; 2]> {
    let mut ways = [Way::default(), Way::default()];
    for number in 0..FAULTS / FAULTS_EACH {
        eprint!("\r{} of {FAULTS} ", number * FAULTS_EACH);
        let network = Network::new()?;
        let aggregator = system.start(&network)?;
        for _ in 0..FAULTS_EACH {
            one_fault(fault, &network, &mut ways)?;
        }
        drop(aggregator);
    }
    eprintln!();
    Ok(ways)
}

fn one_fault(fault: Fault, network: &Network, ways: &mut [Way; 2]) -> Result<()> {
    let at = QUIET + random_phase()?;
    let repair = at + FAULT;
    let (guest, host) = network.ends();
    // Which port is busy is seen just before the fault: a system may have moved the traffic meanwhile.
    let before = Cell::new([0; 2]);
    let port = Cell::new(0);
    let record = Flow::new(guest, host, RATE, repair + REPAIRED)
        .event(at - LOOK, "look", || {
            before.set(traffic(network)?);
            Ok(())
        })
        .event(at, "fault", || {
            let (before, after) = (before.get(), traffic(network)?);
            port.set(usize::from(after[1] - before[1] > after[0] - before[0]));
            match fault {
                Fault::Carrier => network.cut(port.get()),
                Fault::Silent => network.cut_silently(port.get()),
            }
        })
        .event(repair, "repair", || match fault {
            Fault::Carrier => network.mend(port.get()),
            Fault::Silent => network.mend_silently(port.get()),
        })
        .run()?;
    // The commands that break and mend take their time on a busy machine; a fault cut short measures nothing.
    let lasted = record.events[2].began.saturating_sub(record.events[1].done);
    let end = record.forth.sent.last().copied().unwrap_or_default();
    ensure!(
        lasted >= FAULT / 2 && record.events[2].done < end,
        "the fault lasted {lasted:?} instead of {FAULT:?}, or outlasted the flow: the machine is too busy to measure"
    );
    for (way, stream) in ways.iter_mut().zip([&record.forth, &record.back]) {
        let after_fault = stream.report(record.after_event(1));
        way.outages.push(after_fault.outage.map_or(0.0, |outage| outage.length.as_secs_f64() * 1e3));
        way.lost_on_return += stream.report(record.after_event(2)).lost;
        way.lost_before += stream.report(Duration::ZERO..record.events[1].began).lost;
        way.held_up = way.held_up.max(stream.total().held_up);
        way.duplicated += stream.total().duplicated;
    }
    Ok(())
}

/// Packets that passed each port so far, both ways.
fn traffic(network: &Network) -> Result<[u64; 2]> {
    let [first, second] = PORTS.map(|port| packets(&network.guest, port));
    Ok([first?, second?].map(|both| both.iter().sum()))
}

/// A time below [`PHASE`] that depends on nothing the systems do.
pub fn random_phase() -> Result<Duration> {
    let nanoseconds = u128::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos());
    let phase = u64::try_from(nanoseconds % PHASE.as_nanos())?;
    Ok(Duration::from_nanos(phase))
}
