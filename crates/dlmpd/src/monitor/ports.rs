//! The ports of a running aggregation: how links become ports, come and go, and stop being ports.

use std::collections::BTreeMap;
use std::time::Instant;

use dlmp_api::Error;
use dlmp_datapath::{Datapath, MAX_PORTS, PortIndex};
use dlmp_engine::{Event, LinkState};
use dlmp_netlink::{Link, Netlink, ipv6};

use super::carrier::{Seen, Watched};
use super::chores::Chore;
use super::running::{Device, Port, Running, failed, undo};
use crate::state::Before;

impl Running {
    /// A link is new or has changed.
    pub async fn link_changed(&mut self, link: &Link, watched: &Watched, netlink: &Netlink) {
        let now = Instant::now();
        if link.index == self.link {
            self.follow_groups(link);
            return self.follow_link(link);
        }
        self.follow_vlan(link);
        self.follow_groups(link);
        self.note_vlan_device(link);
        if let Some(port) = self.port_of(link.index) {
            self.refresh(port, link);
            self.follow_card(port);
            self.believe(port, link.lower_up, watched, now);
            return;
        }
        // A link that appears under the name of a port that is away joins again.
        let waiting = (self.ports.iter()).find(|(_, port)| port.device.is_none() && port.name == link.name);
        let Some((&port, _)) = waiting else { return };
        let joined = match self.enter(port, link, netlink).await {
            Ok(()) => self.bpf.attach_port(link.index, &link.name, netlink).await.map_err(failed),
            Err(error) => Err(error),
        };
        match joined {
            Ok(()) => {
                tracing::info!(aggregation = self.name, port = link.name, "port is back");
                self.open_first(port);
                self.follow_mtu();
                self.believe(port, link.lower_up, watched, now);
            }
            Err(error) => {
                tracing::error!(aggregation = self.name, port = link.name, %error, "port cannot join again");
                self.forget(port, watched);
            }
        }
    }

    /// Follows a port's own address and MTU, which anybody may change, and its vnet.
    fn refresh(&mut self, port: PortIndex, link: &Link) {
        self.follow_vnet(port, Some(link));
        let Some(device) = self.ports.get_mut(&port).and_then(|port| port.device.as_mut()) else { return };
        if let Some(mac) = link.mac.filter(|&mac| mac != device.mac) {
            device.mac = mac;
            if let Err(error) = self.bpf.set_address(port, mac) {
                tracing::error!(aggregation = self.name, port = link.name, %error, "the port's new address is not known");
            }
        }
        if device.mtu != link.mtu {
            device.mtu = link.mtu;
            self.follow_mtu();
        }
    }

    /// A link is gone.
    pub async fn link_removed(&mut self, index: u32, name: &str, watched: &Watched, netlink: &Netlink) {
        if index == self.link {
            tracing::error!(
                aggregation = self.name,
                "somebody deleted the link {name}; restart dlmpd to make it again"
            );
        }
        self.forget_vlan(index);
        self.forget_groups(index);
        self.forget_vlan_device(index);
        let Some(port) = self.port_of(index) else {
            return;
        };
        self.engine.handle_event(Event::Link(port, LinkState::Absent), Instant::now());
        // The clients leave before the place is emptied.
        self.act();
        self.forget(port, watched);
        if let Err(error) = self.bpf.detach_port(index, name, netlink).await {
            tracing::debug!(aggregation = self.name, %error, "nothing left to detach");
        }
        self.follow_mtu();
    }

    /// The kernel wants a link's clients announced, such as after a migration of the machine.
    pub fn new_peers(&mut self, index: u32) {
        if let Some(port) = self.port_of(index) {
            tracing::debug!(aggregation = self.name, port = port.0, "the switches behind the port may be others");
            self.engine.handle_event(Event::NewPeers(port), Instant::now());
        }
    }

    /// The ports whose link is not among these: index and name.
    pub fn vanished(&self, links: &[Link]) -> Vec<(u32, String)> {
        (self.ports.values())
            .filter_map(|port| Some((port.device?.ifindex, port.name.clone())))
            .filter(|(ifindex, _)| !links.iter().any(|link| link.index == *ifindex))
            .collect()
    }

    /// The carrier thread saw something else than was believed.
    pub fn carrier_seen(&mut self, seen: Seen, watched: &Watched) {
        if let Some(port) = self.port_of(seen.ifindex) {
            self.believe(port, seen.carrier, watched, Instant::now());
        }
    }

    /// Adds ports.
    ///
    /// # Errors
    /// What failed; everything that had been done is undone.
    pub async fn add_ports(
        &mut self,
        new: &BTreeMap<String, Before>,
        netlink: &Netlink,
        watched: &Watched,
    ) -> Result<(), Error> {
        let mut added = Vec::new();
        for (name, before) in new {
            match self.add_port(name, before, netlink, watched).await {
                Ok(port) => added.push((port, before)),
                Err(error) => {
                    for (port, before) in added {
                        self.remove_port(port, before, netlink, watched).await;
                    }
                    return Err(error);
                }
            }
        }
        self.follow_mtu();
        Ok(())
    }

