//! CLOCK_MONOTONIC as the kernel and the BPF programs write it, and a timer that is on time.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// Now, by CLOCK_MONOTONIC.
pub fn now() -> Duration {
    read(nix::time::ClockId::CLOCK_MONOTONIC)
}

/// The time by CLOCK_MONOTONIC of something that the kernel stamped by CLOCK_REALTIME a moment ago.
pub fn from_stamp(stamp: Duration) -> Duration {
    let age = realtime().saturating_sub(stamp);
    // A step of the clock in between makes nonsense of the stamp.
    now() - if age < Duration::from_secs(10) { age } else { Duration::ZERO }
}

/// Now, by CLOCK_REALTIME, since 1970.
pub fn realtime() -> Duration {
    read(nix::time::ClockId::CLOCK_REALTIME)
}

fn read(clock: nix::time::ClockId) -> Duration {
    // Both clocks exist on every Linux, and a read of them cannot fail then (clock_gettime(2)).
    nix::time::clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// Wakes at a time. The runtime's own timers are up to 2 ms late.
#[derive(Debug)]
pub struct Timer {
    fd: AsyncFd<sys::Timer>,
    set: Option<Instant>,
}

impl Timer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// Those of timerfd_create(2).
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let fd = sys::wait_on(sys::Timer(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?))?;
        Ok(Self { fd, set: None })
    }

    /// Waits until that time; forever without one.
    pub async fn until(&mut self, wake: Option<Instant>) {
        let Some(wake) = wake else { return std::future::pending().await };
        if self.set != Some(wake) {
            self.set = Some(wake);
            // A wait of zero would switch the timer off.
            let wait = wake.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            let expiration = Expiration::OneShot(TimeSpec::from_duration(wait));
            if let Err(error) = self.fd.get_ref().0.set(expiration, TimerSetTimeFlags::empty()) {
                tracing::error!(%error, "the timer cannot be set");
                return tokio::time::sleep(wait).await;
            }
        }
        if let Ok(mut guard) = self.fd.readable().await {
            guard.clear_ready();
            // Takes what has expired off the descriptor, so that it is not ready at once again.
            let _ = self.fd.get_ref().0.wait();
            self.set = None;
        }
    }
}
