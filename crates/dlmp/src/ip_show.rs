//! IP interfaces and addresses: showing them. The kernel's addresses, by the names of the daemon's
//! objects where they have one.

use clap::Args;
use dlmp_api::client::Dlmpd;
use dlmp_api::{Address as Object, Interface};
use dlmp_netlink::{Address, Link, Netlink};

use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};
use crate::link::Class;
use crate::output::{Cell, Column, Format, Table};
use crate::table::Run;

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

const ADDRESSES: [Column; 5] = [
    Column::new("ADDROBJ", 16),
    Column::new("TYPE", 9),
    Column::new("STATE", 12),
    Column::new("ADDR", 4),
    Column::extra("LEASE", 5),
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

/// An IP interface as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ShownInterface {
    name: String,
    class: &'static str,
    state: &'static str,
    /// Somebody made it or gave it an address. The kernel gives every link that is up an IPv6
    /// link-local address, which alone makes no interface in the sense of Solaris.
    configured: bool,
    addresses: Vec<ShownAddress>,
}

/// An address as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ShownAddress {
    /// `interface/name`, with `?` for a name when nobody gave it one.
    object: String,
    kind: String,
    state: String,
    address: Option<String>,
    /// Seconds until the DHCP lease ends.
    lease: Option<u64>,
}

/// What the kernel and the daemon say, from which the tables are made.
#[derive(Debug, Default)]
struct Sources {
    links: Vec<Link>,
    addresses: Vec<Address>,
    interfaces: Vec<Interface>,
    objects: Vec<Object>,
    daemon: bool,
}

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

impl Sources {
    async fn ask() -> Result<Self> {
        let netlink = Netlink::connect()?;
        let mut sources =
            Self { links: netlink.links().await?, addresses: netlink.addresses().await?, ..Self::default() };
        if let Some(mut daemon) = daemon::find()? {
            sources.interfaces = answer(daemon.list_interfaces().await)?.interfaces;
            sources.objects = answer(daemon.list_addresses().await)?.addresses;
            sources.daemon = true;
        }
        Ok(sources)
    }

    /// What the kernel knows has been shown; says that the rest is missing.
    fn refuse_orphans(&self) -> Result<()> {
        if self.daemon { Ok(()) } else { daemon::refuse_orphans(&self.links) }
    }

    fn configured_interfaces(&self) -> Vec<ShownInterface> {
        let mut interfaces = self.interfaces();
        interfaces.retain(|interface| interface.configured);
        interfaces
    }

    /// Every link that is shown, and the interfaces that the daemon keeps for links that are not there.
    fn interfaces(&self) -> Vec<ShownInterface> {
        let shown = self.links.iter().filter(|link| link.loopback || Class::of(link).is_some());
        let present = shown.map(|link| {
            let given = |address: &Address| address.index == link.index && !address.kernel_made;
            ShownInterface {
                name: link.name.clone(),
                class: if link.loopback { "loopback" } else { "ip" },
                state: interface_state(link),
                configured: link.loopback || self.kept(&link.name) || self.addresses.iter().any(given),
                addresses: self.addresses_of(link),
            }
        });
        let absent = self.interfaces.iter().filter(|kept| !self.links.iter().any(|link| link.name == kept.name));
        let absent = absent.map(|kept| ShownInterface {
            name: kept.name.clone(),
            class: "ip",
            state: "disabled",
            configured: true,
            addresses: self.objects_of(&kept.name).map(ShownAddress::from).collect(),
        });
        present.chain(absent).collect()
    }

    fn kept(&self, name: &str) -> bool {
        self.interfaces.iter().any(|interface| interface.name == name)
    }

    fn objects_of(&self, interface: &str) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |object| interface_of(&object.object) == interface)
    }

    /// The daemon's objects on a link, then the kernel's addresses that are none of them.
    fn addresses_of(&self, link: &Link) -> Vec<ShownAddress> {
        let named = |address: &Address| {
            let text = format!("{}/{}", address.address, address.prefix_len);
            self.objects_of(&link.name).any(|object| object.address.as_deref() == Some(&text))
        };
        let unnamed = self.addresses.iter().filter(|address| address.index == link.index && !named(address));
        let unnamed = unnamed.map(|address| unnamed_address(link, address));
        self.objects_of(&link.name).map(ShownAddress::from).chain(unnamed).collect()
    }
}

fn interface_of(object: &str) -> &str {
    object.split_once('/').map_or(object, |(interface, _)| interface)
}

const fn interface_state(link: &Link) -> &'static str {
    match (link.admin_up, link.lower_up) {
        (false, _) => "down",
        (true, false) => "failed",
        (true, true) => "ok",
    }
}

impl From<&Object> for ShownAddress {
    fn from(object: &Object) -> Self {
        Self {
            object: object.object.clone(),
            kind: object.kind.clone(),
            state: object.state.clone(),
            address: object.address.clone(),
            lease: object.lease.and_then(|seconds| u64::try_from(seconds).ok()),
        }
    }
}

/// An address that no object names: `?` as in illumos, except the loopback's two, which have the
/// names that Solaris gives them.
fn unnamed_address(link: &Link, address: &Address) -> ShownAddress {
    let name = match address.address.to_string().as_str() {
        "127.0.0.1" if link.loopback => "v4",
        "::1" if link.loopback => "v6",
        _ => "?",
    };
    let kind = if address.kernel_made && !link.loopback { "addrconf" } else { "static" };
    let state = match () {
        () if address.duplicate => "duplicate",
        () if address.tentative => "tentative",
        () if !link.admin_up => "down",
        () => "ok",
    };
    ShownAddress {
        object: format!("{}/{name}", link.name),
        kind: kind.into(),
        state: state.into(),
        address: Some(format!("{}/{}", address.address, address.prefix_len)),
        lease: None,
    }
}

fn address_row(address: &ShownAddress) -> Vec<Cell> {
    vec![
        Cell::Text(address.object.clone()),
        Cell::Text(address.kind.clone()),
        Cell::Text(address.state.clone()),
        Cell::text(address.address.clone()),
        address.lease.map_or(Cell::Absent, Cell::Number),
    ]
}

fn interface_row(interface: &ShownInterface) -> Vec<Cell> {
    let active = interface.addresses.iter().any(|address| address.state == "ok");
    vec![
        Cell::Text(interface.name.clone()),
        Cell::Text(interface.class.into()),
        Cell::Text(interface.state.into()),
        Cell::Text(if active { "yes" } else { "no" }.into()),
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
    use super::*;
    use crate::link::tests::{link, links};

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
            problem: None,
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
        ADDROBJ           TYPE       STATE         ADDR                       LEASE
        lo/v4             static     ok            127.0.0.1/8                --
        lo/v6             static     ok            ::1/128                    --
        lo/?              static     ok            192.0.2.99/32              --
        net0/?            addrconf   ok            fe80::1/64                 --
        aggr0/v4          dhcp       ok            203.0.113.7/23             3600
        aggr0/?           addrconf   ok            fe80::8:20ff:fe88:84ba/64  --
        aggr0/?           static     duplicate     198.51.100.1/24            --
        br0/?             static     tentative     2001:db8::1/64             --
        net9/?            static     down          192.0.2.1/24               --
        gone0/v4          dhcp       inaccessible  --                         --
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
