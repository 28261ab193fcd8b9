//! The scene of the story in the seed: a guest with two ports, each on the virtual switch of
//! another service domain, and an external host.
//!
//! ```text
//!          ldg6 (guest)
//!       net0 |      | net1
//!      vnet6 |      | vnet1
//!  primary-vsw0    ldg5-vsw0      bridges in `primary` and `ldg5`, the service domains
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
use crate::namespace::Namespace;
use crate::topology::{bridge, up, veth, veth_down};

/// The namespaces of the scene, joined by links.
#[derive(Debug)]
pub struct Scene {
    /// The first service domain, with the virtual switch `primary-vsw0`.
    pub primary: Namespace,
    /// The second service domain, with the virtual switch `ldg5-vsw0`.
    pub ldg5: Namespace,
    /// The guest, with the ports `net0` and `net1`.
    pub ldg6: Namespace,
    /// The switch that both virtual switches are connected to.
    pub switch: Namespace,
    /// The external host, with the link `net0` and the address [`Scene::DOMAIN`].
    pub domain: Namespace,
}

impl Scene {
    /// The address of the external host, in a /24.
    pub const DOMAIN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 84, 1));
    /// The MAC address of the guest's port `net0`.
    pub const NET0: &str = "00:14:4f:f9:cf:47";
    /// The MAC address of the guest's port `net1`.
    pub const NET1: &str = "00:14:4f:fb:f5:33";

    /// Builds it, with names of namespaces that begin with `prefix`.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn new(prefix: &str) -> Result<Self> {
        let namespace = |name| Namespace::new(prefix, name);
        let scene = Self {
            primary: namespace("primary")?,
            ldg5: namespace("ldg5")?,
            ldg6: namespace("ldg6")?,
            switch: namespace("switch")?,
            domain: namespace("domain")?,
        };
        veth((&scene.domain, "net0"), (&scene.switch, "to-domain"))?;
        scene.domain.ip(&format!("address add {}/24 dev net0", Self::DOMAIN))?;
        bridge(&scene.switch, "switch0", &["to-domain"])?;
        scene.connect_primary()?;
        scene.connect_ldg5()?;
        up(&scene.ldg6, "net0")?;
        up(&scene.ldg6, "net1")?;
        Ok(scene)
    }

    /// Starts a DHCP server in `domain`: 192.168.84.10 to .50, leases of an hour.
    ///
    /// # Errors
    /// As [`DhcpServer::start`].
    pub fn start_dhcp(&self) -> Result<DhcpServer> {
        let range = "192.168.84.10,192.168.84.50,255.255.255.0,1h";
        DhcpServer::start(&self.domain, "net0", range)
    }

    /// The service domain `primary` goes down: its links vanish, and with them the guest's `net0`.
    pub fn primary_goes_down(&self) {
        self.primary.shut_down();
    }

    /// The service domain `primary` comes back, its links and the guest's `net0` with the same
    /// names and MAC addresses.
    ///
    /// # Errors
    /// As [`Namespace::boot`].
    pub fn primary_comes_back(&self) -> Result<()> {
        self.primary.boot()?;
        self.connect_primary()
    }

    fn connect_primary(&self) -> Result<()> {
        let (guest, uplink) = (("net0", Self::NET0), ("net0", "to0"));
        self.connect(&self.primary, "primary-vsw0", "vnet6", guest, uplink)
    }

    fn connect_ldg5(&self) -> Result<()> {
        let (guest, uplink) = (("net1", Self::NET1), ("net2", "to2"));
        self.connect(&self.ldg5, "ldg5-vsw0", "vnet1", guest, uplink)
    }

    /// Makes the virtual switch `vsw` of a service domain, with its uplink to a port of `switch`
    /// and its `vnet`, whose other end is a port of the guest. The guest's port has a carrier only
    /// once the path behind it is whole, as with `linkprop=phys-state`.
    fn connect(
        &self,
        service_domain: &Namespace,
        vsw: &str,
        vnet: &str,
        (guest_port, mac): (&str, &str),
        (uplink, switch_port): (&str, &str),
    ) -> Result<()> {
        veth((service_domain, uplink), (&self.switch, switch_port))?;
        self.switch.ip(&format!("link set dev {switch_port} master switch0"))?;
        veth_down((&self.ldg6, guest_port), (service_domain, vnet))?;
        self.ldg6.ip(&format!("link set dev {guest_port} address {mac} up"))?;
        bridge(service_domain, vsw, &[uplink, vnet])
    }
}
