//! Aggregations: making, changing, deleting and showing them.

use clap::{Args, ValueEnum};
use dlmp_api::client::Dlmpd;
use dlmp_api::{Aggregation, NewAggregation, Port, PortChange};
use dlmp_wire::MacAddr;

use crate::cell::{Cell, mac, speed};
use crate::command::Run;
use crate::daemon::{self, answer, only};
use crate::dladm::{clients, status};
use crate::failure::{Failure, Result};
use crate::output::{self, Column, Format, Table};

/// Create an aggregation of links
///
/// Links that become ports must have no IP address. The default mode is dlmp, unlike in Solaris:
/// trunk mode needs switches that take part in it and does not exist here.
#[derive(Debug, Args)]
pub struct Create {
    /// Not beyond the next boot
    #[arg(short)]
    temporary: bool,
    /// Take links whose speeds differ or that cannot report their state
    #[arg(short)]
    force: bool,
    /// Mode of the aggregation
    #[arg(short, value_enum, default_value = "dlmp")]
    mode: Mode,
    /// MAC address of the aggregation; a random one of 2:8:20:* when absent
    #[arg(short = 'u', value_name = "ADDRESS")]
    mac: Option<MacAddr>,
    /// Link that becomes a port; give it once for each
    #[arg(short = 'l', value_name = "LINK", required = true)]
    ports: Vec<String>,
    #[command(flatten)]
    trunk: TrunkOptions,
    /// Name of the aggregation
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Dlmp,
    /// Solaris has it: refused with a reason instead of as a word that nobody knows.
    #[value(hide = true)]
    Trunk,
}

/// Delete an aggregation
#[derive(Debug, Args)]
pub struct Delete {
    /// Until the next boot only
    #[arg(short)]
    temporary: bool,
    /// The aggregation
    name: String,
}

/// Add ports to an aggregation
#[derive(Debug, Args)]
pub struct Add {
    /// Until the next boot only
    #[arg(short)]
    temporary: bool,
    /// Take links whose speeds differ or that cannot report their state
    #[arg(short)]
    force: bool,
    /// Link that becomes a port; give it once for each
    #[arg(short = 'l', value_name = "LINK", required = true)]
    ports: Vec<String>,
    /// The aggregation
    name: String,
}

/// Remove ports from an aggregation
#[derive(Debug, Args)]
pub struct Remove {
    /// Until the next boot only
    #[arg(short)]
    temporary: bool,
    /// Port to remove; give it once for each
    #[arg(short = 'l', value_name = "LINK", required = true)]
    ports: Vec<String>,
    /// The aggregation
    name: String,
}

/// Modify an aggregation
#[derive(Debug, Args)]
pub struct Modify {
    /// Until the next boot only
    #[arg(short)]
    temporary: bool,
    /// Mode of the aggregation
    #[arg(short, value_enum, default_value = "dlmp")]
    mode: Mode,
    #[command(flatten)]
    trunk: TrunkOptions,
    /// MAC address of the aggregation
    #[arg(short = 'u', value_name = "ADDRESS")]
    mac: Option<MacAddr>,
    /// The aggregation
    name: String,
}

/// What belongs to trunk mode: refused with a reason.
#[derive(Debug, Args)]
struct TrunkOptions {
    /// Load balancing of trunk mode
    #[arg(short = 'P', value_name = "POLICY", hide = true)]
    policy: Option<String>,
    /// LACP of trunk mode
    #[arg(short = 'L', value_name = "MODE", hide = true)]
    lacp_mode: Option<String>,
    /// LACP timer of trunk mode
    #[arg(short = 'T', value_name = "TIME", hide = true)]
    lacp_timer: Option<String>,
}

/// Show aggregations
#[derive(Debug, Args)]
pub struct Show {
    /// Show each aggregation's ports
    #[arg(short = 'x')]
    extended: bool,
    /// Show what probing says of each port
    #[arg(short = 'S', conflicts_with = "extended")]
    status: bool,
    /// With -S: addresses of targets, not names
    #[arg(short = 'n', requires = "status")]
    numeric: bool,
    /// Show the clients, and the port that each sits on
    #[arg(short = 'C', conflicts_with_all = ["extended", "status"])]
    clients: bool,
    #[command(flatten)]
    format: Format,
    /// Only this aggregation
    name: Option<String>,
}

const PLAIN: [Column; 10] = [
    Column::new("LINK", 12),
    Column::new("MODE", 5),
    Column::new("POLICY", 6),
    Column::new("ADDRPOLICY", 10),
    Column::new("LACPACTIVITY", 12),
    Column::new("LACPTIMER", 9),
    Column::extra("DETECTION", 9),
    Column::extra("MULTICASTPORT", 13),
    Column::extra("TEMPORARY", 9),
    Column::extra("PROBLEMS", 8),
];

const EXTENDED: [Column; 12] = [
    Column::new("LINK", 10),
    Column::new("PORT", 10),
    Column::new("SPEED", 7),
    Column::new("DUPLEX", 7),
    Column::new("STATE", 7),
    Column::new("ADDRESS", 17),
    Column::new("PORTSTATE", 9),
    Column::extra("DETECTION", 9),
    Column::extra("HEALTH", 7),
    Column::extra("CLIENTS", 10),
    Column::extra("VLANS", 11),
    Column::extra("REASON", 6),
];

