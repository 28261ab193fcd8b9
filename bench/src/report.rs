//! Medians, and tables in Markdown.

use std::{fmt, fs};

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
    // Of the machine that this one runs on, if scripts/vm has told it.
    let load = std::env::var("MACHINE_LOAD").or_else(|_| fs::read_to_string("/proc/loadavg")).unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "Measured with {cpus} CPUs, Linux {}, load before the run {load}. Medians, least and greatest in brackets.\n",
        kernel.trim()
    )
}

/// A table in Markdown.
pub struct Table {
    lines: Vec<String>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[&str]) -> Self {
        let mut table = Self { lines: Vec::new() };
        table.row(columns);
        table.row(&vec!["---"; columns.len()]);
        table
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[&str]) {
        self.lines.push(format!("| {} |", cells.join(" | ")));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
