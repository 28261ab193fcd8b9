//! What the kernel tells about links as it happens.

use futures_util::StreamExt;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::MulticastGroup;

use crate::{Link, Netlink};

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
    /// Events were lost: look at every link again.
    Overrun,
}

/// A stream of link events, from its opening on.
#[derive(Debug)]
pub struct LinkEvents {
    messages: Messages,
    /// Keeps the connection alive.
    _netlink: Netlink,
}

type Messages = futures_channel::mpsc::UnboundedReceiver<(
    netlink_packet_core::NetlinkMessage<RouteNetlinkMessage>,
    netlink_sys::SocketAddr,
)>;

impl LinkEvents {
    /// Subscribes to the link events of the calling thread's namespace, inside a tokio runtime.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn open() -> std::io::Result<Self> {
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        tokio::spawn(connection);
        Ok(Self { messages, _netlink: Netlink { handle } })
    }

    /// The next event; `None` when the connection has ended, which only the end of the runtime does.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        loop {
            let (message, _) = self.messages.next().await?;
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    if let Some(link) = Link::from_message(&link) {
                        return Some(LinkEvent::Changed(link));
                    }
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
                    if let Some(link) = Link::from_message(&link) {
                        return Some(LinkEvent::Removed { index: link.index, name: link.name });
                    }
                }
                NetlinkPayload::Overrun(_) => return Some(LinkEvent::Overrun),
                _ => {}
            }
        }
    }
}
