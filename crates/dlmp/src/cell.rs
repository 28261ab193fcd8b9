//! The values of tables, and how each is shown to people, to scripts and to programs.

use dlmp_wire::MacAddr;
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Result};

/// One value of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// There is none: `--`, empty with `-p`, null in JSON.
    Absent,
    /// There is one that cannot be found out now: `?`, empty with `-p`, null in JSON.
    Unknown,
    /// Text.
    Text(String),
    /// Text that repeats the row above: blank in columns, printed with `-p` and in JSON.
    Repeated(String),
    /// Text that repeats the row above: `--` in columns, printed with `-p` and in JSON.
    Ditto(String),
    /// Text that stands under the row above: indented in columns.
    Indented(String),
    /// A number.
    Number(u64),
    /// A counter: scaled by thousands in columns (`1.50K`).
    Counter(u64),
    /// A speed in Mb/s: `1000Mb`, and `0Mb` when the device does not say.
    Speed(Option<u64>),
    /// A time in nanoseconds: seconds with two decimals (`0.53s`), in JSON a number of seconds.
    Seconds(i64),
    /// A time in nanoseconds: milliseconds with two decimals (`0.62ms`), in JSON a number of milliseconds.
    Milliseconds(i64),
    /// A MAC address, printed without leading zeros as Solaris does.
    Mac(MacAddr),
    /// `yes` or `no`.
    Flag(bool),
    /// Names, joined by commas; none of them is `--`, and an empty array in JSON.
    List(Vec<String>),
    /// Counters by name; those that are zero are left out except in JSON.
    Counters(Vec<(String, u64)>),
}

impl Cell {
    /// Text, or [`Cell::Absent`].
    pub fn text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Absent, |text| Self::Text(text.into()))
    }

    /// For people.
    pub fn shown(&self) -> String {
        match self {
            Self::Absent | Self::Ditto(_) => "--".into(),
            Self::List(names) if names.is_empty() => "--".into(),
            Self::Unknown => "?".into(),
            Self::Repeated(_) => String::new(),
            Self::Indented(text) => format!("  {text}"),
            Self::Counter(number) => scaled(*number),
            Self::Counters(counters) if counters.iter().all(|(_, count)| *count == 0) => "--".into(),
            other => other.parseable(),
        }
    }

    /// For scripts; not escaped.
    pub fn parseable(&self) -> String {
        match self {
            Self::Absent | Self::Unknown => String::new(),
            Self::Text(text) | Self::Repeated(text) | Self::Ditto(text) | Self::Indented(text) => text.clone(),
            Self::Seconds(time) => format!("{:.2}s", *time as f64 / 1e9),
            Self::Milliseconds(time) => format!("{:.2}ms", *time as f64 / 1e6),
            Self::Number(number) | Self::Counter(number) => number.to_string(),
            Self::Speed(speed) => format!("{}Mb", speed.unwrap_or(0)),
            Self::Mac(mac) => mac.short().to_string(),
            Self::Flag(flag) => if *flag { "yes" } else { "no" }.into(),
            Self::List(names) => names.join(","),
            Self::Counters(counters) => {
                let counted = counters.iter().filter(|(_, count)| *count != 0);
                counted.map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(",")
            }
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        match self {
            Self::Absent | Self::Unknown => Value::Null,
            Self::Text(text) | Self::Repeated(text) | Self::Ditto(text) | Self::Indented(text) => json!(text),
            Self::Seconds(time) => json!(*time as f64 / 1e9),
            Self::Milliseconds(time) => json!(*time as f64 / 1e6),
            Self::Number(number) | Self::Counter(number) => json!(number),
            Self::Speed(speed) => json!(speed),
            Self::Mac(mac) => json!(mac.to_string()),
            Self::Flag(flag) => json!(flag),
            Self::List(names) => json!(names),
            Self::Counters(counters) => {
                counters.iter().map(|(name, count)| (name.clone(), json!(count))).collect::<Map<_, _>>().into()
            }
        }
    }
}

/// Text as it may be printed, whoever made it up: a guest that names its links, and a manager that says who it is, must
/// neither control the terminal of whoever looks nor reorder the line.
pub fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() || rearranges(letter) { '?' } else { letter }).collect()
}

/// Whether it ends a line or changes the direction of writing (Unicode Standard Annex 9, 2).
const fn rearranges(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A counter as `dlstat`(8) prints it: as it is below 1000, else in thousands with two decimals.
fn scaled(number: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    // In integers, because a double would round 999_999 up to "1000.00K".
    let (mut unit, mut rest) = (1000, ["M", "G", "T", "P", "E"].iter());
    let mut letter = "K";
    while number / unit >= 1000
        && let Some(next) = rest.next()
    {
        unit *= 1000;
        letter = next;
    }
    format!("{}.{:02}{letter}", number / unit, number % unit / (unit / 100))
}

/// A speed as the daemon tells it, in Mb/s.
pub fn speed(speed: Option<i64>) -> Cell {
    Cell::Speed(speed.and_then(|speed| u64::try_from(speed).ok()))
}

/// A MAC address as the daemon tells it.
///
/// # Errors
/// It is none.
pub fn mac(text: Option<&str>) -> Result<Cell> {
    let Some(text) = text else {
        return Ok(Cell::Absent);
    };
    let mac = text.parse().map_err(|error| Failure::Refused(format!("dlmpd answered {text:?}, which is {error}")))?;
    Ok(Cell::Mac(mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_control_the_terminal_or_reorder_the_line() {
        assert_eq!(plain("a\u{1b}[2J\r\n\u{7f}\u{9b}b"), "a?[2J????b");
        assert_eq!(plain("host\u{202e}gpj\u{2066}\u{200f}\u{2028}"), "host?gpj???");
        assert_eq!(plain("m\u{fc}nchen-1.example"), "m\u{fc}nchen-1.example");
    }

    #[test]
    fn counters_are_scaled_by_thousands_and_never_rounded_up() {
        let expected = [
            (0, "0"),
            (999, "999"),
            (1000, "1.00K"),
            (1999, "1.99K"),
            (999_999, "999.99K"),
            (101_880_000, "101.88M"),
            (u64::MAX, "18.44E"),
        ];
        for (number, text) in expected {
            assert_eq!(scaled(number), text);
        }
    }
}
