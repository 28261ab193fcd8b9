//! `show-aggr -S`: what probing says of each port (seed 002), and what people are told below the tables.

use std::time::Duration;

use dlmp_api::{Aggregation, Port};

use crate::cell::Cell;
use crate::names::Names;
use crate::output::{Column, Table};

/// How long names of targets are looked for; those that take longer are shown as addresses.
const PATIENCE: Duration = Duration::from_secs(1);

const COLUMNS: [Column; 8] = [
    Column::new("LINK", 10),
    Column::new("PORT", 14),
    Column::new("FLAGS", 8),
    Column::new("STATE", 7),
    Column::new("TARGETS", 12),
    Column::new("XTARGETS", 8),
    Column::extra("DETECTION", 9),
    Column::extra("REASON", 6),
];

/// The table; with `numeric` without names of targets.
pub fn table(aggregations: &[Aggregation], numeric: bool) -> Table {
    let mut names = Names::default();
    if !numeric {
        let ports = aggregations.iter().flat_map(|aggregation| &aggregation.ports);
        ports.flat_map(|port| &port.targets).for_each(|target| drop(names.of(target)));
        names.wait(PATIENCE);
    }
    let mut name = |target: &String| if numeric { target.clone() } else { names.of(target) };
    let mut rows = Vec::new();
    for aggregation in aggregations {
        for (at, port) in aggregation.ports.iter().enumerate() {
            rows.push(row(aggregation, port, at == 0, &mut name));
        }
    }
    Table { columns: &COLUMNS, rows }
}

fn row(aggregation: &Aggregation, port: &Port, first: bool, name: impl FnMut(&String) -> String) -> Vec<Cell> {
    let link = aggregation.name.clone();
    vec![
        if first { Cell::Text(link) } else { Cell::Ditto(link) },
        Cell::Text(port.name.clone()),
        Cell::Text(port.flags.clone()),
        Cell::Text(port.health.clone()),
        Cell::List(port.targets.iter().map(name).collect()),
        Cell::List(port.xtargets.clone()),
        Cell::Text(aggregation.detection.clone()),
        Cell::Text(port.reason.clone()),
    ]
}

/// What people are told below the table: a state says little without what it rests on.
pub fn detection(aggregations: &[Aggregation]) -> String {
    let line = |aggregation: &Aggregation| format!("Detection of {}: {}\n", aggregation.name, aggregation.detection);
    aggregations.iter().map(line).collect()
}

/// What people are told below every table: an aggregation can be up and not operable.
pub fn problems(aggregations: &[Aggregation]) -> String {
    let lines = aggregations.iter().flat_map(|aggregation| {
        aggregation.problems.iter().map(|problem| format!("Problem of {}: {problem}\n", aggregation.name))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn port(name: &str, flags: &str, targets: &[&str], xtargets: &[&str]) -> Port {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Port {
            name: name.into(),
            mac: None,
            state: "up".into(),
            speed: None,
            duplex: "full".into(),
            health: "active".into(),
            reason: "a target answers".into(),
            portstate: "attached".into(),
            clients: vec![],
            flags: flags.into(),
            targets: own(targets),
            xtargets: own(xtargets),
            vlans: None,
        }
    }

    fn aggregation(ports: Vec<Port>) -> Aggregation {
        Aggregation {
            name: "aggr0".into(),
            mode: "dlmp".into(),
            mac: "02:08:20:88:84:ba".into(),
            mtu: 1500,
            state: "up".into(),
            speed: None,
            duplex: "full".into(),
            temporary: false,
            detection: "link and probes".into(),
            multicast_port: None,
            problems: vec![],
            ports,
        }
    }

    #[test]
    fn the_table_has_the_cells_of_the_published_transcript() {
        let ports = vec![port("net0", "u--3", &["192.0.2.1"], &["net1"]), port("net1", "u-2-", &[], &["net0"])];
        let aggregation = aggregation(ports);
        let shown = |format: Format| format.render(&table(std::slice::from_ref(&aggregation), true), true).unwrap();
        insta::assert_snapshot!(shown(Format::default()), @r"
        LINK        PORT            FLAGS     STATE    TARGETS       XTARGETS
        aggr0       net0            u--3      active   192.0.2.1     net1
        --          net1            u-2-      active   --            net0
        ");
        assert!(shown(Format::default().all_columns()).contains("link and probes"));
        assert_eq!(detection(&[aggregation]), "Detection of aggr0: link and probes\n");
    }

    #[test]
    fn problems_are_told_each_on_a_line() {
        let healthy = aggregation(vec![]);
        assert_eq!(problems(std::slice::from_ref(&healthy)), "");
        let stub = "net0 (vnet vnet6 of the switch sw0): its switch is an Ethernet stub".to_owned();
        let lacking = Aggregation { problems: vec![stub.clone(), "another".into()], ..healthy };
        assert_eq!(problems(&[lacking]), format!("Problem of aggr0: {stub}\nProblem of aggr0: another\n"));
    }
}
