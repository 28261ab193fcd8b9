//! IPv6 on and off for one link.

use std::path::PathBuf;
use std::{fs, io};

/// Whether IPv6 is switched off on a link; `None` when the kernel has no IPv6 (or no such link).
///
/// # Errors
/// Those of reading `/proc/sys`.
pub fn disabled(name: &str) -> io::Result<Option<bool>> {
    match knob(name).and_then(fs::read_to_string) {
        Ok(text) => Ok(Some(text.trim() != "0")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Switches IPv6 off or on for a link; nothing to do when the kernel has no IPv6.
///
/// # Errors
/// Those of writing `/proc/sys`, such as one that is mounted read-only.
pub fn set_disabled(name: &str, off: bool) -> io::Result<()> {
    match knob(name).and_then(|path| fs::write(path, if off { "1" } else { "0" })) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// `/proc/sys/net` shows the namespace of the calling thread, whatever is mounted on `/sys`.
fn knob(name: &str) -> io::Result<PathBuf> {
    // `all` and `default` stand there for the whole namespace and are no links.
    if name.contains('/') || matches!(name, "" | "." | ".." | "all" | "default") {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(["/proc/sys/net/ipv6/conf", name, "disable_ipv6"].iter().collect())
}
