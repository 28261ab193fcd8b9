//! One running aggregation: its links, its datapath and its engine.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use dlmp_api::{Error, PortStatistics, RuleCount};
use dlmp_datapath::bpf::{Attachment, Bpf, Previous, Requests, Served};
use dlmp_datapath::{ClientAddress, Counter, Counters, Datapath, MAX_PORTS, Placement, PortIndex, SlotIndex};
use dlmp_engine::{Action, Aggregation, Event, Health, LinkState, Notice};
use dlmp_netlink::{Link, Netlink, NewVeth, ipv6};
use dlmp_wire::MacAddr;
use dlmp_wire::rarp::Announcement;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::announcer::Announcer;
use super::carrier::{Seen, Watched};
use crate::state::Before;
use crate::validate::{AGGREGATION_ALIAS, LOWER_ALIAS, is_aggregation};

/// What an aggregation is to be.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Name of its link.
    pub name: String,
    /// MAC address of its primary interface.
    pub mac: MacAddr,
    /// Names of its ports; those that do not exist join when they appear.
    pub ports: Vec<String>,
    /// What the ports were like before they became ports, to undo a failed start.
    pub before: BTreeMap<String, Before>,
}

/// An aggregation at work.
pub struct Running {
    name: String,
    mac: MacAddr,
    engine: Aggregation,
    bpf: Bpf,
    announcer: Rc<Announcer>,
    /// Hands the datapath's requests to announce to the monitor.
    requests: AbortHandle,
    /// The link that carries the addresses, and its other end, whose being up is its carrier.
    link: u32,
    lower: u32,
    mtu: u32,
    ports: BTreeMap<PortIndex, Port>,
    /// Does what takes the kernel's lock, in order, without anybody waiting.
    chores: mpsc::UnboundedSender<Chore>,
}

/// What every aggregation uses of the monitor's.
pub struct Tools {
    /// The kernel.
    pub netlink: Netlink,
    /// The links whose carrier is looked at.
    pub watched: Watched,
    /// Sends announcements.
    pub announcer: Rc<Announcer>,
    /// Takes the datapaths' requests to announce: aggregation and slot.
    pub strays: mpsc::UnboundedSender<(String, SlotIndex)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.requests.abort();
    }
}

#[derive(Debug)]
struct Port {
    name: String,
    /// Absent while the link does not exist.
    device: Option<Device>,
}

#[derive(Debug, Clone, Copy)]
struct Device {
    ifindex: u32,
    mac: MacAddr,
    mtu: u32,
}

#[derive(Debug)]
enum Chore {
    Carrier { lower: u32, up: bool },
    Mtu { link: u32, lower: u32, mtu: u32 },
}

impl Running {
    /// Makes the aggregation's link, or takes over one that exists, and brings its ports in.
    ///
    /// # Errors
    /// What failed; everything that had been done is undone.
    pub async fn start(spec: Spec, cookie: u64, attachment: Attachment, tools: &Tools) -> Result<Self, Error> {
        let Tools { netlink, .. } = tools;
        let (link, lower, made) = own_link(&spec, netlink).await?;
        let result = Self::on_link(&spec, (&link, lower), cookie, attachment, tools).await;
        if result.is_err() && made {
            // Takes the lower end and the egress program with it.
            undo(netlink.delete_link(link.index).await);
        }
        result
    }

    async fn on_link(
        spec: &Spec,
        (link, lower): (&Link, u32),
        cookie: u64,
        attachment: Attachment,
        tools: &Tools,
    ) -> Result<Self, Error> {
        let Tools { netlink, watched, .. } = tools;
        let served = Served { name: spec.name.clone(), ifindex: link.index, netns_cookie: cookie };
        let mut bpf = Bpf::load(served, attachment).map_err(failed)?;
        let previous = bpf.previous(netlink).await.map_err(failed)?;
        let requests = bpf.take_requests().map_err(failed)?;
        let client = ClientAddress { mac: spec.mac, vlan: 0 };
        bpf.set_client(client, SlotIndex::PRIMARY).map_err(failed)?;
        let mut running = Self {
            name: spec.name.clone(),
            mac: spec.mac,
            engine: Aggregation::default(),
            bpf,
            announcer: tools.announcer.clone(),
            requests: forward(requests, spec.name.clone(), tools.strays.clone())?,
            link: link.index,
            lower,
            mtu: link.mtu,
            ports: BTreeMap::new(),
            chores: start_chores(netlink.clone()),
        };
        if let Err(error) = running.bring_up(spec, previous, netlink, watched).await {
            running.let_ports_go(&spec.before, netlink, watched).await;
            return Err(error);
        }
        Ok(running)
    }

