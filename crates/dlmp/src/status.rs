//! `show-aggr -S`: what probing says of each port (seed 002).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dlmp_api::{Aggregation, Port};

use crate::output::{Cell, Column, Table};

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
    let names = if numeric { BTreeMap::new() } else { names(aggregations) };
    let mut rows = Vec::new();
    for aggregation in aggregations {
        rows.push(vec![
            Cell::Text(aggregation.name.clone()),
            Cell::Absent,
            Cell::Absent,
            Cell::Absent,
            Cell::Absent,
            Cell::Absent,
            Cell::Text(aggregation.detection.clone()),
            Cell::Absent,
        ]);
        rows.extend(aggregation.ports.iter().map(|port| row(aggregation, port, &names)));
    }
    Table { columns: &COLUMNS, rows }
}

fn row(aggregation: &Aggregation, port: &Port, names: &BTreeMap<String, String>) -> Vec<Cell> {
    let target = |address: &String| names.get(address).unwrap_or(address).clone();
    vec![
        Cell::Repeated(aggregation.name.clone()),
        Cell::Text(port.name.clone()),
        Cell::Text(port.flags.clone()),
        Cell::Text(port.health.clone()),
        Cell::List(port.targets.iter().map(target).collect()),
        Cell::List(port.xtargets.clone()),
        Cell::Text(aggregation.detection.clone()),
        Cell::Text(port.reason.clone()),
    ]
}

/// The names of all targets that a name server knows and tells quickly.
fn names(aggregations: &[Aggregation]) -> BTreeMap<String, String> {
    let mut addresses: Vec<&String> =
        aggregations.iter().flat_map(|aggregation| &aggregation.ports).flat_map(|port| &port.targets).collect();
    addresses.sort();
    addresses.dedup();
    let (sender, found) = mpsc::channel();
    for address in addresses {
        let (address, sender) = (address.clone(), sender.clone());
        // Left alone when it takes too long: the process ends soon.
        std::thread::spawn(move || {
            let name = address.parse().ok().and_then(|ip: IpAddr| dns_lookup::lookup_addr(&ip).ok());
            let _ = sender.send((address, name));
        });
    }
    drop(sender);
    let deadline = Instant::now() + PATIENCE;
    let mut names = BTreeMap::new();
    while let Ok((address, name)) = found.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        names.extend(name.map(|name| (address, name)));
    }
    names
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
        }
    }

    #[test]
    fn the_table_has_the_cells_of_the_published_transcript() {
        let aggregation = Aggregation {
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
            ports: vec![port("net0", "u--3", &["192.0.2.1"], &["net1"]), port("net1", "u-2-", &[], &["net0"])],
        };
        let shown = |format: Format| format.render(&table(std::slice::from_ref(&aggregation), true), true).unwrap();
        insta::assert_snapshot!(shown(Format::default()), @r"
        LINK        PORT            FLAGS     STATE    TARGETS       XTARGETS
        aggr0       --              --        --       --            --
                    net0            u--3      active   192.0.2.1     net1
                    net1            u-2-      active   --            net0
        ");
        assert!(shown(Format::default().all_columns()).contains("link and probes"));
    }
}