impl TrunkOptions {
    /// Refuses what belongs to trunk mode.
    fn check(&self, mode: Mode, instead: &str) -> Result<()> {
        let trunk_only = [(&self.policy, "-P"), (&self.lacp_mode, "-L"), (&self.lacp_timer, "-T")];
        let refused = if mode == Mode::Trunk {
            "-m trunk: there is no trunk mode"
        } else if let Some((_, option)) = trunk_only.iter().find(|(value, _)| value.is_some()) {
            &format!("{option} belongs to trunk mode, which does not exist")
        } else {
            return Ok(());
        };
        Err(Failure::refused(
            format!("{refused} here: only dlmp, which needs no policy and no LACP on the switches"),
            instead,
        ))
    }
}

impl Run for Create {
    async fn run(self) -> Result<()> {
        let ports: String = self.ports.iter().map(|port| format!(" -l {port}")).collect();
        self.trunk.check(self.mode, &format!("dladm create-aggr -m dlmp{ports} {}", self.name))?;
        let mut daemon = daemon::find_or_start().await?;
        let request = NewAggregation {
            name: self.name,
            ports: self.ports,
            mac: self.mac.map(|mac| mac.to_string()),
            temporary: self.temporary,
            force: self.force,
        };
        answer(daemon.create_aggregation(&request).await)
    }
}

impl Run for Delete {
    async fn run(self) -> Result<()> {
        answer(daemon::require()?.delete_aggregation(&self.name, self.temporary).await)
    }
}

impl Run for Add {
    async fn run(self) -> Result<()> {
        let Self { temporary, force, ports, name: aggregation } = self;
        answer(daemon::require()?.add_ports(&PortChange { aggregation, ports, temporary, force }).await)
    }
}

impl Run for Remove {
    async fn run(self) -> Result<()> {
        let Self { temporary, ports, name: aggregation } = self;
        answer(daemon::require()?.remove_ports(&PortChange { aggregation, ports, temporary, force: false }).await)
    }
}

impl Run for Modify {
    async fn run(self) -> Result<()> {
        self.trunk.check(self.mode, &format!("dladm show-aggr {}", self.name))?;
        let aggregations = answer(daemon::require()?.list_aggregations().await)?.aggregations;
        let known = only(aggregations, Some(&self.name), |aggregation| &aggregation.name)?;
        match (self.mac, known.first()) {
            (Some(mac), Some(aggregation)) if mac.to_string() != aggregation.mac => Err(Failure::refused(
                format!("-u {mac}: the address of an aggregation stays the one that it was made with"),
                format!("dladm delete-aggr {0}, then create-aggr with -u {mac}", self.name),
            )),
            // The mode is dlmp, and the address is the one asked for: nothing is left to do.
            _ => Ok(()),
        }
    }
}

impl Run for Show {
    async fn run(self) -> Result<()> {
        let (mut aggregations, mut clients) = (Vec::new(), Vec::new());
        if let Some(mut daemon) = daemon::find_to_show().await? {
            aggregations = answer(daemon.list_aggregations().await)?.aggregations;
            if self.clients {
                clients = answer(daemon.list_clients().await)?.clients;
            }
        }
        let aggregations = only(aggregations, self.name.as_deref(), |aggregation| &aggregation.name)?;
        if self.clients {
            clients.retain(|client| self.name.as_ref().is_none_or(|name| *name == client.aggregation));
            return self.format.print(&clients::table(&clients)?);
        }
        let table = match (self.extended, self.status) {
            (true, _) => extended(&aggregations)?,
            (_, true) => status::table(&aggregations, self.numeric),
            _ => plain(&aggregations),
        };
        self.format.print(&table)?;
        if self.status && self.format.is_for_people() {
            output::print(&status::detection(&aggregations))?;
        }
        if self.format.is_for_people() {
            output::print(&status::problems(&aggregations))?;
        }
        Ok(())
    }
}

fn plain(aggregations: &[Aggregation]) -> Table {
    let row = |aggregation: &Aggregation| {
        vec![
            Cell::Text(aggregation.name.clone()),
            Cell::Text(aggregation.mode.clone()),
            Cell::Absent,
            Cell::Absent,
            Cell::Absent,
            Cell::Absent,
            Cell::Text(aggregation.detection.clone()),
            Cell::text(aggregation.multicast_port.clone()),
            Cell::Flag(aggregation.temporary),
            Cell::List(aggregation.problems.clone()),
        ]
    };
    Table { columns: &PLAIN, rows: aggregations.iter().map(row).collect() }
}

