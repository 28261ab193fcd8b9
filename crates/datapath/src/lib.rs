//! The datapath of one aggregation.
//!
//! [`Datapath`] is what the daemon tells it. Behind it stand the loaded programs ([`bpf`]) and a pure
//! twin of their rules ([`model`]). The two are held together by tests that feed both the same frames.

mod abi;
pub mod bpf;
mod counter;
pub mod model;

use std::fmt;
use std::time::Duration;

pub use dlmp_engine::{ClientAddress, Placement, PortIndex, SlotIndex};
use dlmp_wire::{MacAddr, transitive};

pub use counter::{Counter, Counters};

/// How many ports an aggregation can have.
pub const MAX_PORTS: usize = abi::DLMP_MAX_PORTS as usize;

/// How long after a move a client is served from any live port (rule 3).
///
/// Long enough for the repeated announcements to reach every switch, short enough that flooding by a
/// switch that forgot an address cannot deliver twice for long.
pub const FRESH_MOVE: Duration = Duration::from_secs(1);

/// The least time between two requests to announce one slot (rule 3).
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(100);

/// How transitive probes are told from forged ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probing {
    /// The key of their tags; a new one for each daemon.
    pub key: transitive::Key,
    /// Their VLAN, 0 for none.
    pub vlan: u16,
}

/// The newest answer to a transitive probe of one port by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Its sequence number.
    pub sequence: u32,
    /// When the probe left, by CLOCK_MONOTONIC.
    pub sent: Duration,
    /// When the answer came, by CLOCK_MONOTONIC.
    pub at: Duration,
}

/// A write to the datapath that did not happen.
#[derive(Debug, thiserror::Error)]
#[error("the datapath cannot {what}: {reason}")]
pub struct Error {
    what: &'static str,
    reason: String,
}

impl Error {
    pub(crate) fn new(what: &'static str, reason: impl fmt::Display) -> Self {
        Self { what, reason: reason.to_string() }
    }
}

/// What the daemon tells a datapath. Every call takes effect for the next frame.
pub trait Datapath {
    /// Makes a link a port, at this place. It starts unusable.
    ///
    /// # Errors
    /// The write did not happen.
    fn set_port(&mut self, port: PortIndex, ifindex: u32, mac: MacAddr) -> Result<(), Error>;

    /// Empties a port's place.
    ///
    /// # Errors
    /// The write did not happen.
    fn clear_port(&mut self, port: PortIndex) -> Result<(), Error>;

    /// Marks a port as fit for traffic or not. Slots whose port is unfit use their backup.
    ///
    /// # Errors
    /// The write did not happen.
    fn set_usable(&mut self, port: PortIndex, usable: bool) -> Result<(), Error>;

    /// Says which slot a client belongs to.
    ///
    /// # Errors
    /// The write did not happen.
    fn set_client(&mut self, client: ClientAddress, slot: SlotIndex) -> Result<(), Error>;

    /// Places all clients of a slot, as of now: rule 3's window starts, unless only the backup changes.
    ///
    /// # Errors
    /// The write did not happen.
    fn place(&mut self, slot: SlotIndex, placement: Placement) -> Result<(), Error>;

    /// Says which port group-addressed frames are taken from (rule 2).
    ///
    /// # Errors
    /// The write did not happen.
    fn set_multicast_port(&mut self, port: Option<PortIndex>) -> Result<(), Error>;

    /// Takes transitive probes made with this key, or none.
    ///
    /// # Errors
    /// The write did not happen.
    fn set_probing(&mut self, probing: Option<Probing>) -> Result<(), Error>;

    /// The newest answer to a transitive probe of one port by another.
    fn answered(&self, port: PortIndex, by: PortIndex) -> Option<Answered>;
}
