//! Which network namespace this is.

use std::io;

use crate::sys;

/// The cookie of the calling thread's network namespace: a number that the kernel gives to no other
/// namespace until the next boot (`SO_NETNS_COOKIE`, since Linux 5.14).
///
/// # Errors
/// Those of socket(2) and getsockopt(2).
pub fn cookie() -> io::Result<u64> {
    sys::netns_cookie(&sys::datagram_socket()?)
}
