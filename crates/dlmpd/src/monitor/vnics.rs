//! The VNICs of a running aggregation: connecting their lower ends to the datapath and the engine, and having
//! them follow the aggregation's carrier and MTU. The links themselves are made and watched elsewhere.

use std::collections::BTreeMap;
use std::time::Instant;

use dlmp_api::{Client, Error};
use dlmp_datapath::{ClientAddress, Datapath, SlotIndex, Vnic, VnicIndex};
use dlmp_engine::Event;
use dlmp_netlink::{Link, Netlink};
use dlmp_wire::MacAddr;

use super::chores::Chore;
use super::running::{Device, Running, failed, undo};
use crate::vnics::Lower;

/// A VNIC whose links are there.
#[derive(Debug, Clone)]
pub struct VnicSpec {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: MacAddr,
    /// VLAN of its frames outside, 0 for none.
    pub vlan: u16,
    /// The lower end of its pair of links.
    pub lower: Lower,
}

/// The VNICs of an aggregation, and what they follow.
#[derive(Debug, Default)]
pub(super) struct Vnics {
    all: BTreeMap<VnicIndex, VnicSpec>,
    /// What the engine said last; absent before it has said anything, while links of an earlier daemon stay as
    /// they are.
    carrier: Option<bool>,
}

impl Running {
    /// Takes in a VNIC while the aggregation starts. Its program is attached afterwards.
    ///
    /// # Errors
    /// The datapath has no place for it.
    pub(super) fn enter_vnic(&mut self, vnic: &VnicSpec) -> Result<VnicIndex, Error> {
        let index = (0..=u8::MAX)
            .map(VnicIndex)
            .find(|index| !self.vnics.all.contains_key(index))
            .ok_or_else(|| Error::refused(format!("{} has as many VNICs as it can have", self.name), ""))?;
        let known = Vnic { lower: vnic.lower.index, mac: vnic.mac, vlan: vnic.vlan };
        self.bpf.set_vnic(index, Some(known)).map_err(failed)?;
        self.vnics.all.insert(index, vnic.clone());
        Ok(index)
    }

    /// Attaches the programs of all VNICs that were taken in while the aggregation starts. One whose links are
    /// gone by now must not keep the aggregation from starting: it is made anew.
    pub(super) async fn attach_vnics(&mut self, netlink: &Netlink) {
        for VnicSpec { name, lower, .. } in self.vnics.all.values() {
            if let Err(error) = self.bpf.attach_vnic(lower.index, &lower.name, netlink).await {
                tracing::error!(aggregation = self.name, vnic = name, %error, "the VNIC is not connected");
            }
        }
    }

    /// Connects a VNIC.
    ///
    /// # Errors
    /// What failed; everything that had been done is undone.
    pub async fn add_vnic(&mut self, vnic: &VnicSpec, netlink: &Netlink) -> Result<(), Error> {
        let index = self.enter_vnic(vnic)?;
        self.engine.handle_event(Event::ClientsAdded(vec![index.slot()]), Instant::now());
        let lower = &vnic.lower;
        if let Err(error) = self.bpf.attach_vnic(lower.index, &lower.name, netlink).await {
            self.remove_vnic(&vnic.name, netlink).await;
            return Err(failed(error));
        }
        for device in self.devices() {
            self.chore(Chore::AddFilter { link: device.ifindex, mac: vnic.mac });
        }
        self.chore(Chore::Mtu { lower: vnic.lower.index, mtu: self.mtu });
        if let Some(up) = self.vnics.carrier {
            self.chore(Chore::Carrier { lower: vnic.lower.index, up });
        }
        Ok(())
    }

    /// Disconnects a VNIC; one that is not connected is no error.
    pub async fn remove_vnic(&mut self, name: &str, netlink: &Netlink) {
        let Some((&index, _)) = self.vnics.all.iter().find(|(_, vnic)| vnic.name == name) else { return };
        let Some(vnic) = self.vnics.all.remove(&index) else { return };
        // First the engine forgets the client, then the datapath.
        self.engine.handle_event(Event::ClientsRemoved(vec![index.slot()]), Instant::now());
        self.act();
        undo(self.bpf.set_vnic(index, None));
        if let Err(error) = self.bpf.detach_vnic(vnic.lower.index, &vnic.lower.name, netlink).await {
            tracing::debug!(aggregation = self.name, %error, "nothing left to detach");
        }
        // Another VNIC may have the same address in another VLAN.
        if !self.client_macs().any(|mac| mac == vnic.mac) {
            for device in self.devices() {
                self.chore(Chore::DeleteFilter { link: device.ifindex, mac: vnic.mac });
            }
        }
    }

