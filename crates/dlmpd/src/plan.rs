//! What the monitor is told about probing an aggregation: its properties, with every name resolved.

use std::net::IpAddr;
use std::time::Duration;

/// How an aggregation is probed. Without one, link state alone decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePlan {
    /// Which addresses on the aggregation and its clients may be sources; one match is enough.
    pub sources: Vec<SourceMatch>,
    /// The given targets, without repetition; empty: routers, else hosts that answer a multicast echo.
    pub targets: Vec<IpAddr>,
    /// VLAN of the probes, 0 to 4094; 0: untagged.
    pub vlan: u16,
    /// Failure detection time, 10 ms to 10 min.
    pub fdt: Duration,
}

/// Which addresses may be sources of ICMP probes (`probe-ip`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceMatch {
    /// Every address on the aggregation and its clients.
    Any,
    /// This address.
    Address(IpAddr),
    /// Every address in this network, with its prefix length in bits.
    Network(IpAddr, u8),
    /// Every address on this interface: the aggregation or a VNIC over it.
    Interface(String),
}
