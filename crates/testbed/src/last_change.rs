//! Kills a process just before one of the system calls by which it changes something that outlives it.
//!
//! What a program has to clean up after its predecessor is what that one left between two changes. With ptrace(2) each of
//! these moments is met, without a word in the program itself.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys::{SystemCall, entered};

/// How long to wait for the next stop of the process before it is looked whether the action is over.
const LOOK: Duration = Duration::from_micros(100);

/// Does `action`, which has the process `pid` change things, and kills the process when it is about to make its change number
/// `change`, counted from 0; else after the action. Returns whether it came to that change.
///
/// A change is: a file that is renamed or linked into place, a directory that is removed, a parameter in `/proc/sys` that is
/// written, a netlink request that is no question, and what of bpf(2) attaches, detaches or pins.
///
/// # Errors
/// Those of ptrace(2).
pub fn kill_before_change(pid: u32, change: usize, action: impl FnOnce() + Send) -> Result<bool> {
    let leader = Pid::from_raw(pid.try_into()?);
    let mut traced = Traced::seize(leader)?;
    let reached = thread::scope(|scope| {
        let action = scope.spawn(action);
        let mut left = change;
        loop {
            let over = action.is_finished();
            while let Some(stopped) = traced.next_stop()? {
                if traced.is_change(stopped) {
                    if left == 0 {
                        kill(leader, Signal::SIGKILL)?;
                        traced.bury(leader)?;
                        return anyhow::Ok(true);
                    }
                    left -= 1;
                }
                go_on(stopped)?;
            }
            if over {
                kill(leader, Signal::SIGKILL)?;
                traced.bury(leader)?;
                return Ok(false);
            }
            thread::sleep(LOOK);
        }
    });
    reached.context("cannot follow the process")
}

/// The threads of a process, traced by the calling thread.
struct Traced {
    memory: File,
    /// Threads that are in a system call.
    inside: HashMap<Pid, ()>,
}

impl Traced {
    fn seize(leader: Pid) -> Result<Self> {
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
        for entry in fs::read_dir(format!("/proc/{leader}/task"))? {
            let Some(thread) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let thread = Pid::from_raw(thread);
            ptrace::seize(thread, options).context("cannot trace a thread")?;
            ptrace::interrupt(thread)?;
        }
        Ok(Self { memory: File::open(format!("/proc/{leader}/mem"))?, inside: HashMap::new() })
    }

    /// The next thread that has stopped, if one has; its own end is none.
    fn next_stop(&mut self) -> Result<Option<WaitStatus>> {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
                // Also other children of this thread.
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => {}
                Ok(status) => return Ok(Some(status)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a thread has stopped because it is about to make a change.
    fn is_change(&mut self, stopped: WaitStatus) -> bool {
        let WaitStatus::PtraceSyscall(thread) = stopped else { return false };
        if self.inside.remove(&thread).is_some() {
            return false;
        }
        self.inside.insert(thread, ());
        entered(thread).is_some_and(|call| self.changes(call))
    }

    fn changes(&self, SystemCall { number, arguments }: SystemCall) -> bool {
        // Commands of bpf(2): OBJ_PIN, PROG_ATTACH, LINK_CREATE, LINK_UPDATE, LINK_DETACH (linux/bpf.h).
        const BPF: [u64; 5] = [6, 8, 28, 29, 34];
        match number {
            libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => true,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename | libc::SYS_rmdir => true,
            libc::SYS_unlinkat => arguments[2] & libc::AT_REMOVEDIR as u64 != 0,
            libc::SYS_bpf => BPF.contains(&arguments[0]),
            libc::SYS_openat => {
                let writes = arguments[2] & (libc::O_WRONLY | libc::O_RDWR) as u64 != 0;
                writes && self.read(arguments[1]) == *b"/proc/sys"
            }
            libc::SYS_sendto => self.is_request(arguments[1], arguments[2]),
            _ => false,
        }
    }

    /// Whether a message is a netlink request that changes something: of the four kinds of each object the third asks
    /// (rtnetlink(7)).
    fn is_request(&self, at: u64, length: u64) -> bool {
        let [l0, l1, l2, l3, t0, t1, f0, _] = self.read(at);
        let (own_length, kind) = (u32::from_ne_bytes([l0, l1, l2, l3]), u16::from_ne_bytes([t0, t1]));
        u64::from(own_length) <= length && own_length >= 16 && f0 & 1 != 0 && (16..256).contains(&kind) && kind % 4 != 2
    }

    fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        // What cannot be read is no change.
        let _ = self.memory.read_exact_at(&mut bytes, at);
        bytes
    }

    /// Waits until a killed process is gone but for its exit status.
    fn bury(&mut self, leader: Pid) -> Result<()> {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(flags)) {
                Err(Errno::ECHILD) => return Ok(()),
                Ok(WaitStatus::Signaled(pid, ..) | WaitStatus::Exited(pid, _)) if pid == leader => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn go_on(stopped: WaitStatus) -> Result<()> {
    let (thread, signal) = match stopped {
        WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
        WaitStatus::PtraceSyscall(thread) | WaitStatus::PtraceEvent(thread, ..) => (thread, None),
        _ => return Ok(()),
    };
    // A thread that was interrupted to begin with stops with SIGTRAP, which is none for it.
    match ptrace::syscall(thread, signal.filter(|&signal| signal != Signal::SIGTRAP)) {
        // It has ended meanwhile.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
