//! Who takes part: what the simulator needs of a manager, and the forger.

use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Instant;

use dlmp_manager::{Action, Manager, Origin, RequestId, To};
use dlmp_wire::MacAddr;
use dlmp_wire::manager::{ByteOrder, Lookup, Message};

/// Who a member of a site is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A manager of ours.
    Ours,
    /// One that does as the original ones are documented to do.
    Original,
    /// It says of every address that it is taken.
    Forger,
}

/// The index of everybody's only interface.
pub(super) const INTERFACE: u32 = 1;

/// As [`Manager`] has them.
pub(super) trait Party {
    fn hear(&mut self, origin: Origin, bytes: &[u8], now: Instant);
    fn request(&mut self, id: RequestId, count: usize, now: Instant);
    fn follow(&mut self, used: &BTreeSet<MacAddr>, freed: &[MacAddr], now: Instant);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_timeout(&self, now: Instant) -> Option<Instant>;
    fn poll_action(&mut self) -> Option<Action>;
}

impl Party for Manager {
    fn hear(&mut self, origin: Origin, bytes: &[u8], now: Instant) {
        self.hear(origin, bytes, now);
    }

    fn request(&mut self, id: RequestId, count: usize, now: Instant) {
        self.request(id, count, now);
    }

    fn follow(&mut self, used: &BTreeSet<MacAddr>, freed: &[MacAddr], now: Instant) {
        self.follow(used, freed, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.poll_timeout(now)
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.poll_action()
    }
}

/// Says of every address that it is taken, and who it is.
pub(super) struct Forger {
    pub(super) address: Ipv4Addr,
    pub(super) actions: VecDeque<Action>,
}

impl Party for Forger {
    fn hear(&mut self, origin: Origin, bytes: &[u8], _: Instant) {
        let (interface, to, order) = (INTERFACE, To::Group, ByteOrder::Big);
        match Message::parse(bytes) {
            Ok((Message::Lookup(Lookup { mac, .. }), _)) if *origin.from.ip() != self.address => {
                let message = Message::Taken(Lookup { mac, source: Some(self.address) });
                self.actions.push_back(Action::Send { interface, to, message, order });
            }
            Ok((Message::Discover, _)) => self.actions.push_back(Action::Introduce { interface, to, order }),
            _ => {}
        }
    }

    fn request(&mut self, _: RequestId, _: usize, _: Instant) {}

    fn follow(&mut self, _: &BTreeSet<MacAddr>, _: &[MacAddr], _: Instant) {}

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_timeout(&self, _: Instant) -> Option<Instant> {
        None
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}
