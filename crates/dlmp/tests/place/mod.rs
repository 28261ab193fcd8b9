//! A place to run the command in: a network namespace without a name, which is gone with the last
//! process and socket in it, and a directory of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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
    install(Path::new(env!("CARGO_BIN_EXE_dlmp")), &place.path("dlmp"));
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
        let text_file = self.path("script");
        fs::write(&text_file, format!("#!/bin/sh\n{text}\n")).unwrap();
        install(&text_file, &self.path(name));
    }

    /// Runs a line of one of our programs.
    pub fn run(&self, line: &str) -> Outcome {
        outcome(&mut self.command(line))
    }

    /// The same as a user without privileges.
    pub fn run_as_nobody(&self, line: &str) -> Outcome {
        outcome(self.command(line).uid(NOBODY).gid(NOBODY))
    }

    /// A line of one of our programs, to be run.
    pub fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = Command::new(self.path(words.next().unwrap()));
        // No PATH: a dlmpd that is installed on this machine must not be found.
        command.args(words).env("PATH", "").env("DLMP_RUNTIME_DIR", self.path("run"));
        command
    }

    /// A script of the shell, which finds our programs only.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).env("PATH", &self.directory).env("DLMP_RUNTIME_DIR", self.path("run"));
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

/// Makes an executable file in another process: a file that is open for writing here may be so in
/// a child that another test starts at that moment, and cannot be run then.
fn install(from: &Path, to: &Path) {
    succeed(Command::new("install").args(["-m", "755"]).args([from, to]));
}

fn ip(words: &[&str]) {
    succeed(Command::new("ip").args(words));
}

fn succeed(command: &mut Command) {
    let outcome = outcome(command);
    assert_eq!(outcome.code, 0, "{command:?}: {}", outcome.err);
}

fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().expect("the command was killed"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
