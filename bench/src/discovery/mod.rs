//! Managers that find each other: how soon `dlmp discover` shows hundreds of them, and what it costs one `ldmd` to be asked.

mod asked;
mod crowd;
mod found;
mod link;
mod questions;

use anyhow::Result;

/// Measures both and prints each table when it is there.
pub fn measure() -> Result<()> {
    println!("### Finding them\n\n{}", found::measure()?);
    println!("### One that is asked\n\n{}", asked::measure()?);
    Ok(())
}