    async fn bring_up(
        &mut self,
        spec: &Spec,
        previous: Option<Previous>,
        netlink: &Netlink,
        watched: &Watched,
    ) -> Result<(), Error> {
        let now = Instant::now();
        // The maps are filled before a program that reads them is attached.
        let mut devices = Vec::new();
        for name in &spec.ports {
            let port = self.free_index()?;
            self.ports.insert(port, Port { name: name.clone(), device: None });
            self.engine.handle_event(Event::PortAdded(port), now);
            if let Some(link) = netlink.link(name).await.map_err(failed)? {
                devices.push((port, link));
            } else {
                self.engine.handle_event(Event::Link(port, LinkState::Absent), now);
            }
        }
        for (port, link) in &devices {
            self.enter(*port, link, netlink).await?;
        }
        match &previous {
            Some(previous) => self.restore(previous, now)?,
            None => self.engine.handle_event(Event::ClientAdded(SlotIndex::PRIMARY), now),
        }
        for (port, link) in &devices {
            self.believe(*port, link.lower_up, watched, now);
        }
        self.write_out()?;
        self.bpf.attach_link(netlink).await.map_err(failed)?;
        for (_, link) in &devices {
            self.bpf.attach_port(link.index, &link.name, netlink).await.map_err(failed)?;
        }
        if let Some(previous) = &previous {
            self.bpf.carry_counters(previous).map_err(failed)?;
        }
        self.follow_mtu();
        netlink.set_up(self.link, true).await.map_err(failed)
    }

    /// Leaves clients where an earlier daemon's datapath has them.
    fn restore(&mut self, previous: &Previous, now: Instant) -> Result<(), Error> {
        let placed = previous.placements.get(&SlotIndex::PRIMARY);
        match placed.and_then(|&ifindex| self.port_of(ifindex)) {
            Some(port) => {
                self.bpf.restore(SlotIndex::PRIMARY, Placement { port, backup: None }).map_err(failed)?;
                self.engine.handle_event(Event::ClientRestored(SlotIndex::PRIMARY, port), now);
            }
            None => self.engine.handle_event(Event::ClientAdded(SlotIndex::PRIMARY), now),
        }
        if let Some(port) = previous.multicast_port.and_then(|ifindex| self.port_of(ifindex)) {
            self.bpf.set_multicast_port(Some(port)).map_err(failed)?;
            self.engine.handle_event(Event::MulticastRestored(port), now);
        }
        Ok(())
    }

    /// Carries out what the engine decided; stops at the first failure.
    fn write_out(&mut self) -> Result<(), Error> {
        while let Some(action) = self.engine.poll_action() {
            self.carry_out(action).map_err(failed)?;
        }
        Ok(())
    }

