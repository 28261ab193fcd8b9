//! The system calls that no safe crate offers. All `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Brings a link up or down (netdevice(7)).
pub(crate) fn set_up(socket: &UdpSocket, name: &str, up: bool) -> io::Result<()> {
    let (mut request, flags) = flags(socket, name)?;
    let wanted = if up { flags | UP } else { flags & !UP };
    if wanted == flags {
        return Ok(());
    }
    request.ifr_ifru.ifru_flags = wanted;
    ioctl(socket, libc::SIOCSIFFLAGS, &mut request)
}

/// Whether a link is brought up (netdevice(7)).
pub(crate) fn is_up(socket: &UdpSocket, name: &str) -> io::Result<bool> {
    Ok(flags(socket, name)?.1 & UP != 0)
}

/// A packet socket that sends only: with protocol 0 it receives nothing (packet(7)).
pub(crate) fn frame_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are involved.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a whole frame through the link of this index.
pub(crate) fn send_frame(socket: &OwnedFd, index: u32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data, for which zeroes are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index.cast_signed();
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: frame and address live through the call, and it only reads them, as many bytes as said.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            std::ptr::from_ref(&address).cast(),
            len,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const UP: i16 = libc::IFF_UP as i16;

/// A request about a link, and the flags that it has.
fn flags(socket: &UdpSocket, name: &str) -> io::Result<(libc::ifreq, i16)> {
    if name.len() >= libc::IFNAMSIZ || name.bytes().any(|byte| byte == 0) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: ifreq is plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    ioctl(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the call has filled in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((request, flags))
}

fn ioctl(socket: &UdpSocket, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the socket is open, and the request is exclusively ours and of the type that both calls take.
    match unsafe { libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_mut(request)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
