//! The default route that a DHCP lease brings.

use std::net::Ipv4Addr;

use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use rtnetlink::RouteMessageBuilder;

use crate::Netlink;
use crate::error::{Result, explain, tolerate};

impl Netlink {
    /// Adds a default route through `gateway` on a link, marked as DHCP's (`proto dhcp`); one that
    /// is there already is no error.
    ///
    /// # Errors
    /// The kernel's refusal, such as a gateway that is not on the link.
    pub async fn add_default_route(&self, index: u32, gateway: Ipv4Addr) -> Result<()> {
        let what = format!("add the default route through {gateway}");
        let result = self.handle.route().add(default_route(index, gateway)).execute().await;
        tolerate(result.map_err(explain(what)), libc::EEXIST)
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
        .build()
}
