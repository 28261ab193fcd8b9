//! Tables for people, colon-separated fields for scripts, JSON for programs.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table as Grid, presets};
use serde_json::{Map, Value};

use crate::cli::Output;
use crate::failure::Failure;

/// One field of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Text.
    Text(String),
    /// A number with the text that people see for it.
    Number(i64, String),
    /// A value that people see only in the row above, as they would a ditto mark.
    Ditto(String),
    /// Nothing to say: `--`.
    None,
}

impl Cell {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number that people see as it is.
    pub fn number(number: impl Into<i64>) -> Self {
        let number = number.into();
        Self::Number(number, number.to_string())
    }

    /// Text, or nothing to say.
    pub fn maybe(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::None, Self::text)
    }

    fn shown(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(_, text) => text,
            Self::Ditto(_) => "",
            Self::None => "--",
        }
    }

    /// As Solaris does it: a colon and a backslash are escaped, and nothing stays nothing.
    fn parseable(&self) -> String {
        match self {
            Self::Text(text) | Self::Ditto(text) => text.replace('\\', "\\\\").replace(':', "\\:"),
            Self::Number(number, _) => number.to_string(),
            Self::None => "--".into(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) | Self::Ditto(text) => Value::from(text.as_str()),
            Self::Number(number, _) => Value::from(*number),
            Self::None => Value::Null,
        }
    }
}

/// Rows under the names of their fields.
#[derive(Debug)]
pub struct Table {
    fields: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Without rows.
    pub const fn new(fields: &'static [&'static str]) -> Self {
        Self { fields, rows: Vec::new() }
    }

    /// Adds a row: as many cells as there are fields.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.fields.len());
        self.rows.push(cells.into());
    }

    /// Puts the table out as was asked for.
    ///
    /// # Errors
    /// A field that there is none of, or the output failed.
    pub fn put_out(&self, output: &Output) -> Result<(), Failure> {
        let text = self.render(output)?;
        io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }

    pub(crate) fn render(&self, output: &Output) -> Result<String, Failure> {
        if output.json {
            let rows: Vec<Value> = self.rows.iter().map(|row| self.object(row)).collect();
            return Ok(format!("{}\n", Value::from(rows)));
        }
        let columns = self.columns(&output.fields)?;
        if output.parseable {
            return Ok((self.rows.iter())
                .map(|row| columns.iter().map(|&at| row[at].parseable()).collect::<Vec<_>>().join(":") + "\n")
                .collect());
        }
        Ok(self.grid(&columns))
    }

    /// Keys are the names of the fields in lower case, up to a slash.
    fn object(&self, row: &[Cell]) -> Value {
        let key = |field: &str| field.split('/').next().unwrap_or(field).to_lowercase();
        let fields = self.fields.iter().zip(row).map(|(field, cell)| (key(field), cell.json()));
        Value::from(fields.collect::<Map<_, _>>())
    }

    fn columns(&self, wanted: &[String]) -> Result<Vec<usize>, Failure> {
        if wanted.is_empty() || wanted.iter().any(|field| field.eq_ignore_ascii_case("all")) {
            return Ok((0..self.fields.len()).collect());
        }
        (wanted.iter())
            .map(|wanted| {
                self.fields.iter().position(|field| field.eq_ignore_ascii_case(wanted)).ok_or_else(|| {
                    let known = self.fields.join(", ").to_lowercase();
                    Failure::Usage(format!("there is no field {wanted:?}; there are: {known}"))
                })
            })
            .collect()
    }

    fn grid(&self, columns: &[usize]) -> String {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        grid.set_header(columns.iter().map(|&at| self.fields[at]));
        for row in &self.rows {
            grid.add_row(columns.iter().map(|&at| row[at].shown()));
        }
        for column in grid.column_iter_mut() {
            column.set_padding((0, 3));
            column.set_cell_alignment(CellAlignment::Left);
        }
        grid.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["LINK", "PORT", "SPEED", "ADDRESS"]);
        table.row([
            Cell::text("aggr0"),
            Cell::None,
            Cell::Number(1000, "1000Mb".into()),
            Cell::text("2:8:20:88:84:ba"),
        ]);
        table.row([Cell::Ditto("aggr0".into()), Cell::text("net0"), Cell::None, Cell::text("a\\b")]);
        table
    }

    fn render(parseable: bool, json: bool, fields: &[&str]) -> String {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        table().render(&Output { parseable, fields, json }).unwrap()
    }

    #[test]
    fn people_see_columns() {
        insta::assert_snapshot!(render(false, false, &[]), @r"
        LINK    PORT   SPEED    ADDRESS
        aggr0   --     1000Mb   2:8:20:88:84:ba
                net0   --       a\b
        ");
    }

    #[test]
    fn scripts_see_escaped_fields_in_their_order() {
        insta::assert_snapshot!(render(true, false, &["address", "LINK", "speed"]), @r"
        2\:8\:20\:88\:84\:ba:aggr0:1000
        a\\b:aggr0:--
        ");
    }

    #[test]
    fn programs_see_real_numbers_and_nulls() {
        insta::assert_snapshot!(render(false, true, &[]), @r#"[{"address":"2:8:20:88:84:ba","link":"aggr0","port":null,"speed":1000},{"address":"a\\b","link":"aggr0","port":"net0","speed":null}]"#);
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_known_ones() {
        let output = Output { fields: vec!["colour".into()], ..Output::default() };
        let failure = table().render(&output).unwrap_err();
        assert!(failure.to_string().contains("link, port, speed, address"), "{failure}");
    }
}
