//! Tables: for people in columns, for scripts with `-p -o`, for programs with `-j`.

use std::io::Write;

use clap::Args;
use dlmp_wire::MacAddr;
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Result};

/// How a table is to be printed.
#[derive(Debug, Clone, Default, Args)]
pub struct Format {
    /// Parseable: no header, fields joined by `:`; needs -o
    #[arg(short, requires = "fields", conflicts_with = "json")]
    parseable: bool,
    /// Show these fields, in this order; `all` for every field there is
    #[arg(short = 'o', value_name = "FIELD,...", value_delimiter = ',')]
    fields: Vec<String>,
    /// Print JSON
    #[arg(short)]
    json: bool,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Characters that it takes at least, so that rows printed later stay in line.
    pub width: usize,
    /// Shown without being asked for. JSON always holds every column.
    pub default: bool,
}

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
    /// Text that stands under the row above: indented in columns.
    Indented(String),
    /// A number.
    Number(u64),
    /// A counter: scaled by thousands in columns (`1.50K`).
    Counter(u64),
    /// A speed in Mb/s: `1000Mb`, and `0Mb` when the device does not say.
    Speed(Option<u64>),
    /// A MAC address, printed without leading zeros as Solaris does.
    Mac(MacAddr),
    /// Several names.
    List(Vec<String>),
    /// Counters by name; those that are zero are left out except in JSON.
    Counters(Vec<(String, u64)>),
}

/// Rows under columns.
#[derive(Debug, Clone)]
pub struct Table {
    /// The columns.
    pub columns: &'static [Column],
    /// The rows, each with one cell a column.
    pub rows: Vec<Vec<Cell>>,
}

impl Column {
    /// A column that is shown by default.
    pub const fn new(name: &'static str, width: usize) -> Self {
        Self { name, width, default: true }
    }

    /// Its JSON key: the heading in lower case, up to a slash.
    fn key(&self) -> String {
        self.name.split('/').next().unwrap_or(self.name).to_lowercase()
    }

    /// A column that is shown when `-o` asks for it.
    pub const fn extra(name: &'static str, width: usize) -> Self {
        Self { name, width, default: false }
    }
}

impl Format {
    /// Prints a table to standard output.
    ///
    /// # Errors
    /// `-o` names an unknown field, or standard output cannot be written to.
    pub fn print(&self, table: &Table) -> Result<()> {
        self.print_rows(table, true)
    }

