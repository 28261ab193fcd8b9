//! The daemons' files stay where the administrator has put them and are written by nobody else; and
//! a daemon outlives the terminal that it was started from.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Stdio};

use dlmp_testbed::{Namespace, Pins};
use dlmp_tests::{Guest, VirtualHost, run, typed, wait_for};
use nix::sys::signal::Signal;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Puts the file elsewhere and a chain of links in its place: a relative one, through a directory
/// that is a link, to another one.
fn move_away(file: &Path, elsewhere: &Path) {
    let name = file.file_name().unwrap();
    fs::create_dir(elsewhere).unwrap();
    fs::rename(file, elsewhere.join(name)).unwrap();
    symlink(elsewhere, file.with_file_name("door")).unwrap();
    symlink(name, elsewhere.join("second")).unwrap();
    symlink("door/second", file).unwrap();
}

#[test]
fn a_configuration_behind_links_stays_there_and_nobody_else_may_write_it() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.end_daemon(Signal::SIGTERM);
    let (link, elsewhere) = (guest.dlmp.config(), guest.dlmp.config().with_file_name("elsewhere"));
    move_away(&link, &elsewhere);
    let file = elsewhere.join("dlmpd.toml");
    for (before, after) in [(0o600, 0o600), (0o666, 0o644)] {
        fs::set_permissions(&file, Permissions::from_mode(before)).unwrap();
        std::os::unix::fs::chown(&file, Some(0), Some(0)).unwrap();
        // A mode that comes from nowhere else than the daemon.
        let mut daemon = guest.dlmp.line("umask 0; exec dlmpd");
        let mut daemon = Running(daemon.stderr(Stdio::null()).spawn().unwrap());
        wait_for("the daemon answers", || run(&mut guest.dlmp.line("dladm show-aggr")).code == 0);
        typed(&guest.dlmp, "dladm create-vnic -l aggr0 v1");
        assert!(link.is_symlink() && elsewhere.join("second").is_symlink());
        assert_eq!(mode(&file), after);
        assert!(fs::read_to_string(&file).unwrap().contains("v1"));
        typed(&guest.dlmp, "dladm delete-vnic v1");
        for entry in walk(&guest.dlmp.runtime_dir()) {
            assert_eq!(mode(&entry) & 0o002, 0, "{}", entry.display());
        }
        guest.end_daemon(Signal::SIGTERM);
        let _ = daemon.0.wait();
    }
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let netns = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let netns = netns.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("netns-"));
    netns
        .flat_map(|path| {
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).chain([path.clone()]).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn a_link_to_a_file_that_is_not_there_yet_gets_its_file_and_one_into_nothing_is_told() {
    let guest = Guest::new(Pins::None);
    let file = guest.dlmp.config().with_file_name("real.toml");
    symlink("real.toml", guest.dlmp.config()).unwrap();
    typed(&guest.dlmp, "dladm create-aggr -l net0 aggr0");
    assert!(guest.dlmp.config().is_symlink());
    assert_eq!(mode(&file), 0o644);
    fs::remove_file(guest.dlmp.config()).unwrap();
    symlink("not/there.toml", guest.dlmp.config()).unwrap();
    let outcome = run(&mut guest.dlmp.line("dladm add-aggr -l net1 aggr0"));
    assert!(outcome.code == 1 && outcome.message.contains("not/there.toml"), "{outcome:?}");
    assert_eq!(typed(&guest.dlmp, "dladm show-aggr -x -p -o port aggr0"), "\nnet0\n");
}

#[test]
fn the_configuration_of_virtual_networks_stays_behind_its_links_too() {
    let host = VirtualHost::bare();
    host.scene.primary.end(Signal::SIGTERM).unwrap();
    let link = host.scene.primary.config();
    fs::write(&link, "").unwrap();
    fs::set_permissions(&link, Permissions::from_mode(0o664)).unwrap();
    let elsewhere = link.with_file_name("elsewhere");
    move_away(&link, &elsewhere);
    std::os::unix::fs::chown(elsewhere.join("ldmd.toml"), None, Some(4242)).unwrap();
    host.scene.primary.start().unwrap();
    assert!(host.scene.primary.log().contains("can be changed by others than root (group 4242, by mode 0664)"));
    let other = Namespace::new("ee", "other").unwrap();
    host.typed(&format!("ldm add-domain --netns {} other", other.name()));
    assert!(link.is_symlink());
    let file = fs::metadata(elsewhere.join("ldmd.toml")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.gid()), (0o644, 4242));
}

#[test]
fn a_daemon_says_at_its_start_that_others_could_write_its_files() {
    let guest = Guest::with_aggregation(Pins::None);
    let directory = guest.dlmp.config().with_file_name("etc");
    fs::create_dir(&directory).unwrap();
    let moved = directory.join("dlmpd.toml");
    fs::rename(guest.dlmp.config(), &moved).unwrap();
    symlink(&moved, guest.dlmp.config()).unwrap();
    let log = || fs::read_to_string(guest.dlmp.runtime_dir().join("dlmpd.log")).unwrap();
    assert!(!log().contains("can be changed by others"));
    for (path, mode, owner, words) in [
        (&moved, 0o646, 0, "everybody, by mode 0646"),
        (&moved, 0o644, 1234, "user 1234, who owns it"),
        (&directory, 0o757, 0, "everybody, by mode 0757"),
    ] {
        let before = fs::metadata(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(path, Some(owner), None).unwrap();
        guest.end_daemon(Signal::SIGTERM);
        guest.start_daemon();
        let told = format!("{} can be changed by others than root ({words})", path.display());
        assert!(log().contains(&told), "{told}:\n{}", log());
        fs::set_permissions(path, before.permissions()).unwrap();
        std::os::unix::fs::chown(path, Some(0), None).unwrap();
    }
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
