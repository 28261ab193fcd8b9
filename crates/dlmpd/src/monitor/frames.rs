//! Sends frames through ports: announcements, transitive probes, ARP probes and solicitations.

use std::cell::RefCell;
use std::io;

use dlmp_wire::transitive::{self, Key, Probe};
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys;

/// A packet socket that sends through any port.
#[derive(Debug)]
pub struct FrameSender {
    socket: Socket,
    /// Transitive probes that leave together.
    probes: RefCell<Vec<Waiting>>,
}

/// A frame that waits for others.
#[derive(Debug)]
struct Waiting {
    buffer: transitive::Buffer,
    len: usize,
    ifindex: u32,
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
        Ok(Self { socket, probes: RefCell::default() })
    }

    /// Sends one whole frame, without checksum, through a port.
    ///
    /// # Errors
    /// Those of sendto(2).
    pub fn send(&self, frame: &[u8], ifindex: u32) -> io::Result<()> {
        self.socket.send_to(frame, &sys::packet_address(0, ifindex))?;
        Ok(())
    }

    /// Sends a transitive probe through a port, together with others: at once when they are enough for one
    /// system call, else with [`flush`](Self::flush).
    pub fn send_probe(&self, probe: &Probe, key: &Key, ifindex: u32) {
        let mut buffer: transitive::Buffer = [0; _];
        let len = probe.emit(key, &mut buffer).len();
        let full = {
            let mut probes = self.probes.borrow_mut();
            probes.push(Waiting { buffer, len, ifindex });
            probes.len() == sys::BATCH
        };
        if full {
            self.flush();
        }
    }

    /// Sends the probes that wait. One that is refused is passed over: its link just went down, and the
    /// loss of carrier tells.
    pub fn flush(&self) {
        let mut probes = self.probes.borrow_mut();
        let mut left = 0;
        while left < probes.len() {
            let rest = probes[left..].iter().map(|probe| (&probe.buffer[..probe.len], probe.ifindex));
            left += sys::send_frames(&self.socket, rest).unwrap_or_else(|error| {
                tracing::trace!(%error, ifindex = probes[left].ifindex, "a transitive probe could not be sent");
                1
            });
        }
        probes.clear();
    }
}
