//! Where the control sockets are, and who may be at their other end.
//!
//! A daemon serves two: a file below its runtime directory, which only root and the group `dlmp`
//! reach, for everything; and a name in the abstract namespace, for looking. The kernel keeps such
//! names per network namespace, so the daemon is found without being told where, but anybody may
//! take a name. So the file is tried first, and the client checks the peer's credentials, which the
//! kernel vouches for (`SO_PEERCRED`, unix(7)).

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{PeerCredentials, SendTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};

/// Abstract name of the control socket of `dlmpd`.
pub const DLMPD: &str = "io.dlmp.dlmpd";
/// Abstract name of the control socket of `ldmd`.
pub const LDMD: &str = "io.dlmp.ldmd";
/// The runtime directory of both daemons, unless they and the commands are told another one.
pub const RUNTIME_DIR: &str = "/run/dlmp";

/// How long a daemon may take to have room for one more who waits to be served, in seconds.
const PATIENCE: i64 = 5;
/// Number of CAP_NET_ADMIN (linux/capability.h).
const NET_ADMIN: u32 = 12;

/// The directory of a network namespace, which has this cookie, below the runtime directory.
#[must_use]
pub fn directory(runtime: &Path, cookie: u64) -> PathBuf {
    runtime.join(format!("netns-{cookie}"))
}

/// Where a daemon is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The abstract name, for looking.
    pub name: &'static str,
    /// The file, for everything.
    pub path: PathBuf,
}

impl Place {
    /// Where the daemon with this name, [`DLMPD`] or [`LDMD`], is reached in the network namespace
    /// with this cookie.
    #[must_use]
    pub fn new(name: &'static str, runtime: &Path, cookie: u64) -> Self {
        let daemon = name.rsplit('.').next().unwrap_or(name);
        Self { name, path: directory(runtime, cookie).join(format!("{daemon}.sock")) }
    }

    /// Connects to the daemon, by its file if that can be reached, else by its name, and checks
    /// that root serves it.
    ///
    /// # Errors
    /// `ConnectionRefused` when no daemon of the kind serves this namespace, `PermissionDenied`
    /// when somebody other than root does, `TimedOut` when it takes no connection.
    pub fn connect(&self) -> io::Result<UnixStream> {
        match connect_path(&self.path) {
            Ok(stream) => served_by_root(stream, &self.path.display().to_string(), false),
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(error),
            Err(_) => connect_name(self.name),
        }
    }
}

/// Binds an abstract name of this network namespace.
///
/// # Errors
/// `AddrInUse` when somebody has it.
pub fn bind(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Binds a file, whose directory is there.
///
/// # Errors
/// Those of bind(2).
pub fn bind_path(path: &Path) -> io::Result<UnixListener> {
    let (short, _directory) = shorten(path)?;
    UnixListener::bind(short)
}

fn connect_path(path: &Path) -> io::Result<UnixStream> {
    let (short, _directory) = shorten(path)?;
    connect_to(&UnixAddr::new(&short)?, &path.display().to_string())
}

/// Connects to who has an abstract name and checks that it is root.
///
/// # Errors
/// As [`Place::connect`].
fn connect_name(name: &str) -> io::Result<UnixStream> {
    let what = format!("@{name}");
    served_by_root(connect_to(&UnixAddr::new_abstract(name.as_bytes())?, &what)?, &what, true)
}

fn connect_to(address: &UnixAddr, what: &str) -> io::Result<UnixStream> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // connect(2) waits while too many wait before it, as long as a send may take (unix(7)).
    setsockopt(&socket, SendTimeout, &TimeVal::seconds(PATIENCE))?;
    match connect(socket.as_raw_fd(), address) {
        Ok(()) => {}
        Err(Errno::EAGAIN) => {
            let reason = format!("the control socket {what} takes no connection within {PATIENCE} s");
            return Err(io::Error::new(ErrorKind::TimedOut, reason));
        }
        Err(error) => return Err(error.into()),
    }
    setsockopt(&socket, SendTimeout, &TimeVal::zero())?;
    Ok(socket.into())
}

/// Refuses a daemon that is not root's, and where anybody could have bound, one that could not do a
/// daemon's work: root in a container that shares the network namespace.
fn served_by_root(stream: UnixStream, what: &str, anybody: bool) -> io::Result<UnixStream> {
    let peer = getsockopt(&stream, PeerCredentials)?;
    let lacks = if peer.uid() != 0 {
        "not by root"
    } else if anybody && without_net_admin(peer.pid()) {
        "without CAP_NET_ADMIN, so not by a daemon"
    } else {
        return Ok(stream);
    };
    Err(io::Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "the control socket {what} is served by process {} of user {}, {lacks}: refusing to talk to it",
            peer.pid(),
            peer.uid()
        ),
    ))
}

/// Whether it can be seen that a process does not have the capability (proc_pid_status(5)).
fn without_net_admin(process: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & (1 << NET_ADMIN) == 0)
}

/// A path that fits into an address of a socket, however long the path is; it holds as long as the
/// directory is open.
fn shorten(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    /// Bytes in `sun_path`, of which the last ends it (unix(7)).
    const ROOM: usize = 108;
    let (Some(directory), Some(file)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    if path.as_os_str().len() < ROOM {
        return Ok((path.to_owned(), None));
    }
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(directory)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(file), Some(directory)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_reached_however_long_its_path_is() {
        for length in [1, 100, 200] {
            let runtime = std::env::temp_dir().join(format!("dlmp-{}-{}", std::process::id(), "x".repeat(length)));
            let place = Place::new(DLMPD, &runtime, 7);
            fs::create_dir_all(directory(&runtime, 7)).unwrap();
            let listener = bind_path(&place.path).unwrap();
            drop(connect_path(&place.path).unwrap());
            drop(listener);
            assert_eq!(connect_path(&place.path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            fs::remove_dir_all(runtime).unwrap();
        }
    }
}
