//! The rules of the datapath as a pure function of frames: the twin of `bpf/`.
//!
//! Written from the rules (docs/datapath.md), not from the programs, in the same order. The simulator
//! runs on it; table tests feed it and the loaded programs the same frames.

mod groups;
mod probes;
mod reporting;
mod send;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use dlmp_wire::ethernet::{Frame, HEADER_LEN, ethertype};
use dlmp_wire::{MacAddr, transitive};

use crate::{
    ANNOUNCE_INTERVAL, Above, ClientAddress, Counter, Counters, FRESH_MOVE, Observation, PortIndex, Probing, SlotIndex,
    Vnic, VnicIndex,
};
use groups::Groups;
use probes::{Pair, is_probe_answer};
use reporting::Reporting;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent through a port.
    Send {
        /// The port.
        port: PortIndex,
        /// The Ethernet source that replaces the client's, for a report (the group rule).
        source: Option<MacAddr>,
    },
    /// It is a report that waits for the daemon, which sends it (the group rule).
    Hold,
    /// It is delivered to a client here.
    Deliver(Delivery),
    /// It stays on the port that it arrived on, for programs that listen there.
    Stay,
    /// It leaves through the port that it arrived on, beginning with these bytes instead: the answer to
    /// a transitive probe.
    Answer([u8; HEADER_LEN + transitive::LEN]),
    /// It is dropped.
    Drop,
}

/// A frame, or a copy of one, for somebody above the aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    /// Who gets it.
    pub to: Above,
    /// Whether its VLAN tag is taken off.
    pub untagged: bool,
}

#[derive(Debug, Clone, Copy)]
struct Port {
    mac: MacAddr,
    usable: bool,
}

#[derive(Debug, Clone, Copy)]
struct Client {
    slot: SlotIndex,
    above: Above,
    learned: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    port: Option<PortIndex>,
    backup: Option<PortIndex>,
    moved: Duration,
    announce_asked: Option<Duration>,
}

impl Slot {
    const fn empty(now: Duration) -> Self {
        Self { port: None, backup: None, moved: now, announce_asked: None }
    }
}

/// The state that the rules look at, with a clock that the owner moves.
#[derive(Debug, Clone, Default)]
pub struct Model {
    now: Duration,
    ports: BTreeMap<PortIndex, Port>,
    vnics: BTreeMap<VnicIndex, Vnic>,
    clients: BTreeMap<ClientAddress, Client>,
    slots: BTreeMap<SlotIndex, Slot>,
    /// Slots of learned clients that are gone; the last one goes first.
    free_slots: Vec<SlotIndex>,
    /// How many slots of learned clients were ever given out.
    given_out: usize,
    /// Slots of learned clients that have sent since that was last asked.
    used: BTreeSet<SlotIndex>,
    /// Absent: as many as there is room for.
    learn_limit: Option<usize>,
    /// VNICs without a VLAN of their own that have sent tagged frames.
    trunks: BTreeSet<VnicIndex>,
    bridged: bool,
    multicast_port: Option<PortIndex>,
    groups: Groups,
    /// The daemon has given a sign of life lately.
    alive: bool,
    reporting: Reporting,
    counters: BTreeMap<PortIndex, Counters>,
    /// Counts that belong to no port.
    aggregation: Counters,
    observations: VecDeque<Observation>,
    copies: VecDeque<Delivery>,
    probing: Option<Probing>,
    /// By local and other port.
    pairs: BTreeMap<(PortIndex, PortIndex), Pair>,
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

    /// Says whether the daemon has given a sign of life lately: then reports are held for it (the group rule).
    pub fn set_alive(&mut self, alive: bool) {
        self.alive = alive;
    }

    /// Lets what is above have reported so much that nothing more of it is held for long; nothing: all together.
    pub fn exhaust_reports(&mut self, above: Option<Above>) {
        self.reporting.exhaust(above, self.now);
    }

