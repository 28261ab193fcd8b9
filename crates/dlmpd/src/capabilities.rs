//! The capabilities without which no datapath can be made.

use anyhow::{Context, bail};

/// Numbers and names (linux/capability.h), and what needs them.
const NEEDED: [(u32, &str, &str); 3] = [
    (12, "CAP_NET_ADMIN", "making and changing links"),
    (13, "CAP_NET_RAW", "sending announcements"),
    // CAP_BPF loads programs, but finding those of an earlier daemon by their ids takes this one.
    (21, "CAP_SYS_ADMIN", "loading and taking over the datapath's programs"),
];

/// Checks that this process has all of them.
///
/// # Errors
/// The first that is missing, and how to see what there is.
pub fn check() -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    // A mask in hexadecimal (proc_pid_status(5)).
    let effective = (status.lines())
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
        .context("/proc/self/status does not tell the capabilities")?;
    for (number, name, purpose) in NEEDED {
        if effective & (1 << number) == 0 {
            bail!(
                "dlmpd runs without the capability {name}, which is needed for {purpose}\n  try: grep CapEff /proc/self/status, where it was started"
            );
        }
    }
    Ok(())
}
