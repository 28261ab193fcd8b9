//! The system calls that no safe crate offers. All `unsafe` of the daemon is here.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use dlmp_datapath::HELD_MARK;
use dlmp_datapath::bpf::Events;
use dlmp_wire::MacAddr;
use dlmp_wire::ethernet::ethertype;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike,
    SockaddrStorage, recvmsg, sendmsg,
};
use nix::sys::timerfd::TimerFd;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

/// The address for a packet socket that receives this protocol (`ETH_P_*`, 0 for none) by a link, 0 for every link
/// (packet(7)). To send by a link, the protocol does not matter.
pub fn packet_address(protocol: i32, ifindex: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the structures that the storage is made for.
    let address: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (protocol as u16).to_be();
    address.sll_ifindex = ifindex.cast_signed();
    let len = std::mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage holds a sockaddr_ll of that length.
    unsafe { SockAddr::new(storage, len) }
}

/// Frames that [`send_frames`] takes at most: few, since the last of them leaves as much later as all before it
/// take, which is part of its round-trip time.
pub const BATCH: usize = 16;

/// Sends whole frames through the links of these indexes by one system call, at most [`BATCH`].
/// Returns how many have left; the one after them was refused, if there is one.
///
/// # Errors
/// Those of sendmsg(2): the first was refused.
pub fn send_frames<'a>(socket: &Socket, frames: impl Iterator<Item = (&'a [u8], u32)>) -> io::Result<usize> {
    // SAFETY: all three are plain data, for which zeroes are a value.
    let (mut links, mut parts, mut messages): (
        [libc::sockaddr_ll; BATCH],
        [libc::iovec; BATCH],
        [libc::mmsghdr; BATCH],
    ) = unsafe { std::mem::zeroed() };
    let mut count = 0;
    for (at, (frame, ifindex)) in frames.take(BATCH).enumerate() {
        count += 1;
        links[at].sll_family = libc::AF_PACKET as u16;
        links[at].sll_ifindex = ifindex.cast_signed();
        parts[at] = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        let message = &mut messages[at].msg_hdr;
        message.msg_name = (&raw mut links[at]).cast();
        message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        message.msg_iov = &raw mut parts[at];
        message.msg_iovlen = 1;
    }
    // SAFETY: there are that many messages; what they point at lives through the call, and it is only read.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Gives freed memory back to the system (malloc_trim(3)). The allocator keeps most of a peak for itself.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What a task can wait on: its descriptor is its own and stays open as long as it lives.
pub trait Waitable: AsRawFd {}
impl Waitable for Events {}
impl Waitable for Socket {}
impl Waitable for Timer {}

/// A timer of the kernel (timerfd_create(2)).
#[derive(Debug)]
pub struct Timer(pub TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }
}

/// Lets a task wait until there is something to read.
///
/// # Errors
/// Those of epoll_ctl(2).
pub fn wait_on<T: Waitable>(waitable: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the trait promises that the descriptor stays open as long as the value, which the
    // result owns and gives to nobody.
    unsafe { AsyncFd::register(waitable) }.map_err(io::Error::from)
}

/// Lets frames of a packet socket go past the queues of the link that sends them (packet(7)).
///
/// # Errors
/// Those of setsockopt(2).
pub fn bypass_queues(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &1i32)
}

