//! Carrier loss of the port that carries the traffic: how long the traffic stops, and what is lost when
//! the port returns.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use dlmp_testbed::{Flow, Record};

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
/// From the fault to the repair, longer than any system here takes to find it, and from there to the end.
const FAULT: Duration = Duration::from_millis(1500);
const REPAIRED: Duration = Duration::from_millis(800);
/// A fault that came or ended later than planned by more than this is repeated: what is left of it could be shorter
/// than the outage. It is no less than that since a system's own load makes faults late too, and to leave those out
/// would flatter it.
const LATE: Duration = Duration::from_millis(400);
/// So many are repeated for one system; with more the machine is too busy to measure.
const REPEATS: usize = 5;

/// What became of all faults of a system.
#[derive(Default)]
struct Outcome {
    forth: Way,
    back: Way,
    /// Faults that were not what they should be; nothing else of them is in here.
    repeated: usize,
}

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
        "faults repeated",
    ]);
    for &system in systems {
        eprintln!("{}: {FAULTS} faults, {fault:?}", system.name());
        let Outcome { forth, back, repeated } = match faults(fault, system) {
            Ok(outcome) => outcome,
            // The others are worth a table all the same.
            Err(error) => {
                eprintln!("{error:#}");
                table.row(&[system.name(), &format!("not measured: {error:#}"), "", "", "", "", "", ""]);
                continue;
            }
        };
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
            &repeated.to_string(),
        ]);
    }
    Ok(format!(
        "{}, {FAULTS} times, under {RATE} packets a second each way. A fault that came or ended more than {} ms late is \
         repeated.\n\n{table}",
        fault.text(),
        LATE.as_millis()
    ))
}

fn faults(fault: Fault, system: System) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    while outcome.forth.outages.len() < FAULTS {
        eprint!("\r{} of {FAULTS} ", outcome.forth.outages.len());
        let network = Network::new()?;
        let aggregator = system.start(&network)?;
        for _ in 0..FAULTS_EACH {
            let record = one_fault(fault, &network)?;
            if let Err(late) = check(&record) {
                eprintln!("{late:#}: repeated");
                outcome.repeated += 1;
                ensure!(
                    outcome.repeated <= REPEATS,
                    "{} faults were late, the last one since {late:#}",
                    outcome.repeated
                );
                // With a new network, since this system has seen a fault more than the others.
                break;
            }
            outcome.add(&record);
        }
        drop(aggregator);
    }
    eprintln!();
    Ok(outcome)
}

/// The flow before, during and after a fault: the events are a look at the ports, the fault, the repair.
fn one_fault(fault: Fault, network: &Network) -> Result<Record> {
    let at = QUIET + random_phase()?;
    let repair = at + FAULT;
    let (guest, host) = network.ends();
    // Which port is busy is seen just before the fault: a system may have moved the traffic meanwhile.
    let before = Cell::new([0; 2]);
    let port = Cell::new(0);
    Flow::new(guest, host, RATE, repair + REPAIRED)
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
        .run()
}

/// Refuses a record whose fault and repair were not at once, or not one after the other as planned.
fn check(record: &Record) -> Result<()> {
    let [_, fault, repair] = &record.events[..] else { bail!("no fault and no repair") };
    for event in [fault, repair] {
        let took = event.done.saturating_sub(event.began);
        ensure!(took <= LATE, "the {} took {took:?}", event.label);
    }
    let lasted = repair.began.saturating_sub(fault.done);
    ensure!(lasted.abs_diff(FAULT) <= LATE, "the fault lasted {lasted:?} instead of {FAULT:?}");
    Ok(())
}

impl Outcome {
    fn add(&mut self, record: &Record) {
        for (way, stream) in [(&mut self.forth, &record.forth), (&mut self.back, &record.back)] {
            let after_fault = stream.report(record.after_event(1));
            way.outages.push(after_fault.outage.map_or(0.0, |outage| outage.length.as_secs_f64() * 1e3));
            way.lost_on_return += stream.report(record.after_event(2)).lost;
            way.lost_before += stream.report(Duration::ZERO..record.events[1].began).lost;
            way.held_up = way.held_up.max(stream.total().held_up);
            way.duplicated += stream.total().duplicated;
        }
    }
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
