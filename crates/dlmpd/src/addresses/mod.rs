//! IP interfaces and address objects: what `ipadm` makes.

mod list;

use std::collections::BTreeMap;
use std::net::IpAddr;

use dlmp_api::{Error, Interface, NewAddress};
use dlmp_dhcp as dhcp;
use dlmp_netlink::{Lifetime, Link, ipv6};
use tokio::sync::mpsc;

use crate::config::{AddressConfig, InterfaceConfig};
use crate::control::Control;
use crate::leases::Client;
use crate::object::{interface_of, split};

/// The live side of the objects; what they are to be stands in the files.
pub struct Addresses {
    /// IP interfaces, with the index of the link that they are on now.
    interfaces: BTreeMap<String, Option<u32>>,
    pub(crate) clients: BTreeMap<String, Client>,
    pub(crate) events: mpsc::UnboundedSender<(String, dhcp::Event)>,
}

impl Addresses {
    /// Without any object; what DHCP clients report goes to `events`.
    pub const fn new(events: mpsc::UnboundedSender<(String, dhcp::Event)>) -> Self {
        Self { interfaces: BTreeMap::new(), clients: BTreeMap::new(), events }
    }

    /// Whether an IP interface of this name is kept.
    pub fn has_interface(&self, name: &str) -> bool {
        self.interfaces.contains_key(name)
    }
}

impl Control {
    /// Puts everything that the files name on its links.
    pub(crate) async fn restore_addresses(&mut self) {
        for (name, _) in self.interfaces() {
            self.addresses.interfaces.insert(name.clone(), None);
            self.apply_interface(&name).await;
        }
        for (object, (config, _)) in self.objects() {
            if let AddressConfig::Dhcp { hostname } = config {
                self.start_dhcp(&object, hostname);
            }
        }
    }

    /// A link is new or has changed: a new one under an interface's name gets its addresses.
    pub async fn link_seen(&mut self, link: &Link) {
        let on = self.addresses.interfaces.get(&link.name);
        if on.is_some_and(|&index| index != Some(link.index)) {
            self.apply_interface(&link.name).await;
        }
    }

    /// Link events were lost: looks at every link.
    pub async fn look_at_links(&mut self) {
        match self.netlink.links().await {
            Ok(links) => {
                for link in &links {
                    self.link_seen(link).await;
                }
            }
            Err(error) => tracing::error!(%error, "cannot look at the links"),
        }
    }

    /// A link is gone.
    pub fn link_gone(&mut self, name: &str) {
        if let Some(index) = self.addresses.interfaces.get_mut(name) {
            *index = None;
        }
    }

    /// Puts the fixed addresses of an interface on its link, if that exists.
    pub(crate) async fn apply_interface(&mut self, name: &str) {
        let Ok(Some(link)) = self.netlink.link(name).await else {
            return;
        };
        self.addresses.interfaces.insert(name.to_owned(), Some(link.index));
        if !link.admin_up
            && let Err(error) = self.netlink.set_up(link.index, true).await
        {
            tracing::error!(interface = name, %error, "cannot bring the interface up");
        }
        for (object, (config, _)) in self.objects() {
            let applied = match config {
                AddressConfig::Static { address, down: false } if interface_of(&object) == name => {
                    self.apply_static(&link, &address).await
                }
                AddressConfig::Addrconf if interface_of(&object) == name => autoconfigure(name, true),
                _ => Ok(()),
            };
            if let Err(error) = applied {
                tracing::error!(object, %error, "cannot put the address on its link");
            }
        }
    }

    /// The IP interfaces that are kept.
    pub fn list_interfaces(&self) -> Vec<Interface> {
        (self.interfaces().into_iter()).map(|(name, temporary)| Interface { name, temporary }).collect()
    }

