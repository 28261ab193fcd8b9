//! Virtual switches: adding, changing, removing and listing them.

use clap::Args;
use dlmp_api::ldm::{Ldmd, NewSwitch, Switch};

use super::operands::{divide, divide_change};
use super::record::{VERSION, joined, maybe, record};
use super::{json, linkprop, problems, section};
use crate::cell::Cell;
use crate::command::Run;
use crate::daemon::{self, answer};
use crate::failure::Result;
use crate::output::{self, Column, Table};

const ADD: &str = "ldm add-vsw [-q] [PROPERTY=VALUE]... NAME DOMAIN";
const SET: &str = "ldm set-vsw [-q] PROPERTY=VALUE... NAME";

/// Add a virtual switch to a service domain
///
/// Properties: net-dev, mtu, mac-addr, default-vlan-id, pvid, vid, linkprop, inter-vnet-link, id.
#[derive(Debug, Args)]
#[command(override_usage = ADD)]
pub struct Add {
    /// Accepted as in Solaris; net-dev is checked all the same
    #[arg(short = 'q')]
    _quick: bool,
    /// Properties, then the names of the switch and its service domain
    #[arg(value_name = "OPERAND", required = true)]
    operands: Vec<String>,
}

/// Set properties of a virtual switch; an empty value resets one
///
/// Properties: those of add-vsw.
#[derive(Debug, Args)]
#[command(override_usage = SET)]
pub struct Set {
    /// Accepted as in Solaris; net-dev is checked all the same
    #[arg(short = 'q')]
    _quick: bool,
    /// Properties, then the name of the switch
    #[arg(value_name = "OPERAND", required = true)]
    operands: Vec<String>,
}

/// Remove a virtual switch
#[derive(Debug, Args)]
pub struct Remove {
    /// Though virtual network devices are connected to it, whose links go down
    #[arg(short)]
    force: bool,
    /// The switch
    name: String,
}

/// List the services of all domains: their virtual switches
#[derive(Debug, Args)]
pub struct List {
    /// Parseable: a line a record, of fields joined by `|`
    #[arg(short, conflicts_with = "json")]
    parseable: bool,
    /// Print JSON
    #[arg(short)]
    json: bool,
}

const COLUMNS: [Column; 13] = [
    Column::new("NAME", 15),
    Column::new("LDOM", 8),
    Column::new("MAC", 17),
    Column::new("NET-DEV", 8),
    Column::new("ID", 3),
    Column::new("DEVICE", 9),
    Column::new("LINKPROP", 10),
    Column::new("DEFAULT-VLAN-ID", 15),
    Column::new("PVID", 4),
    Column::new("VID", 5),
    Column::new("MTU", 5),
    Column::new("MODE", 4),
    Column::new("INTER-VNET-LINK", 15),
];

impl Run for Add {
    async fn run(self) -> Result<()> {
        let (settings, [name, domain]) = divide(self.operands, ADD)?;
        answer(daemon::ldmd()?.add_switch(&NewSwitch { name, domain, settings }).await)
    }
}

impl Run for Set {
    async fn run(self) -> Result<()> {
        let (settings, [name]) = divide_change(self.operands, SET)?;
        answer(daemon::ldmd()?.set_switch(&name, &settings).await)
    }
}

impl Run for Remove {
    async fn run(self) -> Result<()> {
        answer(daemon::ldmd()?.remove_switch(&self.name, self.force).await)
    }
}

impl Run for List {
    async fn run(self) -> Result<()> {
        let switches = daemon::list(daemon::ldmd()?.list_switches().await, |reply| reply.switches).await?;
        output::print(&if self.json {
            json(&switches)?
        } else if self.parseable {
            records_by_domain(&switches)
        } else {
            switch_table(&switches)? + &switch_problems(&switches)
        })
    }
}

/// The section of a listing that shows them.
///
/// # Errors
/// As [`section`].
pub fn switch_table(switches: &[Switch]) -> Result<String> {
    let row = |switch: &Switch| {
        vec![
            Cell::Text(switch.name.clone()),
            Cell::Text(switch.domain.clone()),
            Cell::Text(switch.mac.clone()),
            Cell::text(switch.netdev.clone()),
            Cell::Number(switch.id.unsigned_abs()),
            Cell::Text(device(switch)),
            Cell::text(linkprop(switch.physstate)),
            Cell::Number(switch.defaultvlan.unsigned_abs()),
            Cell::Number(switch.pvid.unsigned_abs()),
            Cell::List(switch.vids.iter().map(ToString::to_string).collect()),
            Cell::Number(switch.mtu.unsigned_abs()),
            Cell::Absent,
            Cell::Text(switch.intervnet.clone()),
        ]
    };
    section("VSW", Table { columns: &COLUMNS, rows: switches.iter().map(row).collect() })
}

