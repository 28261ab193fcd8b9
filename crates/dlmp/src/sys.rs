//! The one thing here that no safe function offers.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the program to be started the leader of a session of its own, so that neither the
/// terminal's end nor its Ctrl-C reaches it.
pub fn in_own_session(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: setsid(2) is one, and
    // turning its error number into an io::Error allocates nothing.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into));
    }
}
