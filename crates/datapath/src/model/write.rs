//! What the daemon tells the datapath, as changes of the model's state.

use dlmp_wire::MacAddr;

use super::{Client, Model, Port, Slot};
use crate::{
    Above, Answered, ClientAddress, Datapath, Error, FIRST_LEARNED_SLOT, Placement, PortIndex, Probing, SlotIndex,
    Vnic, VnicIndex,
};

impl Model {
    fn enter(&mut self, client: ClientAddress, slot: SlotIndex, above: Above) {
        self.clients.insert(client, Client { slot, above, learned: false });
        self.slots.insert(slot, Slot::empty(self.now));
    }
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
        self.enter(client, slot, Above::Link);
        Ok(())
    }

    fn set_vnic(&mut self, index: VnicIndex, vnic: Option<Vnic>) -> Result<(), Error> {
        self.trunks.remove(&index);
        if let Some(old) = self.vnics.remove(&index) {
            self.forget(old.client(), index.slot())?;
        }
        if let Some(vnic) = vnic {
            self.vnics.insert(index, vnic);
            self.enter(vnic.client(), index.slot(), Above::Vnic(index));
        }
        Ok(())
    }

    fn forget(&mut self, client: ClientAddress, slot: SlotIndex) -> Result<(), Error> {
        self.clients.remove(&client);
        self.slots.remove(&slot);
        if slot >= FIRST_LEARNED_SLOT {
            self.free_slots.push(slot);
        }
        Ok(())
    }

    fn was_used(&mut self, slot: SlotIndex) -> bool {
        self.used.remove(&slot)
    }

    fn set_learn_limit(&mut self, clients: usize) -> Result<(), Error> {
        self.learn_limit = Some(clients);
        Ok(())
    }

    fn set_bridged(&mut self, bridged: bool) -> Result<(), Error> {
        self.bridged = bridged;
        Ok(())
    }

    fn place(&mut self, slot: SlotIndex, placement: Placement) -> Result<(), Error> {
        let stays = (self.slots.get(&slot)).filter(|slot| slot.port == Some(placement.port));
        let moved = stays.map_or(self.now, |slot| slot.moved);
        let slot_now = Slot { port: Some(placement.port), backup: placement.backup, moved, announce_asked: None };
        self.slots.insert(slot, slot_now);
        Ok(())
    }

    fn set_multicast_port(&mut self, port: Option<PortIndex>) -> Result<(), Error> {
        self.multicast_port = port;
        Ok(())
    }

    fn admit(&mut self, group: MacAddr) -> Result<(), Error> {
        self.groups.admit(group);
        Ok(())
    }

    fn dismiss(&mut self, group: MacAddr) -> Result<(), Error> {
        self.groups.dismiss(group);
        Ok(())
    }

    fn set_all_multicast(&mut self, all: bool) -> Result<(), Error> {
        self.groups.all = all;
        Ok(())
    }

    fn set_filter_short(&mut self, short: bool) -> Result<(), Error> {
        self.groups.filter_short = short;
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
