//! Living on without the terminal that a daemon was started from, as with `dlmpd &`: its hang-up,
//! its job control and its end as the place of the log are no reason to leave the network alone.

use std::fmt::Display;
use std::io::{self, Write};

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::sys;

/// Has the terminal end or stop this process no more. The first thing that a daemon does.
pub fn outlive_terminal() {
    for signal in [Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGTTIN, Signal::SIGTTOU] {
        sys::ignore(signal);
    }
}

/// Says of each hang-up from now on that `daemon` goes on.
///
/// # Errors
/// Those of sigaction(2).
pub fn tell_of_hang_ups(daemon: &'static str) -> io::Result<JoinHandle<()>> {
    let mut hang_ups = signal(SignalKind::hangup())?;
    Ok(tokio::task::spawn_local(async move {
        while hang_ups.recv().await.is_some() {
            tracing::info!(
                "SIGHUP: {daemon} goes on, and does not read its configuration anew; restart it for that, traffic goes on meanwhile"
            );
        }
    }))
}

/// Starts the log: to standard error, by default from `info` on (`RUST_LOG`).
pub fn start_log() {
    tracing_subscriber::fmt()
        .with_writer(|| Log)
        .with_ansi(false)
        .with_target(false)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,zlink_core=error")))
        .init();
}

/// Says on standard error why the daemon ends.
pub fn complain(daemon: &str, error: impl Display) {
    let _ = writeln!(Log, "{daemon}: {error}");
}

/// Standard error while it is there. What it does not take is lost: a full disk, a dead terminal or
/// a pipe that nobody reads from any more is no failure of the daemon's (and tracing would report
/// it by a panic, on standard error).
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
