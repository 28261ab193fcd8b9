//! How soon a guest sees that the uplink lost or got its carrier.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dlmp_netlink::ethtool::Ethtool;
use dlmp_testbed::LinkControl;

use super::scene::{OUTSIDE, Scene};
use crate::report::{Spread, Table};

const REPEATS: usize = 100;
/// Between two changes, beside a part of it that is never the same: nothing is to fall into step.
const PAUSE: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(2);

/// Measures and returns the table.
pub fn measure(scene: &Scene) -> Result<String> {
    eprintln!("link state: {REPEATS} changes each way");
    let uplink = LinkControl::new(&scene.outside)?;
    let guest = scene.guests[0].enter(Ethtool::open)??;
    let (mut downs, mut ups) = (Vec::new(), Vec::new());
    for number in 0..REPEATS {
        for (up, times) in [(false, &mut downs), (true, &mut ups)] {
            thread::sleep(PAUSE + Duration::from_micros((number as u64 * 617) % 4000));
            let start = Instant::now();
            if up {
                uplink.up(OUTSIDE[0])?
            } else {
                uplink.down(OUTSIDE[0])?
            }
            while guest.carrier("net0")? != Some(up) {
                ensure!(start.elapsed() < PATIENCE, "the guest's port does not show the uplink's carrier");
            }
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let mut table = Table::new(&["change of the uplink's carrier", "until the guest's port shows it, ms"]);
    table.row(&["lost", &Spread::of(downs).text(1)]);
    table.row(&["back", &Spread::of(ups).text(1)]);
    Ok(format!("{REPEATS} changes each way, from the call that makes it. Aim: 5 ms.\n\n{table}"))
}
