//! What goes into a manager and what comes out.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use dlmp_wire::MacAddr;
use dlmp_wire::manager::{ByteOrder, Message};

use crate::collision::Collision;

/// An interface that a manager listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The address that the manager sends from.
    pub address: Ipv4Addr,
    /// The networks on it, with the length of their prefixes in bits.
    pub networks: Vec<(Ipv4Addr, u8)>,
}

impl Interface {
    /// Whether hosts of this address are on the interface's network, with no router between.
    pub(crate) fn reaches(&self, address: Ipv4Addr) -> bool {
        self.networks.iter().any(|&(network, length)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            (u32::from(network) ^ u32::from(address)) & mask == 0
        })
    }
}

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Index of the interface that it came in by.
    pub interface: u32,
    /// Who sent it.
    pub from: SocketAddrV4,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// All managers on the interface.
    Group,
    /// One host.
    Host(SocketAddrV4),
}

/// Tells requests for addresses apart; given by whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Why no addresses could be found in time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// Who said of how many addresses that they are taken, or asked for them first.
    pub denied: BTreeMap<Ipv4Addr, u32>,
}

/// What a manager wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a message about an address.
    Send {
        /// Index of the interface.
        interface: u32,
        /// To whom.
        to: To,
        /// What.
        message: Message<'static>,
        /// How it writes integers.
        order: ByteOrder,
    },
    /// Tell who this manager is.
    Introduce {
        /// Index of the interface; the message carries the interface's address.
        interface: u32,
        /// To whom.
        to: To,
        /// How it writes integers.
        order: ByteOrder,
    },
    /// Hand out addresses. They are defended as long as they are used or until they are given back.
    Grant {
        /// The request.
        request: RequestId,
        /// As many as were asked for.
        addresses: Vec<MacAddr>,
    },
    /// No addresses were found in time.
    Refuse {
        /// The request.
        request: RequestId,
        /// Who is to blame.
        refusal: Refusal,
    },
    /// A freed address is taken elsewhere: strike it from the list.
    Forget(MacAddr),
    /// An address of ours is used by somebody else too, since now or still under another name.
    Collides(Collision),
    /// It is no more.
    Over(MacAddr),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_on_the_network_of_its_prefix() {
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let interface = |length| Interface { address, networks: vec![(address, length)] };
        assert!(interface(24).reaches(Ipv4Addr::new(192, 0, 2, 200)));
        assert!(!interface(25).reaches(Ipv4Addr::new(192, 0, 2, 200)));
        assert!(interface(32).reaches(address));
        assert!(interface(0).reaches(Ipv4Addr::new(8, 8, 8, 8)));
    }
}
