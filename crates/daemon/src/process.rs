//! What the kernel tells of another process (proc_pid_status(5)).

use std::fs;

/// The value of a line of a process's status.
fn status(process: i32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Its real user. The owner of its directory would not do: that is root for whoever forbids to be
/// dumped.
pub(crate) fn user(process: i32) -> Option<u32> {
    status(process, "Uid")?.split_whitespace().next()?.parse().ok()
}
