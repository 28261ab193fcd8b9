//! Address objects: making and deleting them (`ipadm create-addr`).

use std::net::IpAddr;

use dlmp_api::{Error, NewAddress};

use crate::config::AddressConfig;
use crate::control::Control;
use crate::object::{interface_of, split};

impl Control {
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
                let same = |config: &AddressConfig| matches!(config, AddressConfig::Dhcp { .. });
                self.none_yet(&interface, "a DHCP address", same)?;
                (AddressConfig::Dhcp { hostname: request.hostname }, "v4")
            }
            "addrconf" => {
                let same = |config: &AddressConfig| matches!(config, AddressConfig::Addrconf {});
                self.none_yet(&interface, "autoconfigured addresses", same)?;
                (AddressConfig::Addrconf {}, "v6")
            }
            other => {
                return Err(Error::refused(format!("{other:?} is no kind of address: static, dhcp or addrconf"), ""));
            }
        };
        let object = self.object_name(&request.object, family)?;
        self.stores.commit(|kept, state| {
            let place = if request.temporary { &mut state.temporary } else { kept };
            place.addresses.insert(object.clone(), config.clone());
        })?;
        if let Err(error) = self.apply(&link, &config).await {
            self.forget_address(&object)?;
            return Err(error);
        }
        if let AddressConfig::Dhcp { hostname } = config {
            self.start_dhcp(&object, hostname);
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
            AddressConfig::Addrconf {} => self.end_autoconfiguration(interface_of(object)).await?,
            AddressConfig::Static { address, .. } => {
                let (ip, prefix_len) = split(&address)?;
                self.take_off(interface_of(object), ip, prefix_len).await;
            }
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

    /// Refuses a second object of a kind that an interface can have one of.
    fn none_yet(&self, interface: &str, what: &str, same: impl Fn(&AddressConfig) -> bool) -> Result<(), Error> {
        let there =
            |(object, (config, _)): &(String, (AddressConfig, bool))| interface_of(object) == interface && same(config);
        match self.objects().into_iter().find(there) {
            Some((object, _)) => Err(Error::refused(
                format!("{interface} has {what} already: {object}"),
                format!("ipadm delete-addr {object}"),
            )),
            None => Ok(()),
        }
    }

    async fn not_in_use(&self, ip: IpAddr) -> Result<(), Error> {
        let taken = (self.objects().into_iter()).find(|(_, (config, _))| match config {
            AddressConfig::Static { address, .. } => split(address).is_ok_and(|(other, _)| other == ip),
            AddressConfig::Dhcp { .. } | AddressConfig::Addrconf {} => false,
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

    fn forget_address(&mut self, object: &str) -> Result<(), Error> {
        self.stores.commit(|config, state| {
            config.addresses.remove(object);
            state.temporary.addresses.remove(object);
        })
    }
}
