//! The clients in the maps: their addresses, slots and what they are behind.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use dlmp_wire::MacAddr;

use super::{Bpf, failed, key, own};
use crate::abi::{self, dlmp_address, dlmp_client, dlmp_slot, dlmp_vnic};
use crate::{
    Above, ClientAddress, Error, FIRST_LEARNED_SLOT, Learned, MAX_LEARNED, MAX_PORTS, Placement, PortIndex, SlotIndex,
    Vnic, VnicIndex,
};

/// Offsets in bytes into the map `seating`.
const GIVEN_OUT: usize = offset_of!(abi::dlmp_seating, given_out);
const LEARNED: usize = offset_of!(abi::dlmp_seating, learned);
const ON_PORT: usize = offset_of!(abi::dlmp_seating, on_port);

impl Bpf {
    /// Places a slot where it was already: no move, so the own-port rule's window does not start.
    ///
    /// # Errors
    /// The write did not happen.
    pub fn restore(&mut self, slot: SlotIndex, placement: Placement) -> Result<(), Error> {
        self.seat(slot, Some(placement), 0)
    }

    /// Takes over the clients that an earlier daemon's programs had learned, with their slots. Before the
    /// programs are attached, and once.
    ///
    /// # Errors
    /// The writes did not all happen.
    pub fn restore_learned(&mut self, learned: &[Learned]) -> Result<(), Error> {
        let mut free = [true; MAX_LEARNED];
        let mut given_out = 0;
        for one in learned {
            let Some(at) = usize::from(one.slot.0).checked_sub(FIRST_LEARNED_SLOT.0.into()) else { continue };
            free[at] = false;
            given_out = given_out.max(at + 1);
            let placement = one.port.map(|port| Placement { port, backup: None });
            self.write_slot(one.slot, None, 0)?;
            self.seat(one.slot, placement, 0)?;
            let owner = dlmp_client { link: self.link_of(one.above), ..learned_owner(one.slot) };
            self.know_address(key(one.client.mac, one.client.vlan), owner)?;
            if let Above::Vnic(index) = one.above {
                let [trunk0, trunk1] = 1u16.to_ne_bytes();
                let trunk = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, trunk0, trunk1]);
                self.vnics.word(usize::from(index.0) * size_of::<dlmp_vnic>() + 8).fetch_or(trunk, Ordering::AcqRel);
            }
            // It may be about to send: its first look finds it in use.
            (self.used.set(one.slot.0.into(), 1, 0)).map_err(|error| failed("restore a client", &error))?;
        }
        self.seating.word(GIVEN_OUT).store(given_out as u64, Ordering::Release);
        self.seating.word(LEARNED).store(learned.len() as u64, Ordering::Release);
        for (at, _) in free.iter().enumerate().take(given_out).filter(|(_, free)| **free) {
            self.give_back(SlotIndex(FIRST_LEARNED_SLOT.0 + at as u16))?;
        }
        Ok(())
    }

    /// Every client that the programs have learned: what the ring of observations said, also what it lost.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn learned(&self) -> Result<Vec<Learned>, Error> {
        let mut all = Vec::new();
        for entry in self.addresses.iter() {
            let (address, client) = entry.map_err(|error| failed("list its clients", &error))?;
            if u32::from(client.owner) != abi::DLMP_OWNER_LEARNED {
                continue;
            }
            let slot = self.slots.get(&client.place.into(), 0).map_err(|error| failed("read a slot", &error))?;
            all.push(Learned {
                client: client_address(address),
                slot: SlotIndex(client.place),
                port: port_index(slot.port),
                above: self.above(client.link),
            });
        }
        Ok(all)
    }

    /// Whether an address is a client's now.
    #[must_use]
    pub fn is_client(&self, client: ClientAddress) -> bool {
        let known = self.addresses.get(&key(client.mac, client.vlan), 0);
        known.is_ok_and(|known| u32::from(known.owner) != abi::DLMP_OWNER_PORT)
    }

    /// Says whom an address belongs to.
    pub(super) fn know_address(&mut self, address: dlmp_address, owner: dlmp_client) -> Result<(), Error> {
        (self.addresses.insert(address, owner, 0)).map_err(|error| failed("set an address", &error))?;
        own::insert(&self.own, address);
        Ok(())
    }

    /// Forgets an address; one that is not there is no error.
    pub(super) fn forget_address(&mut self, address: dlmp_address) {
        let _ = self.addresses.remove(&address);
    }

    /// Makes an address a client that the daemon knows, with an empty slot.
    pub(super) fn know_client(&mut self, client: ClientAddress, slot: SlotIndex, link: u32) -> Result<(), Error> {
        self.write_slot(slot, None, 0)?;
        let owner = dlmp_client { owner: abi::DLMP_OWNER_CLIENT as u16, place: slot.0, link };
        self.know_address(key(client.mac, client.vlan), owner)
    }

    /// Writes the two words of struct dlmp_vnic. That with the interface comes last, and goes first.
    pub(super) fn write_vnic(&mut self, index: VnicIndex, vnic: Option<Vnic>) {
        let at = usize::from(index.0) * size_of::<dlmp_vnic>();
        let Some(vnic) = vnic else {
            self.vnics.word(at).store(0, Ordering::Release);
            return self.vnics.word(at + 8).store(0, Ordering::Release);
        };
        let [a, b, c, d, e, f] = vnic.mac.0;
        let [lower0, lower1, lower2, lower3] = vnic.lower.to_ne_bytes();
        let ([vlan0, vlan1], [slot0, slot1]) = (vnic.vlan.to_ne_bytes(), index.slot().0.to_ne_bytes());
        let first = u64::from_ne_bytes([lower0, lower1, lower2, lower3, vlan0, vlan1, a, b]);
        self.vnics.word(at + 8).store(u64::from_ne_bytes([c, d, e, f, slot0, slot1, 0, 0]), Ordering::Release);
        self.vnics.word(at).store(first, Ordering::Release);
    }

    /// Makes every port absent for new clients.
    pub(super) fn seat_nobody(&self) {
        for port in 0..MAX_PORTS as u8 {
            self.on_port(PortIndex(port)).store(abi::DLMP_ON_PORT_ABSENT, Ordering::Release);
        }
    }

    /// Says whether a port is one, and usable, for new clients. The clients on it stay counted.
    pub(super) fn offer(&self, port: PortIndex, there: bool, usable: bool) {
        const REASONS: u64 = abi::DLMP_ON_PORT_ABSENT | abi::DLMP_ON_PORT_UNUSABLE;
        let reason = match (there, usable) {
            (false, _) => abi::DLMP_ON_PORT_ABSENT,
            (true, false) => abi::DLMP_ON_PORT_UNUSABLE,
            (true, true) => 0,
        };
        self.on_port(port).fetch_and(!REASONS, Ordering::AcqRel);
        self.on_port(port).fetch_or(reason, Ordering::AcqRel);
    }

    /// Empties a slot, and gives it back if it was learned.
    pub(super) fn empty_slot(&mut self, slot: SlotIndex) -> Result<(), Error> {
        self.seat(slot, None, 0)?;
        if slot < FIRST_LEARNED_SLOT {
            return Ok(());
        }
        self.seating.word(LEARNED).fetch_sub(1, Ordering::AcqRel);
        self.give_back(slot)
    }

    fn give_back(&mut self, slot: SlotIndex) -> Result<(), Error> {
        (self.free_slots.push(u32::from(slot.0), 0)).map_err(|error| failed("give a slot back", &error))
    }

    /// Seats a slot's client, and counts it there and no longer where it sat.
    pub(super) fn seat(&mut self, slot: SlotIndex, placement: Option<Placement>, moved_ns: u64) -> Result<(), Error> {
        let old = self.slots.get(&slot.0.into(), 0).map_err(|error| failed("read a slot", &error))?;
        self.write_slot(slot, placement, moved_ns)?;
        if let Some(port) = port_index(old.port) {
            self.on_port(port).fetch_sub(abi::DLMP_ON_PORT_ONE.into(), Ordering::AcqRel);
        }
        if let Some(placement) = placement {
            self.on_port(placement.port).fetch_add(abi::DLMP_ON_PORT_ONE.into(), Ordering::AcqRel);
        }
        Ok(())
    }

    /// Writes a slot whatever it was before, and counts nobody.
    fn write_slot(&mut self, slot: SlotIndex, placement: Option<Placement>, moved_ns: u64) -> Result<(), Error> {
        let value = dlmp_slot {
            port: placement.map_or(abi::DLMP_NO_PORT, |placement| placement.port.0.into()),
            backup: placement.and_then(|placement| placement.backup).map_or(abi::DLMP_NO_PORT, |port| port.0.into()),
            moved_ns,
            announce_ns: 0,
        };
        (self.slots.set(slot.0.into(), value, 0)).map_err(|error| failed("place a slot", &error))
    }

    fn on_port(&self, port: PortIndex) -> &AtomicU64 {
        self.seating.word(ON_PORT + usize::from(port.0) * 8)
    }

    pub(super) fn above(&self, link: u32) -> Above {
        let vnic = self.known_vnics.iter().find(|(_, vnic)| vnic.lower == link && link != 0);
        vnic.map_or(Above::Link, |(&index, _)| Above::Vnic(index))
    }

    fn link_of(&self, above: Above) -> u32 {
        match above {
            Above::Link => 0,
            Above::Vnic(index) => self.known_vnics.get(&index).map_or(0, |vnic| vnic.lower),
        }
    }
}

fn learned_owner(slot: SlotIndex) -> dlmp_client {
    dlmp_client { owner: abi::DLMP_OWNER_LEARNED as u16, place: slot.0, link: 0 }
}

pub(super) const fn client_address(address: dlmp_address) -> ClientAddress {
    ClientAddress { mac: MacAddr(address.mac), vlan: address.vlan }
}

pub(super) fn port_index(index: u32) -> Option<PortIndex> {
    u8::try_from(index).ok().map(PortIndex)
}
