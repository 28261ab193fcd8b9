//! Network namespaces without names for the tests: they end with the threads and descriptors that
//! hold them, so that nothing is left behind, however a test ends.

// Each test program uses only a part of this, and whatever fails here fails the test.
#![allow(dead_code, clippy::expect_used)]

use std::fs::File;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::process::Command;

use dlmp_netlink::Namespace;
use nix::sched::{CloneFlags, unshare};

/// Runs a test in a fresh network namespace, on a thread of its own.
pub fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    let outcome = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (are you root?)");
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(test());
            })
            .join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Another network namespace, beside that of the test.
pub struct OtherNamespace(File);

impl OtherNamespace {
    pub fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (are you root?)");
            File::open("/proc/thread-self/ns/net").expect("the namespace's file")
        };
        Self(std::thread::spawn(make).join().expect("the thread"))
    }

    /// A path that names it to other programs.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The crate's own view of it.
    pub fn open(&self) -> Namespace {
        Namespace::open(self.path().as_ref()).expect("the namespace")
    }

    /// Runs `ip` with these arguments in it.
    pub fn ip(&self, arguments: &str) {
        run(&format!("nsenter --net={} ip {arguments}", self.path()));
    }
}

/// Runs `ip` with these arguments in the test's namespace.
pub fn ip(arguments: &str) {
    run(&format!("ip {arguments}"));
}

/// Runs a command in the test's namespace and gives what it printed.
pub fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a command");
    let output = Command::new(program).args(words).output().expect(program);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {complaint}");
    String::from_utf8(output.stdout).expect("text")
}

/// A veth pair with the same index at both ends, the far one in `other`. The kernel holds back
/// carrier events of such a link as it does those of a NIC; links with two indexes are exempt
/// (linkwatch_urgent_event in net/core/link_watch.c).
pub fn nic_like_pair(near: &str, index: u32, other: &OtherNamespace) {
    let path = other.path();
    ip(&format!("link add {near} index {index} type veth peer name {near} index {index} netns {path}"));
    ip(&format!("link set {near} up"));
    other.ip(&format!("link set {near} up"));
}