fn extended(aggregations: &[Aggregation]) -> Result<Table> {
    let mut rows = Vec::new();
    for aggregation in aggregations {
        rows.push(vec![
            Cell::Text(aggregation.name.clone()),
            Cell::Absent,
            speed(aggregation.speed),
            Cell::Text(aggregation.duplex.clone()),
            Cell::Text(aggregation.state.clone()),
            mac(Some(&aggregation.mac))?,
            Cell::Absent,
            Cell::Text(aggregation.detection.clone()),
            Cell::Absent,
            Cell::Absent,
            Cell::Absent,
            Cell::Absent,
        ]);
        for port in &aggregation.ports {
            rows.push(port_row(aggregation, port)?);
        }
    }
    Ok(Table { columns: &EXTENDED, rows })
}

fn port_row(aggregation: &Aggregation, port: &Port) -> Result<Vec<Cell>> {
    Ok(vec![
        Cell::Repeated(aggregation.name.clone()),
        Cell::Text(port.name.clone()),
        speed(port.speed),
        Cell::Text(port.duplex.clone()),
        Cell::Text(port.state.clone()),
        mac(port.mac.as_deref())?,
        Cell::Text(port.portstate.clone()),
        Cell::Text(aggregation.detection.clone()),
        Cell::Text(port.health.clone()),
        Cell::List(port.clients.clone()),
        Cell::text(port.vlans.clone()),
        Cell::Text(port.reason.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, mac: Option<&str>, state: &str) -> Port {
        let up = state == "up";
        Port {
            name: name.into(),
            mac: mac.map(Into::into),
            state: state.into(),
            speed: up.then_some(1000),
            duplex: if up { "full" } else { "unknown" }.into(),
            health: if up { "active" } else { "failed" }.into(),
            reason: format!("its link is {state}"),
            portstate: if mac.is_some() { "attached" } else { "detached" }.into(),
            clients: if up { vec!["aggr0".into()] } else { vec![] },
            flags: "u---".into(),
            targets: vec![],
            xtargets: vec![],
            vlans: (name == "net0").then(|| "registered".into()),
        }
    }

    fn aggregation(ports: Vec<Port>) -> Aggregation {
        Aggregation {
            name: "aggr0".into(),
            mode: "dlmp".into(),
            mac: "02:08:20:88:84:ba".into(),
            mtu: 1500,
            state: "up".into(),
            speed: Some(1000),
            duplex: "full".into(),
            temporary: false,
            detection: "link".into(),
            multicast_port: Some("net0".into()),
            problems: vec![],
            ports,
        }
    }

    fn published() -> [Aggregation; 1] {
        [aggregation(vec![
            port("net0", Some("00:14:4f:f9:cf:47"), "up"),
            port("net1", Some("00:14:4f:fb:f5:33"), "up"),
        ])]
    }

    #[test]
    fn show_aggr_has_the_cells_of_the_published_transcript() {
        insta::assert_snapshot!(Format::default().render(&plain(&published()), true).unwrap(), @r"
        LINK          MODE   POLICY  ADDRPOLICY  LACPACTIVITY  LACPTIMER
        aggr0         dlmp   --      --          --            --
        ");
    }

    #[test]
    fn show_aggr_x_has_the_cells_of_the_published_transcript() {
        insta::assert_snapshot!(Format::default().render(&extended(&published()).unwrap(), true).unwrap(), @r"
        LINK        PORT        SPEED    DUPLEX   STATE    ADDRESS            PORTSTATE
        aggr0       --          1000Mb   full     up       2:8:20:88:84:ba    --
                    net0        1000Mb   full     up       0:14:4f:f9:cf:47   attached
                    net1        1000Mb   full     up       0:14:4f:fb:f5:33   attached
        ");
    }

    #[test]
    fn every_field_says_what_is_detected_how_and_why_a_port_is_failed() {
        let aggregations = [aggregation(vec![
            port("net0", Some("00:14:4f:f9:cf:47"), "up"),
            port("net1", Some("00:14:4f:fb:f5:33"), "down"),
            port("net2", None, "absent"),
        ])];
        let format = Format::default().all_columns();
        insta::assert_snapshot!(format.render(&extended(&aggregations).unwrap(), true).unwrap(), @r"
        LINK        PORT        SPEED    DUPLEX   STATE    ADDRESS            PORTSTATE  DETECTION  HEALTH   CLIENTS     VLANS        REASON
        aggr0       --          1000Mb   full     up       2:8:20:88:84:ba    --         link       --       --          --           --
                    net0        1000Mb   full     up       0:14:4f:f9:cf:47   attached   link       active   aggr0       registered   its link is up
                    net1        0Mb      unknown  down     0:14:4f:fb:f5:33   attached   link       failed   --          --           its link is down
                    net2        0Mb      unknown  absent   --                 detached   link       failed   --          --           its link is absent
        ");
        insta::assert_snapshot!(format.render(&plain(&aggregations), true).unwrap(), @r"
        LINK          MODE   POLICY  ADDRPOLICY  LACPACTIVITY  LACPTIMER  DETECTION  MULTICASTPORT  TEMPORARY  PROBLEMS
        aggr0         dlmp   --      --          --            --         link       net0           no         --
        ");
    }

    #[test]
    fn an_address_that_is_none_is_not_shown_as_one() {
        assert_eq!(mac(Some("nonsense")).unwrap_err().exit_code(), 1);
    }
}
