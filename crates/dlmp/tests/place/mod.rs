//! A place to run the command in: a network namespace without a name, which is gone with the last
//! process and socket in it, and a directory of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// A network namespace and a directory, for one thread.
pub struct Place {
    directory: PathBuf,
}

/// What a command did.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs a test in a place of its own. The name keeps the directories apart.
pub fn within(name: &str, test: impl FnOnce(&Place) + Send) {
    let directory = std::env::temp_dir().join(format!("dlmp-cmd-{}-{name}", std::process::id()));
    let place = Place { directory };
    fs::create_dir(&place.directory).unwrap();
    // A copy, since the build's directory may be closed to other users.
    fs::copy(env!("CARGO_BIN_EXE_dlmp"), place.path("dlmp")).unwrap();
    for program in ["dladm", "dlstat", "ipadm", "ldm"] {
        symlink("dlmp", place.path(program)).unwrap();
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces need root: sudo make test");
            test(&place);
        });
    });
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Place {
    /// A file of the directory, where the programs are too.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a program beside the command.
    pub fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a line of one of our programs.
    pub fn run(&self, line: &str) -> Outcome {
        outcome(self.command(line))
    }

    /// The same as a user without privileges.
    pub fn run_as_nobody(&self, line: &str) -> Outcome {
        let mut command = self.command(line);
        command.uid(NOBODY).gid(NOBODY);
        outcome(command)
    }

    /// A line of one of our programs, to be run.
    pub fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = Command::new(self.path(words.next().unwrap()));
        // No PATH: a dlmpd that is installed on this machine must not be found.
        command.args(words).env("PATH", "").env("DLMP_RUNTIME_DIR", self.path("run"));
        command
    }

    /// Runs `ip`(8), which must succeed.
    pub fn ip(&self, line: &str) {
        ip(&line.split_whitespace().collect::<Vec<_>>());
    }

    /// Sets a link's alias.
    pub fn alias(&self, link: &str, alias: &str) {
        ip(&["link", "set", link, "alias", alias]);
    }
}

fn ip(words: &[&str]) {
    let mut command = Command::new("ip");
    command.args(words);
    let ip = outcome(command);
    assert_eq!(ip.code, 0, "ip {words:?}: {}", ip.err);
}

fn outcome(mut command: Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().expect("the command was killed"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
