//! The capabilities without which a daemon cannot work.

use anyhow::{Context, bail};

use crate::process;

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
    let effective = process::capabilities("self").context("/proc/self/status does not tell the capabilities")?;
    for Capability { number, name, purpose } in needed {
        if effective & (1 << number) == 0 {
            bail!(
                "{daemon} runs without the capability {name}, which is needed for {purpose}\n  try: grep CapEff /proc/self/status, where it was started"
            );
        }
    }
    Ok(())
}
