//! `dladm create-aggr`, `delete-aggr`, `add-aggr`, `remove-aggr` and `show-aggr`.

use std::io::Write;

use clap::{Args, ValueEnum};
use dlmp_api::client::Dlmpd;
use dlmp_api::{Aggregation, NewAggregation, Port, PortChange};
use dlmp_wire::MacAddr;

use crate::commands::Run;
use crate::daemon::{self, answer};
use crate::failure::Failure;
use crate::inventory::Inventory;
use crate::link::{connect, is_wanted};
use crate::output::{Cell, Column, Format, Printer};

/// Create an aggregation
#[derive(Debug, Args)]
pub struct Create {
    /// Temporary: do not keep it beyond the next boot
    #[arg(short)]
    temporary: bool,
    /// Force: accept ports of different speeds, or that cannot report their link state
    #[arg(short)]
    force: bool,
    /// Mode; there is only dlmp, so it is the default (in Solaris that is trunk)
    #[arg(short, value_name = "mode", default_value = "dlmp")]
    mode: Mode,
    /// MAC address of the aggregation; random when not given
    #[arg(short = 'u', value_name = "address")]
    mac: Option<MacAddr>,
    /// A port; once for each
    #[arg(short = 'l', value_name = "link", required = true)]
    ports: Vec<String>,
    /// Name of the aggregation
    #[arg(value_name = "name")]
    name: String,
    #[arg(short = 'P', hide = true)]
    policy: Option<String>,
    #[arg(short = 'L', hide = true)]
    lacp_mode: Option<String>,
    #[arg(short = 'T', hide = true)]
    lacp_timer: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Dlmp,
    /// Known, so that the refusal can give the reason.
    #[value(hide = true)]
    Trunk,
}

impl Run for Create {
    async fn run(self, _: &mut dyn Write) -> Result<(), Failure> {
        self.refuse_trunk()?;
        let request = NewAggregation {
            name: self.name,
            ports: self.ports,
            mac: self.mac.map(|mac| mac.to_string()),
            temporary: self.temporary,
            force: self.force,
        };
        answer(daemon::started().await?.create_aggregation(&request).await)
    }
}

impl Create {
    fn refuse_trunk(&self) -> Result<(), Failure> {
        let given = [("-P", &self.policy), ("-L", &self.lacp_mode), ("-T", &self.lacp_timer)];
        let refused = match given.iter().find(|(_, value)| value.is_some()) {
            _ if self.mode == Mode::Trunk => {
                "there is no mode trunk here (LACP is left to the kernel's bonding)".into()
            }
            Some((option, _)) => format!("{option} belongs to mode trunk, which does not exist here"),
            None => return Ok(()),
        };
        let ports: Vec<String> = self.ports.iter().map(|port| format!("-l {port}")).collect();
        let remedy = format!("dladm create-aggr -m dlmp {} {}", ports.join(" "), self.name);
        Err(Failure::request(format!("{refused}; mode dlmp needs no configuration of the switches"), remedy))
    }
}

/// Delete an aggregation; nothing may be left on it
#[derive(Debug, Args)]
pub struct Delete {
    /// Temporary: only until the next boot
    #[arg(short)]
    temporary: bool,
    /// Name of the aggregation
    #[arg(value_name = "name")]
    name: String,
}

impl Run for Delete {
    async fn run(self, _: &mut dyn Write) -> Result<(), Failure> {
        answer(daemon::running()?.delete_aggregation(&self.name, self.temporary).await)
    }
}

/// Add ports to an aggregation
#[derive(Debug, Args)]
pub struct Add {
    /// Temporary: only until the next boot
    #[arg(short)]
    temporary: bool,
    /// Force: accept ports of different speeds, or that cannot report their link state
    #[arg(short)]
    force: bool,
    /// A port; once for each
    #[arg(short = 'l', value_name = "link", required = true)]
    ports: Vec<String>,
    /// Name of the aggregation
    #[arg(value_name = "name")]
    name: String,
}

impl Run for Add {
    async fn run(self, _: &mut dyn Write) -> Result<(), Failure> {
        let request =
            PortChange { aggregation: self.name, ports: self.ports, temporary: self.temporary, force: self.force };
        answer(daemon::running()?.add_ports(&request).await)
    }
}

/// Remove ports from an aggregation; one has to stay
#[derive(Debug, Args)]
pub struct Remove {
    /// Temporary: only until the next boot
    #[arg(short)]
    temporary: bool,
    /// A port; once for each
    #[arg(short = 'l', value_name = "link", required = true)]
    ports: Vec<String>,
    /// Name of the aggregation
    #[arg(value_name = "name")]
    name: String,
}

impl Run for Remove {
    async fn run(self, _: &mut dyn Write) -> Result<(), Failure> {
        let request = PortChange { aggregation: self.name, ports: self.ports, temporary: self.temporary, force: false };
        answer(daemon::running()?.remove_ports(&request).await)
    }
}

/// Show aggregations
#[derive(Debug, Args)]
pub struct Show {
    /// Extended: with each port
    #[arg(short = 'x')]
    extended: bool,
    #[command(flatten)]
    format: Format,
    /// Only this aggregation
    #[arg(value_name = "name")]
    name: Option<String>,
}