    /// As [`Format::print`], and leaves the heading out when this is not the first of a series.
    pub fn print_rows(&self, table: &Table, first: bool) -> Result<()> {
        let text = self.render(table, first)?;
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// Checks the names given with `-o`, before anything that takes time.
    pub fn check(&self, columns: &[Column]) -> Result<()> {
        self.selected(columns).map(drop)
    }

    /// The same with every column, unless `-o` says otherwise.
    pub fn all_columns(mut self) -> Self {
        if self.fields.is_empty() {
            self.fields.push("all".into());
        }
        self
    }

    fn render(&self, table: &Table, heading: bool) -> Result<String> {
        let selected = self.selected(table.columns)?;
        let text = if self.json {
            json_text(table, &selected)
        } else if self.parseable {
            parseable_text(table, &selected)
        } else {
            column_text(table, &selected, heading)
        };
        Ok(text)
    }

    /// Indices of the columns to print.
    fn selected(&self, columns: &[Column]) -> Result<Vec<usize>> {
        if self.fields.is_empty() {
            return Ok((0..columns.len()).filter(|&index| self.json || columns[index].default).collect());
        }
        let mut selected = Vec::new();
        for field in &self.fields {
            if field.eq_ignore_ascii_case("all") {
                selected.extend(0..columns.len());
                continue;
            }
            match columns.iter().position(|column| column.name.eq_ignore_ascii_case(field)) {
                Some(index) => selected.push(index),
                None => {
                    let known: Vec<_> = columns.iter().map(|column| column.name.to_lowercase()).collect();
                    return Err(Failure::Usage(format!(
                        "unknown field {field:?} for -o; the fields are: {}, all",
                        known.join(", ")
                    )));
                }
            }
        }
        Ok(selected)
    }
}

fn column_text(table: &Table, selected: &[usize], heading: bool) -> String {
    let names = selected.iter().map(|&index| table.columns[index].name.to_owned()).collect();
    let rows = table.rows.iter().map(|row| selected.iter().map(|&index| row[index].shown()).collect());
    let lines: Vec<Vec<String>> = std::iter::once(names).chain(rows).collect();
    let width = |at: usize| {
        let longest = lines.iter().map(|line| line[at].chars().count()).max();
        longest.unwrap_or(0).max(table.columns[selected[at]].width)
    };
    let widths: Vec<usize> = (0..selected.len()).map(width).collect();
    let mut text = String::new();
    for line in lines.iter().skip(usize::from(!heading)) {
        let padded: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// `dladm`(8), "Parseable Output Format": `:` and `\` are escaped, but not where a single field
/// leaves nothing to confuse them with.
fn parseable_text(table: &Table, selected: &[usize]) -> String {
    let escaped = |cell: &Cell| match selected.len() {
        1 => cell.parseable(),
        _ => cell.parseable().replace('\\', "\\\\").replace(':', "\\:"),
    };
    let line = |row: &Vec<Cell>| {
        let fields: Vec<String> = selected.iter().map(|&index| escaped(&row[index])).collect();
        fields.join(":") + "\n"
    };
    table.rows.iter().map(line).collect()
}

fn json_text(table: &Table, selected: &[usize]) -> String {
    let object = |row: &Vec<Cell>| -> Value {
        let entry = |&index: &usize| (table.columns[index].key(), row[index].json());
        selected.iter().map(entry).collect::<Map<_, _>>().into()
    };
    let rows: Vec<Value> = table.rows.iter().map(object).collect();
    format!("{}\n", Value::from(rows))
}

impl Cell {
    /// Text, or [`Cell::Absent`].
    pub fn text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Absent, |text| Self::Text(text.into()))
    }

    /// A list, or [`Cell::Absent`] for an empty one.
    pub fn list(names: Vec<String>) -> Self {
        if names.is_empty() { Self::Absent } else { Self::List(names) }
    }

    fn shown(&self) -> String {
        match self {
            Self::Absent => "--".into(),
            Self::Unknown => "?".into(),
            Self::Repeated(_) => String::new(),
            Self::Indented(text) => format!("  {text}"),
            Self::Counter(number) => scaled(*number),
            Self::Counters(counters) if counters.iter().all(|(_, count)| *count == 0) => "--".into(),
            other => other.parseable(),
        }
    }

    fn parseable(&self) -> String {
        match self {
            Self::Absent | Self::Unknown => String::new(),
            Self::Text(text) | Self::Repeated(text) | Self::Indented(text) => text.clone(),
            Self::Number(number) | Self::Counter(number) => number.to_string(),
            Self::Speed(speed) => format!("{}Mb", speed.unwrap_or(0)),
            Self::Mac(mac) => mac.short().to_string(),
            Self::List(names) => names.join(","),
            Self::Counters(counters) => {
                let counted = counters.iter().filter(|(_, count)| *count != 0);
                counted.map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(",")
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Absent | Self::Unknown => Value::Null,
            Self::Text(text) | Self::Repeated(text) | Self::Indented(text) => json!(text),
            Self::Number(number) | Self::Counter(number) => json!(number),
            Self::Speed(speed) => json!(speed),
            Self::Mac(mac) => json!(mac.to_string()),
            Self::List(names) => json!(names),
            Self::Counters(counters) => {
                counters.iter().map(|(name, count)| (name.clone(), json!(count))).collect::<Map<_, _>>().into()
            }
        }
    }
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
