//! Links as the kernel has them: `show-link` and `show-phys`. They need no daemon and no privilege.

use clap::Args;
use dlmp_api::client::Dlmpd;
use dlmp_netlink::ethtool::{Duplex, Ethtool, Settings};
use dlmp_netlink::{Link, Netlink};

use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};
use crate::output::{Cell, Column, Format, Table};
use crate::table::Run;

/// What `dlmpd` writes into the alias of an aggregation's link.
const AGGREGATION_ALIAS: &str = "dlmp aggregation";
/// What it writes into the alias of the end below, which is its own affair and never shown.
const LOWER_ALIAS: &str = "dlmp lower end of";

/// Show links
#[derive(Debug, Args)]
pub struct ShowLink {
    #[command(flatten)]
    format: Format,
    /// Only this link
    link: Option<String>,
}

/// Show the devices under the links: speed, duplex, driver
#[derive(Debug, Args)]
pub struct ShowPhys {
    #[command(flatten)]
    format: Format,
    /// Only this link
    link: Option<String>,
}

const LINKS: [Column; 5] = [
    Column::new("LINK", 12),
    Column::new("CLASS", 8),
    Column::new("MTU", 6),
    Column::new("STATE", 8),
    Column::new("OVER", 4),
];

const DEVICES: [Column; 6] = [
    Column::new("LINK", 12),
    Column::new("MEDIA", 12),
    Column::new("STATE", 8),
    Column::new("SPEED", 6),
    Column::new("DUPLEX", 8),
    Column::new("DEVICE", 6),
];

/// What a link is, in Solaris' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A network device, whatever its driver.
    Phys,
    /// An aggregation of ours.
    Aggr,
    /// A bridge.
    Bridge,
    /// A VLAN.
    Vlan,
    /// A virtual NIC on another link.
    Vnic,
    /// A bond or team, which Solaris has not.
    Bond,
    /// A link without Ethernet, such as a tunnel.
    Iptun,
}

impl Class {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Phys => "phys",
            Self::Aggr => "aggr",
            Self::Bridge => "bridge",
            Self::Vlan => "vlan",
            Self::Vnic => "vnic",
            Self::Bond => "bond",
            Self::Iptun => "iptun",
        }
    }

    /// The class of a link; none for those that are not shown: the loopback, as in Solaris, and the
    /// lower end of an aggregation.
    pub fn of(link: &Link) -> Option<Self> {
        if link.loopback || alias_starts(link, LOWER_ALIAS) {
            return None;
        }
        if is_aggregation(link) {
            return Some(Self::Aggr);
        }
        Some(match link.kind.as_deref() {
            Some("bridge") => Self::Bridge,
            Some("vlan") => Self::Vlan,
            Some("macvlan" | "macvtap" | "ipvlan" | "ipvtap") => Self::Vnic,
            Some("bond" | "team") => Self::Bond,
            _ if !link.ethernet => Self::Iptun,
            _ => Self::Phys,
        })
    }
}

/// Whether a link is an aggregation of ours.
pub fn is_aggregation(link: &Link) -> bool {
    alias_starts(link, AGGREGATION_ALIAS)
}

fn alias_starts(link: &Link, start: &str) -> bool {
    link.alias.as_deref().is_some_and(|alias| alias.starts_with(start))
}

/// All links of the namespace, by index.
///
/// # Errors
/// The kernel's refusal.
pub async fn links() -> Result<Vec<Link>> {
    Ok(Netlink::connect()?.links().await?)
}

/// The links of the namespace that are shown, with their classes: all, or the one that was named.
///
/// # Errors
/// The kernel's refusal, or there is no such link.
pub fn shown<'a>(links: &'a [Link], name: Option<&str>) -> Result<Vec<(&'a Link, Class)>> {
    let shown = links.iter().filter_map(|link| Some((link, Class::of(link)?)));
    let shown: Vec<_> = shown.filter(|(link, _)| name.is_none_or(|name| link.name == name)).collect();
    match name {
        Some(name) if shown.is_empty() => Err(Failure::refused(format!("there is no link {name}"), "dladm show-link")),
        _ => Ok(shown),
    }
}

