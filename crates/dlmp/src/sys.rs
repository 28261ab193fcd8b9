//! Detaching a child process from the terminal and from whatever the caller holds open.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the command start in a session of its own, with standard streams only.
///
/// Files that this program inherited without knowing (a lock of the calling script, the writing end
/// of its pipe) would otherwise stay open for as long as the child lives.
pub fn detach(command: &mut Command) {
    // Only system calls between fork and exec: no allocation, no locks (signal-safety(7)).
    let prepare = || {
        nix::unistd::setsid()?;
        close_on_exec_from(3)
    };
    // SAFETY: the closure makes system calls only and captures nothing.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Marks every descriptor from `first` on to be closed by exec; not closed at once, since the
/// standard library reports a failed exec through one of them.
fn close_on_exec_from(first: libc::c_uint) -> io::Result<()> {
    // SAFETY: close_range(2) with this flag changes no memory and closes nothing.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
