//! What the daemons and the commands say to each other: the types, the errors and the
//! descriptions of the two services: that of `dlmpd` here, that of `ldmd` in [`ldm`].
//!
//! A service speaks varlink over UNIX sockets that belong to a network namespace, so a command reaches the daemon of
//! the namespace that it runs in ([`socket`]). The interface descriptions, `docs/*.varlink`, are written
//! from these types by tests, so they cannot drift apart.

mod alias;
pub mod client;
mod error;
pub mod ldm;
mod multicast;
pub mod socket;
mod types;
mod vnet;
mod vnic;

pub use alias::{AGGREGATION_ALIAS, LOWER_ALIAS, PORT_VLAN_ALIAS, SWITCH_ALIAS, SWITCH_END_ALIAS, VNIC_ALIAS};
pub use multicast::*;
pub use types::*;
pub use vnet::VnetAlias;
pub use vnic::*;

error::service_error!("io.dlmp.Aggregation");
