//! Virtual networks: what a vnet carries beside a plain veth on a plain bridge, how soon it shows the uplink's state, and how
//! long hundreds of them take.

mod carriers;
mod many;
mod scene;

use anyhow::Result;

use crate::report::Table;
use crate::way::{self, LENGTH, PAIRS};
use scene::Scene;

/// Measures and returns the tables.
pub fn measure() -> Result<String> {
    let scene = Scene::new()?;
    let mut table = Table::new(&["way", "vnet", "plain veth on a plain bridge", "ratio, pair by pair"]);
    for (name, ways) in [("vnet to uplink", scene.to_uplink()), ("vnet to vnet", scene.to_each_other())] {
        eprintln!("{name}");
        way::compare(ways, |row| table.row(&[&[&*format!("{name}: {}", row[0])], &row[1..]].concat()))?;
    }
    let carriers = carriers::measure(&scene)?;
    drop(scene);
    let many = many::measure()?;
    Ok(format!(
        "### Throughput\n\nIn turn, {PAIRS} pairs of {} s each; the vnet has linkprop=phys-state and custom=enable. Aim: a ratio of 0.97 or more.\n\n{table}\n\
         ### Link state\n\n{carriers}\n### Many vnets\n\n{many}",
        LENGTH.as_secs_f64()
    ))
}
