//! Where the control sockets are, and who may be at their other end.
//!
//! The names are in the abstract namespace, which the kernel keeps per network namespace: one daemon
//! of a kind each, found without being told. Abstract names have no owner, so any local user could take a
//! name while no daemon runs; the client therefore checks the peer's credentials, which the kernel
//! vouches for (`SO_PEERCRED`, unix(7)).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Abstract name of the control socket of `dlmpd`.
pub const DLMPD: &str = "io.dlmp.dlmpd";
/// Abstract name of the control socket of `ldmd`.
pub const LDMD: &str = "io.dlmp.ldmd";

/// Binds a control socket of this network namespace.
///
/// # Errors
/// `AddrInUse` when another daemon of the kind serves this namespace.
pub fn bind(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Connects to a daemon of this network namespace and checks that root serves it.
///
/// # Errors
/// `ConnectionRefused` when no daemon of the kind serves this namespace, `PermissionDenied` when somebody other
/// than root does.
pub fn connect(name: &str) -> io::Result<UnixStream> {
    let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    let peer = getsockopt(&stream, PeerCredentials)?;
    if peer.uid() != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "the control socket @{name} is served by process {} of user {}, not by root: refusing to talk to it",
                peer.pid(),
                peer.uid()
            ),
        ));
    }
    Ok(stream)
}
