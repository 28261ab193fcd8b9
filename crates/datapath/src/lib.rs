//! The datapath of one aggregation.
//!
//! [`Datapath`] is what the daemon tells it. Behind it stand the loaded programs ([`bpf`]) and a pure
//! twin of their rules ([`model`]). The two are held together by tests that feed both the same frames.

mod abi;
pub mod bpf;
mod counter;
mod group;
pub mod model;

use std::fmt;
use std::time::Duration;

pub use dlmp_engine::{ClientAddress, Placement, PortIndex, SlotIndex};
use dlmp_wire::{MacAddr, transitive};

pub use counter::{Counter, Counters};

/// How many ports an aggregation can have.
pub const MAX_PORTS: usize = abi::DLMP_MAX_PORTS as usize;

/// How many VNICs can be over an aggregation.
pub const MAX_VNICS: usize = abi::DLMP_MAX_VNICS as usize;

/// How many clients the datapath learns by itself.
pub const MAX_LEARNED: usize = abi::DLMP_MAX_LEARNED as usize;

/// The first slot that the datapath gives to a client that it learns; those below are the daemon's.
pub const FIRST_LEARNED_SLOT: SlotIndex = SlotIndex(abi::DLMP_FIRST_LEARNED_SLOT as u16);

/// A VNIC's place in an aggregation, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VnicIndex(pub u8);

impl VnicIndex {
    /// The slot of the VNIC as a client.
    #[must_use]
    pub const fn slot(self) -> SlotIndex {
        SlotIndex(abi::DLMP_FIRST_VNIC_SLOT as u16 + self.0 as u16)
    }
}

/// A VNIC as the datapath knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vnic {
    /// Index of the lower end of its pair of links.
    pub lower: u32,
    /// Its address, the only one that it may send from.
    pub mac: MacAddr,
    /// The VLAN that its frames are tagged with, 0 for none.
    pub vlan: u16,
}

impl Vnic {
    /// The VNIC's identity as a client.
    #[must_use]
    pub const fn client(&self) -> ClientAddress {
        ClientAddress { mac: self.mac, vlan: self.vlan }
    }
}

/// What a client is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Above {
    /// The aggregation's own link, with whatever is on it: a bridge, VLAN devices.
    Link,
    /// A VNIC.
    Vnic(VnicIndex),
}

/// What the datapath saw that its owner is to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// A frame for a client came on a port that is not its own: it is to be announced (the own-port rule).
    Stray {
        /// The client's slot.
        slot: SlotIndex,
        /// Where the frame arrived.
        port: PortIndex,
    },
    /// A client was learned.
    Learned(Learned),
    /// A learned client was let go: it announced itself from elsewhere (the reflection rule). Its address is free; the
    /// slot is given back by [`Datapath::forget`].
    Released {
        /// The slot that it had.
        slot: SlotIndex,
        /// Its address.
        client: ClientAddress,
    },
}

/// A client that the datapath has learned from what it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    /// Its address.
    pub client: ClientAddress,
    /// The slot that it was given.
    pub slot: SlotIndex,
    /// The port that it was seated on, if there was one.
    pub port: Option<PortIndex>,
    /// What it is behind.
    pub above: Above,
}

/// How long after a move a client is served from any live port (the own-port rule).
///
/// Long enough for the repeated announcements to reach every switch, short enough that flooding by a
/// switch that forgot an address cannot deliver twice for long.
pub const FRESH_MOVE: Duration = Duration::from_secs(1);

/// The least time between two requests to announce one slot (the own-port rule).
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(100);

/// How long after a sign of life of the daemon reports of group membership are held for it (the group rule).
///
/// A daemon that gives one every tenth of a second may be late by as much; one that died delays no report.
pub const ALIVE: Duration = Duration::from_nanos(abi::DLMP_ALIVE_NS as u64);

