//! Tables: for people in columns, for scripts with `-p -o`, for programs with `-j`.

use std::io::Write;

use clap::Args;
use serde_json::{Map, Value};

use crate::cell::Cell;
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

impl Table {
    /// The same with a row of dashes under the headings, as `ldm` prints its tables.
    pub fn underlined(mut self) -> Self {
        let dashes = self.columns.iter().map(|column| Cell::Text("-".repeat(column.name.len())));
        self.rows.insert(0, dashes.collect());
        self
    }
}

impl Format {
    /// The format of a command whose options have other letters.
    pub const fn new(parseable: bool, fields: Vec<String>, json: bool) -> Self {
        Self { parseable, fields, json }
    }

    /// Prints a table to standard output.
    ///
    /// # Errors
    /// `-o` names an unknown field, or standard output cannot be written to.
    pub fn print(&self, table: &Table) -> Result<()> {
        self.print_rows(table, true)
    }

    /// As [`Format::print`], and leaves the heading out when this is not the first of a series.
    ///
    /// # Errors
    /// As [`Format::print`].
    pub fn print_rows(&self, table: &Table, first: bool) -> Result<()> {
        print(&self.render(table, first)?)
    }

    /// As [`Format::print_rows`] for rows that come without end: in JSON each is an object on a line of its own.
    ///
    /// # Errors
    /// As [`Format::print`].
    pub fn print_stream(&self, table: &Table, first: bool) -> Result<()> {
        if !self.json {
            return self.print_rows(table, first);
        }
        let objects = json_objects(table, &self.selected(table.columns)?);
        print(&objects.iter().map(|object| format!("{object}\n")).collect::<String>())
    }

    /// Whether this is the table that people see who asked for nothing in particular.
    pub fn is_for_people(&self) -> bool {
        !self.parseable && !self.json && self.fields.is_empty()
    }

    /// Checks the names given with `-o`, before anything that takes time.
    ///
    /// # Errors
    /// One of them is unknown; the message names the known ones.
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

    /// The text of a table.
    ///
    /// # Errors
    /// As [`Format::check`].
    pub fn render(&self, table: &Table, heading: bool) -> Result<String> {
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

/// Writes text to standard output, at once.
///
/// # Errors
/// It cannot be written to.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
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
    format!("{}\n", Value::from(json_objects(table, selected)))
}

fn json_objects(table: &Table, selected: &[usize]) -> Vec<Value> {
    let object = |row: &Vec<Cell>| -> Value {
        let entry = |&index: &usize| (table.columns[index].key(), row[index].json());
        selected.iter().map(entry).collect::<Map<_, _>>().into()
    };
    table.rows.iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlmp_wire::MacAddr;

    const COLUMNS: [Column; 5] = [
        Column::new("LINK", 8),
        Column::new("CLASS/TYPE", 4),
        Column::new("IPKTS", 8),
        Column::new("ADDRESS", 4),
        Column::extra("RULES", 4),
    ];

    fn table() -> Table {
        let mac = Cell::Mac(MacAddr([0x02, 0x08, 0x20, 0x88, 0x84, 0xba]));
        let rules = vec![("reflection".into(), 3), ("nobody".into(), 0), ("b\\w".into(), 1)];
        let none = vec![("reflection".into(), 0)];
        Table {
            columns: &COLUMNS,
            rows: vec![
                vec![Cell::Text("aggr0".into()), Cell::Absent, Cell::Counter(1_234_567), mac, Cell::Counters(rules)],
                vec![
                    Cell::Repeated("aggr0".into()),
                    Cell::Speed(None),
                    Cell::Counter(999),
                    Cell::Unknown,
                    Cell::Counters(none),
                ],
                vec![
                    Cell::Indented("net0".into()),
                    Cell::Speed(Some(1000)),
                    Cell::Number(5000),
                    Cell::List(vec!["a".into(), "b".into()]),
                    Cell::List(vec![]),
                ],
            ],
        }
    }

    fn rendered(parseable: bool, fields: &[&str], json: bool) -> String {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        Format { parseable, fields, json }.render(&table(), true).unwrap()
    }

    #[test]
    fn people_get_columns() {
        insta::assert_snapshot!(rendered(false, &[], false), @r"
        LINK      CLASS/TYPE  IPKTS     ADDRESS
        aggr0     --          1.23M     2:8:20:88:84:ba
                  0Mb         999       ?
          net0    1000Mb      5000      a,b
        ");
    }

    #[test]
    fn fields_are_chosen_and_ordered_by_name_in_any_case() {
        insta::assert_snapshot!(rendered(false, &["rules", "Link"], false), @r"
        RULES               LINK
        reflection=3,b\w=1  aggr0
        --
        --                    net0
        ");
        assert_eq!(rendered(false, &["ALL"], false).lines().next(), rendered(false, &["all"], false).lines().next());
    }

    #[test]
    fn scripts_get_escaped_fields_and_plain_numbers() {
        insta::assert_snapshot!(rendered(true, &["all"], false), @r"
        aggr0::1234567:2\:8\:20\:88\:84\:ba:reflection=3,b\\w=1
        aggr0:0Mb:999::
        net0:1000Mb:5000:a,b:
        ");
    }

    #[test]
    fn a_single_field_needs_no_escape() {
        assert_eq!(rendered(true, &["address"], false), "2:8:20:88:84:ba\n\na,b\n");
    }

    #[test]
    fn programs_get_every_column_as_typed_json() {
        insta::assert_snapshot!(rendered(false, &[], true), @r#"[{"link":"aggr0","class":null,"ipkts":1234567,"address":"02:08:20:88:84:ba","rules":{"reflection":3,"nobody":0,"b\\w":1}},{"link":"aggr0","class":null,"ipkts":999,"address":null,"rules":{"reflection":0}},{"link":"net0","class":1000,"ipkts":5000,"address":["a","b"],"rules":[]}]"#);
    }

    #[test]
    fn an_empty_table_is_a_heading_or_an_empty_array() {
        let empty = Table { columns: &COLUMNS, rows: vec![] };
        assert_eq!(Format::default().render(&empty, true).unwrap(), "LINK      CLASS/TYPE  IPKTS     ADDRESS\n");
        assert_eq!(Format { json: true, ..Format::default() }.render(&empty, true).unwrap(), "[]\n");
    }

    #[test]
    fn an_unknown_field_is_a_usage_error_that_names_the_known_ones() {
        let format = Format { fields: vec!["link".into(), "colour".into()], ..Format::default() };
        let failure = format.render(&table(), true).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        insta::assert_snapshot!(failure, @r#"unknown field "colour" for -o; the fields are: link, class/type, ipkts, address, rules, all"#);
    }
}
