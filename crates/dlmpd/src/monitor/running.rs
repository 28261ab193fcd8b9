//! One running aggregation: its links, its datapath and its engine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use dlmp_api::{Error, VnetAlias};
use dlmp_datapath::bpf::{self, Attachment, Bpf, Previous, Served};
use dlmp_datapath::{ClientAddress, Datapath, PortIndex, SlotIndex};
use dlmp_engine::{Action, Event, LinkState};
use dlmp_netlink::{Link, Netlink};
use dlmp_wire::MacAddr;
use dlmp_wire::rarp::Announcement;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::asking::Asker;
use super::carrier::Watched;
use super::chores::Chore;
use super::clients::Clients;
use super::forward::{forward, forward_reports};
use super::frames::FrameSender;
use super::limits::Limits;
use super::measure::Measured;
use super::multicast::Groups;
use super::news::News;
use super::probing::Probed;
use super::recorded::{Recorded, Recording};
use super::vlans::Vlans;
use super::vnics::{VnicSpec, Vnics};
use crate::pair::{self, Lower, Use};
use crate::state::Before;
use crate::validate::is_aggregation;

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
    /// The VNICs over it whose links are there.
    pub vnics: Vec<VnicSpec>,
    /// How many clients may be learned at a time.
    pub learn_limit: usize,
}

/// An aggregation at work.
pub struct Running {
    pub(super) name: String,
    pub(super) mac: MacAddr,
    pub(super) engine: Recorded,
    pub(super) bpf: Bpf,
    pub(super) frames: Rc<FrameSender>,
    pub(super) asker: Rc<RefCell<Option<Asker>>>,
    pub(super) news: News,
    pub(super) probed: Probed,
    /// Hands the datapath's events to the monitor.
    events: AbortHandle,
    /// The link that carries the addresses, and its other end, whose being up is its carrier.
    pub(super) link: u32,
    pub(super) lower: u32,
    pub(super) mtu: u32,
    pub(super) ports: BTreeMap<PortIndex, Port>,
    /// What is wrong with vnets among the ports, and with the ports' VLANs, in words.
    pub(super) problems: Vec<String>,
    pub(super) vnics: Vnics,
    pub(super) clients: Clients,
    pub(super) groups: Groups,
    pub(super) vlans: Vlans,
    pub(super) limits: Rc<RefCell<Limits>>,
    pub(super) measured: mpsc::UnboundedSender<Measured>,
    /// Hands the reports that the datapath holds to the monitor.
    reports: AbortHandle,
    /// Does what takes the kernel's lock, in order, without anybody waiting.
    chores: mpsc::UnboundedSender<Chore>,
}

/// What every aggregation uses of the monitor's.
pub struct Tools {
    /// The kernel.
    pub netlink: Netlink,
    /// The links whose carrier is looked at.
    pub watched: Watched,
    /// Sends frames through ports.
    pub frames: Rc<FrameSender>,
    /// Asks targets; there while an aggregation is probed.
    pub asker: Rc<RefCell<Option<Asker>>>,
    /// Tells people who watch.
    pub news: News,
    /// Where inputs and actions of the engines are written.
    pub recording: Recording,
    /// What is done at regular times is counted from here, in all aggregations.
    pub epoch: Instant,
    /// Takes the datapaths' events, each with the aggregation's name.
    pub observed: mpsc::UnboundedSender<Observed>,
    /// Takes the reports that the datapaths hold.
    pub reports: mpsc::UnboundedSender<Reports>,
    /// Does what takes the kernel's lock.
    pub(super) chores: mpsc::UnboundedSender<Chore>,
    /// How many groups ports can hold.
    pub(super) limits: Rc<RefCell<Limits>>,
    /// Takes what was measured of ports' filters.
    pub(super) measured: mpsc::UnboundedSender<Measured>,
}

/// Reports of membership that an aggregation's datapath has held, those that there were at a time.
pub type Reports = (String, Vec<Vec<u8>>);

/// Events of an aggregation's datapath, those that there were at a time.
pub type Observed = (String, Vec<bpf::Event>);

impl Drop for Running {
    fn drop(&mut self) {
        self.events.abort();
        self.reports.abort();
    }
}

/// A port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    /// Absent while the link does not exist.
    pub(super) device: Option<Device>,
    /// Absent when the link is no vnet.
    pub(super) vnet: Option<VnetAlias>,
}

/// The link of a port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device {
    pub(super) ifindex: u32,
    pub(super) mac: MacAddr,
    pub(super) mtu: u32,
    /// It receives all multicast.
    pub(super) all_multicast: bool,
}

