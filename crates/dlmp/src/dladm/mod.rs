//! The commands of `dladm`: links, aggregations, VNICs and their properties.

pub mod aggr;
mod clients;
pub mod link;
pub mod multicast;
pub mod property;
mod status;
pub mod vnic;
