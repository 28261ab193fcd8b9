//! What local users can do to the daemons: look. They change nothing without permission, keep no
//! daemon from starting and nobody else out, whatever they do with the control socket.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dlmp_testbed::{Environment, Namespace, Pins};
use dlmp_tests::{Guest, Peer, VirtualHost, refused, run, typed, wait_for};
use nix::sys::signal::Signal;

/// Takes all capabilities away for good, as a container's runtime does.
const WITHOUT: &str = "setpriv --bounding-set=-all --inh-caps=-all --no-new-privs";
/// Hides the runtime directory, as in a container, whose `/run` is its own.
const HIDDEN: &str = "mount -t tmpfs none /run && exec";

/// A line of `dlmp`, by its real path: the links to it may be hidden.
fn line(dlmp: &Environment, line: &str) -> String {
    format!("{} {line}", fs::canonicalize(dlmp.bin().join("dlmp")).unwrap().display())
}

/// The directory of the daemon's control socket.
fn sockets(dlmp: &Environment) -> PathBuf {
    let found = fs::read_dir(dlmp.runtime_dir()).unwrap().map(|entry| entry.unwrap().path());
    let mut all = found.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("netns-"));
    let directory = all.next().unwrap();
    assert_eq!(all.next(), None);
    directory
}

fn vnics(guest: &Guest) -> String {
    typed(&guest.dlmp, "dladm show-vnic -p -o link")
}

fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn root_of_a_container_that_shares_the_network_namespace_may_look_but_not_change() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 v0");
    let path = sockets(&guest.dlmp).join("dlmpd.sock");
    for (container, weakness) in [
        (format!("unshare -m sh -c '{HIDDEN} {WITHOUT} \"$@\"' sh"), "CAP_NET_ADMIN"),
        (format!("unshare -m -p -f --mount-proc sh -c '{HIDDEN} {WITHOUT} \"$@\"' sh"), "CAP_NET_ADMIN"),
        // With all capabilities but that one, and with all of them where they mean nothing here.
        (
            format!("unshare -m sh -c '{HIDDEN} setpriv --bounding-set=-net_admin --inh-caps=-net_admin \"$@\"' sh"),
            "does not have CAP_NET_ADMIN",
        ),
        (format!("unshare -U -r -m sh -c '{HIDDEN} \"$@\"' sh"), "in another user namespace"),
    ] {
        let inside = |command: &str| format!("{container} {}", line(&guest.dlmp, command));
        let shown = typed(&guest.dlmp, &inside("show-aggr -x"));
        assert_eq!(shown, typed(&guest.dlmp, "dladm show-aggr -x"), "{container}");
        for command in ["delete-vnic v0", "create-vnic -l aggr0 v1", "set-linkprop -p probe-fdt=9 aggr0"] {
            let message = refused(&guest.dlmp, &inside(command));
            for word in ["may look but not change", weakness, path.to_str().unwrap(), "DLMP_RUNTIME_DIR"] {
                assert!(message.contains(word), "{container} {command}: {message}");
            }
        }
        assert_eq!(vnics(&guest), "v0\n");
    }
}

#[test]
fn root_with_power_over_the_network_namespace_changes_things_from_wherever_it_is() {
    let guest = Guest::with_aggregation(Pins::None);
    let elsewhere = [
        format!("unshare -m sh -c '{HIDDEN} \"$@\"' sh"),
        "env DLMP_RUNTIME_DIR=/nonexistent".to_owned(),
        format!("unshare -m -p -f --mount-proc sh -c '{HIDDEN} setpriv --bounding-set=-all,+net_admin \"$@\"' sh"),
        // By the file no capability is asked for: who reaches it was let in.
        WITHOUT.to_owned(),
    ];
    for (at, wrapper) in elsewhere.iter().enumerate() {
        typed(&guest.dlmp, &format!("{wrapper} {}", line(&guest.dlmp, &format!("create-vnic -l aggr0 v{at}"))));
    }
    assert_eq!(vnics(&guest), "v0\nv1\nv2\nv3\n");
}

