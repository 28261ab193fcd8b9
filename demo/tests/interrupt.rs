//! An interrupted demo leaves nothing behind. Needs root.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Programs that never come to an end, in a directory that is removed at the end.
struct EndlessPrograms(PathBuf);

impl EndlessPrograms {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dlmp-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for program in ["dlmp", "dlmpd", "ldmd"] {
            let file = directory.join(program);
            fs::write(&file, "#!/bin/sh\nexec sleep 1000\n").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        }
        Self(directory)
    }
}

impl Drop for EndlessPrograms {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What exists in `directory` for the demo with this process id.
fn belongings(directory: &str, pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&format!("dlmp-demo-{pid}-"))).collect()
}

/// Starts the demo and waits until its first program runs, which is `ldmd` in `primary`.
fn start(programs: &EndlessPrograms) -> Child {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_dlmp-demo"))
        .arg("--bpffs")
        .env("DLMP_BIN_DIR", &programs.0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !sleeps_in_primary(demo.id()) {
        assert_eq!(demo.try_wait().unwrap(), None, "the demo ended by itself");
        thread::sleep(Duration::from_millis(10));
    }
    demo
}

fn sleeps_in_primary(demo: u32) -> bool {
    let namespaces = belongings("/run/netns", demo);
    let Some(primary) = namespaces.iter().find(|name| name.ends_with("-primary")) else {
        return false;
    };
    let listing = Command::new("ip").args(["netns", "pids", primary]).output().unwrap();
    let pids = String::from_utf8(listing.stdout).unwrap();
    pids.split_whitespace().any(|pid| {
        fs::read_to_string(Path::new("/proc").join(pid).join("comm")).is_ok_and(|comm| comm.trim() == "sleep")
    })
}

fn interrupted_by(signal: Signal) {
    let programs = EndlessPrograms::new(signal.as_str());
    let mut demo = start(&programs);
    let pid = demo.id();
    // The guest's would be made by ldmd.
    assert_eq!(belongings("/run/netns", pid).len(), 4);
    assert_eq!(belongings("/run/dlmp-testbed", pid).len(), 3);

    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(128 + signal as i32));
    assert_eq!(belongings("/run/netns", pid), [""; 0]);
    assert_eq!(belongings("/run/dlmp-testbed", pid), [""; 0]);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&format!("dlmp-demo-{pid}-")), "{mounts}");
}

#[test]
fn a_demo_ended_by_the_keyboard_cleans_up() {
    interrupted_by(Signal::SIGINT);
}

#[test]
fn a_demo_ended_by_a_service_manager_cleans_up() {
    interrupted_by(Signal::SIGTERM);
}
