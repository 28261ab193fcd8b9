//! The rules of the datapath as a pure function of frames: the twin of `bpf/`.
//!
//! Written from the rules (docs/datapath.md), not from the programs, in the same order. The simulator
//! runs on it; table tests feed it and the loaded programs the same frames.

use std::collections::BTreeMap;
use std::time::Duration;

use dlmp_wire::ethernet::{Frame, HEADER_LEN, ethertype};
use dlmp_wire::transitive::{self, Kind, Probe, Refused};
use dlmp_wire::{MacAddr, membership};

use crate::{
    ANNOUNCE_INTERVAL, Answered, ClientAddress, Counter, Counters, Datapath, Error, FRESH_MOVE, Placement, PortIndex,
    Probing, SlotIndex,
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
    /// It leaves through the port that it arrived on, beginning with these bytes instead: the answer to
    /// a transitive probe.
    Answer([u8; HEADER_LEN + transitive::LEN]),
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
    probing: Option<Probing>,
    /// Newest sequence number asked and newest answer, by local and other port.
    pairs: BTreeMap<(PortIndex, PortIndex), Pair>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    asked: u32,
    answered: Option<Answered>,
}

/// An older transitive probe is played again.
const PROBE_WINDOW: Duration = Duration::from_secs(1);

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

        // Probes carry the ports' own addresses, so they come before rule 1.
        if let Some(verdict) = self.probe(here, &frame, bytes) {
            return verdict;
        }

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
        if is_probe_answer(bytes) && self.ports.get(&here).is_some_and(|port| port.mac == frame.destination()) {
            self.count(here, Counter::RxProbeAnswer, 1);
            return Verdict::Stay;
        }
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

    /// What becomes of a transitive probe; nothing if the frame is none.
    fn probe(&mut self, here: PortIndex, frame: &Frame<'_>, bytes: &[u8]) -> Option<Verdict> {
        let Probing { key, vlan } = self.probing?;
        // The kernel takes a tag out of the bytes before the program sees them.
        let body = bytes.get(HEADER_LEN..).filter(|_| bytes[12..14] == ethertype::EXPERIMENTAL.to_be_bytes())?;
        let mut probe = match Probe::parse(body, &key) {
            Ok(probe) => probe,
            Err(Refused::Foreign) => return None,
            Err(Refused::Malformed) => return Some(self.drop(here, Counter::RxProbeMalformed)),
            Err(Refused::Forged) => return Some(self.drop(here, Counter::RxProbeForged)),
        };
        let port_with = |mac: MacAddr| self.ports.iter().find(|(_, port)| port.mac == mac).map(|(&index, _)| index);
        let (local, other) = match probe.kind {
            Kind::Request => (port_with(probe.asked), port_with(probe.asking)),
            Kind::Response => (port_with(probe.asking), port_with(probe.asked)),
        };
        let ends = (frame.destination(), frame.source());
        let Some(other) = other.filter(|&other| {
            local == Some(here) && other != here && probe.ends() == ends && probe.vlan == vlan && frame.vlan() == vlan
        }) else {
            return Some(self.drop(here, Counter::RxProbeStray));
        };
        let sent = Duration::from_nanos(probe.sent);
        let pair = self.pairs.entry((here, other)).or_default();
        let last = match probe.kind {
            Kind::Request => pair.asked,
            Kind::Response => pair.answered.map_or(0, |answered| answered.sequence),
        };
        let newer = probe.sequence.wrapping_sub(last).cast_signed() > 0;
        if !newer || self.now.checked_sub(sent).is_none_or(|age| age > PROBE_WINDOW) {
            return Some(self.drop(here, Counter::RxProbeStale));
        }
        match probe.kind {
            Kind::Request => {
                pair.asked = probe.sequence;
                self.count(here, Counter::RxProbeRequest, 1);
                probe.kind = Kind::Response;
                let mut buffer = [0; _];
                probe.emit(&key, &mut buffer).first_chunk().map(|answer| Verdict::Answer(*answer))
            }
            Kind::Response => {
                pair.answered = Some(Answered { sequence: probe.sequence, sent, at: self.now });
                self.count(here, Counter::RxProbeResponse, 1);
                Some(Verdict::Drop)
            }
        }
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

/// Whether a frame is an ARP reply that names no address of the asker (RFC 5227) or a neighbour
/// advertisement: what answers the daemon's questions.
fn is_probe_answer(bytes: &[u8]) -> bool {
    let field = |at: usize, wanted: &[u8]| bytes.get(at..at + wanted.len()) == Some(wanted);
    (field(12, &ethertype::ARP.to_be_bytes()) && field(HEADER_LEN + 6, &[0, 2]) && field(HEADER_LEN + 24, &[0; 4]))
        || (field(12, &ethertype::IPV6.to_be_bytes()) && field(HEADER_LEN + 6, &[58]) && field(HEADER_LEN + 40, &[136]))
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

    fn set_probing(&mut self, probing: Option<Probing>) -> Result<(), Error> {
        self.probing = probing;
        Ok(())
    }

    fn answered(&self, port: PortIndex, by: PortIndex) -> Option<Answered> {
        self.pairs.get(&(port, by)).and_then(|pair| pair.answered)
    }
}
