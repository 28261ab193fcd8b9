//! The socket on an interface that other managers are heard and talked to by.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use dlmp_manager::To;
use dlmp_wire::manager::{Buffer, ByteOrder, GROUP, LEN, Manager, Message, PORT};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Type};

/// Room for datagrams that wait to be read, in bytes: some thousand.
const RECEIVE_BUFFER: usize = 2 << 20;

/// What is the same for all interfaces.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Time to live of what goes to the group.
    pub hops: u32,
    /// The port of the management interface that others are told.
    pub port: u16,
}

/// A socket that sends and receives through one interface alone.
pub struct Socket {
    socket: UdpSocket,
    /// Sends to single hosts by the routes. On the other one what waits for a neighbour's address, which anybody could make up,
    /// would keep back what goes to the group.
    to_hosts: UdpSocket,
    settings: Settings,
}

impl Socket {
    /// Opens it and joins the group on the interface. Other programs of this host may listen to the group at the same time.
    ///
    /// # Errors
    /// Those of socket(2), setsockopt(2) and bind(2).
    pub fn open(index: u32, name: &str, settings: Settings) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind_device(Some(name.as_bytes()))?;
        socket.set_multicast_all_v4(false)?;
        socket.set_multicast_ttl_v4(settings.hops)?;
        // Up to the system's limit.
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
        socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(index))?;
        let to_hosts = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        to_hosts.set_nonblocking(true)?;
        Ok(Self { socket: socket.into(), to_hosts, settings })
    }

    /// The next datagram that waits, and who sent it. Of a datagram that is too long for a message there is one byte more than
    /// that.
    pub fn receive<'a>(&self, buffer: &'a mut [u8; LEN + 1]) -> Option<(&'a [u8], SocketAddrV4)> {
        loop {
            match self.socket.recv_from(buffer) {
                Ok((length, SocketAddr::V4(from))) => return Some((&buffer[..length], from)),
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing waits, or the interface has gone, of which we shall be told.
                Err(_) => return None,
            }
        }
    }

    /// Sends a message about an address.
    pub fn send(&self, to: To, message: &Message<'_>, order: ByteOrder) {
        let mut buffer: Buffer = [0; LEN];
        message.emit(order, &mut buffer);
        let (socket, to) = match to {
            To::Group => (&self.socket, SocketAddrV4::new(GROUP, PORT)),
            To::Host(host) => (&self.to_hosts, host),
        };
        if let Err(error) = socket.send_to(&buffer, to) {
            // It is repeated; and while the interface has no carrier nobody would hear it.
            tracing::debug!(%to, %error, "a message to other managers was not sent");
        }
    }

    /// Tells who this host's manager is.
    pub fn introduce(&self, address: Ipv4Addr, to: To, order: ByteOrder) {
        let name = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
        let host = name.unwrap_or_default();
        let version = concat!("dlmp ", env!("CARGO_PKG_VERSION"));
        self.send(to, &Message::Here(Manager { version, host: &host, address, port: self.settings.port }), order);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
