//! Files that one daemon locks against others (flock(2)).
//!
//! Whoever can open a file can lock it, also for reading alone. So only root can open ours, and one
//! that others could open, as earlier daemons made them, is replaced.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::process;

/// A lock, held as long as this value lives.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "they hold the lock")] Vec<File>);

/// Locks a file, which is made if it is missing. `None`: another daemon has it.
///
/// # Errors
/// Those of opening and locking a file.
pub(crate) fn take(path: &Path) -> io::Result<Option<Lock>> {
    loop {
        let file = open(path)?;
        let metadata = file.metadata()?;
        let free = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        let only_ours = metadata.mode() & 0o077 == 0;
        if !free && (only_ours || root_has(metadata.ino())) {
            return Ok(None);
        }
        if fs::symlink_metadata(path).map_or(0, |now| now.ino()) != metadata.ino() {
            // Replaced meanwhile.
            continue;
        }
        if only_ours {
            return Ok(Some(Lock(vec![file])));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = Path::new(&name);
        let _ = fs::remove_file(new);
        let own = open(new)?;
        own.lock()?;
        fs::rename(new, path)?;
        // The old one too: another daemon may have opened it a moment ago.
        return Ok(Some(Lock(vec![file, own])));
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Whether root has locked the file of this inode, by the kernel's list of locks (proc(5)): its
/// second field is the kind, the fifth the process that took it, the sixth ends with the inode.
/// What cannot be told counts as root's.
fn root_has(inode: u64) -> bool {
    let Ok(list) = fs::read_to_string("/proc/locks") else { return true };
    let mut holders = (list.lines()).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, process, place, ..] = fields[..] else { return None };
        let same = place.rsplit(':').next()?.parse() == Ok(inode);
        same.then(|| process.parse().ok()).flatten()
    });
    match holders.next() {
        Some(process) => process::user(process) == Some(0),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_has_it_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = take(&path).unwrap();
        assert!(held.is_some());
        assert!(take(&path).unwrap().is_none());
        drop(held);
        assert!(take(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_that_others_could_open_is_replaced_unless_root_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let earlier = File::create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        if nix::unistd::geteuid().is_root() {
            earlier.lock().unwrap();
            assert!(take(&path).unwrap().is_none(), "an earlier daemon has it");
            earlier.unlock().unwrap();
        }
        let held = take(&path).unwrap();
        assert!(held.is_some());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(earlier.try_lock().is_err(), "an earlier daemon does not get it either");
        assert!(take(&path).unwrap().is_none());
    }
}
