//! `dladm show-link` and `dladm show-phys`.

use std::io::Write;

use clap::Args;
use dlmp_netlink::Netlink;
use dlmp_netlink::ethtool::{Duplex, Ethtool};

use crate::commands::Run;
use crate::failure::Failure;
use crate::inventory::{self, Inventory};
use crate::output::{Cell, Column, Format, Printer};
use crate::{aggr, daemon};

/// Show data links
#[derive(Debug, Default, Args)]
pub struct Show {
    #[command(flatten)]
    format: Format,
    /// Only this link
    #[arg(value_name = "link")]
    link: Option<String>,
}

struct LinkRow {
    name: String,
    class: &'static str,
    mtu: u32,
    state: &'static str,
    /// Absent when it takes the daemon to tell, and none runs.
    over: Option<Vec<String>>,
}

const LINK: &[Column<LinkRow>] = &[
    Column::new("LINK", 12, |row| Cell::text(&row.name)),
    Column::new("CLASS", 10, |row| Cell::text(row.class)),
    Column::new("MTU", 7, |row| Cell::number(row.mtu.into())),
    Column::new("STATE", 9, |row| Cell::text(row.state)),
    Column::new("OVER", 4, |row| row.over.as_ref().map_or_else(|| Cell::absent().table("?"), |over| Cell::names(over))),
];

impl Run for Show {
    async fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.format, LINK)?;
        let inventory = Inventory::read(&connect()?).await?;
        let ethtool = ethtool()?;
        let aggregations = match inventory.aggregation() {
            Some(_) => aggr::list().await?,
            None => Some(Vec::new()),
        };
        let mut unknown = None;
        let mut rows = Vec::new();
        for link in inventory.data_links().filter(|link| is_wanted(self.link.as_deref(), &link.name)) {
            let class = inventory::class(link);
            let over = match &aggregations {
                Some(aggregations) if class == "aggr" => Some(aggr::ports_of(aggregations, &link.name)),
                None if class == "aggr" => None,
                _ => Some(inventory.under(link)),
            };
            if over.is_none() {
                unknown = Some(daemon::not_running_beside(&link.name));
            }
            let (name, state) = (link.name.clone(), inventory::state(link, &ethtool));
            rows.push(LinkRow { name, class, mtu: link.mtu, state, over });
        }
        if let (Some(name), true) = (&self.link, rows.is_empty()) {
            return Err(no_link(name));
        }
        printer.print(&rows, out)?;
        unknown.map_or(Ok(()), Err)
    }
}

/// Show physical links and what is used like them: speed, duplex and driver
#[derive(Debug, Args)]
pub struct ShowPhysical {
    #[command(flatten)]
    format: Format,
    /// Only this link
    #[arg(value_name = "link")]
    link: Option<String>,
}

struct PhysicalRow {
    name: String,
    ethernet: bool,
    state: &'static str,
    speed: Option<u32>,
    duplex: Duplex,
    driver: Option<String>,
}

const PHYSICAL: &[Column<PhysicalRow>] = &[
    Column::new("LINK", 12, |row| Cell::text(&row.name)),
    Column::new("MEDIA", 12, |row| Cell::optional(row.ethernet.then_some("Ethernet"))),
    Column::new("STATE", 10, |row| Cell::text(row.state)),
    Column::new("SPEED", 7, |row| match row.speed {
        Some(speed) => Cell::number(speed.into()),
        // As in Solaris.
        None => Cell::number(0).json(()),
    }),
    Column::new("DUPLEX", 9, |row| Cell::text(row.duplex.as_str())),
    // Solaris shows driver and instance (igb0). Linux numbers no instances and the link's own name
    // stands for the device, so the driver is all that there is to add.
    Column::new("DEVICE", 6, |row| Cell::optional(row.driver.as_deref())),
];

impl Run for ShowPhysical {
    async fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.format, PHYSICAL)?;
        let inventory = Inventory::read(&connect()?).await?;
        let ethtool = ethtool()?;
        let physical = |name: &str| inventory.data_links().any(|link| link.name == name);
        let mut rows = Vec::new();
        for link in inventory.data_links().filter(|link| inventory::class(link) == "phys") {
            if !is_wanted(self.link.as_deref(), &link.name) {
                continue;
            }
            let settings = ethtool.settings(&link.name).ok();
            rows.push(PhysicalRow {
                name: link.name.clone(),
                ethernet: link.ethernet,
                state: inventory::state(link, &ethtool),
                speed: settings.and_then(|settings| settings.speed),
                duplex: settings.map_or(Duplex::Unknown, |settings| settings.duplex),
                driver: ethtool.driver(&link.name).ok(),
            });
        }
        match &self.link {
            Some(name) if rows.is_empty() && physical(name) => {
                Err(Failure::request(format!("{name} is no physical link"), format!("dladm show-link {name}")))
            }
            Some(name) if rows.is_empty() => Err(no_link(name)),
            _ => Ok(printer.print(&rows, out)?),
        }
    }
}

/// A socket to the kernel's routing netlink.
///
/// # Errors
/// The system's refusal.
pub fn connect() -> Result<Netlink, Failure> {
    Netlink::connect().map_err(|error| Failure::Request(format!("cannot ask the kernel for links: {error}")))
}

/// The failure of naming a link that does not exist.
pub fn no_link(name: &str) -> Failure {
    Failure::request(format!("there is no link {name}"), "dladm show-link")
}

/// Whether a link is the one that was asked for, if one was.
pub fn is_wanted(wanted: Option<&str>, name: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == name)
}

fn ethtool() -> Result<Ethtool, Failure> {
    Ethtool::open().map_err(|error| Failure::Request(format!("cannot ask the kernel for link states: {error}")))
}
