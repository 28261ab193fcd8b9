//! The routes of the main table, and the default route that a DHCP lease brings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteProtocol, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::RouteMessageBuilder;

use crate::Netlink;
use crate::error::{Result, explain, tolerate};

/// One way to a destination; a route with several next hops counts as several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The destination network. The default route has the unspecified address and length 0.
    pub destination: IpAddr,
    /// Length of the destination's network part in bits.
    pub prefix_len: u8,
    /// The router; absent when the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// Index of the link that it leaves through; absent for a route without one.
    pub index: Option<u32>,
    /// Preference among routes to the same destination: the lowest wins.
    pub metric: u32,
}

impl Netlink {
    /// The unicast routes of the main table, IPv4 and IPv6.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn routes(&self) -> Result<Vec<Route>> {
        Ok(self.route_messages().await?.iter().flat_map(Route::from_message).collect())
    }

    /// The routes of all tables, IPv4 and IPv6, as the kernel tells them.
    pub(crate) async fn route_messages(&self) -> Result<Vec<RouteMessage>> {
        let mut messages = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(request);
            for object in self.dump(request, "list the routes").await? {
                // A kernel without IPv6 answers with the routes of all families instead.
                if let RouteNetlinkMessage::NewRoute(message) = object
                    && message.header.address_family == family
                {
                    messages.push(message);
                }
            }
        }
        Ok(messages)
    }

    /// Adds a default route through `gateway` on a link, marked as DHCP's (`proto dhcp`); the same
    /// one that is there already is no error. The gateway need not be in a network of the link, as
    /// in leases whose netmask is 255.255.255.255.
    ///
    /// # Errors
    /// The kernel's refusal, such as a link that is down; `EEXIST` when another default route of
    /// the same metric is in the way, which stays.
    pub async fn add_default_route(&self, index: u32, gateway: Ipv4Addr) -> Result<()> {
        let result = self
            .handle
            .route()
            .add(default_route(index, gateway))
            .execute()
            .await
            .map_err(explain(format!("add the default route through {gateway}")));
        match result {
            Err(error) if error.errno() == Some(libc::EEXIST) => {
                let same = Route {
                    destination: Ipv4Addr::UNSPECIFIED.into(),
                    prefix_len: 0,
                    gateway: Some(gateway.into()),
                    index: Some(index),
                    metric: 0,
                };
                let there = self.routes().await?.contains(&same);
                if there { Ok(()) } else { Err(error) }
            }
            other => other,
        }
    }

    /// Deletes what [`add_default_route`](Self::add_default_route) added; absence is no error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn delete_default_route(&self, index: u32, gateway: Ipv4Addr) -> Result<()> {
        let what = format!("delete the default route through {gateway}");
        let result = self.handle.route().del(default_route(index, gateway)).execute().await;
        tolerate(result.map_err(explain(what)), libc::ESRCH)
    }
}

fn default_route(index: u32, gateway: Ipv4Addr) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(gateway)
        .output_interface(index)
        .protocol(RouteProtocol::Dhcp)
        .onlink()
        .build()
}

impl Route {
    /// Reads a message of the kernel; nothing if it is no unicast route of the main table.
    fn from_message(message: &RouteMessage) -> Vec<Self> {
        let header = &message.header;
        if header.kind != RouteType::Unicast || header.table != RouteHeader::RT_TABLE_MAIN {
            return Vec::new();
        }
        let mut route = Self {
            destination: match header.address_family {
                AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
                _ => Ipv4Addr::UNSPECIFIED.into(),
            },
            prefix_len: header.destination_prefix_length,
            gateway: gateway(&message.attributes),
            index: None,
            metric: 0,
        };
        let mut next_hops: &[RouteNextHop] = &[];
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => {
                    route.destination = ip(address).unwrap_or(route.destination);
                }
                RouteAttribute::Oif(index) => route.index = Some(*index),
                RouteAttribute::Priority(metric) => route.metric = *metric,
                RouteAttribute::MultiPath(hops) => next_hops = hops,
                _ => {}
            }
        }
        if next_hops.is_empty() {
            return vec![route];
        }
        let through =
            |hop: &RouteNextHop| Self { gateway: gateway(&hop.attributes), index: Some(hop.interface_index), ..route };
        next_hops.iter().map(through).collect()
    }
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

/// The IP address in an attribute; none for any other family.
pub(crate) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
