//! The one thing here that no safe function offers.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The first descriptor behind the standard streams.
const FIRST: libc::c_long = 3;

/// Makes the program to be started the leader of a session of its own, so that neither the
/// terminal's end nor its Ctrl-C reaches it, and leaves it nothing open but its standard streams:
/// a lock or a pipe of the calling script would stay open for as long as it lives.
pub fn detach(command: &mut Command) {
    let prepare = || {
        nix::unistd::setsid()?;
        close_behind_standard_streams()
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: setsid(2) and
    // close_range(2) are system calls, and turning an error number into an io::Error allocates nothing.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Has exec close every other descriptor; not sooner, since std reports a failed exec through one.
fn close_behind_standard_streams() -> io::Result<()> {
    let (last, flag) = (libc::c_long::from(libc::c_uint::MAX), libc::c_long::from(libc::CLOSE_RANGE_CLOEXEC));
    // SAFETY: with this flag close_range(2) closes nothing and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_close_range, FIRST, last, flag) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
