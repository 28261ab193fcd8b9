//! The control socket of a daemon: the one that systemd hands over, else its own.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::sys;

/// How long a daemon that was killed may take to let go of the control socket.
const PREDECESSOR: Duration = Duration::from_secs(1);

/// A daemon's control socket.
#[derive(Debug, Clone, Copy)]
pub struct ControlSocket {
    /// Its abstract name.
    pub name: &'static str,
    /// The daemon.
    pub daemon: &'static str,
    /// A command that shows that another one serves already.
    pub remedy: &'static str,
}

/// Makes the socket, which keeps a second daemon of the kind out of this network namespace.
///
/// # Errors
/// Another daemon has it, or the kernel's refusal.
pub fn control_socket(socket: ControlSocket) -> anyhow::Result<UnixListener> {
    if let Some(fd) = sd_notify::listen_fds().ok().and_then(|mut fds| fds.next()) {
        return Ok(sys::listener_from_systemd(fd));
    }
    let start = Instant::now();
    loop {
        match dlmp_api::socket::bind(socket.name) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() != ErrorKind::AddrInUse => {
                return Err(error).context("cannot make the control socket");
            }
            // A daemon that was killed a moment ago holds the name until the kernel is done with it.
            Err(_) if start.elapsed() < PREDECESSOR => std::thread::sleep(PREDECESSOR / 50),
            Err(_) => bail!(
                "another {} serves this network namespace already (@{}); a namespace has one\n  try: {}",
                socket.daemon,
                socket.name,
                socket.remedy
            ),
        }
    }
}