    /// Makes an IP interface on a link.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn create_interface(&mut self, name: &str, temporary: bool) -> Result<(), Error> {
        if self.addresses.has_interface(name) {
            return Err(Error::refused(
                format!("the IP interface {name} exists already"),
                format!("ipadm show-if {name}"),
            ));
        }
        let link = self.usable_link(name).await?;
        self.commit(|config, state| {
            let place = if temporary { &mut state.temporary } else { config };
            place.interfaces.insert(name.to_owned(), InterfaceConfig {});
        })?;
        if !link.admin_up
            && let Err(error) = self.netlink.set_up(link.index, true).await
        {
            self.forget_interface(name)?;
            return Err(failed(error));
        }
        self.addresses.interfaces.insert(name.to_owned(), Some(link.index));
        Ok(())
    }

    /// Removes an IP interface with its address objects. DHCP leases are kept, not released.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn delete_interface(&mut self, name: &str) -> Result<(), Error> {
        if !self.addresses.has_interface(name) {
            return Err(Error::refused(format!("there is no IP interface {name}"), "ipadm show-if"));
        }
        let objects: Vec<String> = (self.objects().into_keys()).filter(|object| interface_of(object) == name).collect();
        for object in objects {
            self.delete_address(&object, false).await?;
        }
        self.forget_interface(name)?;
        self.addresses.interfaces.remove(name);
        self.idle_if_empty();
        Ok(())
    }

    /// Makes an address object; returns its name. A DHCP one starts without an address.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn create_address(&mut self, request: NewAddress) -> Result<String, Error> {
        let interface = interface_of(&request.object).to_owned();
        if !self.addresses.has_interface(&interface) {
            return Err(Error::refused(
                format!("there is no IP interface {interface}"),
                format!("ipadm create-ip {interface}"),
            ));
        }
        let link = self.usable_link(&interface).await?;
        let (config, family) = match request.kind.as_str() {
            "static" => {
                let text = request.address.as_deref().unwrap_or_default();
                let (ip, prefix_len) = split(text)?;
                self.not_in_use(ip).await?;
                let address = format!("{ip}/{prefix_len}");
                let family = if ip.is_ipv4() { "v4" } else { "v6" };
                (AddressConfig::Static { address, down: request.down }, family)
            }
            "dhcp" => {
                let dhcp = |(object, (config, _)): &(String, (AddressConfig, bool))| {
                    interface_of(object) == interface && matches!(config, AddressConfig::Dhcp { .. })
                };
                if let Some((object, _)) = self.objects().into_iter().find(dhcp) {
                    return Err(Error::refused(
                        format!("{interface} has a DHCP address already: {object}"),
                        format!("ipadm delete-addr {object}"),
                    ));
                }
                (AddressConfig::Dhcp { hostname: request.hostname }, "v4")
            }
            "addrconf" => {
                let same = |(object, (config, _)): &(String, (AddressConfig, bool))| {
                    interface_of(object) == interface && *config == AddressConfig::Addrconf
                };
                if let Some((object, _)) = self.objects().into_iter().find(same) {
                    return Err(Error::refused(
                        format!("{interface} is autoconfigured already: {object}"),
                        format!("ipadm delete-addr {object}"),
                    ));
                }
                (AddressConfig::Addrconf, "v6")
            }
            other => {
                return Err(Error::refused(format!("{other:?} is no kind of address: static, dhcp or addrconf"), ""));
            }
        };
        let object = self.object_name(&request.object, family)?;
        self.commit(|kept, state| {
            let place = if request.temporary { &mut state.temporary } else { kept };
            place.addresses.insert(object.clone(), config.clone());
        })?;
        match config {
            AddressConfig::Static { address, down: false } => {
                if let Err(error) = self.apply_static(&link, &address).await {
                    self.forget_address(&object)?;
                    return Err(error);
                }
            }
            AddressConfig::Static { .. } => {}
            AddressConfig::Dhcp { hostname } => self.start_dhcp(&object, hostname),
            AddressConfig::Addrconf => {
                if let Err(error) = autoconfigure(&interface, true) {
                    self.forget_address(&object)?;
                    return Err(error);
                }
            }
        }
        Ok(object)
    }

    /// Removes an address object; with `release` a DHCP server is told that the address is free.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn delete_address(&mut self, object: &str, release: bool) -> Result<(), Error> {
        let Some((config, _)) = self.objects().remove(object) else {
            return Err(Error::refused(format!("there is no address object {object}"), "ipadm show-addr"));
        };
        if release && !matches!(config, AddressConfig::Dhcp { .. }) {
            return Err(Error::refused(
                format!("{object} is not from DHCP: there is nothing to release"),
                format!("ipadm delete-addr {object}"),
            ));
        }
        self.forget_address(object)?;
        match config {
            AddressConfig::Static { address, .. } => {
                let (ip, prefix_len) = split(&address)?;
                self.take_off(interface_of(object), ip, prefix_len).await;
            }
            AddressConfig::Addrconf => self.stop_autoconfiguration(interface_of(object)).await?,
            AddressConfig::Dhcp { .. } => {
                if let Some(client) = self.addresses.clients.remove(object) {
                    client.dhcp.stop(release).await;
                    if let Some(lease) = client.lease {
                        self.drop_lease(object, &lease).await;
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn interfaces(&self) -> BTreeMap<String, bool> {
        let mut all = BTreeMap::new();
        for (config, temporary) in self.configured() {
            all.extend(config.interfaces.keys().map(|name| (name.clone(), temporary)));
        }
        all
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, (AddressConfig, bool)> {
        let mut all = BTreeMap::new();
        for (config, temporary) in self.configured() {
            all.extend(
                (config.addresses.iter()).map(|(object, address)| (object.clone(), (address.clone(), temporary))),
            );
        }
        all
    }

    /// A link that can have addresses: not the port of an aggregation.
    async fn usable_link(&self, name: &str) -> Result<Link, Error> {
        let link = self.netlink.link(name).await.map_err(failed)?;
        let link = link.ok_or_else(|| Error::refused(format!("there is no link {name}"), "dladm show-link"))?;
        for aggregation in self.monitor.list().await? {
            if aggregation.ports.iter().any(|port| port.name == name) {
                return Err(Error::refused(
                    format!("{name} is a port of the aggregation {}: a port keeps no addresses", aggregation.name),
                    format!("ipadm create-ip {}", aggregation.name),
                ));
            }
        }
        Ok(link)
    }

    async fn not_in_use(&self, ip: IpAddr) -> Result<(), Error> {
        let taken = (self.objects().into_iter()).find(|(_, (config, _))| match config {
            AddressConfig::Static { address, .. } => split(address).is_ok_and(|(other, _)| other == ip),
            AddressConfig::Dhcp { .. } | AddressConfig::Addrconf => false,
        });
        if let Some((object, _)) = taken {
            return Err(Error::refused(format!("{object} has the address {ip} already"), "ipadm show-addr"));
        }
        let (links, addresses) = self.look().await?;
        if let Some(there) = addresses.iter().find(|there| there.address == ip) {
            let link = links.iter().find(|link| link.index == there.index).map_or("a link", |link| &link.name);
            return Err(Error::refused(format!("{link} has the address {ip} already"), "ipadm show-addr"));
        }
        Ok(())
    }

    /// The name of a new object: as given, or the first free one of `v4`, `v4a`, `v4b`...
    fn object_name(&self, wanted: &str, family: &str) -> Result<String, Error> {
        let objects = self.objects();
        if let Some((interface, name)) = wanted.split_once('/') {
            let fits = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && name.len() <= 32;
            if !fits || interface.is_empty() {
                return Err(Error::refused(
                    format!("{wanted:?} is no address object: interface/name, the name of letters, digits and '_'"),
                    "",
                ));
            }
            if objects.contains_key(wanted) {
                return Err(Error::refused(
                    format!("the address object {wanted} exists already"),
                    format!("ipadm show-addr {wanted}"),
                ));
            }
            return Ok(wanted.to_owned());
        }
        std::iter::once(String::new())
            .chain(('a'..='z').map(String::from))
            .map(|suffix| format!("{wanted}/{family}{suffix}"))
            .find(|name| !objects.contains_key(name))
            .ok_or_else(|| {
                Error::refused(
                    format!("{wanted} has too many address objects to choose a name for another"),
                    format!("ipadm create-addr ... {wanted}/NAME"),
                )
            })
    }

    async fn apply_static(&self, link: &Link, address: &str) -> Result<(), Error> {
        let (ip, prefix_len) = split(address)?;
        (self.netlink.add_address(link.index, ip, prefix_len, Lifetime::Forever).await).map_err(failed)
    }

    pub(crate) async fn take_off(&self, interface: &str, ip: IpAddr, prefix_len: u8) {
        if let Ok(Some(link)) = self.netlink.link(interface).await
            && let Err(error) = self.netlink.delete_address(link.index, ip, prefix_len).await
        {
            tracing::warn!(interface, %ip, %error, "the address stays");
        }
    }

    async fn stop_autoconfiguration(&self, interface: &str) -> Result<(), Error> {
        autoconfigure(interface, false)?;
        let (links, addresses) = self.look().await?;
        let index = links.iter().find(|link| link.name == interface).map(|link| link.index);
        let made = addresses.iter().filter(|address| Some(address.index) == index && address.kernel_made);
        for address in made.filter(|address| address.address.is_ipv6()) {
            self.take_off(interface, address.address, address.prefix_len).await;
        }
        Ok(())
    }

    fn forget_interface(&mut self, name: &str) -> Result<(), Error> {
        self.commit(|config, state| {
            config.interfaces.remove(name);
            state.temporary.interfaces.remove(name);
        })
    }

    fn forget_address(&mut self, object: &str) -> Result<(), Error> {
        self.commit(|config, state| {
            config.addresses.remove(object);
            state.temporary.addresses.remove(object);
        })
    }
}

fn autoconfigure(interface: &str, on: bool) -> Result<(), Error> {
    let what = if on { "started" } else { "stopped" };
    ipv6::set_autoconfiguration(interface, on)
        .map_err(|error| Error::failed(format!("IPv6 autoconfiguration of {interface} could not be {what}: {error}")))
}

/// The kernel's refusal, as an answer.
pub fn failed(error: dlmp_netlink::Error) -> Error {
    Error::failed(error.to_string())
}