fn set_option<T>(socket: &Socket, level: i32, name: i32, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value lives through the call and is as long as said; it is plain data.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A raw socket that receives echo replies with this id, and nothing else, with time stamps.
///
/// # Errors
/// Those of socket(2): it takes CAP_NET_RAW.
pub fn icmp_socket(v6: bool, id: u16) -> io::Result<Socket> {
    let (domain, protocol) = if v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
    if v6 {
        // ICMP6_FILTER (RFC 3542, 3.2): a set bit blocks a type.
        let mut blocked = [u32::MAX; 8];
        blocked[129 / 32] &= !(1 << (129 % 32));
        set_option(&socket, libc::IPPROTO_ICMPV6, 1, &blocked)?;
        // The message begins with ICMP.
        socket.attach_filter(&[load_half(4), unless(u32::from(id), 1), TAKE, IGNORE])?;
    } else {
        // ICMP_FILTER (include/uapi/linux/icmp.h): a set bit blocks a type; an echo reply is type 0.
        set_option(&socket, libc::SOL_RAW, 1, &!1u32)?;
        // The message begins with the IP header, whose length is in it.
        let skip_header = SockFilter::new((libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16, 0, 0, 0);
        let id_behind = SockFilter::new((libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16, 0, 0, 4);
        socket.attach_filter(&[skip_header, id_behind, unless(u32::from(id), 1), TAKE, IGNORE])?;
    }
    set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
    Ok(socket)
}

/// A packet socket that receives, on every link, ARP replies that name no address of the asker, or
/// neighbour advertisements, with time stamps.
///
/// # Errors
/// Those of socket(2): it takes CAP_NET_RAW.
pub fn probe_answer_socket(v6: bool) -> io::Result<Socket> {
    // With protocol 0 it receives nothing before its filter is there.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0)))?;
    if v6 {
        // Next header ICMPv6, type 136.
        socket.attach_filter(&[load_byte(20), unless(58, 3), load_byte(54), unless(136, 1), TAKE, IGNORE])?;
    } else {
        // Operation 2, target address 0.0.0.0.
        socket.attach_filter(&[load_half(20), unless(2, 3), load_word(38), unless(0, 1), TAKE, IGNORE])?;
    }
    set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
    let protocol = if v6 { libc::ETH_P_IPV6 } else { libc::ETH_P_ARP };
    socket.bind(&packet_address(protocol, 0))?;
    Ok(socket)
}

/// A packet socket that receives, on every link, what the host of a virtual machine tells of the link.
///
/// # Errors
/// Those of socket(2): it takes CAP_NET_RAW.
pub fn host_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0)))?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32)?;
    socket.bind(&packet_address(i32::from(ethertype::VNET), 0))?;
    Ok(socket)
}

/// Has a link take the frames to a group as long as the packet socket is open (packet(7)).
///
/// # Errors
/// Those of setsockopt(2), `ENODEV` when there is no such link.
pub fn join_group(socket: &Socket, ifindex: u32, group: MacAddr) -> io::Result<()> {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&group.0);
    let request = libc::packet_mreq {
        mr_ifindex: ifindex.cast_signed(),
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: address,
    };
    set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

const TAKE: SockFilter = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, u32::MAX);
const IGNORE: SockFilter = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);

const fn load_word(at: u32) -> SockFilter {
    SockFilter::new((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, at)
}

const fn load_half(at: u32) -> SockFilter {
    SockFilter::new((libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16, 0, 0, at)
}

const fn load_byte(at: u32) -> SockFilter {
    SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, at)
}

/// Skips so many instructions unless what was loaded is this.
const fn unless(wanted: u32, skip: u8) -> SockFilter {
    SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, skip, wanted)
}

/// Sends an ICMP message from an address out of a link.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send_echo(socket: &Socket, message: &[u8], source: IpAddr, target: IpAddr, link: u32) -> io::Result<()> {
    let (fd, bytes) = (socket.as_raw_fd(), [IoSlice::new(message)]);
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: link.cast_signed(),
                ipi_spec_dst: libc::in_addr { s_addr: source.to_bits().to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let to = SockaddrIn::from(SocketAddrV4::new(target, 0));
            sendmsg(fd, &bytes, &[ControlMessage::Ipv4PacketInfo(&info)], MsgFlags::empty(), Some(&to))?;
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: source.octets() }, ipi6_ifindex: link };
            let to = SockaddrIn6::from(SocketAddrV6::new(target, 0, 0, link));
            sendmsg(fd, &bytes, &[ControlMessage::Ipv6PacketInfo(&info)], MsgFlags::empty(), Some(&to))?;
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(())
}

/// What a socket received.
#[derive(Debug)]
pub struct Received {
    /// As much of it as is looked at.
    pub bytes: Vec<u8>,
    /// Who sent it, of an IP packet.
    pub from: Option<IpAddr>,
    /// The link that it came in by, of a frame.
    pub ifindex: u32,
    /// When the kernel received it, by CLOCK_REALTIME since 1970.
    pub stamp: Duration,
}

