//! Properties of links: `set-linkprop`, `reset-linkprop`, `show-linkprop`.

use clap::Args;
use dlmp_api::client::Dlmpd;
use dlmp_api::{LinkProperty, PropertyChange, PropertyRequest};

use crate::cell::Cell;
use crate::command::Run;
use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};
use crate::output::{Column, Format, Table};

/// The properties that there are; a comma before one of them ends the value before it.
const NAMES: [&str; 5] = ["learn-limit", "mcast-limit", "probe-fdt", "probe-ip", "probe-vlan-id"];

/// Set properties of a link
#[derive(Debug, Args)]
pub struct Set {
    /// Until the next boot only
    #[arg(short)]
    temporary: bool,
    /// Property and value; give it once for each, or join them by commas
    #[arg(short = 'p', value_name = "PROP=VALUE[,...]", required = true)]
    properties: Vec<String>,
    /// The link
    link: String,
}

/// Reset properties of a link to their defaults
#[derive(Debug, Args)]
pub struct Reset {
    /// Until the next boot only
    #[arg(short)]
    temporary: bool,
    /// The properties; all without it
    #[arg(short = 'p', value_name = "PROP[,...]", value_delimiter = ',')]
    properties: Vec<String>,
    /// The link
    link: String,
}

/// Show the properties of links
#[derive(Debug, Args)]
pub struct Show {
    /// Only these properties
    #[arg(short = 'p', value_name = "PROP[,...]", value_delimiter = ',')]
    properties: Vec<String>,
    /// Parseable: no header, fields joined by `:`; needs -o (-p names properties here, as in Solaris)
    #[arg(short = 'c', requires = "fields", conflicts_with = "json")]
    parseable: bool,
    /// Show these fields, in this order; `all` for every field there is
    #[arg(short = 'o', value_name = "FIELD,...", value_delimiter = ',')]
    fields: Vec<String>,
    /// Print JSON
    #[arg(short)]
    json: bool,
    /// Only this link
    link: Option<String>,
}

const COLUMNS: [Column; 7] = [
    Column::new("LINK", 10),
    Column::new("PROPERTY", 13),
    Column::new("PERM", 4),
    Column::new("VALUE", 12),
    Column::new("EFFECTIVE", 12),
    Column::new("DEFAULT", 7),
    Column::new("POSSIBLE", 8),
];

impl Run for Set {
    async fn run(self) -> Result<()> {
        let mut changes = Vec::new();
        for text in &self.properties {
            changes.extend(assignments(text)?);
        }
        let request = PropertyRequest { link: self.link, changes, temporary: self.temporary };
        answer(daemon::require()?.change_link_properties(&request).await)
    }
}

impl Run for Reset {
    async fn run(self) -> Result<()> {
        // Without a change the daemon resets all that the link has.
        let changes = self.properties.into_iter().map(|property| PropertyChange { property, value: None }).collect();
        let request = PropertyRequest { link: self.link, changes, temporary: self.temporary };
        answer(daemon::require()?.change_link_properties(&request).await)
    }
}

impl Run for Show {
    async fn run(self) -> Result<()> {
        let mut properties = match daemon::find_to_show().await? {
            Some(mut daemon) => answer(daemon.list_link_properties().await)?.properties,
            None => Vec::new(),
        };
        if let Some(link) = &self.link {
            properties.retain(|property| property.link == *link);
            if properties.is_empty() {
                return Err(Failure::refused(
                    format!("there is no aggregation or port {link}; other links have no properties here"),
                    "dladm show-aggr",
                ));
            }
        }
        for name in &self.properties {
            if !NAMES.contains(&name.as_str()) {
                return Err(Failure::Usage(format!("unknown property {name:?}; there are: {}", NAMES.join(", "))));
            }
        }
        properties.retain(|property| self.properties.is_empty() || self.properties.contains(&property.property));
        Format::new(self.parseable, self.fields, self.json).print(&table(&properties))
    }
}

/// Splits `a=b,c=d`. Values have commas too: only one before a property's name and `=` divides.
fn assignments(text: &str) -> Result<Vec<PropertyChange>> {
    let mut changes: Vec<PropertyChange> = Vec::new();
    for part in text.split(',') {
        match (part.split_once('='), changes.last_mut()) {
            (Some((property, value)), _) => {
                changes.push(PropertyChange { property: property.into(), value: Some(value.into()) });
            }
            (None, Some(PropertyChange { value: Some(value), .. })) => {
                value.push(',');
                value.push_str(part);
            }
            (None, _) => return Err(Failure::Usage(format!("{text:?} is no property=value"))),
        }
    }
    Ok(changes)
}

fn table(properties: &[LinkProperty]) -> Table {
    let row = |property: &LinkProperty| {
        vec![
            Cell::Text(property.link.clone()),
            Cell::Text(property.property.clone()),
            Cell::Text("rw".into()),
            Cell::text(property.value.clone()),
            Cell::text(property.effective.clone()),
            Cell::text(property.default.clone()),
            Cell::Text(property.possible.clone()),
        ]
    };
    Table { columns: &COLUMNS, rows: properties.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn split(text: &str) -> Vec<(String, String)> {
        let changes = assignments(text).unwrap();
        changes.into_iter().map(|change| (change.property, change.value.unwrap())).collect()
    }

    #[test]
    fn a_comma_divides_properties_and_belongs_to_a_list_otherwise() {
        let own = |of: &[(&str, &str)]| of.iter().map(|&(p, v)| (p.to_owned(), v.to_owned())).collect::<Vec<_>>();
        assert_eq!(split("probe-fdt=2"), own(&[("probe-fdt", "2")]));
        assert_eq!(
            split("probe-ip=[aggr0]+,10.0.0.1/24+10.0.0.9,probe-fdt=50ms"),
            own(&[("probe-ip", "[aggr0]+,10.0.0.1/24+10.0.0.9"), ("probe-fdt", "50ms")])
        );
        assert_eq!(split("probe-ip="), own(&[("probe-ip", "")]));
        assert_eq!(assignments("probe-ip").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn properties_are_shown_with_what_is_in_force() {
        let property = |name: &str, value: Option<&str>, default: Option<&str>, possible: &str| LinkProperty {
            link: "aggr0".into(),
            property: name.into(),
            value: value.map(Into::into),
            effective: value.or(default).map(Into::into),
            default: default.map(Into::into),
            possible: possible.into(),
        };
        let properties = [
            property("probe-fdt", Some("50ms"), Some("1s"), "10ms-10m"),
            property("probe-ip", None, None, "[SOURCE][+[TARGET]],..."),
            property("probe-vlan-id", None, Some("0"), "0-4094"),
        ];
        insta::assert_snapshot!(Format::default().render(&table(&properties), true).unwrap(), @r"
        LINK        PROPERTY       PERM  VALUE         EFFECTIVE     DEFAULT  POSSIBLE
        aggr0       probe-fdt      rw    50ms          50ms          1s       10ms-10m
        aggr0       probe-ip       rw    --            --            --       [SOURCE][+[TARGET]],...
        aggr0       probe-vlan-id  rw    --            0             0        0-4094
        ");
    }
}
