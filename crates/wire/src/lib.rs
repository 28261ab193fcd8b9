//! Frames that dlmp reads and writes: parse and emit, no I/O, no allocation, no panic.
//!
//! Each format has two faces, as in smoltcp: a `Packet` view over bytes, whose accessors cannot
//! fail once its length was checked, and a `Repr` that is parsed from or emitted into one.
//! `docs/protocol.md` describes every frame.
#![no_std]

pub mod arp;
mod checksum;
pub mod ethernet;
pub mod icmp;
mod mac;
pub mod manager;
pub mod membership;
pub mod ndp;
pub mod rarp;
mod switch_protocol;
pub mod transitive;
pub mod vnet;

pub use mac::{MacAddr, ParseMacError};