impl Running {
    /// Makes the aggregation's link, or takes over one that exists, and brings its ports in.
    ///
    /// # Errors
    /// What failed; everything that had been done is undone.
    pub async fn start(spec: Spec, cookie: u64, attachment: Attachment, tools: &Tools) -> Result<Self, Error> {
        let Tools { netlink, .. } = tools;
        let (link, lower, made) = own_link(&spec, netlink).await?;
        let result = Self::on_link(&spec, (&link, &lower, made), cookie, attachment, tools).await;
        if result.is_err() && made {
            // Takes the lower end and the egress program with it.
            undo(netlink.delete_link(link.index).await);
        }
        result
    }

    async fn on_link(
        spec: &Spec,
        (link, lower, made): (&Link, &Lower, bool),
        cookie: u64,
        attachment: Attachment,
        tools: &Tools,
    ) -> Result<Self, Error> {
        let Tools { netlink, watched, .. } = tools;
        let served = Served {
            name: spec.name.clone(),
            ifindex: link.index,
            lower: lower.index,
            lower_name: lower.name.clone(),
            netns_cookie: cookie,
        };
        let mut bpf = Bpf::load(served, attachment).map_err(failed)?;
        let previous = bpf.previous(netlink).await.map_err(failed)?;
        let events = bpf.take_events().map_err(failed)?;
        let client = ClientAddress { mac: spec.mac, vlan: 0 };
        bpf.set_client(client, SlotIndex::PRIMARY).map_err(failed)?;
        let mut running = Self {
            name: spec.name.clone(),
            mac: spec.mac,
            engine: Recorded::new(&spec.name, tools.epoch, tools.recording.clone()),
            bpf,
            frames: tools.frames.clone(),
            asker: tools.asker.clone(),
            news: tools.news.clone(),
            probed: Probed::default(),
            events: forward(events, spec.name.clone(), tools.observed.clone())?,
            link: link.index,
            lower: lower.index,
            mtu: link.mtu,
            ports: BTreeMap::new(),
            problems: Vec::new(),
            vnics: Vnics::default(),
            clients: Clients::default(),
            groups: Groups::default(),
            vlans: Vlans::default(),
            limits: tools.limits.clone(),
            measured: tools.measured.clone(),
            reports: forward_reports(lower.index, spec.name.clone(), tools.reports.clone())?,
            chores: tools.chores.clone(),
        };
        running.set_learn_limit(spec.learn_limit)?;
        running.follow_link(link);
        running.follow_groups(link);
        if let Err(error) = running.bring_up(spec, previous, !made, netlink, watched).await {
            running.let_ports_go(&spec.before, netlink, watched).await;
            return Err(error);
        }
        Ok(running)
    }

    async fn bring_up(
        &mut self,
        spec: &Spec,
        previous: Option<Previous>,
        taken_over: bool,
        netlink: &Netlink,
        watched: &Watched,
    ) -> Result<(), Error> {
        let now = Instant::now();
        // The maps are filled before a program that reads them is attached.
        let mut devices = Vec::new();
        for name in &spec.ports {
            let port = self.free_index()?;
            self.ports.insert(port, Port { name: name.clone(), device: None, vnet: None });
            self.note_before(port, spec.before.get(name).cloned().unwrap_or_default());
            self.engine.handle_event(Event::PortAdded(port), now);
            if let Some(link) = netlink.link(name).await.map_err(failed)? {
                devices.push((port, link));
            } else {
                self.engine.handle_event(Event::Link(port, LinkState::Absent), now);
            }
        }
        for vnic in &spec.vnics {
            self.enter_vnic(vnic)?;
        }
        for (port, link) in &devices {
            self.enter(*port, link, netlink).await?;
        }
        self.find_vlans(netlink).await?;
        self.seat_clients(previous.as_ref(), now)?;
        self.begin_groups(previous.as_ref(), taken_over, now).map_err(failed)?;
        if let Some(previous) = &previous {
            self.restore(previous, now)?;
        }
        for (port, link) in &devices {
            self.believe(*port, link.lower_up, watched, now);
        }
        self.write_out()?;
        self.sweep();
        self.attach_vnics(netlink).await;
        self.bpf.attach_link(netlink).await.map_err(failed)?;
        for (_, link) in &devices {
            self.bpf.attach_port(link.index, &link.name, netlink).await.map_err(failed)?;
        }
        if let Some(previous) = &previous {
            self.bpf.carry_counters(previous).map_err(failed)?;
            self.catch_up_groups(previous);
        }
        self.follow_mtu();
        netlink.set_up(self.link, true).await.map_err(failed)
    }