    /// The addresses of the aggregation's own clients, which every port has to receive.
    pub(super) fn client_macs(&self) -> impl Iterator<Item = MacAddr> {
        std::iter::once(self.mac).chain(self.vnics.all.values().map(|vnic| vnic.mac))
    }

    /// Gives the aggregation's link and those over it a carrier, or takes it away.
    pub(super) fn set_carrier(&mut self, up: bool) {
        self.vnics.carrier = Some(up);
        for lower in self.lower_ends() {
            self.chore(Chore::Carrier { lower, up });
        }
    }

    /// Gives the aggregation's link and those over it another MTU in bytes.
    pub(super) fn set_mtu(&mut self, mtu: u32) {
        self.mtu = mtu;
        for lower in self.lower_ends() {
            self.chore(Chore::Mtu { lower, mtu });
        }
    }

    /// The lower ends of all VNICs, by index and name.
    pub(super) fn vnic_lowers(&self) -> Vec<(u32, String)> {
        self.vnics.all.values().map(|vnic| (vnic.lower.index, vnic.lower.name.clone())).collect()
    }

    /// The aggregation's own clients with their slots: its own link and the VNICs.
    pub(super) fn own_clients(&self) -> Vec<(ClientAddress, SlotIndex)> {
        let primary = (ClientAddress { mac: self.mac, vlan: 0 }, SlotIndex::PRIMARY);
        let vnics = self.vnics.all.iter();
        let vnics = vnics.map(|(index, vnic)| (ClientAddress { mac: vnic.mac, vlan: vnic.vlan }, index.slot()));
        std::iter::once(primary).chain(vnics).collect()
    }

    /// The name of the client in a slot; none of a learned one.
    pub(super) fn client_name(&self, slot: SlotIndex) -> Option<&str> {
        if slot == SlotIndex::PRIMARY {
            return Some(&self.name);
        }
        let vnic = self.vnics.all.iter().find(|(index, _)| index.slot() == slot);
        vnic.map(|(_, vnic)| vnic.name.as_str())
    }

    /// The links in this namespace whose addresses are clients': the aggregation's own, and the VNICs'.
    pub(super) fn client_links(&self, links: &[Link]) -> Vec<(u32, SlotIndex)> {
        let upper = |lower: u32| links.iter().find(|link| link.peer_index == Some(lower)).map(|link| link.index);
        let vnics = self.vnics.all.iter().filter_map(|(index, vnic)| Some((upper(vnic.lower.index)?, index.slot())));
        std::iter::once((self.link, SlotIndex::PRIMARY)).chain(vnics).collect()
    }

    /// The clients, for displays.
    pub fn clients(&self) -> Vec<Client> {
        let client = |slot: SlotIndex, name: &str, mac: MacAddr, vlan: u16, kind: &str| Client {
            aggregation: self.name.clone(),
            link: Some(name.to_owned()),
            address: mac.to_string(),
            vlan: vlan.into(),
            kind: kind.to_owned(),
            port: self.port_name_of(slot),
        };
        let vnics = self.vnics.all.iter();
        std::iter::once(client(SlotIndex::PRIMARY, &self.name, self.mac, 0, "primary"))
            .chain(vnics.map(|(index, vnic)| client(index.slot(), &vnic.name, vnic.mac, vnic.vlan, "vnic")))
            .collect()
    }

    /// The port that a client sits on.
    fn port_name_of(&self, slot: SlotIndex) -> Option<String> {
        let seat = self.engine.ports(Instant::now()).find(|port| port.slots.contains(&slot))?;
        Some(self.ports.get(&seat.port)?.name.clone())
    }

    fn devices(&self) -> impl Iterator<Item = Device> {
        self.ports.values().filter_map(|port| port.device)
    }

    fn lower_ends(&self) -> Vec<u32> {
        std::iter::once(self.lower).chain(self.vnics.all.values().map(|vnic| vnic.lower.index)).collect()
    }
}
