//! What the daemons and the commands say to each other: the types, the errors and the one
//! description of the service.
//!
//! The service speaks varlink over an abstract UNIX socket. Abstract sockets belong to a network
//! namespace, so a command reaches the daemon of the namespace that it runs in without being told
//! where ([`socket`]). The interface description, `docs/io.dlmp.Aggregation.varlink`, is written
//! from these types by a test, so the two cannot drift apart.

mod alias;
pub mod client;
mod multicast;
pub mod socket;
mod types;
mod vnic;

pub use alias::{AGGREGATION_ALIAS, LOWER_ALIAS, VNIC_ALIAS};
pub use multicast::*;
pub use types::*;
pub use vnic::*;
