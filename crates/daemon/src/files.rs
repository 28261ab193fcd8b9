//! How the daemons read, write and lock their files, and who else could write them.
//!
//! Links are followed and kept: what a link stands for is replaced, never the link. Modes are said,
//! not taken from the umask.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use atomic_write_file::unix::OpenOptionsExt as _;

/// Links that are followed one after the other (`MAXSYMLINKS`, include/linux/namei.h).
const LINKS: usize = 40;
/// Mode of a file that was not there before.
const NEW_FILE: u32 = 0o644;
/// What may be left of the mode of a file that was there: nobody but its owner writes it.
const KEPT: u32 = 0o755;
/// Others, or the group, may write.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
/// Only its owner removes a file from such a directory (sticky(7)).
const STICKY: u32 = 0o1000;

/// The file that a path stands for, there or not, and the links on the way to it.
///
/// # Errors
/// Too many links, or one that cannot be read.
fn follow(path: &Path) -> io::Result<(PathBuf, Vec<PathBuf>)> {
    let (mut path, mut links) = (path.to_owned(), Vec::new());
    while fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
        if links.len() == LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        // From the link's directory; `..` is left to the kernel, which knows where that directory
        // really is.
        let next = folder(&path).join(fs::read_link(&path)?);
        links.push(std::mem::replace(&mut path, next));
    }
    Ok((path, links))
}

/// The directory of a file.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a file of text, whatever its size.
///
/// # Errors
/// Those of reading; `InvalidInput` for what is no regular file and might never end, such as a
/// FIFO.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    // Opening a FIFO would wait for somebody who writes.
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    regular(&file.metadata()?)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let kind = if metadata.is_dir() { "it is a directory" } else { "it is a FIFO, a socket or a device" };
    Err(io::Error::new(ErrorKind::InvalidInput, format!("{kind}, not a file")))
}

/// Replaces a file by new contents, all or nothing, also through a power cut. It keeps its owner,
/// and of its mode what lets nobody else write; a new one has mode 0644.
///
/// # Errors
/// Those of writing a file; `InvalidInput` when something else than a file is there.
pub(crate) fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let (target, links) = follow(path)?;
    replace(&target, contents).map_err(|error| match links.is_empty() {
        true => error,
        false => io::Error::new(error.kind(), format!("{}, to which it is a link: {error}", target.display())),
    })
}

fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let before = match fs::symlink_metadata(path) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    before.as_ref().map_or(Ok(()), regular)?;
    let mut file = AtomicWriteFile::options().mode(0o600).preserve_mode(false).preserve_owner(false).open(path)?;
    file.write_all(contents)?;
    let mut mode = NEW_FILE;
    if let Some(before) = before {
        mode = before.mode() & KEPT;
        let own = file.as_file().metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
    }
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.commit()
}

/// Makes a directory and those above it that are missing, which only root may write whatever the
/// umask says.
///
/// # Errors
/// Those of mkdir(2).
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    const MODE: u32 = 0o755;
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_directory(above)?;
    }
    match DirBuilder::new().mode(MODE).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(MODE)),
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Says in the log who else than root could change what a daemon believes: the file, or a directory
/// on the way to it.
pub(crate) fn warn_of_writers(path: &Path) {
    for (path, why) in writers(path) {
        let path = path.display();
        tracing::warn!(
            "{path} can be changed by others than root ({why}), and so can the network\n  try: chown root:root {path}; chmod go-w {path}"
        );
    }
}

/// The file, its links' directories and those above them that others than root may write, each with
/// the reason.
fn writers(path: &Path) -> Vec<(PathBuf, String)> {
    let Ok((target, links)) = follow(path) else { return Vec::new() };
    let mut all = BTreeSet::new();
    for file in links.iter().chain([&target]) {
        if let Ok(folder) = folder(file).canonicalize() {
            all.extend(folder.ancestors().map(Path::to_owned));
        }
    }
    let sticky = |metadata: &Metadata| metadata.mode() & STICKY != 0;
    let directories = (all.into_iter()).filter_map(|path| {
        let metadata = fs::metadata(&path).ok().filter(|metadata| !sticky(metadata))?;
        Some((path, metadata))
    });
    let file = fs::metadata(&target).ok().map(|metadata| (target, metadata));
    directories.chain(file).filter_map(|(path, metadata)| Some((path, who_writes(&metadata)?))).collect()
}

