//! The capabilities without which a daemon cannot work.

use anyhow::{Context, bail};

/// A capability and what needs it.
#[derive(Debug, Clone, Copy)]
pub struct Capability {
    /// Number (linux/capability.h).
    pub number: u32,
    /// Name.
    pub name: &'static str,
    /// What needs it.
    pub purpose: &'static str,
}

/// Checks that this process, which is `daemon`, has all of them.
///
/// # Errors
/// The first that is missing, and how to see what there is.
pub fn check(daemon: &str, needed: &[Capability]) -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    // A mask in hexadecimal (proc_pid_status(5)).
    let effective = (status.lines())
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
        .context("/proc/self/status does not tell the capabilities")?;
    for Capability { number, name, purpose } in needed {
        if effective & (1 << number) == 0 {
            bail!(
                "{daemon} runs without the capability {name}, which is needed for {purpose}\n  try: grep CapEff /proc/self/status, where it was started"
            );
        }
    }
    Ok(())
}
