//! Who is at the other end of a socket, and whether it has power over this network namespace.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};

use crate::{process, sys};

/// Number of CAP_NET_ADMIN (linux/capability.h).
const NET_ADMIN: u32 = 12;

/// Who connected, or who listens.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Effective user at the time.
    pub(crate) user: u32,
    /// The process; 0 when it cannot be seen from here.
    pub(crate) process: i32,
    /// The process itself, whose number nobody gets as long as it lives.
    handle: Option<OwnedFd>,
}

impl Peer {
    /// The one at the other end (`SO_PEERCRED` and `SO_PEERPIDFD`, unix(7)).
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub(crate) fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(socket, PeerCredentials)?;
        let handle = match getsockopt(socket, PeerPidfd) {
            // Before Linux 6.5. Who has ended in between, and whose number another process has got,
            // is taken for that one.
            Err(Errno::ENOPROTOOPT) => sys::open_process(credentials.pid()).ok(),
            other => other.ok(),
        };
        Ok(Self { user: credentials.uid(), process: credentials.pid(), handle })
    }

    /// Who has an abstract name of this network namespace, as far as that can be told.
    pub(crate) fn with_name(name: &str) -> Option<Self> {
        Self::listening(name).ok().or_else(|| Self::bound(name))
    }

    fn listening(name: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        Self::of(&socket)
    }

    /// Whoever does not listen, or lets nobody connect, is found by the kernel's list (proc(5)):
    /// its seventh field is the inode, the eighth the name.
    fn bound(name: &str) -> Option<Self> {
        let list = fs::read_to_string("/proc/self/net/unix").ok()?;
        let inodes = list.lines().filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            // Connections that wait to be accepted have the name too, and no inode.
            (fields.get(7)?.strip_prefix('@') == Some(name) && fields[6] != "0").then(|| fields[6].parse().ok())?
        });
        let process = process::owner_of_socket(&inodes.collect::<Vec<u64>>())?;
        Some(Self { user: process::user(process)?, process, handle: sys::open_process(process).ok() })
    }

    /// Whether it is root with CAP_NET_ADMIN over this network namespace.
    ///
    /// Only root counts: another user could connect, send its request and then run a program that
    /// has the capability from its file, and its process would seem to have asked with it.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn governs(&self) -> Result<(), String> {
        let Self { user, process, .. } = *self;
        if user != 0 {
            return Err(format!("it is user {user}"));
        }
        if process == 0 {
            return Err("its process is out of sight, in another PID namespace".into());
        }
        let capabilities = process::capabilities(process);
        let namespace = process::user_namespace(process);
        // All this was read of the same process if that has not ended since.
        if !self.lives() {
            return Err(format!("its process {process} has ended"));
        }
        if capabilities.is_none_or(|mask| mask & (1 << NET_ADMIN) == 0) {
            return Err(format!("its process {process} does not have CAP_NET_ADMIN"));
        }
        let namespace = namespace
            .map_err(|error| format!("the user namespace of its process {process} cannot be looked at: {error}"))?;
        let owners = owners().map_err(|error| format!("it cannot be told who owns this network namespace: {error}"))?;
        match owners.contains(&namespace) {
            true => Ok(()),
            false => Err(format!("its process {process} has CAP_NET_ADMIN in another user namespace alone")),
        }
    }

    fn lives(&self) -> bool {
        let Some(handle) = &self.handle else { return false };
        // The handle of a process becomes readable when that ends (pidfd_open(2)).
        let mut ended = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, PollTimeout::ZERO) == Ok(0)
    }
}

/// The user namespaces whose capabilities hold over this network namespace: the one that owns it
/// and those above, as device and inode (user_namespaces(7)).
fn owners() -> io::Result<Vec<(u64, u64)>> {
    let mut owner = File::from(sys::owning_user_namespace(&File::open("/proc/self/ns/net")?)?);
    let mut all = Vec::new();
    loop {
        let metadata = owner.metadata()?;
        all.push((metadata.dev(), metadata.ino()));
        match sys::parent_namespace(&owner) {
            Ok(parent) => owner = parent.into(),
            // The kernel shows none above our own.
            Err(_) => return Ok(all),
        }
    }
}