const PLAIN: &[Column<Aggregation>] = &[
    Column::new("LINK", 16, |aggr| Cell::text(&aggr.name)),
    Column::new("MODE", 6, |aggr| Cell::text(&aggr.mode)),
    Column::new("POLICY", 8, |_| Cell::absent()),
    Column::new("ADDRPOLICY", 16, |_| Cell::absent()),
    Column::new("LACPACTIVITY", 14, |_| Cell::absent()),
    Column::new("LACPTIMER", 9, |_| Cell::absent()),
    Column::extra("DETECTION", 9, |aggr| Cell::text(&aggr.detection)),
    Column::extra("MULTICASTPORT", 13, |aggr| Cell::optional(aggr.multicast_port.as_deref())),
    Column::extra("TEMPORARY", 9, |aggr| Cell::yes_no(aggr.temporary)),
];

/// A row of `-x`: the aggregation itself, or one of its ports.
struct Extended {
    aggregation: Aggregation,
    port: Option<Port>,
}

const EXTENDED: &[Column<Extended>] = &[
    // Blank beside a port, but not for scripts, which read one line at a time.
    Column::new("LINK", 12, |row| {
        let cell = Cell::text(&row.aggregation.name);
        if row.port.is_some() { cell.table("") } else { cell }
    }),
    Column::new("PORT", 12, |row| Cell::optional(row.port.as_ref().map(|port| &port.name))),
    Column::new("SPEED", 7, |row| speed(row.port.as_ref().map_or(row.aggregation.speed, |port| port.speed))),
    Column::new("DUPLEX", 9, |row| Cell::text(row.port.as_ref().map_or(&row.aggregation.duplex, |port| &port.duplex))),
    Column::new("STATE", 9, |row| Cell::text(row.port.as_ref().map_or(&row.aggregation.state, |port| &port.state))),
    Column::new("ADDRESS", 18, |row| match &row.port {
        None => mac(Some(&row.aggregation.mac)),
        Some(port) => mac(port.mac.as_deref()),
    }),
    Column::new("PORTSTATE", 9, |row| Cell::optional(row.port.as_ref().map(|port| &port.portstate))),
    Column::extra("HEALTH", 7, |row| Cell::optional(row.port.as_ref().map(|port| &port.health))),
    Column::extra("REASON", 7, |row| Cell::optional(row.port.as_ref().map(|port| &port.reason))),
    Column::extra("DETECTION", 9, |row| Cell::text(&row.aggregation.detection)),
    Column::extra("CLIENTS", 7, |row| row.port.as_ref().map_or_else(Cell::absent, |port| Cell::names(&port.clients))),
];

impl Run for Show {
    async fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        if self.extended {
            let mut printer = Printer::new(&self.format, EXTENDED)?;
            let rows: Vec<Extended> = self.selected().await?.into_iter().flat_map(extended).collect();
            return Ok(printer.print(&rows, out)?);
        }
        let mut printer = Printer::new(&self.format, PLAIN)?;
        Ok(printer.print(&self.selected().await?, out)?)
    }
}

impl Show {
    async fn selected(&self) -> Result<Vec<Aggregation>, Failure> {
        let mut aggregations = expected().await?;
        aggregations.retain(|aggregation| is_wanted(self.name.as_deref(), &aggregation.name));
        match &self.name {
            Some(name) if aggregations.is_empty() => Err(no_aggregation(name)),
            _ => Ok(aggregations),
        }
    }
}

/// All aggregations; none when no daemon runs and no link of ours says that there should be one.
///
/// # Errors
/// There are aggregations but no daemon to tell about them, or it could not be asked.
async fn expected() -> Result<Vec<Aggregation>, Failure> {
    if let Some(aggregations) = list().await? {
        return Ok(aggregations);
    }
    match Inventory::read(&connect()?).await?.aggregation() {
        Some(name) => Err(daemon::not_running_beside(name)),
        None => Ok(Vec::new()),
    }
}

/// The aggregations of the daemon; absent when none runs.
///
/// # Errors
/// The daemon could not be asked.
pub async fn list() -> Result<Option<Vec<Aggregation>>, Failure> {
    match daemon::find()? {
        Some(mut daemon) => Ok(Some(answer(daemon.list_aggregations().await)?.aggregations)),
        None => Ok(None),
    }
}

/// The names of the ports of one of these aggregations.
pub fn ports_of(aggregations: &[Aggregation], name: &str) -> Vec<String> {
    let ports = aggregations.iter().filter(|aggregation| aggregation.name == name).flat_map(|aggr| &aggr.ports);
    ports.map(|port| port.name.clone()).collect()
}

/// The failure of naming an aggregation that does not exist.
pub fn no_aggregation(name: &str) -> Failure {
    Failure::request(format!("there is no aggregation {name}"), "dladm show-aggr")
}

/// The row of the aggregation, then those of its ports.
fn extended(aggregation: Aggregation) -> impl Iterator<Item = Extended> {
    let ports = aggregation.ports.clone();
    std::iter::once(None)
        .chain(ports.into_iter().map(Some))
        .map(move |port| Extended { aggregation: aggregation.clone(), port })
}

/// As Solaris shows it, 0 when unknown.
fn speed(speed: Option<i64>) -> Cell {
    Cell::text(format!("{}Mb", speed.unwrap_or(0))).json(speed)
}

/// Without leading zeros as Solaris shows it, but in JSON as all of Linux does.
fn mac(text: Option<&str>) -> Cell {
    let Some(text) = text else {
        return Cell::absent();
    };
    let short = text.parse::<MacAddr>().map_or_else(|_| text.to_owned(), |mac| mac.short().to_string());
    Cell::text(short).json(text)
}
