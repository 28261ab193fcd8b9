//! What the aggregation's link and the VNICs send: who may, where it goes, and who is learned by it.

use dlmp_wire::ethernet::Frame;
use dlmp_wire::{MacAddr, membership};

use super::{Client, Delivery, Model, Slot, Verdict, delivery};
use crate::{
    Above, ClientAddress, Counter, FIRST_LEARNED_SLOT, Learned, MAX_LEARNED, Observation, PortIndex, SlotIndex,
    VnicIndex,
};

/// In LLC, both access points of a spanning tree (IEEE 802.1Q, 14.1.2).
const SPANNING_TREE: [u8; 2] = [0x42, 0x42];
/// The least number that is an EtherType and no length.
const ETHERTYPE_MIN: u16 = 0x0600;

impl Model {
    /// A frame that the aggregation's link sends.
    pub fn egress(&mut self, bytes: &[u8]) -> Verdict {
        self.copies.clear();
        match Frame::parse(bytes) {
            Ok(frame) => self.send_above(&frame, bytes),
            Err(_) => self.refuse(Counter::TxShort),
        }
    }

    /// A frame that comes to the lower end of the aggregation's link: one that missed the program on the link itself,
    /// or one with the mark of a report that was held.
    pub fn lower(&mut self, bytes: &[u8], marked: bool) -> Verdict {
        self.copies.clear();
        let Ok(frame) = Frame::parse(bytes) else {
            return self.refuse(Counter::TxShort);
        };
        if marked && frame.destination().is_group() && membership::is_report(&frame) {
            // The daemon has it.
            return Verdict::Drop;
        }
        self.aggregation.bump(Counter::TxLower, 1);
        self.send_above(&frame, bytes)
    }

    fn send_above(&mut self, frame: &Frame<'_>, bytes: &[u8]) -> Verdict {
        if frame.destination().is_switch_protocol() && !self.may_speak_to_switches(frame) {
            return self.refuse(Counter::TxSwitchProtocol);
        }
        let source = ClientAddress { mac: frame.source(), vlan: frame.vlan() };
        let slot = match self.clients.get(&source) {
            Some(Client { slot, above: Above::Link, learned }) => {
                if *learned {
                    self.used.insert(*slot);
                }
                *slot
            }
            None if !source.mac.is_group() && !self.is_port(source.mac) => match self.learn(source, Above::Link) {
                Some(slot) => slot,
                None => return self.refuse(Counter::TxClientsFull),
            },
            _ => return self.refuse(Counter::TxUnknownSource),
        };
        self.send_from(Above::Link, slot, frame, source.vlan, bytes)
    }

    /// A frame that a VNIC sends.
    pub fn vnic(&mut self, index: VnicIndex, bytes: &[u8]) -> Verdict {
        self.copies.clear();
        let Some(&vnic) = self.vnics.get(&index) else {
            return Verdict::Drop;
        };
        let Ok(frame) = Frame::parse(bytes) else {
            return self.refuse(Counter::TxShort);
        };
        if frame.source() != vnic.mac || (frame.vlan() != 0 && vnic.vlan != 0) {
            return self.refuse(Counter::TxUnknownSource);
        }
        if frame.destination().is_switch_protocol() {
            return self.refuse(Counter::TxSwitchProtocol);
        }
        let vlan = if vnic.vlan == 0 { frame.vlan() } else { vnic.vlan };
        let source = ClientAddress { mac: vnic.mac, vlan };
        if vlan != vnic.vlan && self.clients.get(&source).is_none_or(|client| client.above == Above::Vnic(index)) {
            self.trunks.insert(index);
        }
        let slot = match self.clients.get(&source) {
            Some(client) if client.above == Above::Vnic(index) => {
                if client.learned {
                    self.used.insert(client.slot);
                }
                client.slot
            }
            Some(_) => return self.refuse(Counter::TxUnknownSource),
            None => match self.learn(source, Above::Vnic(index)) {
                Some(slot) => slot,
                None => return self.refuse(Counter::TxClientsFull),
            },
        };
        self.send_from(Above::Vnic(index), slot, &frame, vlan, bytes)
    }