    /// The counters of a port.
    pub fn counters(&self, port: PortIndex) -> Counters {
        self.counters.get(&port).copied().unwrap_or_default()
    }

    /// The counters that belong to no port.
    pub const fn aggregation_counters(&self) -> Counters {
        self.aggregation
    }

    /// The next thing that was observed.
    pub fn poll_observation(&mut self) -> Option<Observation> {
        self.observations.pop_front()
    }

    /// The next copy that was made of the last frame, beside its verdict (the local rule).
    pub fn poll_copy(&mut self) -> Option<Delivery> {
        self.copies.pop_front()
    }

    /// A frame that a port received.
    pub fn ingress(&mut self, here: PortIndex, bytes: &[u8]) -> Verdict {
        self.copies.clear();
        if !self.ports.contains_key(&here) {
            return Verdict::Stay;
        }
        let Ok(frame) = Frame::parse(bytes) else {
            return self.drop(here, Counter::RxShort);
        };

        if hides_vlan(bytes) {
            return self.drop(here, Counter::RxVlanStacked);
        }

        // Probes carry the ports' own addresses, so they come before the reflection rule.
        if let Some(verdict) = self.probe(here, &frame, bytes) {
            return verdict;
        }

        // Link-local.
        if frame.destination().is_link_local() {
            self.count(here, Counter::RxLinkLocal, 1);
            return Verdict::Stay;
        }

        // Reflection.
        if let Some(verdict) = self.own_source(here, &frame) {
            return verdict;
        }

        // Group.
        if frame.destination().is_group() {
            let on_multicast_port = self.multicast_port == Some(here);
            let counter = self.groups.judge(frame.destination(), on_multicast_port);
            if counter != Counter::RxGroup {
                return self.drop(here, counter);
            }
            self.count(here, counter, 1);
            self.copy_to_vnics(Above::Link, frame.vlan());
            return self.take(here, TO_LINK, bytes.len());
        }

        // Nobody.
        if is_probe_answer(bytes) && self.ports.get(&here).is_some_and(|port| port.mac == frame.destination()) {
            self.count(here, Counter::RxProbeAnswer, 1);
            return Verdict::Stay;
        }
        let destination = ClientAddress { mac: frame.destination(), vlan: frame.vlan() };
        let Some(&client) = self.clients.get(&destination) else {
            let may_be_above = self.bridged
                && self.multicast_port == Some(here)
                && !(destination.vlan == 0 && self.is_port(destination.mac));
            return if may_be_above {
                self.take(here, TO_LINK, bytes.len())
            } else {
                self.drop(here, Counter::RxNobody)
            };
        };
        let Some(slot) = self.slots.get(&client.slot).copied().filter(|slot| slot.port.is_some()) else {
            return self.drop(here, Counter::RxNobody);
        };

        // Own-port.
        if self.port_of(&slot).0 == Some(here) {
            return self.take(here, delivery(&client, destination.vlan), bytes.len());
        }
        if self.is_fresh(&slot) {
            self.count(here, Counter::RxFreshMove, 1);
            return self.take(here, delivery(&client, destination.vlan), bytes.len());
        }
        self.ask_to_announce(client.slot, here);
        self.drop(here, Counter::RxStalePort)
    }

    /// What becomes of a frame with one of our own sources; nothing if it has none, or no longer has.
    fn own_source(&mut self, here: PortIndex, frame: &Frame<'_>) -> Option<Verdict> {
        let source = ClientAddress { mac: frame.source(), vlan: frame.vlan() };
        let Some(&client) = self.clients.get(&source) else {
            let owner = (self.ports.iter()).find(|(_, port)| port.mac == source.mac);
            let own_port = *owner?.0 == here;
            return Some(self.drop(here, own_source_counter(own_port)));
        };
        let slot = self.slots.get(&client.slot).copied();
        let (port, by_backup) = slot.as_ref().map_or((None, false), |slot| self.port_of(slot));
        let own_port = port == Some(here) && slot.is_some_and(|slot| !self.is_fresh(&slot));
        if own_port && !by_backup && client.learned && is_announcement(frame) {
            self.clients.remove(&source);
            self.observations.push_back(Observation::Released { slot: client.slot, client: source });
            self.count(here, Counter::RxReleased, 1);
            return None;
        }
        Some(self.drop(here, own_source_counter(own_port)))
    }

