//! `show-aggr -C`: the clients of aggregations, and the ports that they sit on.

use dlmp_api::Client;

use crate::cell::Cell;
use crate::cell::mac;
use crate::failure::Result;
use crate::output::{Column, Table};

const COLUMNS: [Column; 6] = [
    Column::new("LINK", 10),
    Column::new("CLIENT", 12),
    Column::new("ADDRESS", 17),
    Column::new("VID", 4),
    Column::new("TYPE", 7),
    Column::new("PORT", 6),
];

/// The table.
///
/// # Errors
/// The daemon answered what is no address.
pub fn table(clients: &[Client]) -> Result<Table> {
    let mut rows = Vec::new();
    let mut above = None;
    for client in clients {
        let link = client.aggregation.clone();
        rows.push(vec![
            if above == Some(&client.aggregation) { Cell::Repeated(link) } else { Cell::Text(link) },
            Cell::text(client.link.clone()),
            mac(Some(&client.address))?,
            Cell::Number(client.vlan.unsigned_abs()),
            Cell::Text(client.kind.clone()),
            Cell::text(client.port.clone()),
        ]);
        above = Some(&client.aggregation);
    }
    Ok(Table { columns: &COLUMNS, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[test]
    fn every_client_is_shown_with_its_port_and_one_without_a_link_or_a_port_has_none() {
        let client = |aggregation: &str, link: Option<&str>, vlan: i64, kind: &str, port: Option<&str>| Client {
            aggregation: aggregation.into(),
            link: link.map(Into::into),
            address: "02:08:20:88:84:ba".into(),
            vlan,
            kind: kind.into(),
            port: port.map(Into::into),
        };
        let clients = [
            client("aggr0", Some("aggr0"), 0, "primary", Some("net0")),
            client("aggr0", Some("vnic1"), 7, "vnic", Some("net1")),
            client("aggr0", None, 10, "learned", Some("net1")),
            client("aggr1", Some("aggr1"), 0, "primary", None),
        ];
        insta::assert_snapshot!(Format::default().render(&table(&clients).unwrap(), true).unwrap(), @r"
        LINK        CLIENT        ADDRESS            VID   TYPE     PORT
        aggr0       aggr0         2:8:20:88:84:ba    0     primary  net0
                    vnic1         2:8:20:88:84:ba    7     vnic     net1
                    --            2:8:20:88:84:ba    10    learned  net1
        aggr1       aggr1         2:8:20:88:84:ba    0     primary  --
        ");
    }
}