#[test]
fn a_caller_whose_process_is_out_of_sight_changes_things_by_the_file_alone() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.end_daemon(Signal::SIGTERM);
    let mut command = guest.dlmp.line("exec unshare -p -f --mount-proc dlmpd");
    let mut daemon = Running(command.stderr(Stdio::null()).spawn().unwrap());
    wait_for("the daemon answers", || run(&mut guest.dlmp.line("dladm show-aggr")).code == 0);
    let hidden = format!("unshare -m sh -c '{HIDDEN} \"$@\"' sh");
    let message = refused(&guest.dlmp, &format!("{hidden} {}", line(&guest.dlmp, "create-vnic -l aggr0 v1")));
    assert!(message.contains("out of sight, in another PID namespace"), "{message}");
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 v2");
    assert_eq!(vnics(&guest), "v2\n");
    guest.end_daemon(Signal::SIGTERM);
    let _ = daemon.0.wait();
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn members_of_the_group_change_things_and_others_do_not() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.end_daemon(Signal::SIGTERM);
    // The group is in a file of its own, which only the daemon sees.
    let groups = guest.dlmp.runtime_dir().join("group");
    fs::write(&groups, "root:x:0:\ndlmp:x:4242:\n").unwrap();
    let mounted = format!("mount --bind {} /etc/group && exec dlmpd", groups.display());
    let mut command = guest.dlmp.line(&format!("exec unshare -m sh -c '{mounted}'"));
    let _daemon = Running(command.stderr(Stdio::null()).spawn().unwrap());
    wait_for("the daemon answers", || run(&mut guest.dlmp.line("dladm show-aggr")).code == 0);
    let path = sockets(&guest.dlmp).join("dlmpd.sock");
    wait_for("the socket is the group's", || fs::metadata(&path).is_ok_and(|file| file.gid() == 4242));
    let directory = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!((directory.uid(), directory.gid(), directory.mode() & 0o7777), (0, 4242, 0o750));
    wait_for("the group may connect", || fs::metadata(&path).unwrap().mode() & 0o7777 == 0o660);

    let program = std::env::temp_dir().join(format!("{}-group", guest.namespace.name()));
    fs::copy(guest.dlmp.bin().join("dlmp"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let member = format!("setpriv --reuid=65534 --regid=65534 --groups=4242 {}", program.display());
    typed(&guest.dlmp, &format!("{member} create-vnic -l aggr0 v1"));
    for stranger in ["--groups=4243", "--clear-groups"] {
        let stranger = format!("setpriv --reuid=65534 --regid=65534 {stranger} {}", program.display());
        let message = refused(&guest.dlmp, &format!("{stranger} delete-vnic v1"));
        assert!(message.contains("usermod -a -G dlmp") && !message.contains("groupadd"), "{message}");
    }
    // By the name the group alone is no permission: a container gives its processes what groups it
    // likes.
    let contained = format!("unshare -m sh -c '{HIDDEN} setpriv --reuid=65534 --regid=4242 --clear-groups \"$@\"' sh");
    let message = refused(&guest.dlmp, &format!("{contained} {} delete-vnic v1", program.display()));
    assert!(message.contains("may look but not change"), "{message}");
    assert_eq!(vnics(&guest), "v1\n");
    fs::remove_file(program).unwrap();
}

#[test]
fn the_manager_of_virtual_networks_obeys_nobody_else_either() {
    let host = VirtualHost::built();
    let dlmp = host.dlmp();
    for container in [
        format!("unshare -m sh -c '{HIDDEN} {WITHOUT} \"$@\"' sh"),
        format!("unshare -U -r -m sh -c '{HIDDEN} \"$@\"' sh"),
    ] {
        let inside = |command: &str| format!("{container} {}", line(dlmp, command));
        typed(dlmp, &inside("list-domain"));
        host.refused(&inside("rm-vnet vnet6 ldg6"), &["may look but not change", "ldmd.sock"]);
        host.refused(&inside("add-domain other"), &["may look but not change"]);
    }
    let other = Namespace::new("ee", "other").unwrap();
    let add = format!("add-domain --netns {} other", other.name());
    typed(dlmp, &format!("env DLMP_RUNTIME_DIR=/nonexistent {}", line(dlmp, &add)));
    host.typed("ldm rm-domain other");
}

#[test]
fn whoever_has_the_name_keeps_no_daemon_from_its_work() {
    let guest = Guest::with_aggregation(Pins::None);
    let lines = |pid: u32, user: u32| {
        let log = fs::read_to_string(guest.dlmp.runtime_dir().join("dlmpd.log")).unwrap();
        log.lines()
            .filter(|line| line.contains(&format!("process {pid} (python")))
            .any(|line| line.contains(&format!("of user {user}")) && line.contains("@io.dlmp.dlmpd"))
    };
    for (wrapper, what, user) in [
        ("env", "squat-listening", 65534),
        ("env", "squat-bound", 1234),
        // Root of a container.
        (WITHOUT, "squat-listening", 0),
        ("unshare -U -r", "squat-bound", 0),
    ] {
        guest.end_daemon(Signal::SIGKILL);
        let squatter = Peer::local_user(&guest.namespace, wrapper, &format!("--user {user} {what}"));
        guest.start_daemon();
        assert!(lines(squatter.process(), user), "{what} of {user} is named in the log");
        typed(&guest.dlmp, "dladm create-vnic -l aggr0 v1");
        typed(&guest.dlmp, "dladm delete-vnic v1");
        let (busy, _) = guest.busy_and_idle_port();
        guest.unplug(busy);
        guest.wait_for_state(busy, "down");
        guest.wait_until_reachable();
        guest.plug(busy);
        guest.wait_for_state(busy, "up");
        let message = refused(&guest.dlmp, "dlmpd");
        let [first] = guest.dlmp.daemons()[..] else { panic!("not one daemon") };
        assert!(message.contains("another dlmpd serves") && message.contains(&format!("{first} (dlmpd)")), "{message}");

        drop(squatter);
        let by_name = format!("env DLMP_RUNTIME_DIR=/nonexistent {}", line(&guest.dlmp, "show-aggr"));
        wait_for("the daemon has its name", || run(&mut guest.dlmp.line(&by_name)).code == 0);
    }
}

#[test]
fn a_command_starts_the_daemon_though_somebody_has_its_name() {
    for (what, user) in [("squat-listening", 65534), ("squat-bound", 65534), ("squat-listening", 1234)] {
        let guest = Guest::new(Pins::None);
        let _squatter = Peer::local_user(&guest.namespace, "env", &format!("--user {user} {what}"));
        typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
        assert_eq!(typed(&guest.dlmp, "dladm show-aggr -p -o link"), "aggr0\n");
    }
}

#[test]
fn the_manager_of_virtual_networks_starts_without_its_name() {
    let host = VirtualHost::built();
    let other = Namespace::new("ee", "other").unwrap();
    for (wrapper, what, user) in [("env", "squat-listening", 65534), (WITHOUT, "squat-bound", 0)] {
        host.scene.primary.end(Signal::SIGKILL).unwrap();
        let line = format!("--user {user} --name io.dlmp.ldmd {what}");
        let squatter = Peer::local_user(host.primary(), wrapper, &line);
        host.scene.primary.start().unwrap();
        assert!(host.scene.primary.log().contains(&format!("process {} (python", squatter.process())));
        host.typed(&format!("ldm add-domain --netns {} other", other.name()));
        host.typed("ldm rm-domain other");
    }
}

#[test]
fn a_lock_of_somebody_else_on_the_file_beside_the_configuration_keeps_no_daemon_from_starting() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.end_daemon(Signal::SIGTERM);
    let lock = guest.dlmp.config().with_extension("toml.lock");
    assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
    // As daemons before this one made it.
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    let _locker = Peer::local_user(&guest.namespace, "env", &format!("lock {}", lock.display()));
    guest.start_daemon();
    assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
    assert!(refused(&guest.dlmp, "dlmpd").contains("another dlmpd"));
}

