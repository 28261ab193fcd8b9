//! Tables: for people, for scripts (`-p -o`) and as JSON (`-j`).

use std::io::{self, Write};

use clap::Args;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Options of every command that shows a table.
#[derive(Debug, Default, Args)]
pub struct Format {
    /// Parseable: no header, fields joined by ':'; needs -o
    #[arg(short, requires = "fields")]
    parseable: bool,
    /// The fields to show, in this order; 'all' for every field
    #[arg(short = 'o', value_name = "field,...")]
    fields: Option<String>,
    /// JSON, as of `ip -j`: every field unless -o chooses
    #[arg(short, conflicts_with = "parseable")]
    json: bool,
}

/// One field of a table whose rows are made from values of type `R`.
pub struct Column<R> {
    name: &'static str,
    /// The least width in characters, so that successive tables line up.
    width: usize,
    right: bool,
    extra: bool,
    value: fn(&R) -> Cell,
}

impl<R> Column<R> {
    /// A left-aligned field that is shown by default.
    pub const fn new(name: &'static str, width: usize, value: fn(&R) -> Cell) -> Self {
        Self { name, width, right: false, extra: false, value }
    }

    /// A right-aligned field, as numbers to compare are.
    pub const fn right(name: &'static str, width: usize, value: fn(&R) -> Cell) -> Self {
        Self { right: true, ..Self::new(name, width, value) }
    }

    /// A field that is shown only when named with `-o`, and in JSON.
    pub const fn extra(name: &'static str, width: usize, value: fn(&R) -> Cell) -> Self {
        Self { extra: true, ..Self::new(name, width, value) }
    }
}

/// One value, in each of the forms.
#[derive(Debug, Clone)]
pub struct Cell {
    table: String,
    parseable: String,
    json: Value,
}

impl Cell {
    /// The same text in every form.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { table: text.clone(), parseable: text.clone(), json: Value::String(text) }
    }

    /// A number, written out in every form.
    pub fn number(number: i64) -> Self {
        Self { json: number.into(), ..Self::text(number.to_string()) }
    }

    /// A count: scaled in tables (`1.53M`), exact for scripts.
    pub fn count(count: u64) -> Self {
        Self { table: scaled(count), parseable: count.to_string(), json: count.into() }
    }

    /// Names, joined by ','; none is an absent value in tables.
    pub fn names<S: AsRef<str>>(names: &[S]) -> Self {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let cell = if names.is_empty() { Self::absent() } else { Self::text(names.join(",")) };
        cell.json(names)
    }

    /// `yes` or `no`.
    pub fn yes_no(value: bool) -> Self {
        Self::text(if value { "yes" } else { "no" }).json(value)
    }

    /// No value: `--` in tables, empty for scripts, null in JSON.
    pub fn absent() -> Self {
        Self { table: "--".into(), parseable: String::new(), json: Value::Null }
    }

    /// The text if there is one.
    pub fn optional(text: Option<impl Into<String>>) -> Self {
        text.map_or_else(Self::absent, Self::text)
    }

    /// Replaces the form in tables.
    pub fn table(mut self, text: impl Into<String>) -> Self {
        self.table = text.into();
        self
    }

    /// Replaces the form in JSON.
    pub fn json(mut self, value: impl Into<Value>) -> Self {
        self.json = value.into();
        self
    }
}

/// A count of at least 1000 in thousands, millions..., cut to two decimals, as dlstat of Solaris
/// shows it.
fn scaled(count: u64) -> String {
    let mut unit = 1;
    let mut letter = None;
    for next in ["K", "M", "G", "T", "P", "E"] {
        if count / unit < 1000 {
            break;
        }
        unit *= 1000;
        letter = Some(next);
    }
    match letter {
        None => count.to_string(),
        Some(letter) => format!("{}.{:02}{letter}", count / unit, count % unit / (unit / 100)),
    }
}

/// Writes tables of the columns that the options chose.
pub struct Printer<R: 'static> {
    columns: Vec<&'static Column<R>>,
    kind: Kind,
    header_written: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Table,
    Parseable,
    Json,
}

