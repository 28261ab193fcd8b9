//! The daemons' files stay where the administrator has put them and are written by nobody else; and
//! a daemon outlives the terminal that it was started from.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Stdio};

use dlmp_testbed::{Environment, Namespace, Pins};
use dlmp_tests::{Guest, VirtualHost, run, typed, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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

/// Types a line into a shell with a terminal of its own, waits until `ready`, and takes the
/// terminal away.
fn in_a_terminal(dlmp: &Environment, line: &str, ready: impl FnMut() -> bool) {
    let mut command = dlmp.command("script");
    command.args(["-q", "-f", "-c", line, "/dev/null"]).stdin(Stdio::null()).stdout(Stdio::null());
    let terminal = Running(command.spawn().unwrap());
    wait_for("the daemon answers", ready);
    drop(terminal);
}

#[test]
fn a_daemon_outlives_its_terminal_and_goes_on_at_a_hang_up() {
    let guest = Guest::with_aggregation(Pins::None);
    for line in [
        // In the group that the terminal ends, and in one that it stops when it writes.
        "dlmpd & sleep 600",
        "stty tostop; set -m; dlmpd & sleep 600",
        "RUST_LOG=debug dlmpd",
    ] {
        guest.end_daemon(Signal::SIGTERM);
        in_a_terminal(&guest.dlmp, line, || run(&mut guest.dlmp.line("dladm show-aggr")).code == 0);
        let daemons = guest.dlmp.daemons();
        let [pid] = daemons[..] else { panic!("{line}: not one daemon but {daemons:?}") };
        for signal in [Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGTTOU, Signal::SIGTTIN, Signal::SIGHUP] {
            kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
        }
        // Of all this something is logged, to a terminal that is not there any more.
        let (busy, _) = guest.busy_and_idle_port();
        guest.unplug(busy);
        guest.wait_for_state(busy, "down");
        guest.wait_until_reachable();
        guest.plug(busy);
        guest.wait_for_state(busy, "up");
        assert_eq!(guest.dlmp.daemons(), [pid], "{line}");
    }
}

/// Whether a process ignores or handles SIGHUP (proc_pid_status(5)): what comes before it does
/// nobody can help.
fn sees_to_hang_ups(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut masks = status.lines().filter_map(|line| line.strip_prefix("SigIgn:").or(line.strip_prefix("SigCgt:")));
    masks.any(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 1 != 0)
}

#[test]
fn a_hang_up_while_a_daemon_starts_ends_neither_daemon() {
    let guest = Guest::with_aggregation(Pins::None);
    let host = VirtualHost::bare();
    host.scene.primary.end(Signal::SIGTERM).unwrap();
    guest.end_daemon(Signal::SIGTERM);
    for (name, mut command, dlmp, show) in [
        ("dlmpd", guest.dlmp.command("dlmpd"), &guest.dlmp, "dladm show-aggr"),
        ("ldmd", host.scene.primary.command(), host.dlmp(), "ldm list"),
    ] {
        let log = dlmp.runtime_dir().join("hang-up.log");
        let mut daemon = Running(command.stdin(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap());
        let running = || if name == "ldmd" { dlmp.managers() } else { dlmp.daemons() };
        wait_for("it sees to hang-ups", || running().first().is_some_and(|pid| sees_to_hang_ups(*pid)));
        wait_for("it answers", || {
            for pid in running() {
                let _ = kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGHUP);
            }
            run(&mut dlmp.line(show)).code == 0
        });
        let [pid] = running()[..] else { panic!("{name} does not run") };
        // Told when the signal has been taken up, which may be after an answer.
        wait_for("it says that it goes on", || {
            kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGHUP).unwrap();
            fs::read_to_string(&log).unwrap().contains(&format!("SIGHUP: {name} goes on"))
        });
        kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert!(daemon.0.wait().unwrap().success());
    }
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_no_daemon() {
    let guest = Guest::with_aggregation(Pins::None);
    for reader in ["head -n 1", "true"] {
        guest.end_daemon(Signal::SIGTERM);
        let mut command = guest.dlmp.line(&format!("RUST_LOG=debug dlmpd 2>&1 | {reader}"));
        let _shell = Running(command.stdout(Stdio::null()).spawn().unwrap());
        wait_for("the daemon answers", || run(&mut guest.dlmp.line("dladm show-aggr")).code == 0);
        let [pid] = guest.dlmp.daemons()[..] else { panic!("{reader}: no daemon") };
        kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGHUP).unwrap();
        typed(&guest.dlmp, "dladm create-vnic -l aggr0 v1");
        typed(&guest.dlmp, "dladm delete-vnic v1");
        assert_eq!(guest.dlmp.daemons(), [pid]);
    }
}
