//! What the end-to-end tests share: a guest with an aggregation to make, and the typing of commands.
//!
//! Everything here fails by panicking, as a test does.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod capture;
mod command;
mod guest;
mod multicast;
mod peer;
mod virtual_host;

pub use capture::{Capture, Copies};
pub use command::{Outcome, ip_json, json, refused, run, typed, wait_for};
pub use guest::{GUEST, Guest, HOST, assert_whole};
pub use multicast::{CONTAINER, GroupRow, GroupStream, LARGE, MulticastGuest, PortRow, macs};
pub use peer::{Peer, client, received};
pub use virtual_host::{ADDRESS, VirtualHost, link, links};
