//! What the daemon tells the datapath, as writes to the maps.

use dlmp_wire::MacAddr;

use super::{Bpf, failed, key, now, port_owner};
use crate::abi::{self, dlmp_port};
use crate::{Answered, ClientAddress, Datapath, Error, Placement, PortIndex, Probing, SlotIndex, Vnic, VnicIndex};

impl Datapath for Bpf {
    fn set_port(&mut self, port: PortIndex, ifindex: u32, mac: MacAddr) -> Result<(), Error> {
        self.clear_port(port)?;
        self.pairs.make_room(port)?;
        let index = u32::from(port.0);
        let value = dlmp_port { ifindex, flags: 0, mac: mac.0, room: 0 };
        (self.ports.set(index, value, 0)).map_err(|error| failed("set a port", &error))?;
        self.know_address(key(mac, 0), port_owner(port))?;
        self.offer(port, true, false);
        (self.port_by_ifindex.insert(ifindex, index, 0)).map_err(|error| failed("set a port", &error))
    }

    fn clear_port(&mut self, port: PortIndex) -> Result<(), Error> {
        let old = self.port(port)?;
        if old.ifindex == 0 {
            return Ok(());
        }
        self.offer(port, false, false);
        // Absent entries are what is wanted.
        let _ = self.port_by_ifindex.remove(&old.ifindex);
        self.forget_address(key(MacAddr(old.mac), 0));
        (self.ports.set(port.0.into(), dlmp_port::default(), 0)).map_err(|error| failed("clear a port", &error))
    }

    fn set_usable(&mut self, port: PortIndex, usable: bool) -> Result<(), Error> {
        let mut value = self.port(port)?;
        value.flags = if usable { abi::DLMP_PORT_USABLE } else { 0 };
        self.offer(port, value.ifindex != 0, usable);
        (self.ports.set(port.0.into(), value, 0)).map_err(|error| failed("mark a port", &error))
    }

    fn set_client(&mut self, client: ClientAddress, slot: SlotIndex) -> Result<(), Error> {
        self.know_client(client, slot, 0)?;
        if slot == SlotIndex::PRIMARY {
            self.primary = Some(client);
            self.write_aggregation()?;
        }
        Ok(())
    }

    fn set_vnic(&mut self, index: VnicIndex, vnic: Option<Vnic>) -> Result<(), Error> {
        if let Some(old) = self.known_vnics.remove(&index) {
            // An absent entry is what is wanted.
            let _ = self.vnic_by_ifindex.remove(&old.lower);
            self.write_vnic(index, None);
            self.forget_reporting(index);
            self.forget(old.client(), index.slot())?;
        }
        if let Some(vnic) = vnic {
            self.know_client(vnic.client(), index.slot(), vnic.lower)?;
            self.write_vnic(index, Some(vnic));
            (self.vnic_by_ifindex.insert(vnic.lower, u32::from(index.0), 0))
                .map_err(|error| failed("set a VNIC", &error))?;
            self.known_vnics.insert(index, vnic);
        }
        self.write_aggregation()
    }

    fn forget(&mut self, client: ClientAddress, slot: SlotIndex) -> Result<(), Error> {
        let address = key(client.mac, client.vlan);
        // One that was released may have been learned anew since, with another slot.
        if self.addresses.get(&address, 0).is_ok_and(|known| known.place == slot.0) {
            self.forget_address(address);
        }
        self.empty_slot(slot)
    }

    fn was_used(&mut self, slot: SlotIndex) -> bool {
        let slot = u32::from(slot.0);
        // A use that comes between the two is found by the next look, or was the last for long.
        self.used.get(&slot, 0).is_ok_and(|used| used != 0) && self.used.set(slot, 0, 0).is_ok()
    }

    fn set_bridged(&mut self, bridged: bool) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.bridged, bridged);
        self.write_aggregation().inspect_err(|_| self.bridged = before)
    }

    fn set_learn_limit(&mut self, clients: usize) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.learn_limit, clients);
        self.write_aggregation().inspect_err(|_| self.learn_limit = before)
    }

    fn place(&mut self, slot: SlotIndex, placement: Placement) -> Result<(), Error> {
        let old = self.slots.get(&slot.0.into(), 0).map_err(|error| failed("read a slot", &error))?;
        if old.port == u32::from(placement.port.0) {
            return self.seat(slot, Some(placement), old.moved_ns);
        }
        self.seat(slot, Some(placement), now()?)
    }

    fn set_multicast_port(&mut self, port: Option<PortIndex>) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.multicast_port, port);
        self.write_aggregation().inspect_err(|_| self.multicast_port = before)
    }

    fn admit(&mut self, group: MacAddr) -> Result<(), Error> {
        self.groups.admit(group)
    }

    fn dismiss(&mut self, group: MacAddr) -> Result<(), Error> {
        self.groups.dismiss(group)
    }

    fn set_all_multicast(&mut self, all: bool) -> Result<(), Error> {
        self.groups.set_all(all);
        Ok(())
    }

    fn set_filter_short(&mut self, short: bool) -> Result<(), Error> {
        self.groups.set_filter_short(short);
        Ok(())
    }

    fn set_probing(&mut self, probing: Option<Probing>) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.probing, probing);
        self.write_aggregation().inspect_err(|_| self.probing = before)
    }

    fn answered(&self, port: PortIndex, by: PortIndex) -> Option<Answered> {
        self.pairs.answered(port, by)
    }
}
