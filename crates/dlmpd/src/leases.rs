//! Address objects from DHCP: their clients, and putting leases to use.

use std::net::IpAddr;
use std::time::Instant;

use dlmp_api::Error;
use dlmp_netlink::Lifetime;

use crate::addresses::failed;
use crate::control::Control;
use crate::dhcp;
use crate::object::{interface_of, split};

/// The client of an object, and the lease that it has.
pub struct Client {
    pub(crate) dhcp: dhcp::Client,
    pub(crate) lease: Option<(dhcp::Lease, Instant)>,
    pub(crate) problem: Option<String>,
}

impl Control {
    /// A DHCP client reported something.
    pub async fn dhcp_event(&mut self, object: &str, event: dhcp::Event) {
        let Some(client) = self.addresses.clients.get_mut(object) else {
            return;
        };
        match event {
            dhcp::Event::Bound(lease) => {
                let old = client.lease.replace((lease.clone(), Instant::now()));
                client.problem = None;
                let old = old.map(|(lease, _)| lease);
                // What a daemon before us got, if the server now gives something else.
                let known = self.state.leases.get(object).and_then(|text| split(text).ok());
                if let Some((address, prefix_len)) = known
                    && address != IpAddr::V4(lease.address)
                {
                    self.take_off(interface_of(object), address, prefix_len).await;
                }
                if let Err(error) = self.put_lease(object, &lease, old.as_ref()).await {
                    tracing::error!(object, %error, "cannot put the lease to use");
                    if let Some(client) = self.addresses.clients.get_mut(object) {
                        client.problem = Some(error.to_string());
                    }
                }
            }
            dhcp::Event::Lost => {
                if let Some((lease, _)) = client.lease.take() {
                    self.drop_lease(object, &lease).await;
                }
            }
            dhcp::Event::Problem(problem) => client.problem = Some(problem),
        }
    }

    pub(crate) fn start_dhcp(&mut self, object: &str, hostname: Option<String>) {
        let interface = interface_of(object).to_owned();
        let dhcp = dhcp::Client::start(
            object.to_owned(),
            interface,
            hostname,
            self.netlink.clone(),
            self.addresses.events.clone(),
        );
        let client = Client { dhcp, lease: None, problem: None };
        self.addresses.clients.insert(object.to_owned(), client);
    }

    async fn put_lease(&mut self, object: &str, lease: &dhcp::Lease, old: Option<&dhcp::Lease>) -> Result<(), Error> {
        let interface = interface_of(object);
        let Some(link) = self.netlink.link(interface).await.map_err(failed)? else {
            return Err(Error::failed(format!("there is no link {interface}")));
        };
        let seconds = u32::try_from(lease.duration.as_secs()).unwrap_or(u32::MAX);
        (self
            .netlink
            .add_address(link.index, lease.address.into(), lease.prefix_len, Lifetime::Seconds(seconds))
            .await)
            .map_err(failed)?;
        if let Some(old) = old.filter(|old| (old.address, old.prefix_len) != (lease.address, lease.prefix_len)) {
            self.take_off(interface, old.address.into(), old.prefix_len).await;
        }
        if let Some(&gateway) = lease.gateways.first() {
            (self.netlink.add_default_route(link.index, gateway).await).map_err(failed)?;
        }
        let text = format!("{}/{}", lease.address, lease.prefix_len);
        self.commit(|_, state| {
            state.leases.insert(object.to_owned(), text);
        })
    }

    pub(crate) async fn drop_lease(&mut self, object: &str, lease: &dhcp::Lease) {
        let interface = interface_of(object);
        if let (Some(&gateway), Ok(Some(link))) = (lease.gateways.first(), self.netlink.link(interface).await)
            && let Err(error) = self.netlink.delete_default_route(link.index, gateway).await
        {
            tracing::warn!(object, %error, "the route of the lease stays");
        }
        self.take_off(interface, lease.address.into(), lease.prefix_len).await;
        let forgotten = self.commit(|_, state| {
            state.leases.remove(object);
        });
        if let Err(error) = forgotten {
            tracing::warn!(object, %error, "the lease stays in the state file");
        }
    }
}
