//! `ldm list-netdev`: the network devices of domains, whoever made them.

use clap::Args;
use dlmp_api::ldm::{Ldmd, Netdev};

use super::record::{joined, line, maybe, record};
use super::{json, rate};
use crate::cell::{Cell, plain};
use crate::command::Run;
use crate::daemon;
use crate::failure::{Failure, Result};
use crate::output::{self, Column, Format, Table};

/// List the network devices of domains
#[derive(Debug, Args)]
pub struct List {
    /// Show MAC addresses and MTUs too
    #[arg(short)]
    long: bool,
    /// Parseable: a line a device, of fields joined by `|`
    #[arg(short, conflicts_with_all = ["json", "fields"])]
    parseable: bool,
    /// Print JSON
    #[arg(short, conflicts_with = "fields")]
    json: bool,
    /// Show these fields, in this order; `all` for every field there is
    #[arg(short = 'o', value_name = "FIELD,...", value_delimiter = ',')]
    fields: Vec<String>,
    /// Only this domain
    domain: Option<String>,
}

const COLUMNS: [Column; 9] = [
    Column::new("NAME", 17),
    Column::new("CLASS", 7),
    Column::new("MEDIA", 7),
    Column::new("STATE", 7),
    Column::new("SPEED", 7),
    Column::new("OVER", 7),
    Column::new("LOC", 3),
    Column::extra("MACADDRESS", 17),
    Column::extra("MTU", 5),
];

impl Run for List {
    async fn run(self) -> Result<()> {
        let format = Format::new(false, self.fields, false);
        let format = if self.long { format.all_columns() } else { format };
        format.check(&COLUMNS)?;
        let mut ldmd = daemon::ldmd()?;
        if let Some(name) = &self.domain {
            let domains = daemon::list(ldmd.list_domains().await, |reply| reply.domains).await?;
            if !domains.iter().any(|domain| domain.name == *name) {
                return Err(Failure::refused(format!("there is no domain {name}"), "ldm list"));
            }
        }
        let netdevs = daemon::list(ldmd.list_netdevs(self.domain.as_deref()).await, |reply| reply.netdevs).await?;
        output::print(&if self.json {
            json(&netdevs)?
        } else if self.parseable {
            records(&netdevs)
        } else if self.domain.is_some() {
            shown(&netdevs, &format)?
        } else {
            by_domain(&netdevs, &format)?
        })
    }
}

fn by_domain(netdevs: &[Netdev], format: &Format) -> Result<String> {
    let mut parts = Vec::new();
    for netdevs in netdevs.chunk_by(|one, next| one.domain == next.domain) {
        parts.push(format!("DOMAIN\n{}\n\n{}", netdevs[0].domain, shown(netdevs, format)?));
    }
    Ok(parts.join("\n"))
}

fn shown(netdevs: &[Netdev], format: &Format) -> Result<String> {
    let row = |netdev: &Netdev| {
        vec![
            Cell::Text(plain(&netdev.name)),
            Cell::Text(netdev.class.clone()),
            Cell::Text(netdev.media.clone()),
            Cell::Text(netdev.state.clone()),
            Cell::text(netdev.speed.map(speed)),
            Cell::List(netdev.over.iter().map(|name| plain(name)).collect()),
            Cell::text(netdev.location.clone()),
            Cell::text(netdev.mac.clone()),
            Cell::Number(netdev.mtu.unsigned_abs()),
        ]
    };
    let table = Table { columns: &COLUMNS, rows: netdevs.iter().map(row).collect() };
    format.render(&table.underlined(), true)
}

/// The devices for scripts: of each domain a record, and then a line a device.
fn records(netdevs: &[Netdev]) -> String {
    let mut text = String::new();
    for netdevs in netdevs.chunk_by(|one, next| one.domain == next.domain) {
        text += &record("DOMAIN", &[("name", netdevs[0].domain.clone())]);
        text.extend(netdevs.iter().map(|netdev| line(&fields(netdev))));
    }
    text
}

