//! Notices namespaces that come and go.
//!
//! The kernel keeps a namespace as long as somebody holds it open, as we do: that it was deleted shows by its
//! file. Changes in the folders of those files are told by inotify(7); what it does not tell, such as the end of a process, is
//! found by looking.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dlmp_netlink::namespace::Namespace;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::control::Control;
use crate::place;

/// How often all files are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// `ip netns add` makes the file first and mounts the namespace on it then, of which nothing tells.
const MOUNTED: Duration = Duration::from_millis(20);

/// What has happened to domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Domains whose namespace was there and is not any more, or is another one.
    pub gone: Vec<String>,
    /// Domains whose namespace is there again.
    pub come: Vec<String>,
}

/// Waits for a reason to look at the domains.
pub struct Watcher {
    inotify: Option<Arc<Inotify>>,
    folders: BTreeSet<PathBuf>,
    told: mpsc::UnboundedReceiver<()>,
}

impl Watcher {
    /// Without inotify, of which a user may have only so many, looking alone must do.
    pub fn new() -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).map(Arc::new).map_err(std::io::Error::from);
        let inotify = inotify.and_then(|inotify| {
            let reader = Arc::clone(&inotify);
            std::thread::Builder::new().name("namespaces".into()).spawn(move || read(&reader, &tell))?;
            Ok(inotify)
        });
        let inotify = inotify.inspect_err(|error| tracing::warn!(%error, "namespaces that go are noticed late")).ok();
        Self { inotify, folders: BTreeSet::new(), told }
    }

    /// Watches the folders of these files from now on.
    pub fn watch(&mut self, files: impl Iterator<Item = PathBuf>) {
        let Some(inotify) = &self.inotify else { return };
        for folder in files.filter_map(|file| file.parent().map(Path::to_owned)) {
            if self.folders.contains(&folder) || folder.starts_with("/proc") {
                continue;
            }
            let flags = AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_MOVED_FROM
                | AddWatchFlags::IN_MOVED_TO;
            match inotify.add_watch(&folder, flags) {
                Ok(_) => drop(self.folders.insert(folder)),
                Err(error) => tracing::debug!(folder = %folder.display(), %error, "not watched"),
            }
        }
    }

    /// Waits until something may have changed.
    pub async fn changed(&mut self) {
        tokio::select! {
            Some(()) = self.told.recv() => while self.told.try_recv().is_ok() {},
            () = sleep(LOOK) => {}
        }
    }
}

/// Reads what inotify tells, without end.
fn read(inotify: &Inotify, tell: &mpsc::UnboundedSender<()>) {
    while let Ok(events) = inotify.read_events() {
        if tell.send(()).is_err() {
            return;
        }
        if events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_CREATE)) {
            std::thread::sleep(MOUNTED);
            let _ = tell.send(());
        }
    }
}

impl Control {
    /// The files by which the domains are there.
    pub fn files(&self) -> Vec<PathBuf> {
        self.config.domains.values().filter_map(|domain| place::file(&domain.place)).collect()
    }

    /// Compares the namespaces that are open with those that are there.
    pub fn compare(&self) -> Difference {
        let mut difference = Difference { gone: Vec::new(), come: Vec::new() };
        for (name, domain) in &self.config.domains {
            let Some(file) = place::file(&domain.place) else { continue };
            match self.places.get(name) {
                Some(place) if !is_same(&place.namespace, &file) => {
                    difference.gone.push(name.clone());
                    // Another one under the same name.
                    difference.come.extend(is_namespace(&file).then(|| name.clone()));
                }
                Some(_) => {}
                None => difference.come.extend(is_namespace(&file).then(|| name.clone())),
            }
        }
        difference
    }
}

fn is_same(namespace: &Namespace, file: &Path) -> bool {
    let there = std::fs::metadata(file);
    there.is_ok_and(|there| namespace.identity().is_ok_and(|open| open == (there.dev(), there.ino())))
}

/// Whether a file is a namespace: those are all on one file system of their own (namespaces(7)).
fn is_namespace(file: &Path) -> bool {
    nix::sys::statfs::statfs(file).is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
}
