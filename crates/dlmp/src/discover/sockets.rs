//! The sockets of a discovery: one to ask through an interface, which answers to the asker come back to, and one that hears
//! what is said to the group there.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use dlmp_wire::manager::{self, ByteOrder, LEN, Message};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, recv, sendmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::interfaces::Interface;
use crate::failure::{Failure, Result};

/// Bytes of answers that may wait in a socket, as the kernel counts them: those of some hundred managers that answer in the
/// same moment.
const BUFFER: usize = 1 << 20;
/// Datagrams that are taken from one socket before the others have their turn.
const TURN: usize = 64;

/// Asks through one interface.
#[derive(Debug)]
pub struct Asker {
    interface: Interface,
    /// With a port of its own. It hears answers to the asker, which may come in by another interface than questions go out by
    /// when they come from behind a router.
    asking: Socket,
    /// Hears what managers say to the group, on this interface alone.
    listening: Socket,
}

impl Asker {
    /// Opens the sockets; questions go through at most `hops` networks.
    ///
    /// # Errors
    /// The port of the group is taken by a program that does not share it, or the kernel's refusal.
    pub fn open(interface: &Interface, hops: u32) -> Result<Self> {
        let told = |error: io::Error| Failure::Refused(format!("cannot ask through {}: {error}", interface.name));
        let asking = asking(hops).map_err(told)?;
        let listening = listening(interface).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Failure::refused(
                format!("another program has the UDP port {} and does not share it", manager::PORT),
                format!("ss -ulpn sport = :{}", manager::PORT),
            ),
            _ => told(error),
        })?;
        Ok(Self { interface: interface.clone(), asking, listening })
    }

    /// The name of the interface.
    pub fn interface(&self) -> &str {
        &self.interface.name
    }

    /// Sends the question to the group.
    ///
    /// # Errors
    /// Those of sendmsg(2), such as that the interface is down meanwhile.
    pub fn ask(&self) -> io::Result<()> {
        let mut question = [0; LEN];
        Message::Discover.emit(ByteOrder::Big, &mut question);
        // By index: two interfaces may have the same address.
        let index = self.interface.index.try_into().map_err(io::Error::other)?;
        let through = libc::in_pktinfo {
            ipi_ifindex: index,
            ipi_spec_dst: libc::in_addr { s_addr: 0 },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let group = SockaddrIn::from(SocketAddrV4::new(manager::GROUP, manager::PORT));
        let control = [ControlMessage::Ipv4PacketInfo(&through)];
        sendmsg(self.asking.as_raw_fd(), &[IoSlice::new(&question)], &control, MsgFlags::empty(), Some(&group))?;
        Ok(())
    }
}

/// Hands over what arrives, with the interface it came by, and returns at that time at the latest.
///
/// # Errors
/// Those of ppoll(2) and recv(2), and what `take` says.
pub fn receive(askers: &[Asker], until: Instant, mut take: impl FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
    let sockets = || askers.iter().flat_map(|asker| [(asker, &asker.asking), (asker, &asker.listening)]);
    let mut polled: Vec<_> = sockets().map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    let patience = TimeSpec::from_duration(until.saturating_duration_since(Instant::now()));
    match ppoll(&mut polled, Some(patience), None) {
        Ok(0) | Err(Errno::EINTR) => return Ok(()),
        Ok(_) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    // A longer datagram is seen to be longer.
    let mut datagram = [0; LEN + 1];
    for ((asker, socket), polled) in sockets().zip(&polled) {
        if !polled.any().unwrap_or(true) {
            continue;
        }
        for _ in 0..TURN {
            match recv(socket.as_raw_fd(), &mut datagram, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => take(asker.interface(), &datagram[..length])?,
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
    Ok(())
}

fn asking(hops: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_multicast_ttl_v4(hops)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
    widen(&socket)?;
    Ok(socket)
}

fn listening(interface: &Interface) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // A manager of this host listens there as well.
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, manager::PORT).into())?;
    socket.join_multicast_v4_n(&manager::GROUP, &InterfaceIndexOrAddress::Index(interface.index))?;
    widen(&socket)?;
    Ok(socket)
}

/// Has the socket hold more answers: only root may go beyond the limit of the system (socket(7), `SO_RCVBUFFORCE`).
fn widen(socket: &Socket) -> io::Result<()> {
    match setsockopt(socket, sockopt::RcvBufForce, &BUFFER) {
        Err(Errno::EPERM) => Ok(setsockopt(socket, sockopt::RcvBuf, &BUFFER)?),
        result => Ok(result?),
    }
}
