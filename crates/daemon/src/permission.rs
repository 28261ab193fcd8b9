//! Who may change things through a control socket: whoever reaches its file, which only root and
//! the group `dlmp` can; and by its name, which everybody reaches, root with CAP_NET_ADMIN over
//! this network namespace.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::rc::Rc;

use dlmp_api::socket::Place;
use zlink::Connection;
use zlink::connection::Socket;

use crate::files;
use crate::peer::Peer;

/// Members of this group may change things, as root may.
const GROUP: &str = "dlmp";
/// Root and the group pass through the directory.
const DIRECTORY_MODE: u32 = 0o750;
/// Root and the group connect.
const SOCKET_MODE: u32 = 0o660;

/// The caller may look but not change.
#[derive(Debug)]
pub struct Denied {
    /// Why.
    pub reason: String,
    /// The next command to type.
    pub remedy: String,
}

impl From<Denied> for dlmp_api::Error {
    fn from(Denied { reason, remedy }: Denied) -> Self {
        Self::NotPermitted { reason, remedy }
    }
}

impl From<Denied> for dlmp_api::ldm::Error {
    fn from(Denied { reason, remedy }: Denied) -> Self {
        Self::NotPermitted { reason, remedy }
    }
}

/// By what a caller has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A file that only root and the group reach.
    File,
    /// A name that everybody reaches.
    Name,
}

/// Who asks, as it was when the connection was accepted.
#[derive(Debug, Clone)]
pub struct Caller {
    user: u32,
    /// Why it may not change anything; absent if it may.
    weakness: Option<Rc<str>>,
    place: Rc<Place>,
}

impl Caller {
    pub(crate) fn new(peer: &Peer, way: Way, place: Rc<Place>) -> Self {
        let weakness = match way {
            Way::File => None,
            Way::Name => peer.governs().err().map(Into::into),
        };
        Self { user: peer.user, weakness, place }
    }

    /// The user.
    pub(crate) fn user(&self) -> u32 {
        self.user
    }

    /// Whether it may change things.
    pub(crate) fn may_change(&self) -> bool {
        self.weakness.is_none()
    }

    #[cfg(test)]
    pub(crate) fn of_test(user: u32, may_change: bool) -> Self {
        let weakness = (!may_change).then(|| "it may not".into());
        Self { user, weakness, place: Rc::new(Place::new(dlmp_api::socket::DLMPD, Path::new("/none"), 1)) }
    }

    /// The refusal, when it may not.
    async fn denied(&self, weakness: &str) -> Denied {
        let path = self.place.path.display();
        if self.user == 0 {
            return Denied {
                reason: format!(
                    "root may look but not change from where {path} is out of reach, unless it has CAP_NET_ADMIN over this network namespace: {weakness}"
                ),
                remedy: format!(
                    "ls -l {path} (where it is there, the same command works; DLMP_RUNTIME_DIR tells commands of another directory than {})",
                    dlmp_api::socket::RUNTIME_DIR
                ),
            };
        }
        // The group may have been made since; asking for it can take long.
        let place = Place::clone(&self.place);
        let group = tokio::task::spawn_blocking(move || hand_over(&place)).await.ok().flatten();
        let make = if group.is_none() { format!("groupadd -r {GROUP}; ") } else { String::new() };
        Denied {
            reason: format!(
                "user {} may look but not change: that takes root or the group {GROUP}, by way of {path}",
                self.user
            ),
            remedy: format!("sudo, or as root: {make}usermod -a -G {GROUP} USER (then log in again)"),
        }
    }
}

/// The receiving half of a connection, which knows who is at its other end.
pub trait HasCaller {
    /// Who is there.
    fn caller(&self) -> &Caller;
}

/// Lets pass whoever may change things.
///
/// # Errors
/// It is somebody else.
pub async fn may_change<S>(connection: &Connection<S>) -> Result<(), Denied>
where
    S: Socket,
    S::ReadHalf: HasCaller,
{
    let caller = connection.read().read_half().caller();
    match &caller.weakness {
        None => Ok(()),
        Some(weakness) => Err(caller.denied(weakness).await),
    }
}

/// Makes the directory of a control socket's file, for root alone at first.
///
/// # Errors
/// Those of mkdir(2).
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let directory = files::folder(path);
    files::make_directory(files::folder(directory))?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let metadata = fs::metadata(directory)?;
    // One that an earlier daemon left may be the group's already, which goes on looking for files
    // there.
    if metadata.mode() & 0o7777 & !DIRECTORY_MODE != 0 {
        fs::set_permissions(directory, Permissions::from_mode(metadata.mode() & DIRECTORY_MODE))?;
    }
    Ok(())
}

/// Gives file and directory to root and the group, if there is the group, whose number is returned.
/// Name services can make this take long.
pub(crate) fn hand_over(place: &Place) -> Option<u32> {
    let group = nix::unistd::Group::from_name(GROUP).ok().flatten().map(|group| group.gid.as_raw());
    for (path, mode) in [(place.path.as_path(), SOCKET_MODE), (files::folder(&place.path), DIRECTORY_MODE)] {
        let handed = fs::symlink_metadata(path).and_then(|metadata| {
            let gid = group.unwrap_or(0);
            // First the group: the mode is meant for it.
            if metadata.gid() != gid {
                chown(path, None, Some(gid))?;
            }
            match metadata.mode() & 0o7777 == mode {
                true => Ok(()),
                false => fs::set_permissions(path, Permissions::from_mode(mode)),
            }
        });
        if let Err(error) = handed {
            tracing::warn!(path = %path.display(), %error, "the group {GROUP} cannot use the control socket");
        }
    }
    group
}