#[test]
fn sockets_from_systemd_are_served_and_one_for_everybody_is_for_looking() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.end_daemon(Signal::SIGTERM);
    let script = guest.dlmp.runtime_dir().join("activate.py");
    fs::write(
        &script,
        "import os, socket, sys\n\
         fds = []\n\
         for path, mode in zip(sys.argv[1::2], sys.argv[2::2]):\n    \
             s = socket.socket(socket.AF_UNIX)\n    \
             s.bind(path.replace('@', '\\0'))\n    \
             s.listen()\n    \
             if not path.startswith('@'): os.chmod(path, int(mode, 8))\n    \
             fds.append(os.dup(s.fileno()))\n\
         for at, fd in enumerate(fds): os.dup2(fd, 100 + at)\n\
         for at in range(len(fds)): os.dup2(100 + at, 3 + at)\n\
         os.closerange(3 + len(fds), 200)\n\
         os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()))\n\
         os.execvp('dlmpd', ['dlmpd'])\n",
    )
    .unwrap();
    let [closed, open] = ["closed.sock", "open.sock"].map(|name| guest.dlmp.runtime_dir().join(name));
    let command =
        format!("exec python3 {} @io.dlmp.dlmpd 0 {} 660 {} 666", script.display(), closed.display(), open.display());
    let _daemon = Running(guest.dlmp.line(&command).stderr(Stdio::null()).spawn().unwrap());
    wait_for("the daemon answers", || run(&mut guest.dlmp.line("dladm show-aggr")).code == 0);
    let ask = |path: &Path, user: u32, method: &str, parameters: &str| {
        let program = format!(
            "import os, socket; os.setgroups([]); os.setuid({user}); s = socket.socket(socket.AF_UNIX); s.connect(\"{}\")\n\
             s.sendall(b\"\"\"{{\"method\": \"io.dlmp.Aggregation.{method}\", \"parameters\": {parameters}}}\\0\"\"\")\n\
             print(s.recv(65536).decode())",
            path.display()
        );
        run(guest.dlmp.command("python3").args(["-c", &program])).output
    };
    let delete = r#"{"name": "v1", "temporary": false}"#;
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 v1");
    assert!(ask(&open, 65534, "ListVnics", "{}").contains("v1"));
    assert!(ask(&open, 65534, "DeleteVnic", delete).contains("NotPermitted"));
    assert_eq!(vnics(&guest), "v1\n");
    assert!(!ask(&closed, 0, "DeleteVnic", delete).contains("NotPermitted"));
    assert_eq!(vnics(&guest), "");
}

