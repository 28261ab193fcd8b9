//! Sends frames through ports: announcements, transitive probes, ARP probes and solicitations.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};

use crate::sys;

/// A packet socket that sends through any port.
#[derive(Debug)]
pub struct FrameSender {
    socket: Socket,
}

impl FrameSender {
    /// Opens the socket. It receives nothing.
    ///
    /// # Errors
    /// Those of socket(2): it takes CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0)))?;
        // Past the port's queue: a probe must not wait behind traffic. Without it, it does.
        if let Err(error) = sys::bypass_queues(&socket) {
            tracing::debug!(%error, "frames go through the ports' queues");
        }
        Ok(Self { socket })
    }

    /// Sends one whole frame, without checksum, through a port.
    ///
    /// # Errors
    /// Those of sendto(2).
    pub fn send(&self, frame: &[u8], ifindex: u32) -> io::Result<()> {
        self.socket.send_to(frame, &sys::packet_address(ifindex))?;
        Ok(())
    }
}
