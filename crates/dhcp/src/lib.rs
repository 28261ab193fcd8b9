//! A DHCPv4 client (RFC 2131) for one link, around mozim, that never gives up.
//!
//! It gets a lease, renews it, and starts over when a lease ends or the link is replaced. It only
//! tells what happened: the address and the route are put on the link by whoever listens, and must
//! be there for a renewal, which comes from the leased address.

mod client;
mod lease;
mod watch;

pub use client::{Client, Event, Options};
pub use lease::Lease;