    /// Leaves ports as an earlier daemon's datapath has them.
    fn restore(&mut self, previous: &Previous, now: Instant) -> Result<(), Error> {
        self.probed.failed_before = previous.unusable.iter().filter_map(|&ifindex| self.port_of(ifindex)).collect();
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
        self.let_vlans_in();
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
            Action::Groups(action) => self.carry_out_groups(action)?,
            Action::SetCarrier(up) => self.set_carrier(up),
            Action::Announce(slot, port) => {
                let device = self.ports.get(&port).and_then(|port| port.device);
                if let (Some(device), Some(client)) = (device, self.client_address(slot)) {
                    let announcement = Announcement { client: client.mac, vlan: client.vlan };
                    let mut buffer: dlmp_wire::rarp::Buffer = [0; _];
                    if let Err(error) = self.frames.send(announcement.emit(&mut buffer), device.ifindex) {
                        tracing::debug!(aggregation = self.name, %error, "announcement not sent");
                    }
                }
            }
            Action::Ask(question) => self.ask(question),
            Action::AskPort { from, to, sequence } => self.ask_port(from, to, sequence),
            Action::Discover(source) => self.discover(source),
            Action::Notify(notice) => self.tell(notice),
        }
        Ok(())
    }

    pub(super) fn chore(&self, chore: Chore) {
        // The task ends only with the runtime, and then nothing is left to do.
        let _ = self.chores.send(chore);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.engine.poll_timeout(), self.vlans.poll_timeout()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        self.take_vlans_back(now);
    }

    /// Hangs programs that somebody took off their link back on.
    pub async fn check(&mut self, netlink: &Netlink) {
        let devices: Vec<(u32, String)> =
            (self.ports.values()).filter_map(|port| Some((port.device?.ifindex, port.name.clone()))).collect();
        let vnics: Vec<(u32, String)> = self.vnic_lowers().into_iter().map(|lower| (lower.index, lower.name)).collect();
        let missing = match self.bpf.detached(&devices, &vnics, netlink).await {
            Ok(missing) => missing,
            Err(error) => {
                return tracing::error!(aggregation = self.name, %error, "cannot check the programs");
            }
        };
        for name in missing {
            tracing::warn!(aggregation = self.name, link = name, "somebody detached the program: attaching it again");
            let named = |(_, link): &&(u32, String)| *link == name;
            let again = match (devices.iter().find(named), vnics.iter().find(named)) {
                (Some((ifindex, name)), _) => self.bpf.attach_port(*ifindex, name, netlink).await,
                (None, Some((ifindex, name))) => self.bpf.attach_vnic(*ifindex, name, netlink).await,
                (None, None) => self.bpf.attach_link(netlink).await,
            };
            if let Err(error) = again {
                tracing::error!(aggregation = self.name, link = name, %error, "cannot attach it again");
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
}

/// The aggregation's own link and its lower end; whether they were made just now. A pair that an earlier daemon has only
/// half made is finished.
async fn own_link(spec: &Spec, netlink: &Netlink) -> Result<(Link, Lower, bool), Error> {
    if let Some(link) = netlink.link(&spec.name).await.map_err(failed)? {
        let links = netlink.links().await.map_err(failed)?;
        let other_end = links.iter().find(|end| link.peer_index == Some(end.index)).map(Lower::from);
        let found =
            pair::find(&links, &spec.name, spec.mac).or_else(|| other_end.clone().filter(|_| is_aggregation(&link)));
        let Some(lower) = found.filter(|lower| other_end.as_ref() == Some(lower)) else {
            return Err(Error::refused(format!("the name {} is taken by another link", spec.name), "dladm show-link"));
        };
        (pair::dress(netlink, Some(&link), &lower, &spec.name, Use::Aggregation).await).map_err(failed)?;
        return Ok((link, lower, false));
    }
    let mut mtu = None;
    for name in &spec.ports {
        if let Some(link) = netlink.link(name).await.map_err(failed)? {
            mtu = Some(mtu.map_or(link.mtu, |mtu: u32| mtu.min(link.mtu)));
        }
    }
    let made = pair::make(netlink, (&spec.name, spec.mac), Use::Aggregation, mtu.unwrap_or(1500)).await;
    let (link, lower) = made.map_err(failed)?;
    Ok((link, lower, true))
}

/// Logs what could not be undone: nothing better can be done with it.
pub(super) fn undo<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::warn!(%error, "could not be undone");
    }
}

pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::failed(error.to_string())
}
