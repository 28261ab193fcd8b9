//! Commands as a user types them, what they print, and waiting for what they cause.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use dlmp_testbed::{Environment, Namespace};
use serde_json::Value;

/// How long anything may take that a test waits for. Nothing is expected to take this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How a command ended and what it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub message: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        output: String::from_utf8(output.stdout).unwrap(),
        message: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Types a line that has to succeed and returns what it printed.
pub fn typed(dlmp: &Environment, line: &str) -> String {
    let outcome = run(&mut dlmp.line(line));
    assert_eq!(outcome.code, 0, "`{line}`: {outcome:?}");
    outcome.output
}

/// Types a line that has to be refused with exit code 1 and returns the message.
pub fn refused(dlmp: &Environment, line: &str) -> String {
    let outcome = run(&mut dlmp.line(line));
    assert_eq!(outcome.code, 1, "`{line}`: {outcome:?}");
    assert_eq!(outcome.output, "", "`{line}` printed something though it was refused");
    outcome.message
}

/// Types a line that has to succeed and reads what it printed as JSON.
pub fn json(dlmp: &Environment, line: &str) -> Value {
    serde_json::from_str(&typed(dlmp, line)).unwrap()
}

/// What `ip -j ARGUMENTS` tells of a namespace; `Null` where it has nothing to tell or fails.
pub fn ip_json(namespace: &Namespace, arguments: &str) -> Value {
    let outcome = run(Command::new("ip").args(["-n", namespace.name(), "-j", "-d"]).args(arguments.split(' ')));
    serde_json::from_str(&outcome.output).unwrap_or_default()
}

/// Waits until `holds` says so.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
