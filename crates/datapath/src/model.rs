//! The rules of the datapath as a pure function of frames: the twin of `bpf/`.
//!
//! Written from the rules (docs/datapath.md), not from the programs, in the same order. The simulator
//! runs on it; table tests feed it and the loaded programs the same frames.

use std::collections::BTreeMap;
use std::time::Duration;

use dlmp_wire::ethernet::Frame;
use dlmp_wire::{MacAddr, membership};

use crate::{
    ANNOUNCE_INTERVAL, ClientAddress, Counter, Counters, Datapath, Error, FRESH_MOVE, Placement, PortIndex, SlotIndex,
};

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent through a port.
    Send {
        /// The port.
        port: PortIndex,
        /// The Ethernet source that replaces the client's, for a report (rule 2).
        source: Option<MacAddr>,
    },
    /// It is delivered to the aggregation's link.
    Deliver,
    /// It stays on the port that it arrived on, for programs that listen there.
    Stay,
    /// It is dropped.
    Drop,
}

/// A request to announce a slot from its own port (rule 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The slot.
    pub slot: SlotIndex,
    /// Where the stray frame arrived.
    pub port: PortIndex,
}

#[derive(Debug, Clone, Copy)]
struct Port {
    mac: MacAddr,
    usable: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    placement: Placement,
    moved: Duration,
    announce_asked: Option<Duration>,
}

/// The state that the rules look at, with a clock that the owner moves.
#[derive(Debug, Clone, Default)]
pub struct Model {
    now: Duration,
    ports: BTreeMap<PortIndex, Port>,
    clients: BTreeMap<ClientAddress, SlotIndex>,
    slots: BTreeMap<SlotIndex, Slot>,
    multicast_port: Option<PortIndex>,
    counters: BTreeMap<PortIndex, Counters>,
    /// Counts that belong to no port.
    aggregation: Counters,
    requests: Vec<AnnounceRequest>,
}

impl Model {
    /// Sets the clock: time since any fixed moment, never backwards.
    pub fn set_time(&mut self, now: Duration) {
        self.now = now;
    }

    /// The clock, as last set.
    pub const fn time(&self) -> Duration {
        self.now
    }

    /// The counters of a port.
    pub fn counters(&self, port: PortIndex) -> Counters {
        self.counters.get(&port).copied().unwrap_or_default()
    }

    /// The counters that belong to no port.
    pub const fn aggregation_counters(&self) -> Counters {
        self.aggregation
    }

    /// The next request to announce a slot.
    pub fn poll_request(&mut self) -> Option<AnnounceRequest> {
        (!self.requests.is_empty()).then(|| self.requests.remove(0))
    }

    /// A frame that the aggregation's link sends.
    pub fn egress(&mut self, bytes: &[u8]) -> Verdict {
        let Ok(frame) = Frame::parse(bytes) else {
            return self.refuse(Counter::TxShort);
        };
        let source = ClientAddress { mac: frame.source(), vlan: frame.vlan() };
        let Some(slot) = self.clients.get(&source) else {
            return self.refuse(Counter::TxUnknownSource);
        };
        let Some(slot) = self.slots.get(slot) else {
            return self.refuse(Counter::TxNoPort);
        };

        if let (true, Some(port)) =
            (frame.destination().is_group() && membership::is_report(&frame), self.multicast_port)
        {
            let Some(mac) = self.ports.get(&port).map(|port| port.mac) else {
                return self.refuse(Counter::TxNoPort);
            };
            self.count(port, Counter::TxReport, 1);
            return self.send(port, Some(mac), bytes.len());
        }

        let (port, by_backup) = self.port_of(slot);
        if !self.ports.contains_key(&port) {
            return self.refuse(Counter::TxNoPort);
        }
        if by_backup {
            self.count(port, Counter::TxBackup, 1);
        }
        self.send(port, None, bytes.len())
    }

    /// A frame that a port received.
    pub fn ingress(&mut self, here: PortIndex, bytes: &[u8]) -> Verdict {
        if !self.ports.contains_key(&here) {
            return Verdict::Stay;
        }
        let Ok(frame) = Frame::parse(bytes) else {
            return self.drop(here, Counter::RxShort);
        };

        // Rule 4, first half.
        if frame.destination().is_link_local() {
            self.count(here, Counter::RxLinkLocal, 1);
            return Verdict::Stay;
        }

        // Rule 1.
        if let Some(verdict) = self.own_source(here, &frame) {
            return verdict;
        }

        // Rule 2.
        if frame.destination().is_group() {
            return if self.multicast_port == Some(here) {
                self.deliver(here, bytes.len())
            } else {
                self.drop(here, Counter::RxGroupOtherPort)
            };
        }

        // Rule 4, second half.
        let destination = ClientAddress { mac: frame.destination(), vlan: frame.vlan() };
        let Some(&index) = self.clients.get(&destination) else {
            return self.drop(here, Counter::RxNobody);
        };
        let Some(slot) = self.slots.get(&index).copied() else {
            return self.drop(here, Counter::RxNobody);
        };

        // Rule 3.
        if self.port_of(&slot).0 == here {
            return self.deliver(here, bytes.len());
        }
        if self.is_fresh(&slot) {
            self.count(here, Counter::RxFreshMove, 1);
            return self.deliver(here, bytes.len());
        }
        self.ask_to_announce(index, here);
        self.drop(here, Counter::RxStalePort)
    }