    /// Carries out what the engine decided; a failure is logged, and the rest goes on.
    pub fn act(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            if let Err(error) = self.carry_out(action) {
                tracing::error!(aggregation = self.name, %error, ?action, "not carried out");
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Result<(), dlmp_datapath::Error> {
        match action {
            Action::SetUsable(port, usable) => {
                if self.ports.get(&port).is_some_and(|port| port.device.is_some()) {
                    self.bpf.set_usable(port, usable)?;
                }
            }
            Action::Place(slot, placement) => self.bpf.place(slot, placement)?,
            Action::SetMulticastPort(port) => self.bpf.set_multicast_port(port)?,
            Action::SetCarrier(up) => self.chore(Chore::Carrier { lower: self.lower, up }),
            Action::Announce(_, port) => {
                let device = self.ports.get(&port).and_then(|port| port.device);
                if let Some(device) = device {
                    let announcement = Announcement { client: self.mac, vlan: 0 };
                    if let Err(error) = self.announcer.send(announcement, device.ifindex) {
                        tracing::debug!(aggregation = self.name, %error, "announcement not sent");
                    }
                }
            }
            Action::Notify(notice) => self.tell(notice),
        }
        Ok(())
    }

    fn tell(&self, notice: Notice) {
        let name = |port: PortIndex| self.ports.get(&port).map_or("?", |port| &port.name);
        match notice {
            Notice::Health(port, health) => {
                tracing::info!(
                    aggregation = self.name,
                    port = name(port),
                    active = health.is_active(),
                    "{}",
                    reason(health)
                );
            }
            Notice::Moved { from, to, .. } => {
                let from = from.map_or("nowhere", name);
                tracing::info!(aggregation = self.name, client = self.name, from, to = name(to), "client moved");
            }
        }
    }

    fn chore(&self, chore: Chore) {
        // The task ends only with the runtime, and then nothing is left to do.
        let _ = self.chores.send(chore);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
    }

    /// A link is new or has changed.
    pub async fn link_changed(&mut self, link: &Link, watched: &Watched, netlink: &Netlink) {
        let now = Instant::now();
        if let Some(port) = self.port_of(link.index) {
            if let Some(device) = self.ports.get_mut(&port).and_then(|port| port.device.as_mut())
                && device.mtu != link.mtu
            {
                device.mtu = link.mtu;
                self.follow_mtu();
            }
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
                self.follow_mtu();
                self.believe(port, link.lower_up, watched, now);
            }
            Err(error) => {
                tracing::error!(aggregation = self.name, port = link.name, %error, "port cannot join again");
                self.forget(port, watched);
            }
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

    /// The datapath asks to announce a slot.
    pub fn stray(&mut self, slot: SlotIndex) {
        self.engine.handle_event(Event::Stray(slot), Instant::now());
    }

    /// Hangs programs that somebody took off their link back on.
    pub async fn check(&mut self, netlink: &Netlink) {
        let devices: Vec<(u32, String)> =
            (self.ports.values()).filter_map(|port| Some((port.device?.ifindex, port.name.clone()))).collect();
        let missing = match self.bpf.detached(&devices, netlink).await {
            Ok(missing) => missing,
            Err(error) => {
                return tracing::error!(aggregation = self.name, %error, "cannot check the programs");
            }
        };
        for name in missing {
            tracing::warn!(aggregation = self.name, link = name, "somebody detached the program: attaching it again");
            let again = match devices.iter().find(|(_, port)| *port == name) {
                Some((ifindex, name)) => self.bpf.attach_port(*ifindex, name, netlink).await,
                None => self.bpf.attach_link(netlink).await,
            };
            if let Err(error) = again {
                tracing::error!(aggregation = self.name, link = name, %error, "cannot attach it again");
            }
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
        for (name, &before) in new {
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
        before: Before,
        netlink: &Netlink,
        watched: &Watched,
    ) -> Result<PortIndex, Error> {
        let gone = || Error::refused(format!("there is no link {name}"), "dladm show-phys");
        let link = netlink.link(name).await.map_err(failed)?.ok_or_else(gone)?;
        let port = self.free_index()?;
        self.ports.insert(port, Port { name: name.to_owned(), device: None });
        self.engine.handle_event(Event::PortAdded(port), Instant::now());
        let result = match self.enter(port, &link, netlink).await {
            Ok(()) => self.bpf.attach_port(link.index, name, netlink).await.map_err(failed),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.remove_port(port, before, netlink, watched).await;
            return Err(error);
        }
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
                self.remove_port(port, *before, netlink, watched).await;
            }
        }
        self.follow_mtu();
        Ok(())
    }

    async fn remove_port(&mut self, port: PortIndex, before: Before, netlink: &Netlink, watched: &Watched) {
        // First the clients leave, then the port.
        self.engine.handle_event(Event::PortRemoved(port), Instant::now());
        self.act();
        let device = self.ports.get(&port).and_then(|port| port.device);
        self.forget(port, watched);
        let Some(Port { name, .. }) = self.ports.remove(&port) else {
            return;
        };
        if let Some(device) = device {
            undo(self.bpf.detach_port(device.ifindex, &name, netlink).await);
            undo(netlink.delete_filter(device.ifindex, self.mac).await);
            undo(ipv6::set_disabled(&name, before.ipv6_disabled));
            if !before.up {
                undo(netlink.set_up(device.ifindex, false).await);
            }
        }
    }

    /// Removes the aggregation with its link.
    ///
    /// # Errors
    /// The link could not be deleted.
    pub async fn stop(
        mut self,
        before: &BTreeMap<String, Before>,
        netlink: &Netlink,
        watched: &Watched,
    ) -> Result<(), Error> {
        self.let_ports_go(before, netlink, watched).await;
        undo(self.bpf.remove(netlink).await);
        netlink.delete_link(self.link).await.map_err(failed)
    }

    async fn let_ports_go(&mut self, before: &BTreeMap<String, Before>, netlink: &Netlink, watched: &Watched) {
        let ports: Vec<(PortIndex, String)> =
            self.ports.iter().map(|(&index, port)| (index, port.name.clone())).collect();
        for (port, name) in ports {
            self.remove_port(port, before.get(&name).copied().unwrap_or_default(), netlink, watched).await;
        }
    }

    /// The aggregation, for displays; speeds are filled in by the caller.
    pub fn view(&self) -> dlmp_api::Aggregation {
        let name = |port: PortIndex| self.ports.get(&port).map(|port| port.name.clone());
        let ports: Vec<dlmp_api::Port> = (self.engine.ports())
            .filter_map(|view| {
                let port = self.ports.get(&view.port)?;
                Some(dlmp_api::Port {
                    name: port.name.clone(),
                    mac: port.device.map(|device| device.mac.to_string()),
                    state: link_word(view.link).into(),
                    speed: None,
                    duplex: "unknown".into(),
                    health: if view.health.is_active() { "active" } else { "failed" }.into(),
                    reason: reason(view.health).into(),
                    portstate: if port.device.is_some() { "attached" } else { "detached" }.into(),
                    clients: view.slots.iter().map(|_| self.name.clone()).collect(),
                })
            })
            .collect();
        dlmp_api::Aggregation {
            name: self.name.clone(),
            mode: "dlmp".into(),
            mac: self.mac.to_string(),
            mtu: self.mtu.into(),
            state: if ports.iter().any(|port| port.state == "up") { "up" } else { "down" }.into(),
            speed: None,
            duplex: "unknown".into(),
            temporary: false,
            detection: "link".into(),
            multicast_port: self.engine.multicast_port().and_then(name),
            ports,
        }
    }

    /// The counters of each port.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn statistics(&self) -> Result<Vec<PortStatistics>, dlmp_datapath::Error> {
        let mut all = Vec::new();
        for (&index, port) in &self.ports {
            all.push(statistics(&self.name, &port.name, &self.bpf.counters(index)?));
        }
        all.push(statistics(&self.name, "", &self.bpf.aggregation_counters()?));
        Ok(all)
    }

    /// Makes a link a port: quiet, up, known to the datapath. Its program is attached afterwards.
    async fn enter(&mut self, port: PortIndex, link: &Link, netlink: &Netlink) -> Result<(), Error> {
        let Some(mac) = link.mac else {
            return Err(Error::refused(format!("{} is not an Ethernet link", link.name), "dladm show-phys"));
        };
        let device = Device { ifindex: link.index, mac, mtu: link.mtu };
        self.bpf.set_port(port, link.index, mac).map_err(failed)?;
        if let Some(port) = self.ports.get_mut(&port) {
            port.device = Some(device);
        }
        ipv6::set_disabled(&link.name, true)
            .map_err(|error| Error::failed(format!("cannot switch IPv6 off on {}: {error}", link.name)))?;
        if let Err(error) = netlink.add_filter(link.index, self.mac).await {
            // An untrusted virtual function: it may still receive by other means, so say it and go on.
            tracing::warn!(aggregation = self.name, port = link.name, %error, "the port refuses the aggregation's address");
        }
        if !link.admin_up {
            netlink.set_up(link.index, true).await.map_err(failed)?;
        }
        Ok(())
    }

    fn believe(&mut self, port: PortIndex, carrier: bool, watched: &Watched, now: Instant) {
        let Some(known) = self.ports.get(&port) else {
            return;
        };
        let Some(device) = known.device else { return };
        watched.believe(device.ifindex, &known.name, carrier);
        let state = if carrier { LinkState::Up } else { LinkState::Down };
        self.engine.handle_event(Event::Link(port, state), now);
    }

    /// Empties a port's place in the datapath; the port stays configured.
    fn forget(&mut self, port: PortIndex, watched: &Watched) {
        let device = self.ports.get_mut(&port).and_then(|port| port.device.take());
        if let Some(device) = device {
            watched.forget(device.ifindex);
        }
        undo(self.bpf.clear_port(port));
    }

    /// The smallest MTU of the ports is the aggregation's.
    fn follow_mtu(&mut self) {
        let smallest = self.ports.values().filter_map(|port| Some(port.device?.mtu)).min();
        if let Some(mtu) = smallest
            && mtu != self.mtu
        {
            self.mtu = mtu;
            self.chore(Chore::Mtu { link: self.link, lower: self.lower, mtu });
        }
    }

    fn port_of(&self, ifindex: u32) -> Option<PortIndex> {
        (self.ports.iter())
            .find(|(_, port)| port.device.is_some_and(|device| device.ifindex == ifindex))
            .map(|(&index, _)| index)
    }

    fn free_index(&self) -> Result<PortIndex, Error> {
        (0..MAX_PORTS as u8)
            .map(PortIndex)
            .find(|index| !self.ports.contains_key(index))
            .ok_or_else(|| Error::refused(format!("an aggregation has at most {MAX_PORTS} ports"), ""))
    }
}

/// The aggregation's own link and its lower end; whether they were made just now.
async fn own_link(spec: &Spec, netlink: &Netlink) -> Result<(Link, u32, bool), Error> {
    if let Some(link) = netlink.link(&spec.name).await.map_err(failed)? {
        let Some(lower) = link.peer_index.filter(|_| is_aggregation(&link)) else {
            return Err(Error::refused(format!("the name {} is taken by another link", spec.name), "dladm show-link"));
        };
        return Ok((link, lower, false));
    }
    let mut mtu = None;
    for name in &spec.ports {
        if let Some(link) = netlink.link(name).await.map_err(failed)? {
            mtu = Some(mtu.map_or(link.mtu, |mtu: u32| mtu.min(link.mtu)));
        }
    }
    let new = NewVeth { name: &spec.name, peer: "dlmp%d", mac: spec.mac, mtu: mtu.unwrap_or(1500) };
    let (link, lower) = netlink.create_veth(new).await.map_err(failed)?;
    let dressed = async {
        netlink.set_alias(link.index, AGGREGATION_ALIAS).await?;
        netlink.set_alias(lower.index, &format!("{LOWER_ALIAS} {}", spec.name)).await
    };
    if let Err(error) = dressed.await {
        undo(netlink.delete_link(link.index).await);
        return Err(failed(error));
    }
    // Nothing of its own is to leave the lower end and come out of the aggregation.
    undo(ipv6::set_disabled(&lower.name, true));
    Ok((link, lower.index, true))
}

/// Starts a task that hands the datapath's requests on until it is aborted.
fn forward(
    requests: Requests,
    name: String,
    strays: mpsc::UnboundedSender<(String, SlotIndex)>,
) -> Result<AbortHandle, Error> {
    let mut requests = crate::sys::wait_on(requests).map_err(failed)?;
    let task = tokio::task::spawn_local(async move {
        while let Ok(mut guard) = requests.readable_mut().await {
            guard.clear_ready();
            while let Some(request) = requests.get_mut().poll() {
                if strays.send((name.clone(), request.slot)).is_err() {
                    return;
                }
            }
        }
    });
    Ok(task.abort_handle())
}

fn start_chores(netlink: Netlink) -> mpsc::UnboundedSender<Chore> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(chore) = receiver.recv().await {
            let done = match chore {
                Chore::Carrier { lower, up } => netlink.set_up(lower, up).await,
                Chore::Mtu { link, lower, mtu } => match netlink.set_mtu(lower, mtu).await {
                    Ok(()) => netlink.set_mtu(link, mtu).await,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = done {
                tracing::error!(%error, ?chore, "not done");
            }
        }
    });
    sender
}

fn statistics(aggregation: &str, port: &str, counters: &Counters) -> PortStatistics {
    let get = |counter| counters.get(counter).cast_signed();
    PortStatistics {
        aggregation: aggregation.to_owned(),
        port: port.to_owned(),
        ipackets: get(Counter::RxPackets),
        rbytes: get(Counter::RxBytes),
        opackets: get(Counter::TxPackets),
        obytes: get(Counter::TxBytes),
        rules: Counter::rules()
            .map(|(counter, name)| RuleCount { name: name.to_owned(), count: get(counter) })
            .collect(),
    }
}

const fn link_word(link: LinkState) -> &'static str {
    match link {
        LinkState::Up => "up",
        LinkState::Down | LinkState::Unknown => "down",
        LinkState::Absent => "absent",
    }
}

const fn reason(health: Health) -> &'static str {
    match health {
        Health::LinkUp => "its link is up",
        Health::LinkUnknown => "its link was not looked at yet",
        Health::LinkDown => "its link is down",
        Health::LinkAbsent => "its link does not exist",
    }
}

/// Logs what could not be undone: nothing better can be done with it.
fn undo<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::warn!(%error, "could not be undone");
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::failed(error.to_string())
}
