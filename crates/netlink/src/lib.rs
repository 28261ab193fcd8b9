//! Links, bridges, addresses, routes, filters and events of one network namespace: a narrow async face over
//! the netlink crates, whose types stay inside; a little ethtool, taps, and the namespaces themselves.
//!
//! A socket belongs to the namespace of the thread that opened it. Nothing here reads
//! `/sys/class/net`, which shows another namespace under `ip netns exec`.

mod address;
mod bridge;
mod bridge_vlan;
mod error;
pub mod ethtool;
mod events;
mod filter;
pub mod ipv6;
mod link;
mod multicast;
mod multicast_list;
pub mod namespace;
mod neighbour;
mod request;
mod route;
mod route_through;
mod sys;
mod tap;
mod tc;
mod veth;
mod vlan;

pub use address::{Address, Lifetime};
pub use bridge::NewBridge;
pub use bridge_vlan::PortVlan;
pub use error::{Error, Result};
pub use events::{Changes, GroupEvents, LinkEvent, LinkEvents};
pub use link::{Link, LinkStatistics};
pub use multicast::{MulticastFilter, Outcome};
pub use multicast_list::{MulticastList, MulticastReader};
pub use namespace::Namespace;
pub use neighbour::Neighbour;
pub use route::Route;
pub use route_through::LinkRoute;
pub use tap::{attach_tap, create_tap};
pub use tc::{BpfFilter, Direction, FilterPlace};
pub use veth::NewVeth;

/// A connection to the kernel's routing netlink. Clones share one socket.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// Must be called inside a tokio runtime, which then drives the connection.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn connect() -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }
}
