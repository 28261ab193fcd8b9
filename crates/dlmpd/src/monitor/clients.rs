//! The clients of a running aggregation that nobody creates by a command: addresses that the datapath learned
//! from what a bridge or a guest sends, and VLAN devices on the aggregation's link. And what is the same for
//! clients of every kind: their addresses, and taking them over from an earlier daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dlmp_api::Client;
use dlmp_datapath::bpf::{self, Previous, PreviousClient};
use dlmp_datapath::{
    Above, ClientAddress, Counter, Datapath, FIRST_LEARNED_SLOT, Learned, MAX_LEARNED, MAX_VNICS, Observation,
    Placement, SlotIndex, VnicIndex,
};
use dlmp_engine::Event;
use dlmp_netlink::{Link, Netlink};
use dlmp_wire::MacAddr;

use super::chores::Chore;
use super::running::{Running, failed};

/// How often it is looked which learned clients have sent.
pub(super) const LOOK: Duration = Duration::from_secs(60);
/// A client that was silent for so long is forgotten: twice as long as switches and bridges remember an
/// address by default (IEEE 802.1Q, 8.8.3: 300 s), so that it is never gone here and still known there.
const SILENT: Duration = Duration::from_secs(600);
/// Kinds of links above which there may be guests that have not sent yet.
const BRIDGES: [&str; 2] = ["bridge", "openvswitch"];
/// The slots of VLAN devices.
const VLAN_SLOTS: std::ops::Range<u16> = 1 + MAX_VNICS as u16..FIRST_LEARNED_SLOT.0;

/// The clients that come and go by themselves.
#[derive(Debug)]
pub(super) struct Clients {
    /// How many may be learned.
    limit: usize,
    learned: BTreeMap<SlotIndex, LearnedClient>,
    /// The slots of the learned ones.
    slots: BTreeMap<ClientAddress, SlotIndex>,
    vlans: BTreeMap<SlotIndex, VlanDevice>,
    /// A bridge sits above.
    bridged: bool,
    /// Counts of the datapath at the last look.
    events_lost: u64,
    refused: u64,
    last_look: Option<Instant>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            limit: MAX_LEARNED,
            learned: BTreeMap::new(),
            slots: BTreeMap::new(),
            vlans: BTreeMap::new(),
            bridged: false,
            events_lost: 0,
            refused: 0,
            last_look: None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct LearnedClient {
    address: ClientAddress,
    above: Above,
    /// When a look last found that it had sent. The first look finds what it was learned by.
    heard: Option<Instant>,
    /// It has sent again after it was learned: what a flood of random addresses does not do.
    proven: bool,
}

/// A VLAN device or macvlan on the aggregation's link, in our namespace.
#[derive(Debug, Clone)]
struct VlanDevice {
    ifindex: u32,
    name: String,
    address: ClientAddress,
}

impl Running {
    /// Lets so many clients be learned and no more.
    ///
    /// # Errors
    /// The datapath did not take it.
    pub fn set_learn_limit(&mut self, clients: usize) -> Result<(), dlmp_api::Error> {
        self.bpf.set_learn_limit(clients).map_err(failed)?;
        self.clients.limit = clients;
        Ok(())
    }

    /// What the datapath has observed.
    pub fn observed(&mut self, events: &[bpf::Event]) {
        let now = Instant::now();
        let mut learned = Vec::new();
        let mut released = BTreeSet::new();
        for &event in events {
            match self.bpf.understand(event) {
                Some(Observation::Stray { slot, .. }) => self.engine.handle_event(Event::Stray(slot), now),
                Some(Observation::Learned(client)) => learned.push(client),
                Some(Observation::Released { slot, .. }) => {
                    released.insert(slot);
                }
                None => {}
            }
        }
        learned.retain(|client| !released.contains(&client.slot) || self.clients.learned.contains_key(&client.slot));
        self.forget_learned(released.into_iter().collect(), now);
        self.seat_learned(&learned, now);
        self.catch_up(now);
    }

    /// Looks at the datapath itself when events were lost.
    fn catch_up(&mut self, now: Instant) {
        let Ok(counters) = self.bpf.aggregation_counters() else { return };
        let lost = counters.get(Counter::EventLost);
        if lost == self.clients.events_lost {
            return;
        }
        let there = match self.bpf.learned() {
            Ok(there) => there,
            Err(error) => return tracing::error!(aggregation = self.name, %error, "cannot list the learned clients"),
        };
        self.clients.events_lost = lost;
        let known = |client: &Learned| {
            self.clients.learned.get(&client.slot).is_some_and(|known| known.address == client.client)
        };
        let slots: BTreeSet<SlotIndex> =
            there.iter().filter(|client| known(client)).map(|client| client.slot).collect();
        let new: Vec<Learned> = there.iter().filter(|client| !known(client)).copied().collect();
        let gone = self.clients.learned.keys().filter(|slot| !slots.contains(slot)).copied().collect();
        self.forget_learned(gone, now);
        self.seat_learned(&new, now);
    }

