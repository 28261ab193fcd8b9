//! The scene of the story in the seed: a guest with two vnets, each on the virtual switch of
//! another service domain, and an external host. `ldmd` runs in `primary` and makes what is between the uplinks and the
//! guest, the guest's namespace included.
//!
//! ```text
//!          ldg6 (guest)
//!       net0 |      | net1        vnet6 and vnet1
//!            |      |
//!  primary-vsw0    ldg5-vsw0      virtual switches in `primary` and `ldg5`, the service domains
//!       net0 |      | net2        their uplinks
//!        to0 |      | to2
//!           switch0               a bridge in `switch`
//!              | to-domain
//!              | net0
//!           domain (external host)
//! ```

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use crate::dhcp::DhcpServer;
use crate::host::Host;
use crate::namespace::Namespace;
use crate::topology::{bridge, up, veth_down};

/// The namespaces of the scene; all but the guest's are there, joined by links.
#[derive(Debug)]
pub struct Scene {
    /// The first service domain, with the uplink `net0`. Its `ldmd` does not run yet.
    pub primary: Host,
    /// The second service domain, with the uplink `net2`.
    pub ldg5: Namespace,
    /// The guest.
    pub ldg6: Namespace,
    /// The switch that both uplinks are connected to.
    pub switch: Namespace,
    /// The external host, with the link `net0` and the address [`Scene::DOMAIN`].
    pub domain: Namespace,
}

impl Scene {
    /// The address of the external host, in a /24.
    pub const DOMAIN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 84, 2));
    /// The MAC address of the guest's port `net0`.
    pub const NET0: &str = "00:14:4f:fc:cf:47";
    /// The MAC address of the guest's port `net1`.
    pub const NET1: &str = "00:14:4f:ff:f5:33";

    /// Builds it up to the uplinks, with names of namespaces that begin with `prefix`.
    ///
    /// # Errors
    /// As [`Namespace::new`] and [`Host::new`].
    pub fn new(prefix: &str) -> Result<Self> {
        let namespace = |name| Namespace::new(prefix, name);
        let scene = Self {
            ldg6: Namespace::reserve(prefix, "ldg6")?,
            primary: Host::new(&namespace("primary")?)?,
            ldg5: namespace("ldg5")?,
            switch: namespace("switch")?,
            domain: namespace("domain")?,
        };
        veth_down((&scene.domain, "net0"), (&scene.switch, "to-domain"))?;
        up(&scene.domain, "net0")?;
        scene.domain.ip(&format!("address add {}/24 dev net0", Self::DOMAIN))?;
        bridge(&scene.switch, "switch0", &["to-domain"])?;
        scene.connect(scene.primary.dlmp().namespace(), "net0", "to0")?;
        scene.connect(&scene.ldg5, "net2", "to2")?;
        Ok(scene)
    }

    /// What is to be typed in `primary` to build the rest, as in the seed.
    #[must_use]
    pub fn lines(&self) -> [String; 6] {
        let custom = "linkprop=phys-state custom=enable";
        [
            format!("ldm add-domain --netns {} ldg5", self.ldg5.name()),
            format!("ldm add-domain --netns {} ldg6", self.ldg6.name()),
            "ldm add-vsw net-dev=net0 primary-vsw0 primary".into(),
            "ldm add-vsw net-dev=net2 ldg5-vsw0 ldg5".into(),
            format!("ldm add-vnet mac-addr={} {custom} vnet6 primary-vsw0 ldg6", Self::NET0),
            format!("ldm add-vnet mac-addr={} {custom} vnet1 ldg5-vsw0 ldg6", Self::NET1),
        ]
    }

    /// Starts a DHCP server in `domain`: 192.168.84.10 to .50, leases of an hour.
    ///
    /// # Errors
    /// As [`DhcpServer::start`].
    pub fn start_dhcp(&self) -> Result<DhcpServer> {
        let range = "192.168.84.10,192.168.84.50,255.255.255.0,1h";
        DhcpServer::start(&self.domain, "net0", range)
    }

    /// The service domain `primary` goes down, and `ldmd` with it: its links vanish, and so does the guest's `net0`.
    pub fn primary_goes_down(&self) {
        self.primary.dlmp().namespace().shut_down();
    }

    /// The service domain `primary` comes back: its uplink, and then `ldmd`, which builds again what it had built.
    ///
    /// # Errors
    /// As [`Namespace::boot`] and [`Host::start`].
    pub fn primary_comes_back(&self) -> Result<()> {
        let primary = self.primary.dlmp().namespace();
        primary.boot()?;
        self.connect(primary, "net0", "to0")?;
        self.primary.start()
    }

    /// Plugs the uplink of a service domain into a port of the switch.
    ///
    /// # Errors
    /// When the uplink or the port exists already.
    pub fn connect(&self, service_domain: &Namespace, uplink: &str, port: &str) -> Result<()> {
        veth_down((service_domain, uplink), (&self.switch, port))?;
        self.switch.ip(&format!("link set dev {port} master switch0"))?;
        up(service_domain, uplink)?;
        up(&self.switch, port)?;
        up(service_domain, uplink)
    }
}