/// The mark (SO_MARK) of a report that is held, where the daemon's socket sees it: at the lower end of the aggregation's link.
pub const HELD_MARK: u32 = abi::DLMP_HELD_MARK;
/// What it costs to read a report of group membership that is held (the group rule), by a price that is about three times the true
/// one: this for each, and [`REPORT_BYTE`] for each byte of its IGMP or MLD message.
pub const REPORT: Duration = Duration::from_nanos(abi::DLMP_REPORT_NS as u64);

/// See [`REPORT`].
pub const REPORT_BYTE: Duration = Duration::from_nanos(abi::DLMP_REPORT_BYTE_NS as u64);

/// How much reports of one link, which may cost a second in each second, may cost at once after a silence; and those of
/// all links together, twice as much.
pub const REPORT_BURST: Duration = Duration::from_nanos(abi::DLMP_REPORT_BURST_NS as u64);

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

    /// Makes an address on the aggregation's own link a client with this slot. It has no port yet.
    ///
    /// # Errors
    /// The write did not happen.
    fn set_client(&mut self, client: ClientAddress, slot: SlotIndex) -> Result<(), Error>;

    /// Makes a VNIC a client at this place, or empties the place. It has no port yet.
    ///
    /// # Errors
    /// The write did not happen.
    fn set_vnic(&mut self, index: VnicIndex, vnic: Option<Vnic>) -> Result<(), Error>;

    /// Forgets a client and empties its slot, which can be given to another one then.
    ///
    /// # Errors
    /// The write did not happen.
    fn forget(&mut self, client: ClientAddress, slot: SlotIndex) -> Result<(), Error>;

    /// Whether a learned client has sent since this was last asked.
    fn was_used(&mut self, slot: SlotIndex) -> bool;

    /// Says how many clients may be learned at a time, at most [`MAX_LEARNED`], which it is at first. Those that
    /// are learned already stay.
    ///
    /// # Errors
    /// The write did not happen.
    fn set_learn_limit(&mut self, clients: usize) -> Result<(), Error>;

    /// Says whether a bridge sits above: then unicast for nobody here may be for a silent guest of it (the nobody rule).
    ///
    /// # Errors
    /// The write did not happen.
    fn set_bridged(&mut self, bridged: bool) -> Result<(), Error>;

    /// Places all clients of a slot, as of now: the own-port rule's window starts, unless only the backup changes.
    ///
    /// # Errors
    /// The write did not happen.
    fn place(&mut self, slot: SlotIndex, placement: Placement) -> Result<(), Error>;

    /// Says which port group-addressed frames are taken from (the group rule).
    ///
    /// # Errors
    /// The write did not happen.
    fn set_multicast_port(&mut self, port: Option<PortIndex>) -> Result<(), Error>;

    /// Makes a group wanted above: its frames are taken (the group rule). Each group is admitted once; a report that a
    /// client sends makes its groups wanted by itself, until they were admitted and are dismissed. Groups share
    /// bits of a filter, so that a few frames of groups that nobody admitted are taken too.
    ///
    /// # Errors
    /// The write did not happen.
    fn admit(&mut self, group: MacAddr) -> Result<(), Error>;

    /// Takes back [`admit`](Self::admit). A group that was not admitted is left as it is.
    ///
    /// # Errors
    /// The write did not happen.
    fn dismiss(&mut self, group: MacAddr) -> Result<(), Error>;

    /// Says whether every group is wanted. A client's report of more groups than the programs read says so
    /// by itself.
    ///
    /// # Errors
    /// The write did not happen.
    fn set_all_multicast(&mut self, all: bool) -> Result<(), Error>;

    /// Says whether the multicast port's own filter lacks groups that are wanted: what arrives for them on
    /// other ports is counted as lost for that reason.
    ///
    /// # Errors
    /// The write did not happen.
    fn set_filter_short(&mut self, short: bool) -> Result<(), Error>;

    /// Takes transitive probes made with this key, or none.
    ///
    /// # Errors
    /// The write did not happen.
    fn set_probing(&mut self, probing: Option<Probing>) -> Result<(), Error>;

    /// The newest answer to a transitive probe of one port by another.
    fn answered(&self, port: PortIndex, by: PortIndex) -> Option<Answered>;
}