/// Reads one packet.
///
/// # Errors
/// Those of recvmsg(2); `WouldBlock` when there is none.
pub fn receive(socket: &Socket) -> io::Result<Received> {
    let mut buffer = [0u8; 512];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())?;
    let stamp = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
        _ => None,
    });
    let (mut from, mut ifindex) = (None, 0);
    if let Some(address) = message.address {
        match address.family() {
            Some(AddressFamily::Inet) => from = address.as_sockaddr_in().map(|address| address.ip().into()),
            Some(AddressFamily::Inet6) => from = address.as_sockaddr_in6().map(|address| address.ip().into()),
            _ => {
                let link = address.as_link_addr().map_or(0, |address| address.ifindex());
                ifindex = u32::try_from(link).unwrap_or(0);
            }
        }
    }
    let len = message.bytes;
    Ok(Received { bytes: buffer[..len].to_vec(), from, ifindex, stamp: stamp.unwrap_or_default() })
}

/// A packet socket that receives what comes in by a link of one Ethernet type, whole, with VLAN tags told apart, and
/// before any program of the link does anything to it.
///
/// # Errors
/// Those of socket(2): it takes CAP_NET_RAW.
pub fn whole_frame_socket(ifindex: u32, ethertype: u16) -> io::Result<Socket> {
    filtered_socket(ifindex, &[load_half(12), unless(u32::from(ethertype), 1), TAKE, IGNORE])
}

/// The same for the reports that a datapath holds at the lower end of its link, by their mark: whatever else comes
/// there is for the programs alone.
///
/// # Errors
/// Those of socket(2): it takes CAP_NET_RAW.
pub fn held_report_socket(lower: u32) -> io::Result<Socket> {
    let load_mark = load_word((libc::SKF_AD_OFF + libc::SKF_AD_MARK).cast_unsigned());
    filtered_socket(lower, &[load_mark, unless(HELD_MARK, 1), TAKE, IGNORE])
}

fn filtered_socket(ifindex: u32, filter: &[SockFilter]) -> io::Result<Socket> {
    /// Room for a burst of frames until they are read, in bytes; a small one takes some 800.
    const BUFFER: i32 = 8 << 20;
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0)))?;
    socket.attach_filter(filter)?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32)?;
    // More than everybody may have takes CAP_NET_ADMIN, which the daemon has.
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER)?;
    socket.bind(&packet_address(libc::ETH_P_ALL, ifindex))?;
    Ok(socket)
}

/// The longest frame that [`receive_frame`] reads, in bytes: more than any MTU of Ethernet.
pub const FRAME_MAX: usize = 65536;

/// Reads one frame, with its VLAN tag in its place, by way of a buffer that serves for many.
///
/// # Errors
/// Those of recvmsg(2); `WouldBlock` when there is none.
pub fn receive_frame(socket: &Socket, buffer: &mut [u8; FRAME_MAX]) -> io::Result<Vec<u8>> {
    /// Behind both Ethernet addresses.
    const TAG_AT: usize = 12;
    let mut control = nix::cmsg_space!(libc::tpacket_auxdata);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())?;
    // The kernel takes the tag out of a frame that comes in (packet(7), PACKET_AUXDATA).
    let tag = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Unknown(message)
            if message.cmsg_header.cmsg_level == libc::SOL_PACKET
                && message.cmsg_header.cmsg_type == libc::PACKET_AUXDATA
                && message.data_bytes.len() >= size_of::<libc::tpacket_auxdata>() =>
        {
            // SAFETY: as many bytes as the structure has, which is plain data, are there.
            let data: libc::tpacket_auxdata =
                unsafe { message.data_bytes.as_ptr().cast::<libc::tpacket_auxdata>().read_unaligned() };
            let kind = match data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID {
                0 => ethertype::VLAN,
                _ => data.tp_vlan_tpid,
            };
            (data.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some([kind, data.tp_vlan_tci])
        }
        _ => None,
    });
    let len = message.bytes;
    let mut frame = buffer[..len].to_vec();
    if let Some(tag) = tag
        && len >= TAG_AT
    {
        frame.splice(TAG_AT..TAG_AT, tag.map(u16::to_be_bytes).concat());
    }
    Ok(frame)
}
