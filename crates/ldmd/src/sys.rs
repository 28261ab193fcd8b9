//! The system calls that no safe crate offers. All `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

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