    /// Tells the engine of new clients, where the datapath has seated them.
    fn seat_learned(&mut self, learned: &[Learned], now: Instant) {
        let (mut seated, mut homeless) = (Vec::new(), Vec::new());
        for &Learned { client, slot, port, above } in learned {
            // Somebody made it a VNIC or a VLAN device in the meantime.
            if self.slot_of(client).is_some_and(|known| known != slot) {
                if let Err(error) = self.bpf.forget(client, slot) {
                    tracing::error!(aggregation = self.name, %error, "a slot is lost");
                }
                continue;
            }
            // Told twice, by the ring and by a look: it may have been moved since.
            if self.clients.learned.get(&slot).is_some_and(|known| known.address == client) {
                continue;
            }
            let known = LearnedClient { address: client, above, heard: None, proven: false };
            self.clients.learned.insert(slot, known);
            self.clients.slots.insert(client, slot);
            self.receive(client.mac);
            match port {
                Some(port) => seated.push((slot, port)),
                None => homeless.push(slot),
            }
        }
        if !seated.is_empty() {
            self.engine.handle_event(Event::ClientsSeated(seated), now);
        }
        if !homeless.is_empty() {
            self.engine.handle_event(Event::ClientsAdded(homeless), now);
        }
    }

    /// Forgets learned clients: first the engine, then the datapath.
    fn forget_learned(&mut self, slots: Vec<SlotIndex>, now: Instant) {
        let slots: Vec<SlotIndex> = slots.into_iter().filter(|slot| self.clients.learned.contains_key(slot)).collect();
        if slots.is_empty() {
            return;
        }
        self.engine.handle_event(Event::ClientsRemoved(slots.clone()), now);
        self.act();
        for slot in slots {
            let Some(client) = self.clients.learned.remove(&slot) else { continue };
            self.clients.slots.remove(&client.address);
            if let Err(error) = self.bpf.forget(client.address, slot) {
                tracing::error!(aggregation = self.name, %error, "a slot is lost");
            }
            self.receive_no_longer(client.address.mac);
        }
    }

    /// Forgets clients that are silent for long, and says when there was no room for new ones. Those that never
    /// sent again are forgotten to make room, but only when somebody was refused: who fits in stays.
    pub fn age(&mut self, now: Instant) {
        let refused = self.bpf.aggregation_counters().map_or(0, |counters| counters.get(Counter::TxClientsFull));
        let full = self.clients.learned.len() >= self.clients.limit;
        let crowded = full && refused > self.clients.refused;
        if refused > self.clients.refused {
            tracing::warn!(
                aggregation = self.name,
                frames = refused - self.clients.refused,
                clients = self.clients.learned.len(),
                "no room to learn new clients: their frames were dropped"
            );
            self.clients.refused = refused;
        }
        if !full && self.clients.last_look.is_some_and(|last| now < last + LOOK) {
            return;
        }
        self.clients.last_look = Some(now);
        let mut gone = Vec::new();
        for (&slot, client) in &mut self.clients.learned {
            if self.bpf.was_used(slot) {
                client.proven |= client.heard.is_some();
                client.heard = Some(now);
            } else if (crowded && !client.proven) || client.heard.is_none_or(|heard| now >= heard + SILENT) {
                gone.push(slot);
            }
        }
        self.forget_learned(gone, now);
    }

    /// Takes in what the aggregation's own link has become: whether a bridge is above it.
    pub(super) fn follow_link(&mut self, link: &Link) {
        self.clients.bridged = is_bridged(link);
        if let Err(error) = self.bpf.set_bridged(self.clients.bridged) {
            tracing::error!(aggregation = self.name, %error, "guests of the bridge above may not be reached");
        }
    }

