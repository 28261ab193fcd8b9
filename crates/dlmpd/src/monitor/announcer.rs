//! Sends announcements through ports.

use std::io;

use dlmp_wire::rarp::{Announcement, Buffer};
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys;

/// A packet socket that sends through any port.
#[derive(Debug)]
pub struct Announcer {
    socket: Socket,
}

impl Announcer {
    /// Opens the socket. It receives nothing.
    ///
    /// # Errors
    /// Those of socket(2): it takes CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0)))?;
        Ok(Self { socket })
    }

    /// Sends one announcement through a port.
    ///
    /// # Errors
    /// Those of sendto(2).
    pub fn send(&self, announcement: Announcement, ifindex: u32) -> io::Result<()> {
        let mut buffer: Buffer = [0; _];
        let frame = announcement.emit(&mut buffer);
        self.socket.send_to(frame, &sys::packet_address(ifindex))?;
        Ok(())
    }
}
