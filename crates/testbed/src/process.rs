//! Finds the processes of a network namespace and ends them, each by its process id.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long processes may take to end after SIGTERM before SIGKILL follows.
const GRACE: Duration = Duration::from_secs(2);

/// Where `ip netns add` keeps the namespace `name` (ip-netns(8)).
pub(crate) fn namespace_file(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Process ids of all processes in the network namespace `name`, this process excepted.
pub(crate) fn in_namespace(name: &str) -> Vec<u32> {
    let Ok(namespace) = fs::metadata(namespace_file(name)) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != std::process::id())
        .filter(|pid| {
            // Fails for a zombie, which has left its namespaces and counts as gone.
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|of_process| (of_process.dev(), of_process.ino()) == (namespace.dev(), namespace.ino()))
        })
        .collect()
}

/// Ends the processes that `select` finds: SIGTERM first, SIGKILL for those that stay.
pub(crate) fn end(select: impl Fn() -> Vec<u32>) {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let deadline = Instant::now() + GRACE;
        let mut pids = select();
        for &pid in &pids {
            send(pid, signal);
        }
        while !pids.is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
            pids = select();
        }
        if pids.is_empty() {
            return;
        }
    }
}

/// Sends `signal` to one process; it may have ended meanwhile.
fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