    /// Takes in a VLAN device on the aggregation's link, or what it has become.
    pub(super) fn follow_vlan(&mut self, link: &Link) {
        let vlan = match link.kind.as_deref() {
            Some("vlan") => link.vlan,
            Some("macvlan") => Some(0),
            _ => None,
        };
        let (Some(vlan), Some(mac), true) = (vlan, link.mac, link.peer_index == Some(self.link)) else {
            return;
        };
        let address = ClientAddress { mac, vlan };
        if self.clients.vlans.values().any(|known| known.ifindex == link.index && known.address == address) {
            return;
        }
        self.forget_vlan(link.index);
        // Two devices can have one address: the first is the client.
        let other = self.slot_of(address);
        if other.is_some_and(|slot| slot < FIRST_LEARNED_SLOT) {
            return;
        }
        let Some(slot) = VLAN_SLOTS.map(SlotIndex).find(|slot| !self.clients.vlans.contains_key(slot)) else {
            // It is learned by what it sends, as a guest of a bridge is.
            return tracing::warn!(aggregation = self.name, link = link.name, "no place for one more VLAN device");
        };
        let now = Instant::now();
        self.forget_learned(other.into_iter().collect(), now);
        let device = VlanDevice { ifindex: link.index, name: link.name.clone(), address };
        self.clients.vlans.insert(slot, device);
        if let Err(error) = self.bpf.set_client(address, slot) {
            return tracing::error!(aggregation = self.name, link = link.name, %error, "the device is no client");
        }
        self.receive(mac);
        self.engine.handle_event(Event::ClientsAdded(vec![slot]), now);
    }

    /// Forgets a VLAN device; one that is not known is no error.
    pub(super) fn forget_vlan(&mut self, ifindex: u32) {
        let known = self.clients.vlans.iter().find(|(_, device)| device.ifindex == ifindex);
        let Some((&slot, _)) = known else { return };
        let Some(device) = self.clients.vlans.remove(&slot) else { return };
        self.engine.handle_event(Event::ClientsRemoved(vec![slot]), Instant::now());
        self.act();
        if let Err(error) = self.bpf.forget(device.address, slot) {
            tracing::error!(aggregation = self.name, link = device.name, %error, "the device is still a client");
        }
        self.receive_no_longer(device.address.mac);
    }

    /// The VLAN devices that are on the aggregation's link already, at the start, and what is above it and its VNICs.
    pub(super) async fn find_vlans(&mut self, netlink: &Netlink) -> Result<(), dlmp_api::Error> {
        for link in netlink.links().await.map_err(failed)? {
            self.follow_vlan(&link);
            self.follow_groups(&link);
            self.note_vlan_device(&link);
        }
        Ok(())
    }

    /// Leaves every client where an earlier daemon's datapath has it; those that it does not have get a port.
    pub(super) fn seat_clients(&mut self, previous: Option<&Previous>, now: Instant) -> Result<(), dlmp_api::Error> {
        let mut known: BTreeMap<ClientAddress, SlotIndex> =
            self.own_slots().filter_map(|slot| Some((self.client_address(slot)?, slot))).collect();
        let mut seated = Vec::new();
        let mut learned = Vec::new();
        for (&address, client) in previous.into_iter().flat_map(|previous| &previous.clients) {
            let port = client.port.and_then(|ifindex| self.port_of(ifindex));
            if let Some(slot) = known.get(&address).copied() {
                if let Some(port) = port {
                    known.remove(&address);
                    self.bpf.restore(slot, Placement { port, backup: None }).map_err(failed)?;
                    seated.push((slot, port));
                }
            } else if let (true, Some(above)) = (client.learned, self.above_of(client)) {
                learned.push(Learned { client: address, slot: client.slot, port, above });
            }
        }
        self.bpf.restore_learned(&learned).map_err(failed)?;
        self.engine.handle_event(Event::ClientsSeated(seated), now);
        self.engine.handle_event(Event::ClientsAdded(known.into_values().collect()), now);
        self.seat_learned(&learned, now);
        Ok(())
    }

    /// What a learned client of an earlier daemon is behind; nothing if that is gone.
    fn above_of(&self, client: &PreviousClient) -> Option<Above> {
        match client.vnic {
            None => Some(Above::Link),
            Some(lower) => self.vnic_with(lower).map(Above::Vnic),
        }
    }

    /// The slots of the clients that the daemon knows by itself.
    pub(super) fn own_slots(&self) -> impl Iterator<Item = SlotIndex> {
        std::iter::once(SlotIndex::PRIMARY).chain(self.vnic_slots()).chain(self.clients.vlans.keys().copied())
    }

    /// The address of the client in a slot.
    pub(super) fn client_address(&self, slot: SlotIndex) -> Option<ClientAddress> {
        if slot == SlotIndex::PRIMARY {
            return Some(ClientAddress { mac: self.mac, vlan: 0 });
        }
        let learned = self.clients.learned.get(&slot).map(|client| client.address);
        learned.or_else(|| Some(self.clients.vlans.get(&slot)?.address)).or_else(|| self.vnic_address(slot))
    }

    /// The name of the client in a slot; none of a learned one.
    pub(super) fn client_name(&self, slot: SlotIndex) -> Option<&str> {
        if slot == SlotIndex::PRIMARY {
            return Some(&self.name);
        }
        self.vnic_name(slot).or_else(|| Some(self.clients.vlans.get(&slot)?.name.as_str()))
    }

