//! What the daemon tells the datapath, as writes to the maps.

use dlmp_wire::MacAddr;

use super::{Bpf, failed, key, nanoseconds};
use crate::abi::{self, dlmp_client, dlmp_port};
use crate::{Answered, ClientAddress, Datapath, Error, Placement, PortIndex, Probing, SlotIndex};

impl Datapath for Bpf {
    fn set_port(&mut self, port: PortIndex, ifindex: u32, mac: MacAddr) -> Result<(), Error> {
        self.clear_port(port)?;
        self.pairs.make_room(port)?;
        let index = u32::from(port.0);
        let value = dlmp_port { ifindex, flags: 0, mac: mac.0, reserved: [0; 2] };
        let owner = dlmp_client { owner: abi::DLMP_OWNER_PORT, place: index };
        (self.ports.set(index, value, 0)).map_err(|error| failed("set a port", &error))?;
        self.know_address(key(mac, 0), owner)?;
        (self.port_by_ifindex.insert(ifindex, index, 0)).map_err(|error| failed("set a port", &error))
    }

    fn clear_port(&mut self, port: PortIndex) -> Result<(), Error> {
        let old = self.port(port)?;
        if old.ifindex == 0 {
            return Ok(());
        }
        // Absent entries are what is wanted.
        let _ = self.port_by_ifindex.remove(&old.ifindex);
        self.forget_address(key(MacAddr(old.mac), 0))?;
        (self.ports.set(port.0.into(), dlmp_port::default(), 0)).map_err(|error| failed("clear a port", &error))
    }

    fn set_usable(&mut self, port: PortIndex, usable: bool) -> Result<(), Error> {
        let mut value = self.port(port)?;
        value.flags = if usable { abi::DLMP_PORT_USABLE } else { 0 };
        (self.ports.set(port.0.into(), value, 0)).map_err(|error| failed("mark a port", &error))
    }

    fn set_client(&mut self, client: ClientAddress, slot: SlotIndex) -> Result<(), Error> {
        let value = dlmp_client { owner: abi::DLMP_OWNER_PRIMARY, place: slot.0.into() };
        self.know_address(key(client.mac, client.vlan), value)
    }

    fn place(&mut self, slot: SlotIndex, placement: Placement) -> Result<(), Error> {
        let old = self.slots.get(&slot.0.into(), 0).map_err(|error| failed("read a slot", &error))?;
        if old.port == u32::from(placement.port.0) {
            return self.write_slot(slot, placement, old.moved_ns);
        }
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .map_err(|error| failed("read the clock", &error))?;
        self.write_slot(slot, placement, nanoseconds(now.into()))
    }

    fn set_multicast_port(&mut self, port: Option<PortIndex>) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.multicast_port, port);
        self.write_aggregation().inspect_err(|_| self.multicast_port = before)
    }

    fn set_probing(&mut self, probing: Option<Probing>) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.probing, probing);
        self.write_aggregation().inspect_err(|_| self.probing = before)
    }

    fn answered(&self, port: PortIndex, by: PortIndex) -> Option<Answered> {
        self.pairs.answered(port, by)
    }
}
