//! Membership of multicast groups: IGMP (RFC 1112, 2236, 3376) and MLD (RFC 2710, 3810).
//!
//! What hosts report is read and what a host or a querier sends is written, in frames with at most one
//! 802.1Q tag. Checksums are written but not asked for: the frames that are read come from this machine's
//! own hosts, and a wrong group costs unwanted traffic only.

mod message;
mod receive;
mod send;

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use receive::{changes, is_general_query, is_report};
pub use send::{Buffer, MTU_MAX, MTU_MIN, Sender};

/// What one report says about one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// The group, always a multicast address.
    pub group: IpAddr,
    /// Which generation of the protocol said so.
    pub version: Version,
    /// Whether the sender wants the group's packets, of any source or of some; else it has left the group.
    pub joined: bool,
}

/// Generation of the membership protocols. A host that heard an old querier speaks as that one does
/// (RFC 3376, 7.2.1; RFC 3810, 8.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// IGMPv1, IGMPv2 or MLDv1: one group a message.
    Old,
    /// IGMPv3 or MLDv2: records of many groups, with sources.
    Current,
}