/// How long root's commands may take while others do their worst: far longer than they do, far less
/// than it would take if they waited for the others.
const QUICK: Duration = Duration::from_secs(5);

#[test]
fn nobody_fills_the_daemon_with_messages_or_keeps_root_waiting_by_connections() {
    let guest = Guest::with_aggregation(Pins::None);
    let [daemon] = guest.dlmp.daemons()[..] else { panic!("not one daemon") };
    for (wrapper, line) in [
        ("env", "--count 40 flood"),
        ("env", "--count 1500 --user 1234 idle"),
        (WITHOUT, "--count 40 --user 0 flood"),
        (WITHOUT, "--count 1500 --user 0 idle"),
    ] {
        let before = resident_kib(daemon);
        let _user = Peer::local_user(&guest.namespace, &format!("prlimit --nofile=4096 {wrapper}"), line);
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            let start = Instant::now();
            typed(&guest.dlmp, "dladm create-vnic -l aggr0 v1");
            typed(&guest.dlmp, "dladm show-aggr -x");
            typed(&guest.dlmp, "dladm delete-vnic v1");
            assert!(start.elapsed() < QUICK * 3, "{line}: {:?}", start.elapsed());
            thread::sleep(Duration::from_millis(100));
        }
        let grown = resident_kib(daemon).saturating_sub(before);
        assert!(grown < 32 << 10, "{line}: {grown} KiB more");
    }
    let log = fs::read_to_string(guest.dlmp.runtime_dir().join("dlmpd.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("control socket:")).count();
    assert!((1..10).contains(&lines), "{lines} lines in the log");
}

#[test]
fn a_message_that_does_not_end_is_not_waited_for() {
    let guest = Guest::with_aggregation(Pins::None);
    let mut users = [
        Peer::local_user(&guest.namespace, "env", "drip"),
        Peer::local_user(&guest.namespace, WITHOUT, "--user 0 drip"),
    ];
    for user in &mut users {
        assert_eq!(user.next_line(), "closed");
    }
    typed(&guest.dlmp, "dladm show-aggr");
}

#[test]
fn who_has_too_many_connections_is_told_so_and_others_are_served() {
    let guest = Guest::with_aggregation(Pins::None);
    let program = std::env::temp_dir().join(format!("{}-crowd", guest.namespace.name()));
    fs::copy(guest.dlmp.bin().join("dlmp"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let look = |user: u32| {
        let line = format!("setpriv --reuid={user} --regid={user} --clear-groups {} show-aggr", program.display());
        run(&mut guest.dlmp.line(&line))
    };
    for user in [65534, 1234] {
        let crowd = Peer::local_user(&guest.namespace, "env", &format!("--user {user} --count 200 idle"));
        wait_for("the user has too many", || look(user).code == 1);
        assert_eq!(look(user + 1).code, 0, "another user is served");
        wait_for("it is told why", || look(user).message.contains("no user may have more"));
        drop(crowd);
        wait_for("the user is served again", || look(user).code == 0);
    }
    fs::remove_file(program).unwrap();
}
