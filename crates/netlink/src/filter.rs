//! Unicast addresses that a link is given by hand: in its own receive filter (`bridge fdb add MAC dev PORT self`), and in the table of
//! the bridge that it is a port of (`bridge fdb add MAC dev PORT master static sticky`).

use dlmp_wire::MacAddr;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};

use crate::Netlink;
use crate::error::{Result, explain, tolerate};

impl Netlink {
    /// Makes a link receive frames for `mac` too; an address that it has already is no error.
    ///
    /// # Errors
    /// The kernel's or the driver's refusal: a full filter, or a virtual function without trust.
    pub async fn add_filter(&self, index: u32, mac: MacAddr) -> Result<()> {
        let request = (self.handle.neighbours()).add_bridge(index, &mac.0).flags(NeighbourFlags::Own);
        let what = format!("add {mac} to the receive filter of link {index}");
        tolerate(request.execute().await.map_err(explain(what)), libc::EEXIST)
    }

    /// Takes back what [`add_filter`](Self::add_filter) did; absence is no error.
    ///
    /// # Errors
    /// The kernel's or the driver's refusal.
    pub async fn delete_filter(&self, index: u32, mac: MacAddr) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.header.flags = NeighbourFlags::Own;
        (message.attributes).push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let what = format!("delete {mac} from the receive filter of link {index}");
        let result = self.handle.neighbours().del(message).execute().await;
        tolerate(result.map_err(explain(what)), libc::ENOENT)
    }

    /// Has the bridge of a port know that `mac` is behind it, whatever other ports receive from that address; in all VLANs
    /// that the port is in.
    ///
    /// # Errors
    /// The kernel's refusal, such as a link that is no port of a bridge.
    pub async fn hold_address(&self, port: u32, mac: MacAddr) -> Result<()> {
        let request = (self.handle.neighbours())
            .add_bridge(port, &mac.0)
            .flags(NeighbourFlags::Controller | NeighbourFlags::Sticky)
            .state(NeighbourState::Noarp)
            .replace();
        let what = format!("have the bridge know that {mac} is behind link {port}");
        request.execute().await.map_err(explain(what))
    }

    /// Takes back what [`hold_address`](Self::hold_address) did; absence is no error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn release_address(&self, port: u32, mac: MacAddr) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = port;
        message.header.flags = NeighbourFlags::Controller;
        (message.attributes).push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let what = format!("have the bridge forget that {mac} is behind link {port}");
        let result = self.handle.neighbours().del(message).execute().await;
        tolerate(result.map_err(explain(what)), libc::ENOENT)
    }
}
