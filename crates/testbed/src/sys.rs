//! The system calls that neither the standard library nor nix wraps.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

// Of linux/sockios.h.
const SIOCBRADDIF: libc::c_ulong = 0x89a2;
const SIOCBRDELIF: libc::c_ulong = 0x89a3;

/// Gives the calling thread the real-time scheduling class SCHED_FIFO (sched(7)), so that other
/// load on the machine does not look like a fault of the network. Without the privilege the thread
/// stays as it is, and also on a single processor: there it would keep ksoftirqd, which is in the
/// ordinary class, from delivering what was sent.
pub(crate) fn prefer_this_thread() {
    if std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1) {
        return;
    }
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: `parameters` lives through the call, which only reads it; 0 is the calling thread.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters);
    }
}

/// Makes the tap `name` (1 to 15 bytes) in the network namespace of the calling thread and ties it
/// to `tun`, an open `/dev/net/tun`: it has a carrier while `tun` is open and is gone afterwards.
pub(crate) fn attach_tap(tun: &File, name: &str) -> io::Result<()> {
    let mut request = about(name)?;
    #[allow(clippy::cast_possible_truncation, reason = "the flags are defined as 16 bits wide")]
    let flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: TUNSETIFF takes a pointer to an `ifreq`.
    unsafe { control(tun, libc::TUNSETIFF, &mut request) }
}

/// Lets frames of a packet socket go straight to the driver of the link that sends them (packet(7)).
pub(crate) fn bypass_queues(socket: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    let option = (libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS);
    // SAFETY: the value lives through the call and is as long as said.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), option.0, option.1, (&raw const on).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Receives a message with one descriptor and takes that over.
pub(crate) fn receive_descriptor(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let mut slices = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let rights = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(rights) => rights.first().copied(),
        _ => None,
    });
    let descriptor = rights.ok_or(io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just made it for this message, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Brings a link of the socket's namespace up or down (netdevice(7)).
pub(crate) fn set_link_up(socket: &UdpSocket, name: &str, up: bool) -> io::Result<()> {
    let mut request = about(name)?;
    // SAFETY: both take a pointer to an `ifreq`; the kernel sets its flags, or fails.
    unsafe {
        control(socket, libc::SIOCGIFFLAGS, &mut request)?;
        #[allow(clippy::cast_possible_truncation, reason = "the flags are defined as 16 bits wide")]
        let flag = libc::IFF_UP as i16;
        let flags = request.ifr_ifru.ifru_flags;
        request.ifr_ifru.ifru_flags = if up { flags | flag } else { flags & !flag };
        control(socket, libc::SIOCSIFFLAGS, &mut request)
    }
}

/// Has the kernel act at once on a change of a link's carrier that its rate limit holds back, as it does before it
/// answers `ETHTOOL_GLINK` (`linkwatch_sync_dev`).
pub(crate) fn settle_carrier(socket: &UdpSocket, name: &str) -> io::Result<()> {
    // `ETHTOOL_GLINK` of linux/ethtool.h, and room for its answer.
    let mut question = [0x0000_000a_u32, 0];
    let mut request = about(name)?;
    request.ifr_ifru.ifru_data = question.as_mut_ptr().cast();
    // SAFETY: SIOCETHTOOL takes a pointer to an `ifreq` whose data here is a `struct ethtool_value`, two numbers of
    // 32 bits, which live through the call.
    unsafe { control(socket, libc::SIOCETHTOOL, &mut request) }
}

/// Makes a link a port of a bridge, or takes it out.
pub(crate) fn set_bridge_port(socket: &UdpSocket, bridge: &str, link: &str, is_port: bool) -> io::Result<()> {
    let (mut link, mut bridge) = (about(link)?, about(bridge)?);
    // SAFETY: both take a pointer to an `ifreq`; the kernel sets the index in the first, or fails.
    unsafe {
        control(socket, libc::SIOCGIFINDEX, &mut link)?;
        bridge.ifr_ifru.ifru_ifindex = link.ifr_ifru.ifru_ifindex;
        control(socket, if is_port { SIOCBRADDIF } else { SIOCBRDELIF }, &mut bridge)
    }
}

/// A request about a link, with all else zero.
fn about(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: an `ifreq` is plain data, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (byte, letter) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *byte = letter.cast_signed();
    }
    Ok(request)
}

/// ioctl(2) about a link.
///
/// # Safety
/// `code` must be one that takes a pointer to an `ifreq`, and what the request points at must fit it.
unsafe fn control(file: &impl AsRawFd, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the caller promises the rest; the request lives through the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), code, std::ptr::from_mut(request)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Ties a packet socket (packet(7)) to the link with this index: it sends through that link, and gets its frames of
/// this EtherType (linux/if_ether.h), or none for 0.
pub(crate) fn bind_to_link(socket: &OwnedFd, index: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is a sockaddr_ll of that length, which lives through the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has a packet socket be a member of a group on the link with this index (PACKET_ADD_MEMBERSHIP in packet(7)).
pub(crate) fn add_membership(socket: &OwnedFd, index: u32, group: [u8; 6]) -> io::Result<()> {
    let mut request = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: [0; 8],
    };
    request.mr_address[..6].copy_from_slice(&group);
    let length = size_of_val(&request) as libc::socklen_t;
    // SAFETY: `request` is a packet_mreq of that length, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A system call that a traced thread is about to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemCall {
    /// Its number (syscalls(2)).
    pub(crate) number: libc::c_long,
    /// Its arguments.
    pub(crate) arguments: [u64; 6],
}

/// The system call at whose entry a traced thread has stopped; `None` if it stopped elsewhere.
pub(crate) fn entered(thread: nix::unistd::Pid) -> Option<SystemCall> {
    let info = nix::sys::ptrace::syscall_info(thread).ok()?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: `op` says that the kernel has filled in this member.
    let entry = unsafe { info.u.entry };
    Some(SystemCall { number: libc::c_long::try_from(entry.nr).ok()?, arguments: entry.args })
}