    fn send_from(&mut self, from: Above, slot: SlotIndex, frame: &Frame<'_>, vlan: u16, bytes: &[u8]) -> Verdict {
        if frame.destination().is_group() {
            // Local.
            if !frame.destination().is_link_local() {
                if from != Above::Link {
                    self.copies.push_back(Delivery { to: Above::Link, untagged: false });
                }
                self.copy_to_vnics(from, vlan);
            }
            // Group.
            let is_report = membership::is_report(frame);
            if is_report {
                self.groups.admit_reported(bytes);
            }
            if let (true, Some(port)) = (is_report, self.multicast_port) {
                if self.alive {
                    if self.reporting.may_be_read(from, bytes, self.now) {
                        self.aggregation.bump(Counter::TxReportHeld, 1);
                        return Verdict::Hold;
                    }
                    self.aggregation.bump(Counter::TxReportUnread, 1);
                }
                let Some(mac) = self.ports.get(&port).map(|port| port.mac) else {
                    return self.refuse(Counter::TxNoPort);
                };
                self.count(port, Counter::TxReport, 1);
                return self.send(port, Some(mac), bytes.len());
            }
        } else if let Some(&client) = self.clients.get(&ClientAddress { mac: frame.destination(), vlan })
            && (!self.vnics.is_empty() || self.bridged)
        {
            // Local.
            if client.above == from {
                return self.refuse(Counter::TxSameLink);
            }
            self.aggregation.bump(Counter::TxLocal, 1);
            return Verdict::Deliver(delivery(&client, vlan));
        }

        let (port, by_backup) = self.slots.get(&slot).map_or((None, false), |slot| self.port_of(slot));
        let Some(port) = port.filter(|port| self.ports.contains_key(port)) else {
            return self.refuse(Counter::TxNoPort);
        };
        if by_backup {
            self.count(port, Counter::TxBackup, 1);
        }
        self.send(port, None, bytes.len())
    }

    /// Seats a new client on the usable port with the fewest, or on the first port; its slot, if there is one.
    fn learn(&mut self, client: ClientAddress, above: Above) -> Option<SlotIndex> {
        let in_use = self.given_out - self.free_slots.len();
        if in_use >= self.learn_limit.unwrap_or(MAX_LEARNED) {
            return None;
        }
        let slot = match self.free_slots.pop() {
            Some(slot) => slot,
            None if self.given_out < MAX_LEARNED => {
                self.given_out += 1;
                SlotIndex(FIRST_LEARNED_SLOT.0 + (self.given_out - 1) as u16)
            }
            None => return None,
        };
        let load = |port: PortIndex| self.slots.values().filter(|slot| slot.port == Some(port)).count();
        let port = self.ports.iter().min_by_key(|&(&index, port)| (!port.usable, load(index), index));
        let port = port.map(|(&index, _)| index);
        self.slots.insert(slot, Slot { port, ..Slot::empty(self.now) });
        self.clients.insert(client, Client { slot, above, learned: true });
        self.used.insert(slot);
        self.aggregation.bump(Counter::TxLearned, 1);
        self.observations.push_back(Observation::Learned(Learned { client, slot, port, above }));
        Some(slot)
    }

    fn send(&mut self, port: PortIndex, source: Option<MacAddr>, len: usize) -> Verdict {
        self.count(port, Counter::TxPackets, 1);
        self.count(port, Counter::TxBytes, len as u64);
        Verdict::Send { port, source }
    }

    /// Whether it is the host itself that speaks to switches, and no spanning tree of a bridge above it.
    fn may_speak_to_switches(&self, frame: &Frame<'_>) -> bool {
        let primary = self.clients.iter().find(|(_, client)| client.slot == SlotIndex::PRIMARY);
        primary.is_some_and(|(primary, _)| primary.mac == frame.source())
            && !frame.destination().is_spanning_tree()
            && !is_bpdu(frame)
    }
}

/// What a bridge's spanning tree says.
fn is_bpdu(frame: &Frame<'_>) -> bool {
    frame.ethertype() < ETHERTYPE_MIN && frame.payload().get(..2) == Some(&SPANNING_TREE)
}