/// Who else than root and the daemon's own user may write this.
fn who_writes(metadata: &Metadata) -> Option<String> {
    let (owner, group, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    if mode & OTHERS_WRITE != 0 {
        Some(format!("everybody, by mode {mode:04o}"))
    } else if mode & GROUP_WRITES != 0 && group != 0 {
        Some(format!("group {group}, by mode {mode:04o}"))
    } else if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        Some(format!("user {owner}, who owns it"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    /// A directory with `real/file`, of this mode, and `link` in another directory, which stands
    /// for it by way of others.
    fn linked(file_mode: Option<u32>) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["real", "etc"] {
            fs::create_dir(at(name)).unwrap();
        }
        // Relative, through a directory that is a link, whose `..` is not where the path seems to
        // lead.
        symlink(at("real"), at("etc/door")).unwrap();
        symlink("door/../real/second", at("etc/link")).unwrap();
        symlink(at("real/file"), at("real/second")).unwrap();
        if let Some(file_mode) = file_mode {
            fs::write(at("real/file"), "old").unwrap();
            fs::set_permissions(at("real/file"), Permissions::from_mode(file_mode)).unwrap();
        }
        let (link, file) = (at("etc/link"), at("real/file"));
        (folder, link, file)
    }

    #[test]
    fn what_a_link_stands_for_is_written_and_the_link_stays() {
        for (before, after) in
            [(None, 0o644), (Some(0o644), 0o644), (Some(0o600), 0o600), (Some(0o666), 0o644), (Some(0o4775), 0o755)]
        {
            let (_folder, link, file) = linked(before);
            write_atomically(&link, b"new").unwrap();
            assert!(link.is_symlink());
            assert_eq!((fs::read_to_string(&file).unwrap(), mode(&file)), ("new".into(), after), "{before:?}");
            assert_eq!(read(&link).unwrap(), "new");
            let beside = fs::read_dir(folder(&file)).unwrap().count();
            assert_eq!(beside, 2, "nothing is left over");
        }
    }

    #[test]
    fn an_owner_stays() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let (_folder, link, file) = linked(Some(0o640));
        std::os::unix::fs::chown(&file, Some(1234), Some(5678)).unwrap();
        write_atomically(&link, b"new").unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_eq!((after.uid(), after.gid(), mode(&file)), (1234, 5678, 0o640));
    }

    #[test]
    fn a_circle_a_device_and_a_directory_are_refused_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink("second", at("first")).unwrap();
        symlink("first", at("second")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        for name in ["first", "null", "directory", "fifo"] {
            write_atomically(&at(name), b"new").unwrap_err();
            read(&at(name)).unwrap_err();
        }
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(at("first").is_symlink() && at("null").is_symlink() && at("directory").is_dir());
    }

    #[test]
    fn a_link_into_nothing_is_told_with_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("not/there", &link).unwrap();
        let error = write_atomically(&link, b"new").unwrap_err();
        assert!(error.to_string().contains("not/there"), "{error}");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn writers_of_the_file_and_of_every_directory_on_the_way_are_found() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let (folder, link, file) = linked(Some(0o644));
        assert_eq!(writers(&link), []);
        for (path, mode, owner) in [
            (&file, 0o666, None),
            (&file, 0o644, Some(1234)),
            (&folder.path().join("etc"), 0o777, None),
            (&folder.path().join("real"), 0o775, Some(0)),
        ] {
            let before = fs::metadata(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            std::os::unix::fs::chown(path, owner, Some(5678)).unwrap();
            let found: Vec<_> = writers(&link).into_iter().map(|(path, _)| path).collect();
            assert_eq!(found, [path.canonicalize().unwrap()]);
            std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
            fs::set_permissions(path, before.permissions()).unwrap();
        }
        assert_eq!(writers(&link), []);
    }
}