/// What ethtool knows of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    /// Absent when the driver cannot say.
    carrier: Option<bool>,
    settings: Settings,
    driver: Option<String>,
}

impl Device {
    /// A device that is gone by now, or whose driver tells nothing, has nothing known of it.
    fn ask(ethtool: &Ethtool, name: &str) -> Self {
        let unknown = Settings { speed: None, duplex: Duplex::Unknown };
        Self {
            carrier: ethtool.carrier(name).ok().flatten(),
            settings: ethtool.settings(name).unwrap_or(unknown),
            driver: ethtool.driver(name).ok(),
        }
    }

    /// `unknown` is a link whose driver cannot report it: the kernel calls its carrier present always.
    const fn state(&self, link: &Link) -> &'static str {
        match self.carrier {
            _ if !link.admin_up => "down",
            Some(true) => "up",
            Some(false) => "down",
            None => "unknown",
        }
    }
}

impl Run for ShowLink {
    async fn run(self) -> Result<()> {
        let ethtool = Ethtool::open()?;
        let links = links().await?;
        let aggregations = match daemon::find()? {
            Some(mut daemon) => answer(daemon.list_aggregations().await)?.aggregations,
            None => Vec::new(),
        };
        let ports = |name: &str| {
            let aggregation = aggregations.iter().find(|aggregation| aggregation.name == name)?;
            Some(aggregation.ports.iter().map(|port| port.name.clone()).collect())
        };
        let rows = (shown(&links, self.link.as_deref())?.into_iter())
            .map(|(link, class)| {
                let state = Device::ask(&ethtool, &link.name).state(link);
                link_row(link, class, state, over(&links, link, class, ports))
            })
            .collect();
        self.format.print(&Table { columns: &LINKS, rows })
    }
}

impl Run for ShowPhys {
    async fn run(self) -> Result<()> {
        let ethtool = Ethtool::open()?;
        let links = links().await?;
        let mut devices = shown(&links, self.link.as_deref())?;
        devices.retain(|(_, class)| *class == Class::Phys);
        if let (Some(name), true) = (&self.link, devices.is_empty()) {
            return Err(Failure::refused(format!("{name} is not a device"), format!("dladm show-link {name}")));
        }
        let rows = devices.into_iter().map(|(link, _)| device_row(link, &Device::ask(&ethtool, &link.name))).collect();
        self.format.print(&Table { columns: &DEVICES, rows })
    }
}

/// What a link lies over. `ports` are those of an aggregation, which only the daemon knows.
fn over(links: &[Link], link: &Link, class: Class, ports: impl Fn(&str) -> Option<Vec<String>>) -> Cell {
    let names = |wanted: &dyn Fn(&Link) -> bool| {
        Cell::list(links.iter().filter(|other| wanted(other)).map(|other| other.name.clone()).collect())
    };
    match class {
        Class::Aggr => ports(&link.name).map_or(Cell::Unknown, Cell::list),
        Class::Bridge | Class::Bond => names(&|other| other.master == Some(link.index)),
        Class::Vlan | Class::Vnic => names(&|other| Some(other.index) == link.peer_index),
        Class::Phys | Class::Iptun => Cell::Absent,
    }
}

fn link_row(link: &Link, class: Class, state: &str, over: Cell) -> Vec<Cell> {
    vec![
        Cell::Text(link.name.clone()),
        Cell::Text(class.as_str().into()),
        Cell::Number(link.mtu.into()),
        Cell::Text(state.into()),
        over,
    ]
}

/// Solaris names the driver's instance (`igb0`). Linux numbers no instances, so the driver stands
/// alone: an interface index behind it would look like an instance and be none.
fn device_row(link: &Link, device: &Device) -> Vec<Cell> {
    vec![
        Cell::Text(link.name.clone()),
        Cell::Text("Ethernet".into()),
        Cell::Text(device.state(link).into()),
        Cell::Number(device.settings.speed.unwrap_or(0).into()),
        Cell::Text(device.settings.duplex.as_str().into()),
        Cell::text(device.driver.clone()),
    ]
}
