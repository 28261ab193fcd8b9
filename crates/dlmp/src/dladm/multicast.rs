//! `show-mcast`: the groups that are wanted above aggregations, and what the ports' filters let through.

use clap::Args;
use dlmp_api::client::Dlmpd;
use dlmp_api::{Group, GroupPort};

use crate::cell::Cell;
use crate::cell::mac;
use crate::command::Run;
use crate::daemon::only;
use crate::daemon::{self, answer};
use crate::failure::Result;
use crate::output::{Column, Format, Table};

/// Show the multicast groups that are wanted above aggregations, and who asked for them
#[derive(Debug, Args)]
pub struct Show {
    /// Show the ports, and what their filters let through
    #[arg(short = 'P')]
    ports: bool,
    #[command(flatten)]
    format: Format,
    /// Only this aggregation
    name: Option<String>,
}

const GROUPS: [Column; 4] =
    [Column::new("LINK", 10), Column::new("GROUP", 17), Column::new("ADDRESSES", 16), Column::new("ASKEDBY", 12)];

const PORTS: [Column; 6] = [
    Column::new("LINK", 10),
    Column::new("PORT", 10),
    Column::new("ROLE", 8),
    Column::new("FILTER", 6),
    Column::new("GROUPS", 7),
    Column::new("LIMIT", 7),
];

impl Run for Show {
    async fn run(self) -> Result<()> {
        let (mut groups, mut ports) = (Vec::new(), Vec::new());
        if let Some(mut daemon) = daemon::find_to_show().await? {
            if self.name.is_some() {
                let aggregations = answer(daemon.list_aggregations().await)?.aggregations;
                only(aggregations, self.name.as_deref(), |aggregation| &aggregation.name)?;
            }
            if self.ports {
                ports = answer(daemon.list_group_ports().await)?.ports;
            } else {
                groups = daemon::list(daemon.list_groups().await, |reply| reply.groups).await?;
            }
        }
        let wanted = |aggregation: &str| self.name.as_ref().is_none_or(|name| name == aggregation);
        if self.ports {
            ports.retain(|port| wanted(&port.aggregation));
            return self.format.print(&port_table(&ports));
        }
        groups.retain(|group| wanted(&group.aggregation));
        self.format.print(&group_table(&groups)?)
    }
}

fn group_table(groups: &[Group]) -> Result<Table> {
    let mut rows = Vec::new();
    let mut above = None;
    for group in groups {
        rows.push(vec![
            link(&group.aggregation, &mut above),
            match &group.group {
                Some(address) => mac(Some(address))?,
                None => Cell::Text("all".into()),
            },
            Cell::List(group.addresses.clone()),
            Cell::List(group.askedby.clone()),
        ]);
    }
    Ok(Table { columns: &GROUPS, rows })
}

fn port_table(ports: &[GroupPort]) -> Table {
    let mut rows = Vec::new();
    let mut above = None;
    for port in ports {
        rows.push(vec![
            link(&port.aggregation, &mut above),
            Cell::Text(port.port.clone()),
            Cell::text(port.role.clone()),
            Cell::Text(port.filter.clone()),
            Cell::Number(port.groups.unsigned_abs()),
            port.limit.map_or(Cell::Absent, |limit| Cell::Number(limit.unsigned_abs())),
        ]);
    }
    Table { columns: &PORTS, rows }
}

/// The aggregation's name, once for all rows of it.
fn link<'a>(name: &'a str, above: &mut Option<&'a str>) -> Cell {
    match above.replace(name) == Some(name) {
        true => Cell::Repeated(name.to_owned()),
        false => Cell::Text(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_shown_with_their_addresses_and_who_asked_and_why_all_are_wanted() {
        let group = |aggregation: &str, group: Option<&str>, addresses: &[&str], askedby: &[&str]| Group {
            aggregation: aggregation.into(),
            group: group.map(Into::into),
            addresses: addresses.iter().map(|&text| text.into()).collect(),
            askedby: askedby.iter().map(|&text| text.into()).collect(),
        };
        let groups = [
            group("aggr0", None, &[], &["bridge above aggr0"]),
            group("aggr0", Some("01:00:5e:01:01:01"), &["239.1.1.1"], &["aggr0", "vnic1"]),
            group("aggr1", Some("33:33:00:00:00:01"), &[], &["aggr1"]),
        ];
        insta::assert_snapshot!(Format::default().render(&group_table(&groups).unwrap(), true).unwrap(), @r"
        LINK        GROUP              ADDRESSES         ASKEDBY
        aggr0       all                --                bridge above aggr0
                    1:0:5e:1:1:1       239.1.1.1         aggr0,vnic1
        aggr1       33:33:0:0:0:1      --                aggr1
        ");
    }

    #[test]
    fn ports_are_shown_with_what_their_filters_let_through() {
        let port = |port: &str, role: Option<&str>, filter: &str, groups: i64, limit: Option<i64>| GroupPort {
            aggregation: "aggr0".into(),
            port: port.into(),
            role: role.map(Into::into),
            filter: filter.into(),
            groups,
            limit,
        };
        let ports = [
            port("net0", Some("active"), "exact", 90, None),
            port("net1", Some("standby"), "all", 64, Some(64)),
            port("net2", None, "none", 0, None),
        ];
        insta::assert_snapshot!(Format::default().render(&port_table(&ports), true).unwrap(), @r"
        LINK        PORT        ROLE      FILTER  GROUPS   LIMIT
        aggr0       net0        active    exact   90       --
                    net1        standby   all     64       64
                    net2        --        none    0        --
        ");
    }
}
