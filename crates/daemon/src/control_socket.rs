//! The control sockets of a daemon: its file and its name, those that systemd hands over or else
//! its own; and keeping a second daemon of the kind out of a network namespace.
//!
//! Nothing that others do to the sockets keeps a daemon from its work: what it cannot have it goes
//! without, says so, and takes when it can.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::bail;
use dlmp_api::socket::{self, Place};
use tokio::net::{UnixListener, UnixStream};

use crate::lock::{self, Lock};
use crate::peer::Peer;
use crate::permission::{self, Way};
use crate::{process, sys};

/// How long a daemon that was killed may take to let go of its control socket.
const PREDECESSOR: Duration = Duration::from_secs(1);

/// A daemon's control socket.
#[derive(Debug, Clone, Copy)]
pub struct ControlSocket {
    /// Its abstract name.
    pub name: &'static str,
    /// The daemon.
    pub daemon: &'static str,
    /// Its varlink interface.
    pub interface: &'static str,
    /// A command that shows that another one serves already.
    pub remedy: &'static str,
}

/// The listening sockets of a daemon.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) socket: ControlSocket,
    pub(crate) place: Rc<Place>,
    by_name: Option<UnixListener>,
    by_file: Option<FileSocket>,
    /// Those of systemd, and by what way those come who connect there.
    handed: Vec<(UnixListener, Way)>,
    /// Which one is looked at first, so that none keeps the others waiting.
    turn: usize,
    /// Said already why there is no file.
    told: bool,
}

/// The file, which others of the kind keep away from as long as this lives.
#[derive(Debug)]
struct FileSocket {
    /// Absent where systemd listens.
    listener: Option<UnixListener>,
    inode: u64,
    place: Rc<Place>,
    // Let go of last.
    _lock: Lock,
}

impl Drop for FileSocket {
    fn drop(&mut self) {
        if self.listener.is_some() && self.is_there() {
            let _ = fs::remove_file(&self.place.path);
        }
    }
}

impl FileSocket {
    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.place.path).is_ok_and(|metadata| metadata.ino() == self.inode)
    }
}

impl ControlSocket {
    /// Makes both sockets for the network namespace with this cookie, below the runtime directory.
    ///
    /// # Errors
    /// Another daemon of the kind serves this namespace.
    pub fn listen(self, runtime: &Path, cookie: u64) -> anyhow::Result<Listeners> {
        let place = Rc::new(Place::new(self.name, runtime, cookie));
        let handed = handed_over();
        let mut listeners =
            Listeners { socket: self, place, by_name: None, by_file: None, handed, turn: 0, told: false };
        let start = Instant::now();
        // The name first: it is the same however the other daemon was told its directories.
        while self.is_taken(start, listeners.take_name(), &listeners.place)? {}
        while self.is_taken(start, listeners.take_file(), &listeners.place)? {}
        Ok(listeners)
    }

    /// Whether to try again, a little later: the kernel may not be done with a daemon that was
    /// killed a moment ago.
    fn is_taken(self, start: Instant, taken: Result<(), Other>, place: &Place) -> anyhow::Result<bool> {
        let Err(Other(holder)) = taken else { return Ok(false) };
        if start.elapsed() < PREDECESSOR {
            thread::sleep(PREDECESSOR / 50);
            return Ok(true);
        }
        let daemon = self.daemon;
        let holder = holder.or_else(|| Peer::of(&place.connect().ok()?).ok());
        let who = holder.map(|peer| format!(": process {}", describe(&peer))).unwrap_or_default();
        bail!(
            "another {daemon} serves this network namespace already (@{}){who}; a namespace has one\n  try: {}",
            self.name,
            self.remedy
        )
    }
}

/// Another daemon of the kind is there, and is this process if that was seen.
struct Other(Option<Peer>);

