//! Medians, and the tables of `docs/benchmarks.md`.

use std::fs;
use std::path::Path;

use anyhow::Context;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");

/// Median, least and greatest of some values.
pub struct Spread {
    /// The value in the middle, or the mean of the two there.
    pub median: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self { median: f64::midpoint(low, high), least: values[0], greatest: values[values.len() - 1] }
    }

    /// `median (least to greatest)`.
    pub fn text(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$} to {:.digits$})", self.median, self.least, self.greatest)
    }
}

/// What the figures were measured on.
pub fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    format!(
        "Measured with {cpus} CPUs, Linux {}, load before the run {load}. Medians, least and greatest in brackets.\n",
        kernel.trim()
    )
}

/// Writes the tables in place of those in the document.
pub fn write(text: &str) -> anyhow::Result<()> {
    const TITLE: &str = "# Benchmarks\n\nMade by `sudo make bench`, which writes this file anew. The machines are small and noisy: ratios\nwithin one run and medians count, absolute figures do not.\n\n";
    // An installed program has no document to write; the tables were printed.
    if !Path::new(DOCUMENT).parent().is_some_and(Path::exists) {
        return Ok(());
    }
    fs::write(DOCUMENT, format!("{TITLE}{text}")).with_context(|| format!("cannot write {DOCUMENT}"))
}
