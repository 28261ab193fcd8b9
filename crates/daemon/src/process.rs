//! What the kernel tells of another process (proc_pid_status(5)).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::{fmt, io};

/// A process, by its number or `self`.
fn status(process: impl fmt::Display, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Its real user. The owner of its directory would not do: that is root for whoever forbids to be
/// dumped.
pub(crate) fn user(process: i32) -> Option<u32> {
    status(process, "Uid")?.split_whitespace().next()?.parse().ok()
}

/// The name of its program.
pub(crate) fn name(process: i32) -> Option<String> {
    status(process, "Name")
}

/// Its effective capabilities, a bit each (capabilities(7)).
pub(crate) fn capabilities(process: impl fmt::Display) -> Option<u64> {
    u64::from_str_radix(&status(process, "CapEff")?, 16).ok()
}

/// Its user namespace, as device and inode (namespaces(7)).
///
/// # Errors
/// It has ended, or may not be looked at (ptrace(2), `PTRACE_MODE_READ`).
pub(crate) fn user_namespace(process: i32) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(format!("/proc/{process}/ns/user"))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A process that has one of these sockets open, by their inodes.
pub(crate) fn owner_of_socket(inodes: &[u64]) -> Option<i32> {
    let wanted: Vec<_> = inodes.iter().map(|inode| PathBuf::from(format!("socket:[{inode}]"))).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.find(|process: &i32| {
        let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        open.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| wanted.contains(&target))
    })
}
