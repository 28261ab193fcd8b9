//! The system call that no safe crate offers. All `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::net::UnixListener;

/// The listening socket that systemd handed over (sd_listen_fds(3)).
pub(crate) fn listener_from_systemd(fd: RawFd) -> UnixListener {
    // SAFETY: systemd passes the descriptor to us alone, and we ask for it once.
    unsafe { UnixListener::from_raw_fd(fd) }
}
