//! What the kernel tells about links as it happens.
//!
//! It tells of carrier at most about once a second for all links together (net/core/link_watch.c),
//! and drops events when nobody reads them. So an event is a hint to be quick; what must not be
//! missed is looked at as well ([`crate::ethtool`]).

use std::collections::VecDeque;
use std::io;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{self as packet, LinkAttribute};
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::MulticastGroup;

use crate::Link;

/// Something happened to a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is new or something about it changed; the kernel sends its whole description.
    Changed(Link),
    /// It is gone (deleted, or moved to another namespace).
    Removed {
        /// Index that it had.
        index: u32,
        /// Name that it had.
        name: String,
    },
    /// The link of this index is to announce again who is behind it (`NETDEV_NOTIFY_PEERS`): the machine has migrated, or a
    /// bond below has failed over.
    NewPeers(u32),
    /// Events were lost: look at every link again.
    Overrun,
}

/// A stream of link events, from its opening on.
///
/// The socket is read straight, without a task and a queue in between: a reader that falls behind
/// gets an [`Overrun`](LinkEvent::Overrun) from the kernel instead of filling the memory.
pub struct LinkEvents {
    socket: TokioSocket,
    datagram: Vec<u8>,
    /// Events of the last datagram that nobody took yet.
    waiting: VecDeque<LinkEvent>,
}

/// The kernel's messages fit a datagram of 32 KiB (netlink_dump in net/netlink/af_netlink.c).
const DATAGRAM_MAX: usize = 64 << 10;

/// Room for some thousand events, in bytes.
const RECEIVE_BUFFER: usize = 8 << 20;

impl LinkEvents {
    /// Subscribes to the link events of the calling thread's namespace, inside a tokio runtime.
    /// List the links after this, and none is missed.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        // Over the system's limit where that is allowed, else up to the limit.
        if setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(socket.socket_ref(), sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        let group = 1 << (MulticastGroup::Link as u32 - 1);
        socket.socket_mut().bind(&SocketAddr::new(0, group))?;
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM_MAX), waiting: VecDeque::new() })
    }

    /// The next event. Never ends, and loses nothing when the wait for it is given up.
    pub async fn next(&mut self) -> LinkEvent {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return event;
            }
            self.datagram.clear();
            match self.socket.recv_from(&mut self.datagram).await {
                // Port 0 is the kernel's; a process must not be able to invent events.
                Ok(sender) if sender.port_number() == 0 => self.read_datagram(),
                Ok(_) => {}
                Err(error) => {
                    // ENOBUFS says that events were dropped. Any other error is as good a reason
                    // to look at everything again.
                    tracing::warn!(%error, "link events were lost");
                    return LinkEvent::Overrun;
                }
            }
        }
    }

    fn read_datagram(&mut self) {
        let mut rest = self.datagram.as_slice();
        while !rest.is_empty() {
            match NetlinkMessage::deserialize(rest) {
                Ok(message) => {
                    let length = (message.header.length as usize).next_multiple_of(4);
                    rest = rest.get(length..).unwrap_or_default();
                    self.waiting.extend(LinkEvent::of_message(&message));
                }
                Err(error) => {
                    tracing::warn!(%error, "a link event was not understood");
                    self.waiting.push_back(LinkEvent::Overrun);
                    return;
                }
            }
        }
    }
}

impl LinkEvent {
    fn of_message(message: &NetlinkMessage<RouteNetlinkMessage>) -> Vec<Self> {
        match &message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                let new_peers = LinkAttribute::Event(packet::LinkEvent::NotifyPeers);
                let new_peers = link.attributes.contains(&new_peers).then_some(Self::NewPeers(link.header.index));
                Link::from_message(link).map(Self::Changed).into_iter().chain(new_peers).collect()
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
                let removed = |link: Link| Self::Removed { index: link.index, name: link.name };
                Link::from_message(link).map(removed).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Tells that addresses or routes have changed; what they are now is to be looked at.
pub struct Changes {
    socket: TokioSocket,
    datagram: Vec<u8>,
}

impl Changes {
    /// Subscribes to the changes of addresses and routes in the calling thread's namespace, inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn open() -> io::Result<Self> {
        Self::of(&[
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])
    }

    /// The same for IPv4 addresses alone.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn of_ipv4_addresses() -> io::Result<Self> {
        Self::of(&[MulticastGroup::Ipv4Ifaddr])
    }

