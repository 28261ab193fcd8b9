//! `ldm list-manager`: this host's daemon among those of other hosts.

use clap::Args;
use dlmp_api::ldm::{Ldmd, Manager};

use super::section;
use crate::cell::{Cell, plain};
use crate::command::Run;
use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};
use crate::output::{self, Column, Table};

/// List what this host shares with other managers: interfaces, MAC addresses, messages
#[derive(Debug, Args)]
pub struct List {
    /// Print JSON
    #[arg(short)]
    json: bool,
}

const INTERFACES: [Column; 4] =
    [Column::new("NAME", 16), Column::new("ADDRESS", 15), Column::new("HOPS", 4), Column::new("PORT", 5)];
const ADDRESSES: [Column; 2] = [Column::new("MACADDRESS", 17), Column::new("USE", 5)];
const COLLISIONS: [Column; 3] = [Column::new("MACADDRESS", 17), Column::new("MANAGER", 15), Column::new("HOST", 4)];
const COUNTERS: [Column; 2] = [Column::new("NAME", 16), Column::new("COUNT", 5)];

impl Run for List {
    async fn run(self) -> Result<()> {
        let manager = answer(daemon::ldmd()?.get_manager().await)?.manager;
        output::print(&if self.json {
            serde_json::to_string(&manager).map_err(|error| Failure::Refused(error.to_string()))? + "\n"
        } else {
            shown(&manager)?
        })
    }
}

fn shown(manager: &Manager) -> Result<String> {
    let number = |number: i64| Cell::Text(number.to_string());
    let text = |text: &String| Cell::Text(text.clone());
    let interfaces = manager.interfaces.iter().map(|interface| {
        vec![text(&interface.name), text(&interface.address), number(manager.hops), number(manager.port)]
    });
    let ready = manager.ready.iter().map(|mac| vec![text(mac), Cell::Text("ready".into())]);
    let freed = manager.freed.iter().filter(|mac| !manager.ready.contains(mac));
    let freed = freed.map(|mac| vec![text(mac), Cell::Text("freed".into())]);
    let collisions = manager.collisions.iter().map(|collision| {
        vec![text(&collision.mac), text(&collision.manager), Cell::text(collision.host.as_deref().map(plain))]
    });
    let counters = manager.counters.iter().map(|counter| vec![text(&counter.name), number(counter.count)]);
    Ok([
        section("INTERFACES", Table { columns: &INTERFACES, rows: interfaces.collect() })?,
        section("ADDRESSES", Table { columns: &ADDRESSES, rows: ready.chain(freed).collect() })?,
        section("COLLISIONS", Table { columns: &COLLISIONS, rows: collisions.collect() })?,
        section("COUNTERS", Table { columns: &COUNTERS, rows: counters.collect() })?,
    ]
    .join("\n"))
}

#[cfg(test)]
mod tests {
    use dlmp_api::RuleCount;
    use dlmp_api::ldm::{MacCollision, ManagerInterface};

    use super::*;

    #[test]
    fn a_manager_is_shown_with_what_it_shares() {
        let manager = Manager {
            interfaces: vec![ManagerInterface { name: "net0".into(), address: "192.0.2.1".into() }],
            hops: 1,
            port: 6482,
            ready: vec!["00:14:4f:f8:00:01".into()],
            freed: vec!["00:14:4f:f8:00:01".into(), "00:14:4f:f8:00:02".into()],
            collisions: vec![MacCollision {
                mac: "00:14:4f:fb:00:07".into(),
                manager: "192.0.2.9".into(),
                host: Some("a\nb\u{1b}c".into()),
            }],
            counters: vec![RuleCount { name: "asked".into(), count: 20 }],
        };
        insta::assert_snapshot!(shown(&manager).unwrap(), @r"
        INTERFACES
            NAME              ADDRESS          HOPS  PORT
            ----              -------          ----  ----
            net0              192.0.2.1        1     6482

        ADDRESSES
            MACADDRESS         USE
            ----------         ---
            00:14:4f:f8:00:01  ready
            00:14:4f:f8:00:02  freed

        COLLISIONS
            MACADDRESS         MANAGER          HOST
            ----------         -------          ----
            00:14:4f:fb:00:07  192.0.2.9        a?b?c

        COUNTERS
            NAME              COUNT
            ----              -----
            asked             20
        ");
    }
}