impl Listeners {
    /// Waits for the next connection, which has come this way.
    pub(crate) async fn accept(&mut self) -> (Way, io::Result<UnixStream>) {
        let own = [
            (self.by_file.as_ref().and_then(|file| file.listener.as_ref()), Way::File),
            (self.by_name.as_ref(), Way::Name),
        ];
        let handed = self.handed.iter().map(|(listener, way)| (Some(listener), *way));
        let all: Vec<_> = own.into_iter().chain(handed).filter_map(|(listener, way)| Some((listener?, way))).collect();
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        poll_fn(|context| {
            for at in 0..all.len() {
                let (listener, way) = all[(turn + at) % all.len()];
                if let Poll::Ready(accepted) = listener.poll_accept(context) {
                    return Poll::Ready((way, accepted.map(|(stream, _)| stream)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Takes what could not be had before, or was taken away.
    pub(crate) fn keep(&mut self) {
        if !self.has_name() && self.bind_name().is_ok() {
            tracing::info!("@{} is free now, and serves those who look", self.socket.name);
        }
        if self.by_file.as_ref().is_none_or(|file| !file.is_there()) {
            self.by_file = None;
            // Another daemon there has been started since: both were told to serve.
            let _ = self.take_file();
        }
    }

    fn has_name(&self) -> bool {
        self.by_name.is_some() || self.handed.iter().any(|(_, way)| *way == Way::Name)
    }

    fn bind_name(&mut self) -> io::Result<()> {
        let listener = socket::bind(self.socket.name)?;
        self.by_name = Some(listening(listener)?);
        Ok(())
    }

    /// Takes the name, unless somebody has it who is not to be minded.
    fn take_name(&mut self) -> Result<(), Other> {
        if self.has_name() {
            return Ok(());
        }
        let (name, daemon) = (self.socket.name, self.socket.daemon);
        let Err(error) = self.bind_name() else { return Ok(()) };
        let place = self.place.clone();
        let path = place.path.display();
        if error.kind() != ErrorKind::AddrInUse {
            tracing::warn!(%error, "{daemon} cannot have the name @{name}: only those who reach {path} can ask it");
            return Ok(());
        }
        let holder = Peer::with_name(name);
        let weakness = match &holder {
            Some(peer) => match peer.governs() {
                Ok(()) => return Err(Other(holder)),
                Err(weakness) => weakness,
            },
            None => "it cannot be found".into(),
        };
        // Whoever had it may have ended meanwhile.
        if self.bind_name().is_ok() {
            return Ok(());
        }
        let who = holder.as_ref().map_or("that cannot be seen".into(), describe);
        tracing::warn!(
            "the name @{name} is taken by process {who}, which cannot be another {daemon} ({weakness}): {daemon} does \
             without it, and only those who reach {path} can ask it\n  try: ss -xlp src @{name}, and end that process; \
             {daemon} takes the name when it is free"
        );
        Ok(())
    }

    /// Makes the file, unless another daemon has it.
    fn take_file(&mut self) -> Result<(), Other> {
        match self.bind_file() {
            Ok(Some(file)) => self.by_file = Some(file),
            Ok(None) => return Err(Other(None)),
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    let (path, daemon) = (self.place.path.display(), self.socket.daemon);
                    tracing::warn!(%error, "{path} cannot be made: only root can ask {daemon}, by its name, until it can");
                }
                return Ok(());
            }
        }
        let place = Place::clone(&self.place);
        // Asking for the group can take long, and this daemon has a network to look after.
        drop(tokio::task::spawn_blocking(move || permission::hand_over(&place)));
        Ok(())
    }

    fn bind_file(&self) -> io::Result<Option<FileSocket>> {
        let path = &self.place.path;
        permission::make_directory(path)?;
        let Some(lock) = lock::take(&path.with_extension("lock"))? else { return Ok(None) };
        let systems = |(listener, _): &(UnixListener, Way)| {
            listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path.as_path()))
        };
        let listener = match self.handed.iter().any(systems) {
            true => None,
            false => {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                let listener = socket::bind_path(path)?;
                // Whatever the umask says; the group follows.
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
                Some(listening(listener)?)
            }
        };
        let inode = fs::symlink_metadata(path)?.ino();
        Ok(Some(FileSocket { listener, inode, place: self.place.clone(), _lock: lock }))
    }
}

fn describe(peer: &Peer) -> String {
    let name = process::name(peer.process).unwrap_or_else(|| "unknown".into());
    format!("{} ({name}) of user {}", peer.process, peer.user)
}

fn listening(listener: StdListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// The sockets that systemd listens at for this daemon. Who connects to a file is trusted as far as
/// its mode is.
fn handed_over() -> Vec<(UnixListener, Way)> {
    let mut all = Vec::new();
    for fd in sd_notify::listen_fds().into_iter().flatten() {
        let listener = sys::listener_from_systemd(fd);
        let way = listener.local_addr().map(|address| match address.as_pathname() {
            Some(path) if only_group_reaches(path) => Way::File,
            _ => Way::Name,
        });
        match way.and_then(|way| Ok((listening(listener)?, way))) {
            Ok(one) => all.push(one),
            Err(error) => tracing::error!(%error, "a socket from systemd is no UNIX socket that listens"),
        }
    }
    all
}

fn only_group_reaches(path: &Path) -> bool {
    let closed = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.mode() & 0o007 == 0);
    if !closed {
        tracing::warn!(
            "everybody may connect to {}: it is for looking alone\n  try: SocketMode=0660 and SocketGroup=dlmp in the socket's unit",
            path.display()
        );
    }
    closed
}
