//! Sending and receiving the frames of one link (packet(7)).

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, send,
    setsockopt, socket, sockopt,
};

use crate::namespace::Namespace;
use crate::sys;

/// A frame that the link itself sent (PACKET_OUTGOING, linux/if_packet.h).
const OUTGOING: u8 = 4;
/// Receive buffer in bytes: some seconds of frames at any rate used here.
const BUFFER: usize = 256 << 20;

/// The frames of one link. It does not make the link promiscuous.
#[derive(Debug)]
pub struct FrameSocket {
    socket: OwnedFd,
    address: [u8; 6],
}

/// A look at the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It came in, with this length; what does not fit into the buffer is cut off.
    Received(usize),
    /// The link sent it.
    Sent(usize),
    /// There is none.
    Nothing,
}

impl FrameSocket {
    /// Opens it; frames are kept from now on.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn open(namespace: &Namespace, link: &str) -> Result<Self> {
        Self::with_protocol(namespace, link, libc::ETH_P_ALL as u16)
    }

    /// Opens one that only sends, and is spared the copies of what it sends.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn open_to_send(namespace: &Namespace, link: &str) -> Result<Self> {
        Self::with_protocol(namespace, link, 0)
    }

    /// The same for one whose frames go straight to the link's driver, past tc and its queues (PACKET_QDISC_BYPASS).
    ///
    /// # Errors
    /// When there is no such link.
    pub fn open_past_tc(namespace: &Namespace, link: &str) -> Result<Self> {
        let socket = Self::open_to_send(namespace, link)?;
        sys::bypass_queues(&socket.socket)?;
        Ok(socket)
    }

    fn with_protocol(namespace: &Namespace, link: &str, protocol: u16) -> Result<Self> {
        let open = || -> Result<Self> {
            // Without a protocol nothing is received before it is bound to its link.
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None::<SockProtocol>)?;
            setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("cannot enlarge a receive buffer")?;
            setsockopt(&socket, sockopt::RxqOvfl, &1)?;
            sys::bind_to_link(&socket, if_nametoindex(link)?, protocol)?;
            Ok(Self { socket, address: address_of(link)? })
        };
        namespace.enter(open)?.with_context(|| format!("cannot open {link} in {}", namespace.name()))
    }

    /// The link's MAC address.
    #[must_use]
    pub const fn address(&self) -> [u8; 6] {
        self.address
    }

    /// Sends a frame. One that is dropped on its way out of the link is sent all the same.
    ///
    /// # Errors
    /// Those of send(2), such as that the link is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the next frame, waiting for it for `patience` (to the millisecond) at the most.
    ///
    /// # Errors
    /// Also when the kernel has dropped frames since they were not taken in time: what is counted then is wrong.
    pub fn receive(&self, frame: &mut [u8], patience: Duration) -> Result<Look> {
        let mut control = nix::cmsg_space!(u32);
        let mut buffers = [IoSliceMut::new(frame)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut buffers, Some(&mut control), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN) if patience.is_zero() => return Ok(Look::Nothing),
            Err(Errno::EAGAIN) => {
                let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
                poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], patience)?;
                return self.receive(frame, Duration::ZERO);
            }
            // The link went down meanwhile, which is told once.
            Err(Errno::ENETDOWN) => return Ok(Look::Nothing),
            Err(error) => return Err(error).context("cannot receive frames"),
        };
        for control in message.cmsgs()? {
            if let ControlMessageOwned::RxqOvfl(dropped @ 1..) = control {
                anyhow::bail!("the test itself lost {dropped} frames that it received");
            }
        }
        let is_outgoing = message.address.is_some_and(|from| from.pkttype() == OUTGOING);
        Ok(if is_outgoing { Look::Sent(message.bytes) } else { Look::Received(message.bytes) })
    }
}

/// The MAC address of a link of the calling thread's namespace.
fn address_of(link: &str) -> Result<[u8; 6]> {
    let of_link = |entry: &nix::ifaddrs::InterfaceAddress| {
        if entry.interface_name != link {
            return None;
        }
        entry.address?.as_link_addr()?.addr()
    };
    nix::ifaddrs::getifaddrs()?.find_map(|entry| of_link(&entry)).context("the link has no MAC address")
}
