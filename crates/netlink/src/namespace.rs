//! Network namespaces: which one this is, opening and entering others, making and deleting named ones.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::{Netlink, sys};

/// Where named namespaces are, one file each (ip-netns(8)).
const DIRECTORY: &str = "/run/netns";
/// That of the calling thread.
const CURRENT: &str = "/proc/thread-self/ns/net";
/// Index of `lo`, the same in every namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LOOPBACK: u32 = 1;

/// The cookie of the calling thread's network namespace: a number that the kernel gives to no other
/// namespace until the next boot (`SO_NETNS_COOKIE`, since Linux 5.14).
///
/// # Errors
/// Those of socket(2) and getsockopt(2).
pub fn cookie() -> io::Result<u64> {
    sys::netns_cookie(&sys::datagram_socket()?)
}

/// The file of the namespace of this name, there or not: `/run/netns/NAME`.
///
/// # Errors
/// A name that no namespace can have: empty, `.`, `..`, with a `/` or over 255 bytes.
pub fn path_of(name: &str) -> Result<PathBuf> {
    const NAME_MAX: usize = libc::NAME_MAX as usize;
    if matches!(name, "" | "." | "..") || name.len() > NAME_MAX || name.contains(['/', '\0']) {
        let reason = "1 to 255 bytes without a slash are a name; see the names with: ip netns list";
        let error = io::Error::new(io::ErrorKind::InvalidInput, reason);
        return Err(Error::new(format!("take {name:?} for the name of a network namespace"), error));
    }
    Ok(Path::new(DIRECTORY).join(name))
}

/// An open network namespace, which stays while this is open, even after its name is deleted and its last process
/// has ended.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// The calling thread's.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn current() -> Result<Self> {
        Self::open(Path::new(CURRENT))
    }

    /// The one of this name, as `ip netns add` or [`make_named`](Self::make_named) made it.
    ///
    /// # Errors
    /// `ENOENT` when there is none; those of [`path_of`] and [`open`](Self::open).
    pub fn open_named(name: &str) -> Result<Self> {
        Self::open(&path_of(name)?)
    }

    /// The one that a process is in.
    ///
    /// # Errors
    /// `ENOENT` when there is no such process; those of [`open`](Self::open).
    pub fn of_process(pid: u32) -> Result<Self> {
        Self::open(format!("/proc/{pid}/ns/net").as_ref())
    }

    /// The one that this file stands for.
    ///
    /// # Errors
    /// Those of open(2); `EINVAL` when the file is no network namespace; `EPERM` when it may not be entered.
    pub fn open(path: &Path) -> Result<Self> {
        let what = || format!("open the network namespace {}", path.display());
        // Without waiting for what a file of another kind may wait for.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let namespace = Self(file.map_err(|error| Error::new(what(), error))?);
        // Only entering it tells whether it is one.
        namespace.run(|| Ok(())).map_err(|error| Error::new(what(), error))?;
        Ok(namespace)
    }

    /// Makes a namespace and gives it a name, as `ip netns add` does, and brings its loopback up.
    ///
    /// The name is a mount, which other programs see only if they share the caller's mounts. `ip netns exec` gives
    /// a program mounts of its own: a name made below it is seen by that program and its children alone.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken; those of [`path_of`], mount(2) and unshare(2). Nothing is left behind then.
    pub async fn make_named(name: &str) -> Result<Self> {
        let path = path_of(name)?;
        let explain = |error| Error::new(format!("make the network namespace {name}"), error);
        share_directory().map_err(explain)?;
        OpenOptions::new().write(true).create_new(true).mode(0o000).open(&path).map_err(explain)?;

        let unfinished = Unfinished(&path);
        let fill = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(mount(Some(CURRENT), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
        };
        in_thread(fill).map_err(explain)?;
        let namespace = Self::open(&path)?;
        let netlink = namespace.enter(Netlink::connect).and_then(|netlink| netlink.map_err(explain))?;
        netlink.set_up(LOOPBACK, true).await?;
        std::mem::forget(unfinished);
        Ok(namespace)
    }

    /// Deletes the name of a namespace, as `ip netns delete` does. The namespace goes with its last process, and the
    /// last descriptor and socket in it.
    ///
    /// # Errors
    /// `ENOENT` when there is no such name; those of [`path_of`], umount(2) and unlink(2).
    pub fn delete_named(name: &str) -> Result<()> {
        let path = path_of(name)?;
        delete(&path).map_err(|error| Error::new(format!("delete the network namespace {name}"), error))
    }

    /// Its [cookie]. Two of these are the same namespace if their cookies are equal.
    ///
    /// # Errors
    /// Those of [`enter`](Self::enter), socket(2) and getsockopt(2).
    pub fn cookie(&self) -> Result<u64> {
        self.run(cookie).map_err(|error| Error::new("read the cookie of a network namespace", error))
    }

    /// Device and inode of its file: the same for every file by which it is reached (namespaces(7)).
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn identity(&self) -> Result<(u64, u64)> {
        let metadata = self.0.metadata();
        let metadata = metadata.map_err(|error| Error::new("look at the file of a network namespace", error))?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Calls `work` in a thread of its own inside the namespace and waits for it. What it opens (sockets, taps)
    /// belongs to the namespace for good.
    ///
    /// Inside a tokio runtime `work` may open what needs one, as [`Netlink::connect`] does. It must not wait for the
    /// runtime, which may have to wait for it.
    ///
    /// # Errors
    /// Those of clone(2) and setns(2), then nothing was called.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.run(|| Ok(work())).map_err(|error| Error::new("enter a network namespace", error))
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A thread that changes its namespace cannot be used for anything else.
fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let runtime = Handle::try_current().ok();
    let work = || {
        let _entered = runtime.as_ref().map(Handle::enter);
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes the directory of the names one whose mounts others see, under the same lock as iproute2 does.
fn share_directory() -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(DIRECTORY)?;
    let _lock = Flock::lock(File::open(DIRECTORY)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let change = |from, flags| mount(from, DIRECTORY, None::<&str>, flags | MsFlags::MS_REC, None::<&str>);
    match change(None::<&str>, MsFlags::MS_SHARED) {
        // Only a mount can be shared, and the directory is none yet.
        Err(Errno::EINVAL) => {
            change(Some(DIRECTORY), MsFlags::MS_BIND)?;
            change(None, MsFlags::MS_SHARED)?;
        }
        other => other?,
    }
    Ok(())
}

fn delete(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // No mount: a file that somebody's failure left.
        Err(Errno::EINVAL) => {}
        other => other?,
    }
    fs::remove_file(path)
}

/// The file of a namespace that is being made.
struct Unfinished<'a>(&'a Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // What kept the namespace from being made is the error to tell.
        let _ = delete(self.0);
    }
}
