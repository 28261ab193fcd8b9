//! IPv6 on and off for one link, and its autoconfiguration.

use std::path::PathBuf;
use std::{fs, io};

/// Whether IPv6 is switched off on a link; `None` when the kernel has no IPv6 (or no such link).
///
/// # Errors
/// Those of reading `/proc/sys`.
pub fn disabled(name: &str) -> io::Result<Option<bool>> {
    match knob(name, "disable_ipv6").and_then(fs::read_to_string) {
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
    set(name, "disable_ipv6", if off { "1" } else { "0" })
}

/// Has the kernel make a link-local address and take what routers announce, or stop both; addresses that
/// it has made stay. Nothing to do when the kernel has no IPv6.
///
/// # Errors
/// Those of writing `/proc/sys`, such as one that is mounted read-only.
pub fn set_autoconfiguration(name: &str, on: bool) -> io::Result<()> {
    // Documentation/networking/ip-sysctl.rst: mode 0 makes link-local addresses from the MAC address, 1 none.
    set(name, "accept_ra", if on { "1" } else { "0" })?;
    set(name, "autoconf", if on { "1" } else { "0" })?;
    set(name, "addr_gen_mode", if on { "0" } else { "1" })
}

fn set(name: &str, what: &str, value: &str) -> io::Result<()> {
    match knob(name, what).and_then(|path| fs::write(path, value)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// `/proc/sys/net` shows the namespace of the calling thread, whatever is mounted on `/sys`.
fn knob(name: &str, what: &str) -> io::Result<PathBuf> {
    // `all` and `default` stand there for the whole namespace and are no links.
    if name.contains('/') || matches!(name, "" | "." | ".." | "all" | "default") {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(["/proc/sys/net/ipv6/conf", name, what].iter().collect())
}
