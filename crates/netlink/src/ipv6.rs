//! IPv6 and its autoconfiguration, on and off for one link (ip-sysctl.rst of the kernel).

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
    match set(name, "disable_ipv6", if off { "1" } else { "0" }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Has the kernel configure addresses on a link by itself (RFC 4862): a link-local one, and those that
/// routers advertise. Switched off, it makes no new ones; those that are there stay.
///
/// # Errors
/// Those of writing `/proc/sys`; `NotFound` when the kernel has no IPv6 (or no such link).
pub fn set_autoconfigured(name: &str, on: bool) -> io::Result<()> {
    // Modes of making link-local addresses (IN6_ADDR_GEN_MODE_*, linux/if_link.h).
    const EUI64: &str = "0";
    const NONE: &str = "1";
    if !on {
        set(name, "accept_ra", "0")?;
        return set(name, "addr_gen_mode", NONE);
    }
    set(name, "autoconf", "1")?;
    // 2: also on a machine that forwards, since somebody asked for it on this link.
    set(name, "accept_ra", "2")?;
    if fs::read_to_string(knob(name, "addr_gen_mode")?)?.trim() == NONE {
        set(name, "addr_gen_mode", EUI64)?;
    }
    set(name, "disable_ipv6", "0")
}

fn set(name: &str, what: &str, value: &str) -> io::Result<()> {
    fs::write(knob(name, what)?, value)
}

/// `/proc/sys/net` shows the namespace of the calling thread, whatever is mounted on `/sys`.
fn knob(name: &str, what: &str) -> io::Result<PathBuf> {
    // `all` and `default` stand there for the whole namespace and are no links.
    if name.contains('/') || matches!(name, "" | "." | ".." | "all" | "default") {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(["/proc/sys/net/ipv6/conf", name, what].iter().collect())
}
