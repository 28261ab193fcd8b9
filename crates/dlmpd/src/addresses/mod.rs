//! IP interfaces and address objects, what `ipadm` makes: putting them on their links, also when the daemon
//! starts and when a link comes back.

mod autoconf;
mod interfaces;
mod leases;
mod list;
mod objects;

use std::collections::BTreeMap;
use std::net::IpAddr;

use dlmp_api::Error;
use dlmp_dhcp as dhcp;
use dlmp_netlink::{Lifetime, Link};
use tokio::sync::mpsc;

use crate::config::AddressConfig;
use crate::control::Control;
use crate::object::{interface_of, split};
use leases::Client;

/// The live side of the objects; what they are to be stands in the files.
pub struct Addresses {
    /// IP interfaces, with the index of the link that they are on now.
    interfaces: BTreeMap<String, Option<u32>>,
    clients: BTreeMap<String, Client>,
    events: mpsc::UnboundedSender<(String, dhcp::Event)>,
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
    async fn apply_interface(&mut self, name: &str) {
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
            if interface_of(&object) == name
                && let Err(error) = self.apply(&link, &config).await
            {
                tracing::error!(object, %error, "cannot put the address on its link");
            }
        }
    }

    fn interfaces(&self) -> BTreeMap<String, bool> {
        let mut all = BTreeMap::new();
        for (config, temporary) in self.stores.configured() {
            all.extend(config.interfaces.keys().map(|name| (name.clone(), temporary)));
        }
        all
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, (AddressConfig, bool)> {
        let mut all = BTreeMap::new();
        for (config, temporary) in self.stores.configured() {
            all.extend(
                (config.addresses.iter()).map(|(object, address)| (object.clone(), (address.clone(), temporary))),
            );
        }
        all
    }

    /// Puts what is fixed of an object on its link; a DHCP client does that by itself.
    async fn apply(&self, link: &Link, config: &AddressConfig) -> Result<(), Error> {
        match config {
            AddressConfig::Static { address, down: false } => {
                let (ip, prefix_len) = split(address)?;
                (self.netlink.add_address(link.index, ip, prefix_len, Lifetime::Forever).await).map_err(failed)
            }
            AddressConfig::Addrconf {} => autoconf::switch_on(&link.name),
            AddressConfig::Static { down: true, .. } | AddressConfig::Dhcp { .. } => Ok(()),
        }
    }

    async fn take_off(&self, interface: &str, ip: IpAddr, prefix_len: u8) {
        if let Ok(Some(link)) = self.netlink.link(interface).await
            && let Err(error) = self.netlink.delete_address(link.index, ip, prefix_len).await
        {
            tracing::warn!(interface, %ip, %error, "the address stays");
        }
    }
}

/// The kernel's refusal, as an answer.
fn failed(error: dlmp_netlink::Error) -> Error {
    Error::failed(error.to_string())
}
