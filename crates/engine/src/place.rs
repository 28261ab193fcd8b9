//! The words for places: ports, slots and who sits where.

use std::fmt;

use dlmp_wire::MacAddr;
use serde::{Deserialize, Serialize};

/// A port's place in an aggregation, 0 to 31. It stays the same while the port is in
/// the aggregation, also while its link is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortIndex(pub u8);

/// A client's place in the datapath's tables, 0 to 4351; each has one of its own. It stays the same while
/// the client is there, and may then be another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotIndex(pub u16);

impl SlotIndex {
    /// That of the aggregation's own interface.
    pub const PRIMARY: Self = Self(0);
}

impl fmt::Debug for PortIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

impl fmt::Debug for SlotIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

/// Where a client sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The port that sends and receives for it.
    pub port: PortIndex,
    /// Taken by the datapath itself while `port` is marked unusable.
    pub backup: Option<PortIndex>,
}

/// A client's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientAddress {
    /// MAC address.
    pub mac: MacAddr,
    /// VLAN id, 0 for none.
    pub vlan: u16,
}
