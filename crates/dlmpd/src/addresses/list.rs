//! Address objects as displays show them.

use std::net::IpAddr;
use std::time::SystemTime;

use dlmp_api::{Address, Error};
use dlmp_netlink::Address as Kernel;

use crate::config::AddressConfig;
use crate::control::Control;
use crate::object::{interface_of, split};

impl Control {
    /// The address objects, as they are now.
    ///
    /// # Errors
    /// The kernel did not answer.
    pub async fn list_addresses(&self) -> Result<Vec<Address>, Error> {
        let (links, addresses) = self.look().await?;
        let index_of = |interface: &str| links.iter().find(|link| link.name == interface).map(|link| link.index);
        let mut all = Vec::new();
        for (object, (config, temporary)) in self.objects() {
            let index = index_of(interface_of(&object));
            let mut shown = Address {
                object: object.clone(),
                kind: String::new(),
                state: "inaccessible".into(),
                address: None,
                lease: None,
                problem: None,
                temporary,
            };
            match config {
                AddressConfig::Static { address, down } => {
                    let (ip, _) = split(&address)?;
                    let found = addresses.iter().find(|there| Some(there.index) == index && there.address == ip);
                    shown.kind = "static".into();
                    shown.state = state(index, found, if down { "down" } else { "disabled" }).into();
                    shown.address = Some(address);
                }
                AddressConfig::Addrconf {} => {
                    let made = |there: &&Kernel| there.address.is_ipv6() && there.link_local && there.kernel_made;
                    let found = addresses.iter().filter(made).find(|there| Some(there.index) == index);
                    shown.kind = "addrconf".into();
                    shown.state = state(index, found, "tentative").into();
                    shown.address = found.map(|there| format!("{}/{}", there.address, there.prefix_len));
                }
                AddressConfig::Dhcp { .. } => {
                    shown.kind = "dhcp".into();
                    let client = self.addresses.clients.get(&object);
                    if index.is_some() {
                        shown.state = "tentative".into();
                    }
                    if let Some(lease) = client.and_then(|client| client.lease.as_ref())
                        && index.is_some()
                    {
                        let found =
                            addresses.iter().find(|there| Some(there.index) == index && there.address == lease.address);
                        shown.state = state(index, found, "disabled").into();
                        shown.address = Some(format!("{}/{}", lease.address, lease.prefix_len));
                        shown.lease = Some(lease.remaining(SystemTime::now()).as_secs().cast_signed());
                    }
                    shown.problem = client.and_then(|client| client.problem.clone());
                }
            }
            self.mark_cut_off(&mut shown);
            all.push(shown);
        }
        Ok(all)
    }

    /// An address that others have taken the traffic of is not in order.
    fn mark_cut_off(&self, shown: &mut Address) {
        let ip: Option<IpAddr> = shown.address.as_ref().and_then(|address| split(address).ok()).map(|(ip, _)| ip);
        let interface = interface_of(&shown.object);
        let aggregation =
            self.stores.vnics().get(interface).map_or(interface.to_owned(), |(vnic, _)| vnic.link.clone());
        if let Some(problem) = ip.and_then(|ip| self.foreign.cuts_off(&aggregation, ip))
            && shown.state == "ok"
        {
            shown.state = "inaccessible".into();
            shown.problem = Some(problem.to_owned());
        }
    }
}

/// The state of an address by what the kernel has; `missing` when its link is there without it.
const fn state(link: Option<u32>, found: Option<&Kernel>, missing: &'static str) -> &'static str {
    match (link, found) {
        (None, _) => "inaccessible",
        (Some(_), None) => missing,
        (Some(_), Some(there)) if there.duplicate => "duplicate",
        (Some(_), Some(there)) if there.tentative => "tentative",
        (Some(_), Some(_)) => "ok",
    }
}
