//! Nanoseconds a packet under real traffic: of one client, and of thousands in turn, so that none is in the caches
//! when its next frame comes.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use dlmp_datapath::MAX_LEARNED;

use super::scene::{Load, Scene};
use crate::datapath::Programs;
use crate::report::{Spread, Table};

const PORTS: usize = 4;
const ROUNDS: usize = 9;
const LENGTH: Duration = Duration::from_secs(1);
/// How many clients send and receive, one after the other.
const IN_TURN: [u16; 3] = [1, 64, MAX_LEARNED as u16];
/// Frames a second each way.
const RATE: u32 = 40_000;

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let others = Programs::loaded()?;
    let scene = Scene::new(PORTS)?;
    scene.learn(u16::try_from(MAX_LEARNED)?)?;
    let mut costs = IN_TURN.map(|_| [Vec::new(), Vec::new()]);
    Programs::with_statistics(|| {
        for round in 0..ROUNDS {
            eprintln!("traffic: round {} of {ROUNDS}", round + 1);
            for (costs, guests) in costs.iter_mut().zip(IN_TURN) {
                let load = Load { guests: (0..guests).collect(), rate: RATE, length: 60 };
                let [egress, ingress] = others.costs(|| {
                    scene.load(&load, |_| {
                        thread::sleep(LENGTH);
                        Ok(())
                    })?;
                    Ok(())
                })?;
                costs[0].push(egress);
                costs[1].push(ingress);
            }
        }
        Ok(())
    })?;
    let mut table = Table::new(&["clients in turn", "egress of the aggregation", "ingress of a port"]);
    for (costs, guests) in costs.into_iter().zip(IN_TURN) {
        let [egress, ingress] = costs.map(|values| Spread::of(values).text(0));
        table.row(&[&guests.to_string(), &egress, &ingress]);
    }
    Ok(format!(
        "With {MAX_LEARNED} learned clients, {RATE} frames a second each way, those of a few clients or of all, one after the other;\n{ROUNDS} rounds of {} s each, in turn. Nanoseconds a packet by the kernel's statistics, whose own two clock reads are in the figure.\n\n{table}",
        LENGTH.as_secs()
    ))
}
