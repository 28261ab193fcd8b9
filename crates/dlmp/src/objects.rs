//! IP interfaces and address objects: what the daemon keeps, together with what the kernel has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dlmp_api::client::Dlmpd;
use dlmp_netlink::{Address, Link};

use crate::daemon::{self, answer};
use crate::failure::Failure;
use crate::inventory::Inventory;
use crate::link::connect;

/// An IP interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name of its link.
    pub name: String,
    /// `loopback` or `ip`.
    pub class: &'static str,
    /// `ok`, `down` (by the administrator), `failed` (no carrier) or `absent` (no such link).
    pub state: &'static str,
    /// Kept by the daemon, but not beyond the next boot.
    pub temporary: bool,
    /// Its addresses: objects by name, then addresses that nobody named.
    pub objects: Vec<Object>,
}

/// An address object, or an address that nobody named (`IF/?`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `interface/name`.
    pub name: String,
    /// `static`, `dhcp`, or `addrconf` for addresses that the kernel made itself.
    pub kind: String,
    /// `ok`, `tentative`, `down`, `duplicate`, ...
    pub state: String,
    /// `address/prefix`; absent while DHCP has none.
    pub address: Option<String>,
    /// Seconds until the DHCP lease ends.
    pub lease: Option<i64>,
    /// What keeps it from being `ok`, in words.
    pub problem: Option<String>,
    /// Kept by the daemon, but not beyond the next boot.
    pub temporary: bool,
}

/// What the daemon keeps.
#[derive(Debug, Default)]
struct Kept {
    interfaces: Vec<dlmp_api::Interface>,
    addresses: Vec<dlmp_api::Address>,
}

/// Reads everything. The second value is what to tell after showing the first: that it may not be
/// all, since an aggregation is there but no daemon.
///
/// # Errors
/// The kernel or the daemon could not be asked.
pub async fn read() -> Result<(Vec<Interface>, Result<(), Failure>), Failure> {
    let netlink = connect()?;
    let inventory = Inventory::read(&netlink).await?;
    let addresses = netlink.addresses().await?;
    let kept = match daemon::find()? {
        Some(mut daemon) => Some(Kept {
            interfaces: answer(daemon.list_interfaces().await)?.interfaces,
            addresses: answer(daemon.list_addresses().await)?.addresses,
        }),
        None => None,
    };
    let complete = match inventory.aggregation() {
        Some(name) if kept.is_none() => Err(daemon::not_running_beside(name)),
        _ => Ok(()),
    };
    Ok((merge(inventory.all(), &addresses, &kept.unwrap_or_default()), complete))
}

/// The IP interfaces, in the order of their links: those that the daemon keeps, and those that have
/// an address without it.
fn merge(links: &[Link], addresses: &[Address], kept: &Kept) -> Vec<Interface> {
    let linkless = kept.interfaces.iter().map(|interface| interface.name.as_str());
    let linkless = linkless.filter(|name| !links.iter().any(|link| link.name == *name));
    let names = links.iter().map(|link| link.name.as_str()).chain(linkless);
    names.filter_map(|name| interface(name, links, addresses, kept)).collect()
}

fn interface(name: &str, links: &[Link], addresses: &[Address], kept: &Kept) -> Option<Interface> {
    let link = links.iter().find(|link| link.name == name);
    let interface = kept.interfaces.iter().find(|interface| interface.name == name);
    let of_it = |object: &&dlmp_api::Address| object.object.split_once('/').is_some_and(|(of, _)| of == name);
    let mut objects: Vec<Object> = kept.addresses.iter().filter(of_it).map(Object::from).collect();
    if let Some(link) = link {
        let unnamed =
            addresses.iter().filter(|address| address.index == link.index).map(|address| unnamed(link, address));
        let unnamed: Vec<Object> =
            unnamed.filter(|one| !objects.iter().any(|object| object.address == one.address)).collect();
        objects.extend(unnamed);
    }
    if interface.is_none() && objects.is_empty() {
        return None;
    }
    Some(Interface {
        name: name.into(),
        class: if link.is_some_and(|link| link.loopback) { "loopback" } else { "ip" },
        state: match link {
            None => "absent",
            Some(link) if !link.admin_up => "down",
            Some(link) if !link.lower_up => "failed",
            Some(_) => "ok",
        },
        temporary: interface.is_some_and(|interface| interface.temporary),
        objects,
    })
}

impl From<&dlmp_api::Address> for Object {
    fn from(kept: &dlmp_api::Address) -> Self {
        let kept = kept.clone();
        Self {
            name: kept.object,
            kind: kept.kind,
            state: kept.state,
            address: kept.address,
            lease: kept.lease,
            problem: kept.problem,
            temporary: kept.temporary,
        }
    }
}

/// An address that the daemon does not keep. The loopback's own two have names in Solaris; any other
/// is `?`, as in illumos.
fn unnamed(link: &Link, address: &Address) -> Object {
    let name = match address.address {
        IpAddr::V4(Ipv4Addr::LOCALHOST) if link.loopback => "v4",
        IpAddr::V6(Ipv6Addr::LOCALHOST) if link.loopback => "v6",
        _ => "?",
    };
    let state = match address {
        Address { duplicate: true, .. } => "duplicate",
        _ if !link.admin_up => "down",
        Address { tentative: true, .. } => "tentative",
        _ => "ok",
    };
    Object {
        name: format!("{}/{name}", link.name),
        kind: if address.kernel_made && !link.loopback { "addrconf" } else { "static" }.into(),
        state: state.into(),
        address: Some(format!("{}/{}", address.address, address.prefix_len)),
        lease: None,
        problem: None,
        temporary: false,
    }
}