    async fn add_port(
        &mut self,
        name: &str,
        before: &Before,
        netlink: &Netlink,
        watched: &Watched,
    ) -> Result<PortIndex, Error> {
        let gone = || Error::refused(format!("there is no link {name}"), "dladm show-phys");
        let link = netlink.link(name).await.map_err(failed)?.ok_or_else(gone)?;
        let port = self.free_index()?;
        self.ports.insert(port, Port { name: name.to_owned(), device: None, vnet: None });
        self.note_before(port, before.clone());
        self.engine.handle_event(Event::PortAdded(port), Instant::now());
        let result = match self.enter(port, &link, netlink).await {
            Ok(()) => self.bpf.attach_port(link.index, name, netlink).await.map_err(failed),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.remove_port(port, before, netlink, watched).await;
            return Err(error);
        }
        self.open_first(port);
        self.believe(port, link.lower_up, watched, Instant::now());
        Ok(port)
    }

    /// Takes ports out.
    ///
    /// # Errors
    /// None at present: what cannot be undone on a port is logged.
    pub async fn remove_ports(
        &mut self,
        before: &BTreeMap<String, Before>,
        netlink: &Netlink,
        watched: &Watched,
    ) -> Result<(), Error> {
        for (name, before) in before {
            let port = self.ports.iter().find(|(_, port)| port.name == *name);
            if let Some((&port, _)) = port {
                self.remove_port(port, before, netlink, watched).await;
            }
        }
        self.follow_mtu();
        Ok(())
    }

    async fn remove_port(&mut self, port: PortIndex, before: &Before, netlink: &Netlink, watched: &Watched) {
        // First the clients leave, then the port.
        self.engine.handle_event(Event::PortRemoved(port), Instant::now());
        self.act();
        let device = self.ports.get(&port).and_then(|port| port.device);
        self.forget(port, watched);
        let Some(Port { name, .. }) = self.ports.remove(&port) else {
            return;
        };
        if let Some(device) = device {
            // The program last: while it is there, its maps tell the next daemon what else is to be undone.
            for mac in self.client_macs() {
                undo(netlink.delete_filter(device.ifindex, mac).await);
            }
            undo(self.bpf.detach_port(device.ifindex, &name, netlink).await);
            self.restore_card(device.ifindex, before.clone());
            self.chore(Chore::PutBack { link: device.ifindex, name, before: before.clone() });
        }
    }

    pub(super) async fn let_ports_go(
        &mut self,
        before: &BTreeMap<String, Before>,
        netlink: &Netlink,
        watched: &Watched,
    ) {
        let ports: Vec<(PortIndex, String)> =
            self.ports.iter().map(|(&index, port)| (index, port.name.clone())).collect();
        for (port, name) in ports {
            let unknown = Before::default();
            self.remove_port(port, before.get(&name).unwrap_or(&unknown), netlink, watched).await;
        }
    }

    /// Makes a link a port: quiet, up, known to the datapath. Its program is attached afterwards.
    pub(super) async fn enter(&mut self, port: PortIndex, link: &Link, netlink: &Netlink) -> Result<(), Error> {
        let Some(mac) = link.mac else {
            return Err(Error::refused(format!("{} is not an Ethernet link", link.name), "dladm show-phys"));
        };
        let device = Device { ifindex: link.index, mac, mtu: link.mtu, all_multicast: link.all_multicast };
        self.bpf.set_port(port, link.index, mac).map_err(failed)?;
        if let Some(port) = self.ports.get_mut(&port) {
            port.device = Some(device);
        }
        self.follow_vnet(port, Some(link));
        self.forget_filter(port);
        self.vlans.enter();
        ipv6::set_disabled(&link.name, true)
            .map_err(|error| Error::failed(format!("cannot switch IPv6 off on {}: {error}", link.name)))?;
        for mac in self.client_macs() {
            if let Err(error) = netlink.add_filter(link.index, mac).await {
                // An untrusted virtual function: it may still receive by other means, so say it and go on.
                tracing::warn!(aggregation = self.name, port = link.name, %error, "the port refuses a client's address");
            }
        }
        if !link.admin_up {
            netlink.set_up(link.index, true).await.map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn believe(&mut self, port: PortIndex, carrier: bool, watched: &Watched, now: Instant) {
        let Some(known) = self.ports.get(&port) else {
            return;
        };
        let Some(device) = known.device else { return };
        watched.believe(device.ifindex, &known.name, carrier);
        let up = self.vlans.carrier_counts(device.ifindex, carrier) && carrier;
        let state = if up { LinkState::Up } else { LinkState::Down };
        self.engine.handle_event(Event::Link(port, state), now);
    }

    /// Empties a port's place in the datapath; the port stays configured.
    fn forget(&mut self, port: PortIndex, watched: &Watched) {
        let device = self.ports.get_mut(&port).and_then(|port| port.device.take());
        if let Some(device) = device {
            watched.forget(device.ifindex);
        }
        self.follow_vnet(port, None);
        undo(self.bpf.clear_port(port));
    }

    /// The smallest MTU of the ports is the aggregation's.
    pub(super) fn follow_mtu(&mut self) {
        let smallest = self.ports.values().filter_map(|port| Some(port.device?.mtu)).min();
        if let Some(mtu) = smallest
            && mtu != self.mtu
        {
            self.set_mtu(mtu);
        }
    }

    pub(super) fn port_of(&self, ifindex: u32) -> Option<PortIndex> {
        (self.ports.iter())
            .find(|(_, port)| port.device.is_some_and(|device| device.ifindex == ifindex))
            .map(|(&index, _)| index)
    }

    pub(super) fn free_index(&self) -> Result<PortIndex, Error> {
        (0..MAX_PORTS as u8)
            .map(PortIndex)
            .find(|index| !self.ports.contains_key(index))
            .ok_or_else(|| Error::refused(format!("an aggregation has at most {MAX_PORTS} ports"), ""))
    }
}
