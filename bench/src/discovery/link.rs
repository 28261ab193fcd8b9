//! A link with many hosts at one end: their addresses, a socket that speaks for each of them, and what the kernel counts of
//! datagrams.

use std::fs;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use dlmp_testbed::Namespace;
use dlmp_wire::manager::{Buffer, GROUP, PORT};
use nix::libc::{in_addr, in_pktinfo};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg, setsockopt, sockopt};

/// The link of each namespace here.
pub const LINK: &str = "net0";
/// Of the one that is alone at its end.
pub const ALONE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Bytes of datagrams that may wait at a socket of the measurement: more than ever do.
const BUFFER: usize = 32 << 20;

/// The address of a host of the many, which count from 0.
pub fn address(host: usize) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(10, 9, 1, 0));
    Ipv4Addr::from(first + u32::try_from(host).unwrap_or_default())
}

/// Gives the namespace the addresses of these hosts.
pub fn settle(namespace: &Namespace, hosts: Range<usize>) -> Result<()> {
    let lines: Vec<_> = hosts.map(|host| format!("address add {}/16 dev {LINK}", address(host))).collect();
    namespace.ip(&lines.join("\n"))
}

/// A socket that hears the group, on the port of managers, and does not wait.
pub fn listen(namespace: &Namespace) -> Result<UdpSocket> {
    let socket = namespace.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
    socket.join_multicast_v4(&GROUP, &address(0)).context("cannot join the group")?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    // What is said here is not heard here.
    socket.set_multicast_loop_v4(false)?;
    Ok(socket)
}

/// Says to the group, through a socket of [`listen`], what a host of the many has to say. The index is that of the link.
pub fn say(socket: &UdpSocket, index: i32, from: Ipv4Addr, message: &Buffer) -> io::Result<()> {
    let nowhere = in_addr { s_addr: 0 };
    let source = in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
    let way = in_pktinfo { ipi_ifindex: index, ipi_spec_dst: source, ipi_addr: nowhere };
    let (group, control) = (SockaddrIn::from(SocketAddrV4::new(GROUP, PORT)), [ControlMessage::Ipv4PacketInfo(&way)]);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(message)], &control, MsgFlags::empty(), Some(&group))?;
    Ok(())
}

/// The index of [`LINK`].
pub fn index(namespace: &Namespace) -> Result<i32> {
    Ok(namespace.enter(|| if_nametoindex(LINK))??.try_into()?)
}

/// UDP datagrams of all sockets of a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Datagrams {
    /// Read by their programs.
    pub read: u64,
    /// Dropped because a socket had no room for more.
    pub dropped: u64,
}

impl Datagrams {
    /// So far (proc_pid_net(5), `snmp`).
    pub fn of(namespace: &Namespace) -> Result<Self> {
        let table = namespace.enter(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let mut rows = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = rows.next().zip(rows.next()).context("the kernel counts no datagrams")?;
        let counter = |wanted: &str| {
            let value = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == wanted);
            value
                .and_then(|(_, value)| value.parse().ok())
                .with_context(|| format!("the kernel does not count {wanted}"))
        };
        Ok(Self { read: counter("InDatagrams")?, dropped: counter("RcvbufErrors")? })
    }
}