    fn own_source(&mut self, here: PortIndex, frame: &Frame<'_>) -> Option<Verdict> {
        let source = ClientAddress { mac: frame.source(), vlan: frame.vlan() };
        if let Some(slot) = self.clients.get(&source) {
            let own_port =
                self.slots.get(slot).is_some_and(|slot| self.port_of(slot).0 == here && !self.is_fresh(slot));
            return Some(self.drop(here, own_source_counter(own_port)));
        }
        let owner = (self.ports.iter()).find(|(_, port)| source.vlan == 0 && port.mac == source.mac);
        let own_port = *owner?.0 == here;
        Some(self.drop(here, own_source_counter(own_port)))
    }

    /// An unusable port counts as none at all only when there is a usable backup: with every port
    /// failed the traffic goes on where it went.
    fn port_of(&self, slot: &Slot) -> (PortIndex, bool) {
        let usable = |port: PortIndex| self.ports.get(&port).is_some_and(|port| port.usable);
        match slot.placement {
            Placement { port, backup: Some(backup) } if !usable(port) && usable(backup) => (backup, true),
            Placement { port, .. } => (port, false),
        }
    }

    fn is_fresh(&self, slot: &Slot) -> bool {
        self.now - slot.moved < FRESH_MOVE
    }

    fn ask_to_announce(&mut self, index: SlotIndex, port: PortIndex) {
        let now = self.now;
        let Some(slot) = self.slots.get_mut(&index) else {
            return;
        };
        if slot.announce_asked.is_some_and(|asked| now - asked < ANNOUNCE_INTERVAL) {
            return;
        }
        slot.announce_asked = Some(now);
        self.requests.push(AnnounceRequest { slot: index, port });
    }

    fn send(&mut self, port: PortIndex, source: Option<MacAddr>, len: usize) -> Verdict {
        self.count(port, Counter::TxPackets, 1);
        self.count(port, Counter::TxBytes, len as u64);
        Verdict::Send { port, source }
    }

    fn deliver(&mut self, port: PortIndex, len: usize) -> Verdict {
        self.count(port, Counter::RxPackets, 1);
        self.count(port, Counter::RxBytes, len as u64);
        Verdict::Deliver
    }

    fn drop(&mut self, port: PortIndex, why: Counter) -> Verdict {
        self.count(port, why, 1);
        Verdict::Drop
    }

    fn refuse(&mut self, why: Counter) -> Verdict {
        self.aggregation.bump(why, 1);
        Verdict::Drop
    }

    fn count(&mut self, port: PortIndex, counter: Counter, by: u64) {
        self.counters.entry(port).or_default().bump(counter, by);
    }
}

const fn own_source_counter(own_port: bool) -> Counter {
    if own_port { Counter::RxOwnAddress } else { Counter::RxReflection }
}

impl Datapath for Model {
    fn set_port(&mut self, port: PortIndex, _ifindex: u32, mac: MacAddr) -> Result<(), Error> {
        self.ports.insert(port, Port { mac, usable: false });
        Ok(())
    }

    fn clear_port(&mut self, port: PortIndex) -> Result<(), Error> {
        self.ports.remove(&port);
        Ok(())
    }

    fn set_usable(&mut self, port: PortIndex, usable: bool) -> Result<(), Error> {
        if let Some(port) = self.ports.get_mut(&port) {
            port.usable = usable;
        }
        Ok(())
    }

    fn set_client(&mut self, client: ClientAddress, slot: SlotIndex) -> Result<(), Error> {
        self.clients.insert(client, slot);
        Ok(())
    }

    fn place(&mut self, slot: SlotIndex, placement: Placement) -> Result<(), Error> {
        let stays = (self.slots.get(&slot)).filter(|slot| slot.placement.port == placement.port);
        let slot_now = Slot { placement, moved: stays.map_or(self.now, |slot| slot.moved), announce_asked: None };
        self.slots.insert(slot, slot_now);
        Ok(())
    }

    fn set_multicast_port(&mut self, port: Option<PortIndex>) -> Result<(), Error> {
        self.multicast_port = port;
        Ok(())
    }
}
