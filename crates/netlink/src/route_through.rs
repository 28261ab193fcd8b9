//! The routes that leave through certain links, in whatever table, and deleting them.

use std::collections::BTreeSet;

use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::Netlink;
use crate::error::{Result, tolerate};
use crate::route::ip;

/// A route that somebody added and that leaves through one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRoute {
    /// Index of the link.
    pub index: u32,
    /// The route as `ip route` writes it, without the link: `default via 192.0.2.1`.
    pub text: String,
    /// It is of IPv4, else of IPv6.
    pub is_ipv4: bool,
    message: RouteMessage,
}

impl Netlink {
    /// The unicast routes of all tables that leave through one of these links and that the kernel did not make by itself: its
    /// own come and go with addresses. A route with several next hops is none of them.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn routes_through(&self, links: &BTreeSet<u32>) -> Result<Vec<LinkRoute>> {
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let routes = self.route_messages().await?.into_iter().filter_map(LinkRoute::from_message);
        Ok(routes.filter(|route| links.contains(&route.index)).collect())
    }

    /// Deletes a route; one that is gone is no error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn delete_route(&self, route: &LinkRoute) -> Result<()> {
        let request = RouteNetlinkMessage::DelRoute(route.message.clone());
        tolerate(self.request(request, &format!("delete the route {}", route.text)).await, libc::ESRCH)
    }
}

impl LinkRoute {
    fn from_message(mut message: RouteMessage) -> Option<Self> {
        let header = &message.header;
        if header.kind != RouteType::Unicast || header.protocol == RouteProtocol::Kernel {
            return None;
        }
        let (mut index, mut destination, mut gateway) = (None, None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(link) => index = Some(*link),
                RouteAttribute::Destination(address) => destination = ip(address),
                RouteAttribute::Gateway(address) => gateway = ip(address),
                _ => {}
            }
        }
        let to = match destination {
            Some(destination) => format!("{destination}/{}", header.destination_prefix_length),
            None => "default".into(),
        };
        let via = gateway.map_or(String::new(), |gateway| format!(" via {gateway}"));
        let is_ipv4 = header.address_family == AddressFamily::Inet;
        // What says which route it is; the kernel may not take the rest in a request.
        message.attributes.retain(|attribute| {
            matches!(
                attribute,
                RouteAttribute::Oif(_)
                    | RouteAttribute::Destination(_)
                    | RouteAttribute::Gateway(_)
                    | RouteAttribute::Table(_)
                    | RouteAttribute::Priority(_)
            )
        });
        Some(Self { index: index?, text: format!("{to}{via}"), is_ipv4, message })
    }
}
