//! IP interfaces and addresses: the tables that show them.

use clap::Args;

use crate::cell::Cell;
use crate::command::Run;
use crate::failure::{Failure, Result};
use crate::ipadm::view::{ShownAddress, ShownInterface, Sources, interface_of};
use crate::output::{Column, Format, Table};

/// Show addresses
#[derive(Debug, Args)]
pub struct ShowAddr {
    #[command(flatten)]
    format: Format,
    /// Only this address object, or the addresses of this interface
    #[arg(value_name = "ADDROBJ|INTERFACE")]
    object: Option<String>,
}

/// Show IP interfaces
#[derive(Debug, Args)]
pub struct ShowIf {
    #[command(flatten)]
    format: Format,
    /// Only this interface
    interface: Option<String>,
}

/// Show IP interfaces with their addresses
#[derive(Debug, Args)]
pub struct ShowAll {
    #[command(flatten)]
    format: Format,
}

const ADDRESSES: [Column; 6] = [
    Column::new("ADDROBJ", 16),
    Column::new("TYPE", 9),
    Column::new("STATE", 12),
    Column::new("ADDR", 4),
    Column::extra("LEASE", 5),
    Column::extra("PROBLEM", 7),
];

const INTERFACES: [Column; 5] = [
    Column::new("IFNAME", 12),
    Column::new("CLASS", 9),
    Column::new("STATE", 9),
    Column::new("ACTIVE", 6),
    Column::new("OVER", 4),
];

const ALL: [Column; 5] = [
    Column::new("NAME", 14),
    Column::new("CLASS/TYPE", 10),
    Column::new("STATE", 12),
    Column::new("UNDER", 6),
    Column::new("ADDR", 4),
];

impl Run for ShowAddr {
    async fn run(self) -> Result<()> {
        let sources = Sources::ask().await?;
        let mut addresses: Vec<_> =
            sources.interfaces().into_iter().flat_map(|interface| interface.addresses).collect();
        if let Some(wanted) = &self.object {
            let interface = wanted.strip_suffix('/').unwrap_or(wanted);
            addresses.retain(|address| address.object == *wanted || interface_of(&address.object) == interface);
            if addresses.is_empty() {
                return Err(Failure::refused(format!("there is no address {wanted}"), "ipadm show-addr"));
            }
        }
        let rows = addresses.iter().map(address_row).collect();
        self.format.print(&Table { columns: &ADDRESSES, rows })?;
        sources.refuse_orphans()
    }
}

impl Run for ShowIf {
    async fn run(self) -> Result<()> {
        let sources = Sources::ask().await?;
        let mut interfaces = sources.configured_interfaces();
        if let Some(wanted) = &self.interface {
            interfaces.retain(|interface| interface.name == *wanted);
            if interfaces.is_empty() {
                return Err(Failure::refused(
                    format!("there is no IP interface {wanted}"),
                    format!("ipadm create-ip {wanted}"),
                ));
            }
        }
        let rows = interfaces.iter().map(interface_row).collect();
        self.format.print(&Table { columns: &INTERFACES, rows })?;
        sources.refuse_orphans()
    }
}

impl Run for ShowAll {
    async fn run(self) -> Result<()> {
        let sources = Sources::ask().await?;
        self.format.print(&all(&sources.configured_interfaces()))?;
        sources.refuse_orphans()
    }
}

fn address_row(address: &ShownAddress) -> Vec<Cell> {
    vec![
        Cell::Text(address.object.clone()),
        Cell::Text(address.kind.clone()),
        Cell::Text(address.state.clone()),
        Cell::text(address.address.clone()),
        address.lease.map_or(Cell::Absent, Cell::Number),
        Cell::text(address.problem.clone()),
    ]
}

fn interface_row(interface: &ShownInterface) -> Vec<Cell> {
    let active = interface.addresses.iter().any(|address| address.state == "ok");
    vec![
        Cell::Text(interface.name.clone()),
        Cell::Text(interface.class.into()),
        Cell::Text(interface.state.into()),
        Cell::Flag(active),
        Cell::Absent,
    ]
}

fn all(interfaces: &[ShownInterface]) -> Table {
    let mut rows = Vec::new();
    for interface in interfaces {
        rows.push(vec![
            Cell::Text(interface.name.clone()),
            Cell::Text(interface.class.into()),
            Cell::Text(interface.state.into()),
            Cell::Absent,
            Cell::Absent,
        ]);
        for address in &interface.addresses {
            rows.push(vec![
                Cell::Indented(address.object.clone()),
                Cell::Text(address.kind.clone()),
                Cell::Text(address.state.clone()),
                Cell::Absent,
                Cell::text(address.address.clone()),
            ]);
        }
    }
    Table { columns: &ALL, rows }
}

#[cfg(test)]
mod tests {
    use dlmp_api::{Address as Object, Interface};
    use dlmp_netlink::{Address, Link};

    use super::*;
    use crate::links::tests::{link, links};

