//! Many clients on one aggregation: what they cost a packet, how fast they all move, and what two ports carry.

mod cost;

use anyhow::Result;

/// Measures and returns the section.
pub fn measure() -> Result<String> {
    Ok(format!("### Cost a packet\n\n{}", cost::measure()?))
}
