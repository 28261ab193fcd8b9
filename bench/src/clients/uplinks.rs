//! What two ports carry beside one when each uplink is limited: the flows of eight guests.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::scene::{Load, Record, Scene};
use crate::network::output;
use crate::report::{Spread, Table};

const GUESTS: u16 = 8;
/// Both ports, then one; a pair after the other.
const PAIRS: usize = 5;
const LENGTH: Duration = Duration::from_secs(2);
/// What flows of a changed load need to fill the limits' queues.
const SETTLE: Duration = Duration::from_millis(300);
/// Of each uplink, each way, in Mbit/s.
const LIMIT: u32 = 100;
/// Bytes of a frame.
const FRAME: usize = 1400;
/// What all guests together offer each way: half of an uplink each, twice what both uplinks carry.
const RATE: u32 = GUESTS as u32 * LIMIT / 2 * 1_000_000 / 8 / FRAME as u32;

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let scene = Scene::new(2)?;
    scene.learn(GUESTS)?;
    for port in 0..2 {
        for (namespace, link) in [(&scene.machine, format!("net{port}")), (&scene.switch, format!("p{port}"))] {
            let limit = format!("rate {LIMIT}mbit burst 32kb latency 20ms");
            output(namespace.command("tc").args(["qdisc", "add", "dev", &link, "root", "tbf"]).args(limit.split(' ')))?;
        }
    }
    let [mut one, mut two, mut ratios] = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for pair in 0..PAIRS {
        eprintln!("uplinks: pair {} of {PAIRS}", pair + 1);
        let port = pair % 2;
        let both_ports = throughput(&scene)?;
        scene.switch.ip(&format!("link set dev p{port} down"))?;
        thread::sleep(SETTLE);
        let one_port = throughput(&scene)?;
        scene.mend(port)?;
        scene.wait_until_even()?;
        for way in 0..2 {
            one[way].push(one_port[way]);
            two[way].push(both_ports[way]);
            ratios[way].push(both_ports[way] / one_port[way]);
        }
    }
    let mut table = Table::new(&["way", "two ports, Mbit/s", "one port, Mbit/s", "ratio, pair by pair"]);
    for (((way, two), one), ratios) in ["guests to host", "host to guests"].iter().zip(two).zip(one).zip(ratios) {
        let [two, one] = [two, one].map(|values| Spread::of(values).text(1));
        table.row(&[way, &two, &one, &Spread::of(ratios).text(3)]);
    }
    Ok(format!(
        "An aggregation of two ports, each limited to {LIMIT} Mbit/s each way (tc-tbf(8)), and the flows of {GUESTS} guests, which offer twice\nwhat both carry. In turn with both ports and with one, {PAIRS} pairs of {} s each. Aim: a ratio of 1.9 or more.\n\n{table}",
        LENGTH.as_secs()
    ))
}

/// Mbit/s from the guests to the host and from the host to the guests.
fn throughput(scene: &Scene) -> Result<[f64; 2]> {
    let load = Load { guests: (0..GUESTS).collect(), rate: RATE, length: FRAME };
    let (Record { forth, back, .. }, window) = scene.load(&load, |start| {
        thread::sleep(SETTLE);
        let begin = start.elapsed();
        thread::sleep(LENGTH);
        Ok(begin..start.elapsed())
    })?;
    let seconds = (window.end - window.start).as_secs_f64();
    for stream in [&forth, &back] {
        let offered = stream.sent.iter().filter(|at| window.contains(at)).count() as f64 / seconds;
        let both_uplinks = f64::from(2 * LIMIT) * 1e6 / 8.0 / FRAME as f64;
        ensure!(
            offered > both_uplinks * 1.2,
            "this machine is too busy: {offered:.0} frames a second were sent, {both_uplinks:.0} fill both uplinks"
        );
    }
    Ok([forth, back].map(|stream| {
        let arrived = stream.arrivals.iter().filter(|arrival| window.contains(&arrival.at)).count();
        (arrived * FRAME * 8) as f64 / seconds / 1e6
    }))
}
