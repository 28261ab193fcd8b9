//! The VNICs of a running aggregation: connecting their lower ends to the datapath and the engine, and having
//! them follow the aggregation's carrier and MTU. The links themselves are made and watched elsewhere.

use std::collections::BTreeMap;
use std::time::Instant;

use dlmp_api::Error;
use dlmp_datapath::{ClientAddress, Datapath, SlotIndex, Vnic, VnicIndex};
use dlmp_engine::Event;
use dlmp_netlink::{Link, Netlink};
use dlmp_wire::MacAddr;

use super::chores::Chore;
use super::running::{Device, Running, failed, undo};
use crate::pair::Lower;

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
        if let Err(error) = self.bpf.attach_vnic(vnic.lower.index, &vnic.lower.name, netlink).await {
            self.remove_vnic(&vnic.name, netlink).await;
            return Err(failed(error));
        }
        self.receive(vnic.mac);
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
        let now = Instant::now();
        self.forget_behind(index, now);
        self.engine.handle_event(Event::ClientsRemoved(vec![index.slot()]), now);
        self.act();
        undo(self.bpf.set_vnic(index, None));
        if let Err(error) = self.bpf.detach_vnic(vnic.lower.index, &vnic.lower.name, netlink).await {
            tracing::debug!(aggregation = self.name, %error, "nothing left to detach");
        }
        self.receive_no_longer(vnic.mac);
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

    /// The lower ends of all VNICs, to see whether their programs are attached.
    pub(super) fn vnic_lowers(&self) -> Vec<Lower> {
        self.vnics.all.values().map(|vnic| vnic.lower.clone()).collect()
    }

    /// The slots of all VNICs, each with its lower end.
    pub(super) fn vnic_lowers_by_slot(&self) -> impl Iterator<Item = (SlotIndex, u32)> {
        self.vnics.all.iter().map(|(index, vnic)| (index.slot(), vnic.lower.index))
    }

    /// The VNIC with this lower end.
    pub(super) fn vnic_with(&self, lower: u32) -> Option<VnicIndex> {
        self.vnics.all.iter().find(|(_, vnic)| vnic.lower.index == lower).map(|(&index, _)| index)
    }

    /// The slots of the VNICs.
    pub(super) fn vnic_slots(&self) -> impl Iterator<Item = SlotIndex> {
        self.vnics.all.keys().map(|index| index.slot())
    }

    /// The identity of the VNIC in a slot.
    pub(super) fn vnic_address(&self, slot: SlotIndex) -> Option<ClientAddress> {
        self.vnic_in(slot).map(|vnic| ClientAddress { mac: vnic.mac, vlan: vnic.vlan })
    }

    /// The name of the VNIC in a slot.
    pub(super) fn vnic_name(&self, slot: SlotIndex) -> Option<&str> {
        self.vnic_in(slot).map(|vnic| vnic.name.as_str())
    }

    /// The VNICs' links that are in this namespace, each with its slot.
    pub(super) fn vnic_links(&self, links: &[Link]) -> impl Iterator<Item = (u32, SlotIndex)> {
        let upper = |lower: u32| links.iter().find(|link| link.peer_index == Some(lower)).map(|link| link.index);
        self.vnics.all.iter().filter_map(move |(index, vnic)| Some((upper(vnic.lower.index)?, index.slot())))
    }

    fn vnic_in(&self, slot: SlotIndex) -> Option<&VnicSpec> {
        self.vnics.all.iter().find(|(index, _)| index.slot() == slot).map(|(_, vnic)| vnic)
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = Device> {
        self.ports.values().filter_map(|port| port.device)
    }

    fn lower_ends(&self) -> Vec<u32> {
        std::iter::once(self.lower).chain(self.vnics.all.values().map(|vnic| vnic.lower.index)).collect()
    }
}
