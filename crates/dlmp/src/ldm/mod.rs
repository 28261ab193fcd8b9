//! The commands of `ldm`: domains, virtual switches and virtual network devices, which `ldmd` keeps. Here is what
//! their listings have in common.

pub mod attach;
pub mod domain;
pub mod list;
pub mod manager;
pub mod netdev;
mod network;
mod operands;
mod record;
mod summary;
pub mod switch;
pub mod vnet;

use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::output::{Format, Table};

/// A table under a heading of its own, as listings of several kinds of things have it.
///
/// # Errors
/// As [`Format::render`].
fn section(heading: &str, table: Table) -> Result<String> {
    let table = Format::default().render(&table.underlined(), true)?;
    Ok(format!("{heading}\n{}", indented(&table)))
}

/// Lines of a section, which stand under its heading.
fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("    {line}\n")).collect()
}

/// What is wrong with things, a line each.
fn problems<'a>(things: impl Iterator<Item = (String, &'a Option<String>)>) -> String {
    let line = |(name, problem): (String, &Option<String>)| Some(format!("Problem of {name}: {}\n", problem.as_ref()?));
    things.filter_map(line).collect()
}

/// The daemon's list as it stands.
///
/// # Errors
/// None is known; the type is that of writing any JSON.
fn json<T: Serialize>(list: &[T]) -> Result<String> {
    let text = serde_json::to_string(list).map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(text + "\n")
}

/// The value of `linkprop`.
fn linkprop(physstate: bool) -> Option<&'static str> {
    physstate.then_some("phys-state")
}

/// Bits a second in the largest unit that leaves a whole number: `1G`, `2500M`.
fn rate(bits: u64) -> String {
    let units = [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "K")];
    match units.iter().find(|(unit, _)| bits != 0 && bits.is_multiple_of(*unit)) {
        Some((unit, letter)) => format!("{}{letter}", bits / unit),
        None => bits.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_the_largest_unit_that_fits() {
        let expected = [
            (0, "0"),
            (999, "999"),
            (1500, "1500"),
            (64_000, "64K"),
            (2_500_000_000, "2500M"),
            (10_000_000_000, "10G"),
        ];
        for (bits, text) in expected {
            assert_eq!(rate(bits), text);
        }
    }
}