    /// The links in this namespace whose addresses are clients' in this VLAN, each with its slot.
    pub(super) fn client_links(&self, links: &[Link], vlan: u16) -> Vec<(u32, SlotIndex)> {
        let devices = self.clients.vlans.iter().map(|(&slot, device)| (device.ifindex, slot));
        let in_vlan = |slot| self.client_address(slot).is_some_and(|address| address.vlan == vlan);
        std::iter::once((self.link, SlotIndex::PRIMARY))
            .chain(self.vnic_links(links))
            .chain(devices)
            .filter(|&(_, slot)| in_vlan(slot))
            .collect()
    }

    /// The addresses that every port has to receive, beside its own.
    pub(super) fn client_macs(&self) -> BTreeSet<MacAddr> {
        let slots = self.own_slots().chain(self.clients.learned.keys().copied());
        slots.filter_map(|slot| Some(self.client_address(slot)?.mac)).collect()
    }

    /// Has the ports receive an address.
    pub(super) fn receive(&mut self, mac: MacAddr) {
        self.vlans.change();
        for device in self.devices() {
            self.chore(Chore::AddFilter { link: device.ifindex, mac });
        }
    }

    /// Has the ports no longer receive an address, unless another client has it in another VLAN.
    pub(super) fn receive_no_longer(&mut self, mac: MacAddr) {
        self.vlans.change();
        let in_any_vlan = ClientAddress { mac, vlan: 0 }..=ClientAddress { mac, vlan: u16::MAX };
        let others = self.clients.slots.range(in_any_vlan).next().is_some()
            || self.own_slots().filter_map(|slot| self.client_address(slot)).any(|address| address.mac == mac);
        if !others {
            for device in self.devices() {
                self.chore(Chore::DeleteFilter { link: device.ifindex, mac });
            }
        }
    }

    /// The clients, for displays.
    pub fn clients(&self) -> Vec<Client> {
        let mut ports = BTreeMap::new();
        for view in self.engine.ports(Instant::now()) {
            let name = self.ports.get(&view.port).map(|port| port.name.clone());
            ports.extend(view.slots.into_iter().map(|slot| (slot, name.clone())));
        }
        let client = |slot: SlotIndex| {
            let address = self.client_address(slot)?;
            let kind = match (slot, self.client_name(slot)) {
                (SlotIndex::PRIMARY, _) => "primary",
                (_, None) => "learned",
                (slot, _) if self.clients.vlans.contains_key(&slot) => "vlan",
                _ => "vnic",
            };
            Some(Client {
                aggregation: self.name.clone(),
                link: self.client_name(slot).or_else(|| self.learned_behind(slot)).map(str::to_owned),
                address: address.mac.to_string(),
                vlan: address.vlan.into(),
                kind: kind.to_owned(),
                port: ports.get(&slot).cloned().flatten(),
            })
        };
        self.own_slots().chain(self.clients.learned.keys().copied()).filter_map(client).collect()
    }

    /// The VNIC that a learned client is behind.
    fn learned_behind(&self, slot: SlotIndex) -> Option<&str> {
        match self.clients.learned.get(&slot)?.above {
            Above::Link => None,
            Above::Vnic(index) => self.vnic_name(index.slot()),
        }
    }

    /// The clients that were learned behind a link.
    pub(super) fn learned_above(&self, above: Above) -> impl Iterator<Item = SlotIndex> {
        self.clients.learned.iter().filter(move |(_, client)| client.above == above).map(|(&slot, _)| slot)
    }

    /// Whether a bridge sits above.
    pub(super) const fn is_bridged(&self) -> bool {
        self.clients.bridged
    }

    /// Forgets the clients that were learned behind a VNIC.
    pub(super) fn forget_behind(&mut self, index: VnicIndex, now: Instant) {
        let behind = self.clients.learned.iter().filter(|(_, client)| client.above == Above::Vnic(index));
        let slots = behind.map(|(&slot, _)| slot).collect();
        self.forget_learned(slots, now);
    }

    /// The VLANs of learned clients; one can come more than once.
    pub(super) fn learned_vlans(&self) -> impl Iterator<Item = u16> {
        self.clients.learned.values().map(|client| client.address.vlan)
    }

    pub(super) fn slot_of(&self, address: ClientAddress) -> Option<SlotIndex> {
        let learned = self.clients.slots.get(&address).copied();
        learned.or_else(|| self.own_slots().find(|&slot| self.client_address(slot) == Some(address)))
    }
}

/// Whether a bridge sits above a link.
pub(super) fn is_bridged(link: &Link) -> bool {
    link.master_kind.as_deref().is_some_and(|kind| BRIDGES.contains(&kind))
}
