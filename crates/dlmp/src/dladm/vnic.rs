//! VNICs: making, deleting and showing them.

use std::str::FromStr;

use clap::Args;
use dlmp_api::client::Dlmpd;
use dlmp_api::{NewVnic, Vnic};
use dlmp_wire::MacAddr;

use crate::cell::Cell;
use crate::cell::{mac, speed};
use crate::command::Run;
use crate::daemon::only;
use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};
use crate::output::{Column, Format, Table};

/// Create a VNIC over an aggregation
///
/// The link can be moved to any network namespace; dlmpd makes it again when it vanishes with one.
#[derive(Debug, Args)]
pub struct Create {
    /// Not beyond the next boot
    #[arg(short)]
    temporary: bool,
    /// The aggregation
    #[arg(short, value_name = "LINK")]
    link: String,
    /// MAC address; auto is a random one of 2:8:20:*
    #[arg(short, value_name = "ADDRESS", default_value = "auto")]
    mac: Mac,
    /// VLAN of its frames outside, 0 to 4094; the VNIC itself sees them untagged
    #[arg(short, value_name = "VID", default_value = "0")]
    vlan: u32,
    /// Name of the VNIC
    name: String,
}

/// The MAC address of a VNIC to make.
#[derive(Debug, Clone, Copy)]
enum Mac {
    Auto,
    Fixed(MacAddr),
}

/// Delete a VNIC
#[derive(Debug, Args)]
pub struct Delete {
    /// Until the next boot only
    #[arg(short)]
    temporary: bool,
    /// The VNIC
    name: String,
}

/// Show VNICs
#[derive(Debug, Args)]
pub struct Show {
    /// Only those over this aggregation
    #[arg(short, value_name = "LINK")]
    link: Option<String>,
    #[command(flatten)]
    format: Format,
    /// Only this VNIC
    name: Option<String>,
}

const COLUMNS: [Column; 8] = [
    Column::new("LINK", 12),
    Column::new("OVER", 12),
    Column::new("SPEED", 6),
    Column::new("MACADDRESS", 17),
    Column::new("MACADDRTYPE", 19),
    Column::new("VID", 4),
    Column::extra("STATE", 6),
    Column::extra("TEMPORARY", 9),
];

impl FromStr for Mac {
    type Err = <MacAddr as FromStr>::Err;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Fixed) }
    }
}

impl Run for Create {
    async fn run(self) -> Result<()> {
        let request = NewVnic {
            name: self.name,
            link: self.link,
            mac: match self.mac {
                Mac::Auto => None,
                Mac::Fixed(mac) => Some(mac.to_string()),
            },
            vlan: self.vlan.into(),
            temporary: self.temporary,
        };
        answer(daemon::require()?.create_vnic(&request).await)
    }
}

impl Run for Delete {
    async fn run(self) -> Result<()> {
        answer(daemon::require()?.delete_vnic(&self.name, self.temporary).await)
    }
}

impl Run for Show {
    async fn run(self) -> Result<()> {
        let mut vnics = Vec::new();
        if let Some(mut daemon) = daemon::find_to_show().await? {
            if self.link.is_some() {
                let aggregations = answer(daemon.list_aggregations().await)?.aggregations;
                only(aggregations, self.link.as_deref(), |aggregation| &aggregation.name)?;
            }
            vnics = answer(daemon.list_vnics().await)?.vnics;
        }
        vnics.retain(|vnic| self.link.as_ref().is_none_or(|link| *link == vnic.link));
        vnics.retain(|vnic| self.name.as_ref().is_none_or(|name| *name == vnic.name));
        if let (Some(name), true) = (&self.name, vnics.is_empty()) {
            let over = self.link.map(|link| format!(" over {link}")).unwrap_or_default();
            return Err(Failure::refused(format!("there is no VNIC {name}{over}"), "dladm show-vnic"));
        }
        self.format.print(&table(&vnics)?)
    }
}

fn table(vnics: &[Vnic]) -> Result<Table> {
    let row = |vnic: &Vnic| {
        Ok(vec![
            Cell::Text(vnic.name.clone()),
            Cell::Text(vnic.link.clone()),
            speed(vnic.speed),
            mac(Some(&vnic.mac))?,
            Cell::Text(vnic.mackind.clone()),
            Cell::Number(vnic.vlan.unsigned_abs()),
            Cell::Text(vnic.state.clone()),
            Cell::Flag(vnic.temporary),
        ])
    };
    Ok(Table { columns: &COLUMNS, rows: vnics.iter().map(row).collect::<Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn show_vnic_has_the_columns_of_solaris() {
        let vnic = |name: &str, vlan: i64, speed: Option<i64>, state: &str| Vnic {
            name: name.into(),
            link: "aggr0".into(),
            speed,
            mac: "02:08:20:88:84:ba".into(),
            mackind: if vlan == 0 { "random" } else { "fixed" }.into(),
            vlan,
            state: state.into(),
            temporary: vlan != 0,
        };
        let vnics = [vnic("vnic1", 0, Some(1000), "up"), vnic("vnic2", 415, None, "absent")];
        insta::assert_snapshot!(Format::default().render(&table(&vnics).unwrap(), true).unwrap(), @r"
        LINK          OVER          SPEED   MACADDRESS         MACADDRTYPE          VID
        vnic1         aggr0         1000Mb  2:8:20:88:84:ba    random               0
        vnic2         aggr0         0Mb     2:8:20:88:84:ba    fixed                415
        ");
        insta::assert_snapshot!(Format::default().all_columns().render(&table(&vnics).unwrap(), true).unwrap(), @r"
        LINK          OVER          SPEED   MACADDRESS         MACADDRTYPE          VID   STATE   TEMPORARY
        vnic1         aggr0         1000Mb  2:8:20:88:84:ba    random               0     up      no
        vnic2         aggr0         0Mb     2:8:20:88:84:ba    fixed                415   absent  yes
        ");
    }
}
