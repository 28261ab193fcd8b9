//! System calls that no safe crate offers. All `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::sys::signal::{SigHandler, Signal, signal};

/// The listening socket that systemd handed over (sd_listen_fds(3)).
pub(crate) fn listener_from_systemd(fd: RawFd) -> UnixListener {
    // SAFETY: systemd passes the descriptor to us alone, and we ask for it once.
    unsafe { UnixListener::from_raw_fd(fd) }
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

/// Has a signal do nothing.
pub(crate) fn ignore(number: Signal) {
    // SAFETY: no function of ours is called at the signal. It fails for signals alone that cannot
    // be ignored.
    let _ = unsafe { signal(number, SigHandler::SigIgn) };
}

/// A handle of a process (pidfd_open(2)).
///
/// # Errors
/// There is no such process.
pub(crate) fn open_process(process: i32) -> io::Result<OwnedFd> {
    // SAFETY: it takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(process), 0) };
    own(fd)
}

/// The user namespace that owns a namespace (ioctl_nsfs(2)).
///
/// # Errors
/// `EPERM`: it is out of sight.
pub(crate) fn owning_user_namespace(namespace: &impl AsFd) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::Ioctl = nix::request_code_none!(0xb7, 1) as libc::Ioctl;
    // SAFETY: the request takes no argument and gives a new descriptor.
    own(unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_USERNS) }.into())
}

/// The namespace above a user namespace (ioctl_nsfs(2)).
///
/// # Errors
/// `EPERM`: there is none, or it is out of sight.
pub(crate) fn parent_namespace(namespace: &impl AsFd) -> io::Result<OwnedFd> {
    const NS_GET_PARENT: libc::Ioctl = nix::request_code_none!(0xb7, 2) as libc::Ioctl;
    // SAFETY: the request takes no argument and gives a new descriptor.
    own(unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_PARENT) }.into())
}

/// What a system call gave: a new descriptor, or -1 for an error.
fn own(fd: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(fd) {
        // SAFETY: the kernel has just made it for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
