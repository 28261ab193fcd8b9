//! `show-link` and `show-phys`. They need no daemon and no privilege.

use clap::Args;
use dlmp_api::VnetAlias;
use dlmp_api::client::Dlmpd;
use dlmp_netlink::Link;
use dlmp_netlink::ethtool::{Duplex, Ethtool, Settings};

use crate::cell::Cell;
use crate::command::Run;
use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};
use crate::links::{Class, aggregation_below, links, shown};
use crate::output::{Column, Format, Table};

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

/// What ethtool knows of a link; of a vnet what `ldmd` says in its alias, since ethtool knows only the way to its switch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    /// Absent when the driver cannot say.
    carrier: Option<bool>,
    settings: Settings,
    driver: Option<String>,
}

impl Device {
    /// A device that is gone by now, or whose driver tells nothing, has nothing known of it.
    fn ask(ethtool: &Ethtool, link: &Link) -> Self {
        let carrier = ethtool.carrier(&link.name).ok().flatten();
        if let Some(vnet) = link.alias.as_deref().and_then(|alias| alias.parse().ok()) {
            return Self::vnet(link, &vnet, carrier);
        }
        let unknown = Settings { speed: None, duplex: Duplex::Unknown };
        let settings = ethtool.settings(&link.name).unwrap_or(unknown);
        Self { carrier, settings, driver: ethtool.driver(&link.name).ok() }
    }

    /// `ldmd` numbers the links of vnets: `net0` is the instance `vnet0`. One that was renamed has lost its number.
    fn vnet(link: &Link, vnet: &VnetAlias, carrier: Option<bool>) -> Self {
        let duplex = vnet.duplex.as_deref().map_or(Duplex::Unknown, Duplex::named);
        let number = link.name.strip_prefix("net").filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let driver = Some(format!("vnet{}", number.unwrap_or_default()));
        Self { carrier, settings: Settings { speed: vnet.speed, duplex }, driver }
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
        let shown = shown(&links, self.link.as_deref())?;
        let aggregations = match daemon::find_for(&shown)? {
            Some(mut daemon) => answer(daemon.list_aggregations().await)?.aggregations,
            None => Vec::new(),
        };
        let ports = |name: &str| {
            let aggregation = aggregations.iter().find(|aggregation| aggregation.name == name)?;
            Some(aggregation.ports.iter().map(|port| port.name.clone()).collect())
        };
        let rows = (shown.into_iter())
            .map(|(link, class)| {
                let state = Device::ask(&ethtool, link).state(link);
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
        let rows = devices.into_iter().map(|(link, _)| device_row(link, &Device::ask(&ethtool, link))).collect();
        self.format.print(&Table { columns: &DEVICES, rows })
    }
}

/// What a link lies over. `ports` are those of an aggregation, which only the daemon knows.
fn over(links: &[Link], link: &Link, class: Class, ports: impl Fn(&str) -> Option<Vec<String>>) -> Cell {
    let names = |wanted: &dyn Fn(&Link) -> bool| {
        Cell::List(links.iter().filter(|other| wanted(other)).map(|other| other.name.clone()).collect())
    };
    if let Some(aggregation) = aggregation_below(link) {
        return Cell::List(vec![aggregation.to_owned()]);
    }
    match class {
        Class::Aggr => ports(&link.name).map_or(Cell::Unknown, Cell::List),
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
/// alone, but for vnets: an interface index behind it would look like an instance and be none.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::tests::{link, links};

    fn table(ports: impl Fn(&str) -> Option<Vec<String>>) -> String {
        let links = links();
        let rows = (shown(&links, None).unwrap().into_iter())
            .map(|(link, class)| link_row(link, class, "up", over(&links, link, class, &ports)))
            .collect();
        Format::default().render(&Table { columns: &LINKS, rows }, true).unwrap()
    }

    #[test]
    fn show_link_names_class_and_what_is_below_and_hides_what_is_internal() {
        insta::assert_snapshot!(table(|_| Some(vec!["net0".into(), "net1".into()])), @r"
        LINK          CLASS     MTU     STATE     OVER
        net0          phys      1500    up        --
        net1          phys      1500    up        --
        aggr0         aggr      1500    up        net0,net1
        br0           bridge    1500    up        tap0
        vnic1         vnic      1500    up        aggr0
        tap0          phys      1500    up        --
        net1.5        vlan      1500    up        net1
        mv0           vnic      1500    up        net1
        wg0           iptun     1500    up        --
        ");
    }

    #[test]
    fn the_ports_of_an_aggregation_are_unknown_without_a_daemon() {
        let table = table(|_| None);
        assert!(table.lines().any(|line| line.starts_with("aggr0") && line.ends_with('?')), "{table}");
    }

    #[test]
    fn show_phys_has_the_cells_of_the_published_transcript() {
        let settings = Settings { speed: Some(1000), duplex: Duplex::Full };
        let device = Device { carrier: Some(true), settings, driver: Some("igb".into()) };
        let unknown =
            Device { carrier: None, settings: Settings { speed: None, duplex: Duplex::Unknown }, driver: None };
        let vnet =
            |link: &Link, alias: &str| device_row(link, &Device::vnet(link, &alias.parse().unwrap(), Some(true)));
        let link = |name| link(2, name, Some("veth"), None);
        let rows = vec![
            vnet(&link("net0"), "dlmp vnet vnet6 primary-vsw0 net-dev=net0 speed=1000 duplex=full"),
            vnet(&link("net1"), "dlmp vnet vnet1 ldg5-vsw0 net-dev=net2"),
            vnet(&link("network"), "dlmp vnet vnet2 stub0"),
            device_row(&link("eth0"), &device),
            device_row(&link("eth1"), &unknown),
        ];
        insta::assert_snapshot!(Format::default().render(&Table { columns: &DEVICES, rows }, true).unwrap(), @r"
        LINK          MEDIA         STATE     SPEED   DUPLEX    DEVICE
        net0          Ethernet      up        1000    full      vnet0
        net1          Ethernet      up        0       unknown   vnet1
        network       Ethernet      up        0       unknown   vnet
        eth0          Ethernet      up        1000    full      igb
        eth1          Ethernet      unknown   0       unknown   --
        ");
    }

    #[test]
    fn a_link_is_up_when_its_carrier_is_there_and_it_was_brought_up() {
        let settings = Settings { speed: None, duplex: Duplex::Unknown };
        let state = |carrier, admin_up| {
            Device { carrier, settings, driver: None }.state(&Link { admin_up, ..link(2, "net0", None, None) })
        };
        assert_eq!(state(Some(true), true), "up");
        assert_eq!(state(Some(false), true), "down");
        assert_eq!(state(Some(true), false), "down");
        assert_eq!(state(None, true), "unknown");
    }
}
