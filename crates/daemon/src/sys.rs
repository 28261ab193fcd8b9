//! System calls that no safe crate offers. All `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, RawFd};
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
