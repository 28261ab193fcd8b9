//! What probing promises, fault by fault. Every scenario runs from several seeds; the promises of the
//! design are checked at every step on the way. `DLMP_SIM_SEED` runs one seed again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod breaks;
mod crowd;
mod daemon;
mod disturbances;
mod repair;
mod site;
mod targets;
mod two_hosts;
mod wary;