    fn address(index: u32, text: &str, prefix_len: u8, kernel_made: bool) -> Address {
        Address {
            index,
            address: text.parse().unwrap(),
            prefix_len,
            link_local: false,
            kernel_made,
            tentative: false,
            duplicate: false,
        }
    }

    fn object(object: &str, kind: &str, state: &str, address: Option<&str>) -> Object {
        Object {
            object: object.into(),
            kind: kind.into(),
            state: state.into(),
            address: address.map(Into::into),
            lease: (kind == "dhcp" && state == "ok").then_some(3600),
            problem: (state != "ok").then(|| "no such link".into()),
            temporary: false,
        }
    }

    fn sources() -> Sources {
        Sources {
            links: [links(), vec![Link { admin_up: false, lower_up: false, ..link(11, "net9", None, None) }]].concat(),
            addresses: vec![
                address(1, "127.0.0.1", 8, true),
                address(1, "::1", 128, true),
                address(1, "192.0.2.99", 32, false),
                address(2, "fe80::1", 64, true),
                address(4, "203.0.113.7", 23, false),
                address(4, "fe80::8:20ff:fe88:84ba", 64, true),
                Address { duplicate: true, ..address(4, "198.51.100.1", 24, false) },
                Address { tentative: true, ..address(6, "2001:db8::1", 64, false) },
                address(11, "192.0.2.1", 24, false),
            ],
            interfaces: vec![
                Interface { name: "aggr0".into(), temporary: false },
                Interface { name: "gone0".into(), temporary: false },
            ],
            objects: vec![
                object("aggr0/v4", "dhcp", "ok", Some("203.0.113.7/23")),
                object("gone0/v4", "dhcp", "inaccessible", None),
            ],
            daemon: true,
        }
    }

    #[test]
    fn show_addr_names_the_daemons_objects_and_marks_what_nobody_named() {
        let rows = sources().interfaces().iter().flat_map(|interface| &interface.addresses).map(address_row).collect();
        let format = Format::default().all_columns();
        insta::assert_snapshot!(format.render(&Table { columns: &ADDRESSES, rows }, true).unwrap(), @r"
        ADDROBJ           TYPE       STATE         ADDR                       LEASE  PROBLEM
        lo/v4             static     ok            127.0.0.1/8                --     --
        lo/v6             static     ok            ::1/128                    --     --
        lo/?              static     ok            192.0.2.99/32              --     --
        net0/?            addrconf   ok            fe80::1/64                 --     --
        aggr0/v4          dhcp       ok            203.0.113.7/23             3600   --
        aggr0/?           addrconf   ok            fe80::8:20ff:fe88:84ba/64  --     --
        aggr0/?           static     duplicate     198.51.100.1/24            --     --
        br0/?             static     tentative     2001:db8::1/64             --     --
        net9/?            static     down          192.0.2.1/24               --     --
        gone0/v4          dhcp       inaccessible  --                         --     no such link
        ");
    }

    #[test]
    fn show_if_lists_what_somebody_configured() {
        let rows = sources().configured_interfaces().iter().map(interface_row).collect();
        insta::assert_snapshot!(Format::default().render(&Table { columns: &INTERFACES, rows }, true).unwrap(), @r"
        IFNAME        CLASS      STATE      ACTIVE  OVER
        lo            loopback   ok         yes     --
        aggr0         ip         ok         yes     --
        br0           ip         ok         no      --
        net9          ip         down       no      --
        gone0         ip         disabled   no      --
        ");
    }

    #[test]
    fn bare_ipadm_has_the_addresses_under_their_interfaces() {
        let table = all(&sources().configured_interfaces());
        insta::assert_snapshot!(Format::default().render(&table, true).unwrap(), @r"
        NAME            CLASS/TYPE  STATE         UNDER   ADDR
        lo              loopback    ok            --      --
          lo/v4         static      ok            --      127.0.0.1/8
          lo/v6         static      ok            --      ::1/128
          lo/?          static      ok            --      192.0.2.99/32
        aggr0           ip          ok            --      --
          aggr0/v4      dhcp        ok            --      203.0.113.7/23
          aggr0/?       addrconf    ok            --      fe80::8:20ff:fe88:84ba/64
          aggr0/?       static      duplicate     --      198.51.100.1/24
        br0             ip          ok            --      --
          br0/?         static      tentative     --      2001:db8::1/64
        net9            ip          down          --      --
          net9/?        static      down          --      192.0.2.1/24
        gone0           ip          disabled      --      --
          gone0/v4      dhcp        inaccessible  --      --
        ");
    }

    #[test]
    fn without_a_daemon_an_aggregation_is_an_orphan_and_other_links_are_not() {
        let mut sources = Sources { daemon: false, ..sources() };
        assert_eq!(sources.refuse_orphans().unwrap_err().exit_code(), 1);
        sources.links.retain(|link| link.name != "aggr0");
        assert!(sources.refuse_orphans().is_ok());
    }
}