impl<R> Printer<R> {
    /// Chooses the columns.
    ///
    /// # Errors
    /// `-o` names a field that does not exist.
    pub fn new(format: &Format, columns: &'static [Column<R>]) -> Result<Self, Failure> {
        let kind = match format {
            Format { json: true, .. } => Kind::Json,
            Format { parseable: true, .. } => Kind::Parseable,
            _ => Kind::Table,
        };
        let columns = match format.fields.as_deref() {
            Some(fields) => choose(fields, columns)?,
            None => columns.iter().filter(|column| kind == Kind::Json || !column.extra).collect(),
        };
        Ok(Self { columns, kind, header_written: false })
    }

    /// All columns, also those shown only on request.
    #[must_use]
    pub fn with_all(mut self, columns: &'static [Column<R>]) -> Self {
        self.columns = columns.iter().collect();
        self
    }

    /// Writes one table; the header only above the first.
    ///
    /// # Errors
    /// Those of writing.
    pub fn print(&mut self, rows: &[R], out: &mut dyn Write) -> io::Result<()> {
        let rows = rows.iter().map(|row| self.columns.iter().map(|column| (column.value)(row)).collect());
        let rows: Vec<Vec<Cell>> = rows.collect();
        match self.kind {
            Kind::Table => self.table(&rows, out),
            Kind::Parseable => parseable(&rows, out),
            Kind::Json => self.json(rows, out),
        }
    }

    fn table(&mut self, rows: &[Vec<Cell>], out: &mut dyn Write) -> io::Result<()> {
        let widths: Vec<usize> = (self.columns.iter().enumerate())
            .map(|(i, column)| {
                let longest = rows.iter().map(|row| row[i].table.chars().count()).max().unwrap_or(0);
                longest.max(column.width).max(column.name.len())
            })
            .collect();
        if !self.header_written {
            let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
            self.line(&names, &widths, out)?;
            self.header_written = true;
        }
        for row in rows {
            let texts: Vec<&str> = row.iter().map(|cell| cell.table.as_str()).collect();
            self.line(&texts, &widths, out)?;
        }
        Ok(())
    }

    fn line(&self, texts: &[&str], widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
        let mut line = String::new();
        for ((text, &width), column) in texts.iter().zip(widths).zip(&self.columns) {
            line += &if column.right { format!("{text:>width$}  ") } else { format!("{text:<width$}  ") };
        }
        writeln!(out, "{}", line.trim_end())
    }

    fn json(&self, rows: Vec<Vec<Cell>>, out: &mut dyn Write) -> io::Result<()> {
        let object = |row: Vec<Cell>| {
            let fields = self.columns.iter().zip(row).map(|(column, cell)| (column.name.to_lowercase(), cell.json));
            Value::Object(Map::from_iter(fields))
        };
        writeln!(out, "{}", Value::Array(rows.into_iter().map(object).collect()))
    }
}

/// A single field stands as it is, as in Solaris: escapes are needed only to tell fields apart
/// (dladm(1M), "Parseable Output Format").
fn parseable(rows: &[Vec<Cell>], out: &mut dyn Write) -> io::Result<()> {
    for row in rows {
        let line = match row.as_slice() {
            [only] => only.parseable.clone(),
            fields => fields.iter().map(|cell| escaped(&cell.parseable)).collect::<Vec<_>>().join(":"),
        };
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace(':', r"\:")
}

fn choose<R>(fields: &str, columns: &'static [Column<R>]) -> Result<Vec<&'static Column<R>>, Failure> {
    if fields.eq_ignore_ascii_case("all") {
        return Ok(columns.iter().collect());
    }
    let find = |field| columns.iter().find(|column| column.name.eq_ignore_ascii_case(field));
    let unknown = |field| {
        let known: Vec<String> = columns.iter().map(|column| column.name.to_lowercase()).collect();
        Failure::Usage(format!("-o: there is no field {field:?}; the fields are {} and all", known.join(",")))
    };
    fields.split(',').map(|field| find(field).ok_or_else(|| unknown(field))).collect()
}
