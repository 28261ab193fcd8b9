//! What becomes of multicast: how long a stream stops in a fault, and what groups take.

mod sizes;
mod stops;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How long the daemon may take for anything here.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures both and returns the tables.
pub fn measure() -> Result<String> {
    Ok(format!("{}\n{}", stops::measure()?, sizes::measure()?))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < deadline, "waited for {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
