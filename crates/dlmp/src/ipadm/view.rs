//! IP interfaces and addresses as they are shown: what the kernel has, by the names of the daemon's
//! objects where they have one.

use dlmp_api::client::Dlmpd;
use dlmp_api::{Address as Object, Interface};
use dlmp_netlink::{Address, Link, Netlink};

use crate::daemon::{self, answer};
use crate::failure::Result;
use crate::links::Class;

/// An IP interface as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownInterface {
    /// Name of its link.
    pub name: String,
    /// `ip` or `loopback`.
    pub class: &'static str,
    /// `ok`, `down` by the administrator, `failed` without a carrier, `disabled` without its link.
    pub state: &'static str,
    /// Somebody made it or gave it an address. The kernel gives every link that is up an IPv6
    /// link-local address, which alone makes no interface in the sense of Solaris.
    pub configured: bool,
    /// Its addresses, the daemon's objects first.
    pub addresses: Vec<ShownAddress>,
}

/// An address as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownAddress {
    /// `interface/name`, with `?` for a name when nobody gave it one.
    pub object: String,
    /// `static`, `dhcp` or `addrconf`.
    pub kind: String,
    /// `ok`, or why it cannot be used.
    pub state: String,
    /// `address/prefix`; absent while DHCP has none.
    pub address: Option<String>,
    /// Seconds until the DHCP lease ends.
    pub lease: Option<u64>,
    /// What keeps a `tentative` address from being `ok`, in words.
    pub problem: Option<String>,
}

/// What the kernel and the daemon say, at one moment.
#[derive(Debug, Default)]
pub struct Sources {
    /// The kernel's links.
    pub links: Vec<Link>,
    /// The kernel's addresses.
    pub addresses: Vec<Address>,
    /// The daemon's interfaces.
    pub interfaces: Vec<Interface>,
    /// The daemon's address objects.
    pub objects: Vec<Object>,
    /// A daemon has answered.
    pub daemon: bool,
}

impl Sources {
    /// Asks the kernel, and the daemon if there is one.
    ///
    /// # Errors
    /// One of them did not answer.
    pub async fn ask() -> Result<Self> {
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

    /// Says, when what the kernel knows has been shown, that the rest is missing.
    ///
    /// # Errors
    /// No daemon answers, though an aggregation is there.
    pub fn refuse_orphans(&self) -> Result<()> {
        if self.daemon { Ok(()) } else { daemon::refuse_orphans(&self.links) }
    }

    /// The loopback, what the daemon keeps, and what has an address that somebody gave it.
    pub fn configured_interfaces(&self) -> Vec<ShownInterface> {
        let mut interfaces = self.interfaces();
        interfaces.retain(|interface| interface.configured);
        interfaces
    }

    /// Every link that is shown, and the interfaces that the daemon keeps for links that are not there.
    pub fn interfaces(&self) -> Vec<ShownInterface> {
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
        // What the kernel makes belongs to the object that has it do so.
        let autoconf = self.objects_of(&link.name).find(|object| object.kind == "addrconf");
        let unnamed = unnamed.map(|address| {
            let shown = unnamed_address(link, address);
            match autoconf {
                Some(object) if shown.kind == "addrconf" => ShownAddress { object: object.object.clone(), ..shown },
                _ => shown,
            }
        });
        self.objects_of(&link.name).map(ShownAddress::from).chain(unnamed).collect()
    }
}

/// The interface of an address object.
pub fn interface_of(object: &str) -> &str {
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
            problem: object.problem.clone(),
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
        problem: None,
    }
}
