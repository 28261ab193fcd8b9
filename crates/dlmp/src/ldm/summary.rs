//! How a domain is listed: its row with the flags, and its record for scripts.

use dlmp_api::ldm::{Domain, PRIMARY};

use super::record::{maybe, record};
use crate::cell::Cell;
use crate::failure::Result;
use crate::output::{Column, Format, Table};

const COLUMNS: [Column; 8] = [
    Column::new("NAME", 16),
    Column::new("STATE", 10),
    Column::new("FLAGS", 7),
    Column::new("CONS", 6),
    Column::new("VCPU", 4),
    Column::new("MEMORY", 7),
    Column::new("UTIL", 4),
    Column::new("UPTIME", 6),
];

/// The table of domains.
///
/// # Errors
/// As [`Format::render`].
pub fn domain_table(domains: &[Domain]) -> Result<String> {
    let rows = domains.iter().map(row).collect();
    Format::default().render(&Table { columns: &COLUMNS, rows }, true)
}

/// What `ldm` tells of processors and memory does not exist for domains here.
fn row(domain: &Domain) -> Vec<Cell> {
    vec![
        Cell::Text(domain.name.clone()),
        Cell::Text(domain.state.clone()),
        Cell::Text(flags(domain).iter().map(|(letter, _)| letter).collect()),
        Cell::Absent,
        Cell::Absent,
        Cell::Absent,
        Cell::Absent,
        Cell::text(domain.uptime.map(duration)),
    ]
}

/// A domain for scripts.
pub fn domain_record(domain: &Domain) -> String {
    let words: Vec<_> = flags(domain).iter().map(|(_, word)| *word).filter(|word| !word.is_empty()).collect();
    record(
        "DOMAIN",
        &[
            ("name", domain.name.clone()),
            ("state", domain.state.clone()),
            ("flags", words.join(",")),
            ("cons", String::new()),
            ("ncpu", String::new()),
            ("mem", String::new()),
            ("util", String::new()),
            ("uptime", maybe(domain.uptime)),
        ],
    )
}

/// The six flags of `ldm`(8), as letters and as words: starting or stopping, its health, delayed
/// reconfiguration, control domain, service domain, migration. What cannot be here is never set.
fn flags(domain: &Domain) -> [(char, &'static str); 6] {
    const NONE: (char, &str) = ('-', "");
    let active = domain.state == "active";
    let health = match (active, &domain.problem) {
        (false, _) => NONE,
        (true, None) => ('n', "normal"),
        (true, Some(_)) => ('d', "degraded"),
    };
    let control = if domain.name == PRIMARY { ('c', "control") } else { NONE };
    let service = if active && domain.switches > 0 { ('v', "vio-service") } else { NONE };
    [NONE, health, NONE, control, service, NONE]
}

/// A time in seconds as `ldm` shows it: `3d 21h 7m`.
fn duration(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_days_hours_and_minutes() {
        let expected =
            [(0, "0s"), (59, "59s"), (60, "1m"), (3600, "1h 0m"), (86_400, "1d 0h 0m"), (334_025, "3d 20h 47m")];
        for (seconds, text) in expected {
            assert_eq!(duration(seconds), text);
        }
    }
}
