//! Address objects from DHCP: their clients, and putting leases to use.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use dlmp_api::Error;
use dlmp_dhcp as dhcp;
use dlmp_netlink::{Lifetime, Link, Route};

use super::failed;
use crate::control::Control;
use crate::object::interface_of;

/// The client of an object, and the lease that it has.
pub struct Client {
    pub(super) dhcp: dhcp::Client,
    pub(super) lease: Option<dhcp::Lease>,
    pub(super) problem: Option<String>,
    /// The lease's default route could not be added, and is to be.
    unrouted: bool,
}

impl Control {
    /// A DHCP client reported something.
    pub async fn dhcp_event(&mut self, object: &str, event: dhcp::Event) {
        let Some(client) = self.addresses.clients.get_mut(object) else { return };
        match event {
            dhcp::Event::Bound(lease) => {
                client.lease = Some(lease.clone());
                client.problem = None;
                if let Err(error) = self.put_lease(object, &lease).await {
                    tracing::error!(object, %error, "cannot put the lease to use");
                    if let Some(client) = self.addresses.clients.get_mut(object) {
                        client.problem = Some(error.to_string());
                    }
                }
            }
            dhcp::Event::Lost(reason) => {
                tracing::warn!(object, reason, "the DHCP lease is lost");
                client.problem = Some(reason);
                if let Some(lease) = client.lease.take() {
                    self.drop_lease(object, &lease).await;
                }
            }
            dhcp::Event::Problem(problem) => {
                tracing::warn!(object, problem, "no DHCP lease");
                client.problem = Some(problem);
            }
        }
    }

    /// Starts the client of an object; a lease of an earlier daemon stays in force.
    pub(super) fn start_dhcp(&mut self, object: &str, hostname: Option<String>) {
        let options = dhcp::Options { hostname, previous: self.stores.state.leases.get(object).cloned() };
        let (events, name) = (self.addresses.events.clone(), object.to_owned());
        let tell = move |event| {
            // Nobody listens only while the daemon ends.
            let _ = events.send((name.clone(), event));
        };
        match dhcp::Client::start(interface_of(object), options, tell) {
            Ok(dhcp) => {
                let client = Client { dhcp, lease: None, problem: None, unrouted: false };
                self.addresses.clients.insert(object.to_owned(), client);
            }
            Err(error) => tracing::error!(object, %error, "cannot start a DHCP client"),
        }
    }

    async fn put_lease(&mut self, object: &str, lease: &dhcp::Lease) -> Result<(), Error> {
        let interface = interface_of(object);
        let Some(link) = self.netlink.link(interface).await.map_err(failed)? else {
            return Err(Error::failed(format!("there is no link {interface}")));
        };
        let seconds = u32::try_from(lease.remaining(SystemTime::now()).as_secs()).unwrap_or(u32::MAX);
        let lifetime = Lifetime::Seconds(seconds);
        (self.netlink.add_address(link.index, lease.address.into(), lease.prefix_len, lifetime).await)
            .map_err(failed)?;
        // The one before, perhaps of an earlier daemon, if the server now grants something else.
        if let Some(old) = self.stores.state.leases.get(object) {
            if (old.address, old.prefix_len) != (lease.address, lease.prefix_len) {
                self.take_off(interface, old.address.into(), old.prefix_len).await;
            }
            if let Some(&gateway) = old.routers.first()
                && lease.routers.first() != Some(&gateway)
            {
                (self.netlink.delete_default_route(link.index, gateway).await).map_err(failed)?;
            }
        }
        // The address is in use, whatever becomes of the route.
        self.stores.commit(|_, state| {
            state.leases.insert(object.to_owned(), lease.clone());
        })?;
        self.route_lease(object, &link, lease).await;
        Ok(())
    }

    /// Tries again to add the default routes that something was in the way of.
    pub async fn route_leases(&mut self) {
        let unrouted = self.addresses.clients.iter().filter(|(_, client)| client.unrouted);
        let unrouted: Vec<_> =
            unrouted.filter_map(|(object, client)| Some((object.clone(), client.lease.clone()?))).collect();
        for (object, lease) in unrouted {
            if let Ok(Some(link)) = self.netlink.link(interface_of(&object)).await {
                self.route_lease(&object, &link, &lease).await;
            }
        }
    }

    /// Adds the default route of a lease. Another one that is in the way stays: it is somebody else's, and this one is added
    /// when that one goes.
    async fn route_lease(&mut self, object: &str, link: &Link, lease: &dhcp::Lease) {
        let problem = match lease.routers.first() {
            Some(&gateway) => match self.netlink.add_default_route(link.index, gateway).await {
                Ok(()) => None,
                Err(error) if error.errno() == Some(libc::EEXIST) => Some(self.other_route(gateway).await),
                Err(error) => Some(error.to_string()),
            },
            None => None,
        };
        let Some(client) = self.addresses.clients.get_mut(object) else { return };
        match &problem {
            Some(problem) if client.problem.as_ref() != Some(problem) => {
                tracing::warn!(object, "the lease is in use without its default route: {problem}");
            }
            None if client.unrouted => tracing::info!(object, "the lease has its default route now"),
            _ => {}
        }
        client.unrouted = problem.is_some();
        client.problem = problem;
    }

    /// Says what is in the way of the default route through `gateway`.
    async fn other_route(&self, gateway: Ipv4Addr) -> String {
        let is_default = |route: &Route| route.destination == Ipv4Addr::UNSPECIFIED && route.prefix_len == 0;
        let routes = self.netlink.routes().await.unwrap_or_default();
        let other = routes.iter().find(|route| is_default(route) && route.metric == 0);
        let links = self.netlink.links().await.unwrap_or_default();
        let via = other.and_then(|route| route.gateway).map_or(String::new(), |other| format!(" via {other}"));
        let link = other.and_then(|route| links.iter().find(|link| Some(link.index) == route.index));
        let dev = link.map_or(String::new(), |link| format!(" dev {}", link.name));
        format!(
            "the default route{via}{dev}, which others made, is in the way of the one through {gateway}, which is added when that \
             one goes; try: ip route delete default{via}{dev}"
        )
    }

    /// Takes a lease out of use.
    pub(super) async fn drop_lease(&mut self, object: &str, lease: &dhcp::Lease) {
        let interface = interface_of(object);
        if let (Some(&gateway), Ok(Some(link))) = (lease.routers.first(), self.netlink.link(interface).await)
            && let Err(error) = self.netlink.delete_default_route(link.index, gateway).await
        {
            tracing::warn!(object, %error, "the route of the lease stays");
        }
        self.take_off(interface, lease.address.into(), lease.prefix_len).await;
        let forgotten = self.stores.commit(|_, state| {
            state.leases.remove(object);
        });
        if let Err(error) = forgotten {
            tracing::warn!(object, %error, "the lease stays in the state file");
        }
    }
}
