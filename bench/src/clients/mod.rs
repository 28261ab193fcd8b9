//! Many clients on one aggregation: what they cost a packet, how fast they all move, and what two ports carry.

mod cost;
mod faults;
mod scene;
mod traffic;
mod uplinks;

use anyhow::Result;

/// Measures and prints the sections, each when it is done.
pub fn measure() -> Result<()> {
    println!("### Cost a packet\n\n{}", cost::measure()?);
    println!("{}", traffic::measure()?);
    println!("### Failover and return\n\n{}", faults::measure()?);
    println!("### Sum of the uplinks\n\n{}", uplinks::measure()?);
    Ok(())
}
