//! Links and devices: read from the kernel, so that they are shown with no daemon and to everybody.

use dlmp_netlink::ethtool::{Duplex, Ethtool, Settings};
use dlmp_netlink::{Link, Netlink};

use crate::aggr;
use crate::cli::ShowOne;
use crate::failure::Failure;
use crate::output::{Cell, Table};

/// `show-link`.
pub async fn show_links(arguments: ShowOne) -> Result<(), Failure> {
    let links = named(Netlink::connect()?.links().await?, arguments.name.as_deref())?;
    // Without a daemon the ports are not known; the links are shown all the same.
    let aggregations = aggr::list(None).await.unwrap_or_default();
    let mut table = Table::new(&["LINK", "CLASS", "MTU", "STATE", "OVER"]);
    for link in links.iter().filter(|link| is_shown(link)) {
        let over = (aggregations.iter())
            .find(|aggregation| aggregation.name == link.name)
            .map(|aggregation| aggregation.ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(","));
        table.row([
            Cell::text(&link.name),
            Cell::text(class(link)),
            Cell::number(link.mtu),
            Cell::text(state(link)),
            Cell::maybe(over),
        ]);
    }
    table.put_out(&arguments.output)
}

/// `show-phys`: what an aggregation can be made of.
pub async fn show_devices(arguments: ShowOne) -> Result<(), Failure> {
    let links = named(Netlink::connect()?.links().await?, arguments.name.as_deref())?;
    let ethtool = Ethtool::open()?;
    let mut table = Table::new(&["LINK", "MEDIA", "STATE", "SPEED", "DUPLEX", "DEVICE"]);
    for link in links.iter().filter(|link| is_shown(link) && link.ethernet && class(link) == "phys") {
        let unknown = Settings { speed: None, duplex: Duplex::Unknown };
        let Settings { speed, duplex } = ethtool.settings(&link.name).unwrap_or(unknown);
        table.row([
            Cell::text(&link.name),
            Cell::text("Ethernet"),
            Cell::text(state(link)),
            Cell::number(speed.unwrap_or(0)),
            Cell::text(duplex.as_str()),
            device(&ethtool, link),
        ]);
    }
    table.put_out(&arguments.output)
}

/// Whether a link is the upper end of an aggregation: the daemon says so in its alias.
pub fn is_aggregation(link: &Link) -> bool {
    link.alias.as_deref() == Some("dlmp aggregation")
}

/// Whether people see a link: not the loopback, as in Solaris, and not what is inside an aggregation.
pub fn is_shown(link: &Link) -> bool {
    !link.loopback && !link.alias.as_deref().is_some_and(|alias| alias.starts_with("dlmp lower end of"))
}

/// Keeps the link of that name, or all.
///
/// # Errors
/// There is none of that name.
pub fn named(mut links: Vec<Link>, only: Option<&str>) -> Result<Vec<Link>, Failure> {
    if let Some(name) = only {
        links.retain(|link| link.name == name);
        if links.is_empty() {
            return Err(Failure::Refused(format!("there is no link {name}\n  try: dladm show-link")));
        }
    }
    Ok(links)
}

fn class(link: &Link) -> &str {
    if is_aggregation(link) {
        return "aggr";
    }
    match link.kind.as_deref() {
        Some("macvlan" | "macvtap" | "ipvlan" | "ipvtap") => "vnic",
        Some(kind @ ("bridge" | "vlan" | "bond" | "team" | "vxlan" | "geneve" | "gre" | "gretap" | "wireguard")) => {
            kind
        }
        _ => "phys",
    }
}

fn state(link: &Link) -> &'static str {
    if link.lower_up { "up" } else { "down" }
}

/// Solaris shows driver and instance, `igb0`. Linux numbers no instances: the driver and the link's
/// index say as much.
fn device(ethtool: &Ethtool, link: &Link) -> Cell {
    Cell::maybe(ethtool.driver(&link.name).ok().map(|driver| format!("{driver}{}", link.index)))
}
