//! Managers that find each other: how soon `dlmp discover` shows hundreds of them, and what it costs one `ldmd` to be asked.

mod asked;
mod crowd;
mod found;
mod link;
mod questions;

use anyhow::Result;

/// Measures both and returns the tables.
pub fn measure() -> Result<String> {
    Ok(format!("### Finding them\n\n{}\n### One that is asked\n\n{}", found::measure()?, asked::measure()?))
}
