//! Many clients on one aggregation: what they cost a packet, how fast they all move, and what two ports carry.

mod cost;
mod faults;
mod scene;
mod traffic;
mod uplinks;

use anyhow::Result;

/// Measures and returns the sections.
pub fn measure() -> Result<String> {
    Ok(format!(
        "### Cost a packet\n\n{}\n{}\n### Failover and return\n\n{}\n### Sum of the uplinks\n\n{}",
        cost::measure()?,
        traffic::measure()?,
        faults::measure()?,
        uplinks::measure()?
    ))
}