/// What is wrong with them, a line each.
pub fn switch_problems(switches: &[Switch]) -> String {
    problems(switches.iter().map(|switch| (switch.name.clone(), &switch.problem)))
}

/// A switch for scripts.
pub fn switch_record(switch: &Switch) -> String {
    record(
        "VSW",
        &[
            ("name", switch.name.clone()),
            ("mac-addr", switch.mac.clone()),
            ("net-dev", maybe(switch.netdev.as_ref())),
            ("dev", device(switch)),
            ("default-vlan-id", switch.defaultvlan.to_string()),
            ("pvid", switch.pvid.to_string()),
            ("vid", joined(&switch.vids)),
            ("mode", String::new()),
            ("mtu", switch.mtu.to_string()),
            ("linkprop", maybe(linkprop(switch.physstate))),
            ("id", switch.id.to_string()),
            ("inter-vnet-link", switch.intervnet.clone()),
        ],
    )
}

/// All switches for scripts, under the domains that offer them.
fn records_by_domain(switches: &[Switch]) -> String {
    let mut switches: Vec<&Switch> = switches.iter().collect();
    switches.sort_by_key(|switch| &switch.domain);
    let mut text = VERSION.to_owned();
    for domain in switches.chunk_by(|one, next| one.domain == next.domain) {
        text += &record("DOMAIN", &[("name", domain[0].domain.clone())]);
        text.extend(domain.iter().map(|switch| switch_record(switch)));
    }
    text
}

fn device(switch: &Switch) -> String {
    format!("switch@{}", switch.id)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn switch(name: &str, domain: &str, netdev: Option<&str>, id: i64) -> Switch {
        Switch {
            name: name.into(),
            domain: domain.into(),
            mac: "00:14:4f:fb:9f:0d".into(),
            netdev: netdev.map(Into::into),
            id,
            physstate: netdev.is_some(),
            defaultvlan: 1,
            pvid: 1,
            vids: if netdev.is_some() { vec![2, 3] } else { vec![] },
            mtu: 1500,
            intervnet: "auto".into(),
            state: "up".into(),
            speed: Some(1000),
            duplex: "full".into(),
            problem: netdev.is_none().then(|| "its bridge was deleted".into()),
        }
    }

    /// Two of the published transcript, and an Ethernet stub.
    pub fn switches() -> [Switch; 3] {
        [
            switch("ldg5-vsw0", "ldg5", Some("net2"), 0),
            switch("primary-vsw0", "primary", Some("net0"), 0),
            switch("stub", "ldg5", None, 1),
        ]
    }

    #[test]
    fn services_are_listed_with_what_is_wrong_with_them() {
        insta::assert_snapshot!(switch_table(&switches()).unwrap() + &switch_problems(&switches()), @r"
        VSW
            NAME             LDOM      MAC                NET-DEV   ID   DEVICE     LINKPROP    DEFAULT-VLAN-ID  PVID  VID    MTU    MODE  INTER-VNET-LINK
            ----             ----      ---                -------   --   ------     --------    ---------------  ----  ---    ---    ----  ---------------
            ldg5-vsw0        ldg5      00:14:4f:fb:9f:0d  net2      0    switch@0   phys-state  1                1     2,3    1500   --    auto
            primary-vsw0     primary   00:14:4f:fb:9f:0d  net0      0    switch@0   phys-state  1                1     2,3    1500   --    auto
            stub             ldg5      00:14:4f:fb:9f:0d  --        1    switch@1   --          1                1     --     1500   --    auto
        Problem of stub: its bridge was deleted
        ");
    }

    #[test]
    fn scripts_get_the_switches_of_each_domain() {
        insta::assert_snapshot!(records_by_domain(&switches()), @r"
        VERSION 1.0
        DOMAIN|name=ldg5
        VSW|name=ldg5-vsw0|mac-addr=00:14:4f:fb:9f:0d|net-dev=net2|dev=switch@0|default-vlan-id=1|pvid=1|vid=2,3|mode=|mtu=1500|linkprop=phys-state|id=0|inter-vnet-link=auto
        VSW|name=stub|mac-addr=00:14:4f:fb:9f:0d|net-dev=|dev=switch@1|default-vlan-id=1|pvid=1|vid=|mode=|mtu=1500|linkprop=|id=1|inter-vnet-link=auto
        DOMAIN|name=primary
        VSW|name=primary-vsw0|mac-addr=00:14:4f:fb:9f:0d|net-dev=net0|dev=switch@0|default-vlan-id=1|pvid=1|vid=2,3|mode=|mtu=1500|linkprop=phys-state|id=0|inter-vnet-link=auto
        ");
    }
}
