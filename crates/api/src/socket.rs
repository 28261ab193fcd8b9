//! Where the control socket is, and who may be at its other end.
//!
//! The name is in the abstract namespace, which the kernel keeps per network namespace: one daemon
//! each, found without being told. Abstract names have no owner, so any local user could take the
//! name while no daemon runs; the client therefore checks the peer's credentials, which the kernel
//! vouches for (`SO_PEERCRED`, unix(7)).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Abstract name of the control socket of `dlmpd`.
pub const NAME: &str = "io.dlmp.dlmpd";

/// Binds the control socket of this network namespace.
///
/// # Errors
/// `AddrInUse` when another daemon serves this namespace.
pub fn bind() -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?)
}

/// Connects to the daemon of this network namespace and checks that root serves it.
///
/// # Errors
/// `ConnectionRefused` when no daemon serves this namespace, `PermissionDenied` when somebody other
/// than root does.
pub fn connect() -> io::Result<UnixStream> {
    let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(NAME)?)?;
    let peer = getsockopt(&stream, PeerCredentials)?;
    if peer.uid() != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "the control socket @{NAME} is served by process {} of user {}, not by root: refusing to talk to it",
                peer.pid(),
                peer.uid()
            ),
        ));
    }
    Ok(stream)
}
