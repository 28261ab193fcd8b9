//! The aggregation commands of `dladm`.

use dlmp_api::client::Dlmpd;
use dlmp_api::{Aggregation, NewAggregation, PortChange};
use dlmp_netlink::Netlink;
use dlmp_wire::MacAddr;

use crate::cli::{AddAggr, CreateAggr, DeleteAggr, RemoveAggr, ShowAggr};
use crate::daemon;
use crate::failure::Failure;
use crate::output::{Cell, Table};

/// `create-aggr`: starts the daemon when none runs here.
pub async fn create(arguments: CreateAggr) -> Result<(), Failure> {
    match arguments.mode.as_str() {
        "dlmp" => {}
        "trunk" => {
            return Err(Failure::Refused(
                "trunk mode needs its switch configured (LACP), which is what Linux bonding does; this makes dlmp \
                 aggregations, which need no switch configuration\n  try: dladm create-aggr -m dlmp ..., or for a \
                 trunk: ip link add type bond mode 802.3ad"
                    .into(),
            ));
        }
        other => return Err(Failure::Usage(format!("there is no mode {other:?}; there is: dlmp"))),
    }
    if arguments.policy.is_some() || arguments.lacp.is_some() || arguments.timer.is_some() {
        return Err(Failure::Refused(
            "-P, -L and -T are options of trunk mode; a dlmp aggregation has no LACP and spreads clients by itself"
                .into(),
        ));
    }
    let request = NewAggregation {
        name: arguments.name,
        ports: arguments.links,
        mac: arguments.mac,
        temporary: arguments.temporary,
        force: arguments.force,
    };
    Ok(daemon::start().await?.create_aggregation(&request).await??)
}

/// `delete-aggr`.
pub async fn delete(arguments: DeleteAggr) -> Result<(), Failure> {
    Ok(daemon::connect()?.delete_aggregation(&arguments.name, arguments.temporary).await??)
}

/// `add-aggr`.
pub async fn add(arguments: AddAggr) -> Result<(), Failure> {
    let request = PortChange {
        aggregation: arguments.name,
        ports: arguments.links,
        temporary: arguments.temporary,
        force: arguments.force,
    };
    Ok(daemon::connect()?.add_ports(&request).await??)
}

/// `remove-aggr`.
pub async fn remove(arguments: RemoveAggr) -> Result<(), Failure> {
    let request = PortChange {
        aggregation: arguments.name,
        ports: arguments.links,
        temporary: arguments.temporary,
        force: false,
    };
    Ok(daemon::connect()?.remove_ports(&request).await??)
}

/// `show-aggr`.
pub async fn show(arguments: ShowAggr) -> Result<(), Failure> {
    let aggregations = list(arguments.name.as_deref()).await?;
    let table = if arguments.extended { extended(&aggregations) } else { plain(&aggregations) };
    table.put_out(&arguments.output)
}

/// All aggregations, or the one of that name.
///
/// # Errors
/// There is none of that name.
pub async fn list(only: Option<&str>) -> Result<Vec<Aggregation>, Failure> {
    let links = Netlink::connect()?.links().await?;
    let mut aggregations = match daemon::look(&links)? {
        Some(mut connection) => connection.list_aggregations().await??.aggregations,
        None => Vec::new(),
    };
    if let Some(name) = only {
        aggregations.retain(|aggregation| aggregation.name == name);
        if aggregations.is_empty() {
            return Err(Failure::Refused(format!("there is no aggregation {name}\n  try: dladm show-aggr")));
        }
    }
    Ok(aggregations)
}

/// The columns of Solaris; all but the first two belong to trunk mode.
fn plain(aggregations: &[Aggregation]) -> Table {
    let mut table = Table::new(&["LINK", "MODE", "POLICY", "ADDRPOLICY", "LACPACTIVITY", "LACPTIMER"]);
    for aggregation in aggregations {
        let (name, mode) = (Cell::text(&aggregation.name), Cell::text(&aggregation.mode));
        table.row([name, mode, Cell::None, Cell::None, Cell::None, Cell::None]);
    }
    table
}

fn extended(aggregations: &[Aggregation]) -> Table {
    let mut table = Table::new(&["LINK", "PORT", "SPEED", "DUPLEX", "STATE", "ADDRESS", "PORTSTATE"]);
    for aggregation in aggregations {
        table.row([
            Cell::text(&aggregation.name),
            Cell::None,
            speed(aggregation.speed),
            Cell::text(&aggregation.duplex),
            Cell::text(&aggregation.state),
            address(Some(&aggregation.mac)),
            Cell::None,
        ]);
        for port in &aggregation.ports {
            table.row([
                Cell::Ditto(aggregation.name.clone()),
                Cell::text(&port.name),
                speed(port.speed),
                Cell::text(&port.duplex),
                Cell::text(&port.state),
                address(port.mac.as_deref()),
                Cell::text(&port.portstate),
            ]);
        }
    }
    table
}

fn speed(megabits: Option<i64>) -> Cell {
    megabits.map_or(Cell::Number(0, "0Mb".into()), |speed| Cell::Number(speed, format!("{speed}Mb")))
}

/// As Solaris prints it, without leading zeros.
fn address(mac: Option<&str>) -> Cell {
    Cell::maybe(mac.map(|text| match text.parse::<MacAddr>() {
        Ok(mac) => mac.short().to_string(),
        Err(_) => text.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;

    #[test]
    fn the_published_transcript_has_these_cells() {
        let port = |name: &str, mac: &str| dlmp_api::Port {
            name: name.into(),
            mac: Some(mac.into()),
            state: "up".into(),
            speed: Some(1000),
            duplex: "full".into(),
            health: "active".into(),
            reason: "its link is up".into(),
            portstate: "attached".into(),
            clients: vec![],
        };
        let aggregation = Aggregation {
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
            ports: vec![port("net0", "00:14:4f:f9:cf:47"), port("net1", "00:14:4f:fb:f5:33")],
        };
        let aggregations = [aggregation];
        insta::assert_snapshot!(extended(&aggregations).render(&Output::default()).unwrap(), @r"
        LINK    PORT   SPEED    DUPLEX   STATE   ADDRESS            PORTSTATE
        aggr0   --     1000Mb   full     up      2:8:20:88:84:ba    --
                net0   1000Mb   full     up      0:14:4f:f9:cf:47   attached
                net1   1000Mb   full     up      0:14:4f:fb:f5:33   attached
        ");
        insta::assert_snapshot!(plain(&aggregations).render(&Output::default()).unwrap(), @r"
        LINK    MODE   POLICY   ADDRPOLICY   LACPACTIVITY   LACPTIMER
        aggr0   dlmp   --       --           --             --
        ");
    }
}
