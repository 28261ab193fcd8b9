//! The words of probing that cross the engine's border: sources, questions to targets and their ways.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{PortIndex, SlotIndex};

/// An address that ICMP probes may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix in bits.
    pub prefix: u8,
    /// The slot of the client that has it: the probe leaves through the port where that sits.
    pub slot: SlotIndex,
}

impl Source {
    /// Whether an address is on the source's own network. IPv6 is probed on the link alone.
    #[must_use]
    pub fn is_near(&self, target: IpAddr) -> bool {
        let differ_in = |one: u128, other: u128, width: u32| {
            let prefix = u32::from(self.prefix).min(width);
            // A shift by the whole width is no shift: then every bit may differ.
            (one ^ other).checked_shr(width - prefix).unwrap_or(0) != 0
        };
        match (self.address, target) {
            (IpAddr::V4(own), IpAddr::V4(target)) => {
                !differ_in(own.to_bits().into(), target.to_bits().into(), u32::BITS)
            }
            (IpAddr::V6(own), IpAddr::V6(target)) => own.is_unicast_link_local() && target.is_unicast_link_local(),
            _ => false,
        }
    }
}

/// Names a question. A number is used again only after 4 billion others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QuestionId(pub u32);

/// A question to a target: is this path alive?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its name, for the answer.
    pub id: QuestionId,
    /// The port that it leaves through.
    pub port: PortIndex,
    /// Whom it asks.
    pub target: IpAddr,
    /// How.
    pub way: Way,
}

/// How a target is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// By an ICMP echo from a source whose client sits on the port; the datapath sends it there.
    Echo {
        /// The source.
        source: IpAddr,
    },
    /// By an ARP probe (RFC 5227) or a neighbour solicitation from the port's own MAC address: the
    /// answer comes back to that port, and no client moves in the switches.
    Address,
}

impl Way {
    /// Whether it is an echo.
    #[must_use]
    pub const fn is_echo(self) -> bool {
        matches!(self, Self::Echo { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_what_shares_the_prefix() {
        let source = |address: &str, prefix| Source { address: address.parse().unwrap(), prefix, slot: SlotIndex(0) };
        for (own, prefix, target, near) in [
            ("10.1.2.3", 24, "10.1.2.200", true),
            ("10.1.2.3", 24, "10.1.3.3", false),
            ("10.1.2.3", 0, "192.0.2.1", true),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("10.1.2.3", 32, "10.1.2.2", false),
            ("10.1.2.3", 24, "fe80::1", false),
            ("fe80::2", 64, "fe80::1", true),
            ("2001:db8::2", 64, "2001:db8::1", false),
        ] {
            assert_eq!(source(own, prefix).is_near(target.parse().unwrap()), near, "{own}/{prefix} {target}");
        }
    }
}
