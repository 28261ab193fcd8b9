//! The service of `ldmd`: domains, virtual switches and virtual network devices.

mod client;
mod types;

pub use client::Ldmd;
pub use types::*;

crate::error::service_error!("io.dlmp.VirtualNetwork");
