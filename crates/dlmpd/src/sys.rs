//! The system calls that no safe crate offers. All `unsafe` of the daemon is here.
#![allow(unsafe_code)]

use std::io;

use dlmp_datapath::bpf::Requests;
use socket2::{SockAddr, SockAddrStorage};
use tokio::io::unix::AsyncFd;

/// The address of a link for a packet socket (packet(7)).
pub fn packet_address(ifindex: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the structures that the storage is made for.
    let address: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = ifindex.cast_signed();
    let len = std::mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage holds a sockaddr_ll of that length.
    unsafe { SockAddr::new(storage, len) }
}

/// Gives the calling thread a real-time priority, so that busy programs do not delay it.
///
/// # Errors
/// Not allowed: CAP_SYS_NICE is missing, or the cgroup has no real-time budget.
pub fn run_before_ordinary_threads() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: the parameters live through the call; 0 is the calling thread.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The listening socket that systemd handed over (sd_listen_fds(3)).
pub fn listener_from_systemd(fd: std::os::fd::RawFd) -> std::os::unix::net::UnixListener {
    use std::os::fd::FromRawFd;
    // SAFETY: systemd passes the descriptor to us alone, and we ask for it once.
    unsafe { std::os::unix::net::UnixListener::from_raw_fd(fd) }
}

/// Lets a task wait until there are requests to announce.
///
/// # Errors
/// Those of epoll_ctl(2).
pub fn wait_on(requests: Requests) -> io::Result<AsyncFd<Requests>> {
    // SAFETY: the descriptor is the ring's own; it stays open as long as the requests, which the
    // result owns and gives to nobody.
    unsafe { AsyncFd::register(requests) }.map_err(io::Error::from)
}