    /// Copies a group-addressed frame to the VNICs in its VLAN, but not to the one that it came from.
    fn copy_to_vnics(&mut self, from: Above, vlan: u16) {
        let others = || self.vnics.iter().filter(move |&(&index, _)| Above::Vnic(index) != from);
        let as_it_is = others().filter(|(index, vnic)| vnic.vlan == 0 && (vlan == 0 || self.trunks.contains(index)));
        let as_it_is = as_it_is.map(|(&index, _)| Delivery { to: Above::Vnic(index), untagged: false });
        let configured = others().filter(|(_, vnic)| vlan != 0 && vnic.vlan == vlan);
        let configured = configured.map(|(&index, _)| Delivery { to: Above::Vnic(index), untagged: true });
        let copies: Vec<_> = as_it_is.chain(configured).collect();
        self.copies.extend(copies);
    }

    fn is_port(&self, mac: MacAddr) -> bool {
        self.ports.values().any(|port| port.mac == mac)
    }

    /// An unusable port counts as none at all only when there is a usable backup: with every port
    /// failed the traffic goes on where it went.
    fn port_of(&self, slot: &Slot) -> (Option<PortIndex>, bool) {
        let usable =
            |port: Option<PortIndex>| port.and_then(|port| self.ports.get(&port)).is_some_and(|port| port.usable);
        if !usable(slot.port) && usable(slot.backup) { (slot.backup, true) } else { (slot.port, false) }
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
        self.observations.push_back(Observation::Stray { slot: index, port });
    }

    fn take(&mut self, port: PortIndex, delivery: Delivery, len: usize) -> Verdict {
        self.count(port, Counter::RxPackets, 1);
        self.count(port, Counter::RxBytes, len as u64);
        Verdict::Deliver(delivery)
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

/// To the aggregation's own link, as it is.
const TO_LINK: Delivery = Delivery { to: Above::Link, untagged: false };

/// A VNIC in a VLAN has its frames without the tag; one behind it that has the tag itself was learned.
fn delivery(client: &Client, vlan: u16) -> Delivery {
    Delivery { to: client.above, untagged: client.above != Above::Link && !client.learned && vlan != 0 }
}

/// Whether a tag without a VLAN is before another tag, which hosts then go by.
fn hides_vlan(bytes: &[u8]) -> bool {
    let word = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let is_tag = |at| matches!(word(at), Some(ethertype::VLAN | ethertype::PROVIDER_VLAN));
    is_tag(12) && word(14).is_some_and(|tci| tci & 0x0fff == 0) && is_tag(16)
}

/// Whether a frame says where its sender is now: a RARP, an ARP for the sender's own address (RFC 5227), a
/// neighbour advertisement that nobody asked for (RFC 4861).
fn is_announcement(frame: &Frame<'_>) -> bool {
    let field = |at: usize, len: usize| frame.payload().get(at..at + len);
    match frame.ethertype() {
        ethertype::RARP => true,
        ethertype::ARP => field(14, 4).is_some_and(|sender| sender != [0; 4]) && field(14, 4) == field(24, 4),
        ethertype::IPV6 => {
            field(6, 1) == Some(&[58])
                && field(40, 1) == Some(&[136])
                && field(44, 1).is_some_and(|flags| flags[0] & 0x40 == 0)
        }
        _ => false,
    }
}

const fn own_source_counter(own_port: bool) -> Counter {
    if own_port { Counter::RxOwnAddress } else { Counter::RxReflection }
}