fn fields(netdev: &Netdev) -> [(&'static str, String); 9] {
    let over: Vec<_> = netdev.over.iter().map(|name| plain(name)).collect();
    [
        ("name", plain(&netdev.name)),
        ("class", netdev.class.clone()),
        ("media", netdev.media.clone()),
        ("state", netdev.state.clone()),
        ("speed", maybe(netdev.speed.map(speed))),
        ("over", joined(&over)),
        ("loc", maybe(netdev.location.as_ref())),
        ("mac-addr", maybe(netdev.mac.as_ref())),
        ("mtu", netdev.mtu.to_string()),
    ]
}

/// From Mb/s.
fn speed(megabits: i64) -> String {
    rate(megabits.unsigned_abs() * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netdev(
        domain: &str,
        name: &str,
        class: &str,
        speed: Option<i64>,
        over: &[&str],
        location: Option<&str>,
    ) -> Netdev {
        Netdev {
            domain: domain.into(),
            name: name.into(),
            class: class.into(),
            media: "ETHER".into(),
            state: "up".into(),
            speed,
            over: over.iter().map(|&name| name.into()).collect(),
            location: location.map(Into::into),
            mac: (class != "VIRT").then(|| "00:14:4f:f9:cf:47".into()),
            mtu: 1500,
        }
    }

    fn published() -> Vec<Netdev> {
        vec![
            netdev("ldg6", "net0", "VNET", Some(1000), &["vnet0"], Some("primary-vsw0/vnet6")),
            netdev("ldg6", "net1", "VNET", Some(1000), &["vnet1"], Some("ldg5-vsw0/vnet1")),
        ]
    }

    fn several() -> Vec<Netdev> {
        let mut all = published();
        all.push(netdev("ldg6", "aggr0", "AGGR", Some(2500), &[], None));
        all.push(netdev("primary", "a|\u{1b}[2J", "VIRT", None, &[], None));
        all
    }

    #[test]
    fn list_netdev_is_as_in_the_published_transcript() {
        insta::assert_snapshot!(shown(&published(), &Format::default()).unwrap(), @r"
        NAME               CLASS    MEDIA    STATE    SPEED    OVER     LOC
        ----               -----    -----    -----    -----    ----     ---
        net0               VNET     ETHER    up       1G       vnet0    primary-vsw0/vnet6
        net1               VNET     ETHER    up       1G       vnet1    ldg5-vsw0/vnet1
        ");
    }

    #[test]
    fn devices_of_several_domains_stand_under_their_names_and_cannot_control_the_terminal() {
        insta::assert_snapshot!(by_domain(&several(), &Format::default().all_columns()).unwrap(), @r"
        DOMAIN
        ldg6

        NAME               CLASS    MEDIA    STATE    SPEED    OVER     LOC                 MACADDRESS         MTU
        ----               -----    -----    -----    -----    ----     ---                 ----------         ---
        net0               VNET     ETHER    up       1G       vnet0    primary-vsw0/vnet6  00:14:4f:f9:cf:47  1500
        net1               VNET     ETHER    up       1G       vnet1    ldg5-vsw0/vnet1     00:14:4f:f9:cf:47  1500
        aggr0              AGGR     ETHER    up       2500M    --       --                  00:14:4f:f9:cf:47  1500

        DOMAIN
        primary

        NAME               CLASS    MEDIA    STATE    SPEED    OVER     LOC  MACADDRESS         MTU
        ----               -----    -----    -----    -----    ----     ---  ----------         ---
        a|?[2J             VIRT     ETHER    up       --       --       --   --                 1500
        ");
    }

    #[test]
    fn scripts_get_a_line_a_device() {
        insta::assert_snapshot!(records(&several()), @r"
        DOMAIN|name=ldg6
        name=net0|class=VNET|media=ETHER|state=up|speed=1G|over=vnet0|loc=primary-vsw0/vnet6|mac-addr=00:14:4f:f9:cf:47|mtu=1500
        name=net1|class=VNET|media=ETHER|state=up|speed=1G|over=vnet1|loc=ldg5-vsw0/vnet1|mac-addr=00:14:4f:f9:cf:47|mtu=1500
        name=aggr0|class=AGGR|media=ETHER|state=up|speed=2500M|over=|loc=|mac-addr=00:14:4f:f9:cf:47|mtu=1500
        DOMAIN|name=primary
        name=a\|?[2J|class=VIRT|media=ETHER|state=up|speed=|over=|loc=|mac-addr=|mtu=1500
        ");
    }
}
