//! The monotonic clock (`CLOCK_MONOTONIC`, clock_gettime(2)) and sleeping until a point on it.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

/// Time since an arbitrary point before the system started.
pub(crate) fn now() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Sleeps until `deadline`, a value of [`now`]. Being absolute, the errors of many sleeps in a row
/// do not add up.
pub(crate) fn sleep_until(deadline: Duration) {
    let request = TimeSpec::from_duration(deadline);
    let flags = ClockNanosleepFlags::TIMER_ABSTIME;
    while clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &request) == Err(nix::errno::Errno::EINTR) {}
}

/// The moment on the monotonic clock of a kernel time stamp, which counts by the wall clock.
///
/// The stamp's age is what is converted, so only a step of the wall clock between the stamp and
/// this call would falsify it.
pub(crate) fn from_wall_clock(stamp: TimeSpec) -> Duration {
    let age = read(ClockId::CLOCK_REALTIME).saturating_sub(Duration::from(stamp));
    now().saturating_sub(age)
}

fn read(clock: ClockId) -> Duration {
    // Both clocks exist on every Linux; clock_gettime(2) has no other reason to fail.
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}
