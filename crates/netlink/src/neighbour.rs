//! The neighbours of the namespace: which MAC address an address on a link is at (`ip neigh`).

use std::net::IpAddr;

use dlmp_wire::MacAddr;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};

use crate::Netlink;
use crate::error::Result;

/// An address whose MAC address the kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the link that it is on.
    pub index: u32,
    /// Its address.
    pub address: IpAddr,
    /// Where it is.
    pub mac: MacAddr,
}

impl Netlink {
    /// All neighbours whose MAC address is known, IPv4 and IPv6.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let objects = self.dump(request, "list the neighbours").await?;
        Ok((objects.iter())
            .filter_map(|object| match object {
                RouteNetlinkMessage::NewNeighbour(message) => Neighbour::from_message(message),
                _ => None,
            })
            .collect())
    }
}

impl Neighbour {
    fn from_message(message: &NeighbourMessage) -> Option<Self> {
        let (mut address, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) => address = Some(IpAddr::V4(*value)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(value)) => address = Some(IpAddr::V6(*value)),
                NeighbourAttribute::LinkLayerAddress(value) => mac = <[u8; 6]>::try_from(&value[..]).ok().map(MacAddr),
                _ => {}
            }
        }
        Some(Self { index: message.header.ifindex, address: address?, mac: mac? })
    }
}