    fn of(groups: &[MulticastGroup]) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let mask = groups.iter().fold(0, |mask, group| mask | 1 << (*group as u32 - 1));
        socket.socket_mut().bind(&SocketAddr::new(0, mask))?;
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM_MAX) })
    }

    /// Waits until something has changed. Lost events are a change as well.
    pub async fn next(&mut self) {
        loop {
            self.datagram.clear();
            match self.socket.recv_from(&mut self.datagram).await {
                Ok(sender) if sender.port_number() != 0 => {}
                _ => return,
            }
        }
    }
}

/// Tells that a link has joined or left IP multicast groups; which ones it has now is to be looked at
/// ([`MulticastReader`](crate::MulticastReader)).
///
/// Nothing is told of addresses that come otherwise: by packet sockets, `ip maddress add`, or links above.
pub struct GroupEvents {
    socket: TokioSocket,
    datagram: Vec<u8>,
}

impl GroupEvents {
    /// Subscribes to the changes of groups in the calling thread's namespace, inside a tokio runtime. `None` when
    /// the kernel does not tell of them: they came with Linux 6.14.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn open() -> io::Result<Option<Self>> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind_auto()?;
        for group in [MulticastGroup::Ipv4Mcaddr, MulticastGroup::Ipv6Mcaddr] {
            match socket.socket_mut().add_membership(group as u32) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
                other => other?,
            }
        }
        Ok(Some(Self { socket, datagram: Vec::with_capacity(DATAGRAM_MAX) }))
    }

    /// Waits for the next change and gives the index of its link; `None` when events were lost: look at every
    /// link. Loses nothing when the wait is given up.
    pub async fn next(&mut self) -> Option<u32> {
        loop {
            self.datagram.clear();
            match self.socket.recv_from(&mut self.datagram).await {
                Ok(sender) if sender.port_number() != 0 => {}
                Ok(_) => return group_link(&self.datagram),
                Err(_) => return None,
            }
        }
    }
}

/// The link of a notification (RTM_NEWMULTICAST, RTM_DELMULTICAST), which the packet crate does not know: the
/// interface index ends the `struct ifaddrmsg` behind the netlink header. The kernel sends one a datagram.
fn group_link(datagram: &[u8]) -> Option<u32> {
    const INDEX_AT: usize = size_of::<libc::nlmsghdr>() + 4;
    datagram.get(INDEX_AT..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

impl std::fmt::Debug for GroupEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupEvents").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LinkEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkEvents").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    /// What the kernel sends of a link, with what it says is the reason.
    fn events(reason: Option<packet::LinkEvent>) -> Vec<LinkEvent> {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.attributes.push(LinkAttribute::IfName("net0".into()));
        message.attributes.extend(reason.map(LinkAttribute::Event));
        let message = NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message));
        LinkEvent::of_message(&NetlinkMessage::new(Default::default(), message))
    }

    #[test]
    fn only_the_kernels_wish_to_announce_is_told_as_one() {
        let changed = LinkEvent::Changed(Link { index: 7, name: "net0".into(), ..Link::default() });
        assert_eq!(events(None), std::slice::from_ref(&changed));
        assert_eq!(events(Some(packet::LinkEvent::Features)), std::slice::from_ref(&changed));
        assert_eq!(events(Some(packet::LinkEvent::NotifyPeers)), [changed, LinkEvent::NewPeers(7)]);
    }
}
