//! The groups of a running aggregation: who asks for them, the ports' filters, reports that were held and those
//! that are sent again (the group rule). Decisions are the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use dlmp_datapath::{ClientAddress, Datapath, PortIndex, SlotIndex};
use dlmp_engine::{Asker, Event, GroupAction, GroupEvent, Membership};
use dlmp_netlink::Link;
use dlmp_wire::ethernet::Frame;
use dlmp_wire::membership::{self, Sender, Version};
use dlmp_wire::{MacAddr, ndp};

use super::chores::Chore;
use super::clients::is_bridged;
use super::excess::Told;
use super::lists::{Change, LISTED};
use super::running::Running;
use crate::state::Before;

/// At a failover so many reports of the old versions, which name one group each, are sent before anything else is done.
const AT_ONCE: usize = 256;

/// What is known of groups beside what the engine knows.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Why every group is wanted, by the link that says so.
    pub(super) all: BTreeMap<u32, Vec<String>>,
    /// Links whose lists are longer than is kept, and that in words.
    pub(super) too_long: BTreeMap<u32, String>,
    /// What was said of clients whose groups are not kept.
    pub(super) told: Told,
    /// The links of clients in this namespace, whose lists can be seen.
    pub(super) listed: BTreeMap<u32, SlotIndex>,
    /// Ports that took all multicast before they were ports.
    pub(super) took_all: BTreeSet<PortIndex>,
    /// Groups of an earlier daemon are still taken.
    pub(super) restoring: bool,
    /// Links of ports that hold more for an earlier daemon than was read, to be cleared.
    pub(super) unswept: Vec<u32>,
    /// Ports of whose filters it is to be measured how many groups they hold, and from when on.
    pub(super) unmeasured: BTreeMap<PortIndex, Instant>,
    /// Ports that take all groups, if they do as they were told.
    pub(super) unsure_of_all: BTreeSet<PortIndex>,
    /// The link of the port whose filter is being measured.
    pub(super) measuring: Option<u32>,
}

impl Groups {
    pub(super) fn all_wanted(&self) -> bool {
        !self.too_long.is_empty() || self.all.values().any(|reasons| !reasons.is_empty())
    }
}

impl Running {
    /// Notes what a port was like before it was one.
    pub(super) fn note_before(&mut self, port: PortIndex, before: Before) {
        if before.all_multicast {
            self.groups.took_all.insert(port);
        } else {
            self.groups.took_all.remove(&port);
        }
        self.vlans.note_before(port, before);
    }

    /// Whether the list of a link is looked at for this aggregation.
    pub(super) fn lists(&self, link: u32) -> bool {
        self.groups.listed.contains_key(&link)
    }

    /// The links whose lists are to be looked at.
    pub(super) fn listed_links(&self) -> impl Iterator<Item = u32> {
        self.groups.listed.keys().copied()
    }

    /// The kernel's list of a link has changed.
    pub(super) fn list_changed(&mut self, link: u32, Change { joined, left, too_long }: Change) {
        let Some(&slot) = self.groups.listed.get(&link) else { return };
        if too_long && !self.groups.too_long.contains_key(&link) {
            let name = self.asker_name(Asker::Client(slot));
            let reason = format!("{name} is in more groups than are kept of such lists ({LISTED})");
            tracing::warn!(aggregation = self.name, link = name, "{reason}: every group is let in for it");
            self.want_all(|groups| drop(groups.too_long.insert(link, reason)));
        }
        self.tell_groups(GroupEvent::Listed { slot, joined, left }, Instant::now());
        if !too_long {
            self.want_all(|groups| drop(groups.too_long.remove(&link)));
        }
        self.act();
    }

    /// Takes in what a link above has become that is ours or a VNIC's: whether it wants every group, and whether its
    /// list can be seen.
    pub(super) fn follow_groups(&mut self, link: &Link) {
        let slot = match link.index == self.link {
            true => SlotIndex::PRIMARY,
            false => match link.peer_index.and_then(|lower| self.vnic_with(lower)) {
                Some(index) => index.slot(),
                None => return,
            },
        };
        self.groups.listed.insert(link.index, slot);
        let mut reasons = Vec::new();
        if slot == SlotIndex::PRIMARY && is_bridged(link) {
            reasons.push(format!("bridge above {}", link.name));
        }
        if link.promiscuous {
            reasons.push(format!("{} is promiscuous", link.name));
        }
        if link.all_multicast {
            reasons.push(format!("{} takes all multicast", link.name));
        }
        self.want_all(|groups| drop(groups.all.insert(link.index, reasons)));
    }

    /// A link is gone, to nowhere or to another namespace.
    pub(super) fn forget_groups(&mut self, link: u32) {
        let Some(slot) = self.groups.listed.remove(&link) else { return };
        self.want_all(|groups| {
            groups.all.remove(&link);
            groups.too_long.remove(&link);
        });
        if slot != SlotIndex::PRIMARY {
            self.tell_groups(GroupEvent::Unlisted(slot), Instant::now());
        }
    }

    /// Tells the engine whether every group is wanted, if this changes it.
    fn want_all(&mut self, change: impl FnOnce(&mut Groups)) {
        let before = self.groups.all_wanted();
        change(&mut self.groups);
        let now = self.groups.all_wanted();
        if now != before {
            self.tell_groups(GroupEvent::AllWanted(now), Instant::now());
        }
    }

    /// Reports that the datapath has held. The filters are written before they go on; what is no report of a client of
    /// ours does not go on: it would leave with a port's address.
    /// Returns the groups of links whose lists are to be looked at.
    pub(super) fn reports(&mut self, frames: Vec<Vec<u8>>) -> Vec<(u32, MacAddr)> {
        let mut doubtful = Vec::new();
        for bytes in frames {
            let Ok(frame) = Frame::parse(&bytes) else { continue };
            let source = ClientAddress { mac: frame.source(), vlan: frame.vlan() };
            // One that was learned just now may be known to the datapath alone.
            if !membership::is_report(&frame) || (self.slot_of(source).is_none() && !self.bpf.is_client(source)) {
                tracing::debug!(aggregation = self.name, mac = %source.mac, vlan = source.vlan, "held, but no report of a client");
                continue;
            }
            let changes: Vec<_> = membership::changes(&frame).collect();
            if let Some(slot) = self.slot_of(source).filter(|_| !changes.is_empty()) {
                let listed = self.groups.listed.iter().find(|&(_, &listed)| listed == slot).map(|(&link, _)| link);
                let groups = changes.iter().map(|change| MacAddr::group(change.group));
                doubtful.extend(listed.into_iter().flat_map(|link| groups.clone().map(move |group| (link, group))));
                self.tell_groups(GroupEvent::Reported { slot, changes }, Instant::now());
                self.act();
            }
            self.pass_on(bytes);
        }
        // A report of more groups than a program reads lets it take all, until here.
        if !self.groups.restoring
            && let Err(error) = self.bpf.set_all_multicast(self.engine.multicast().wants_all())
        {
            tracing::error!(aggregation = self.name, %error, "groups that nobody wants may be taken");
        }
        doubtful
    }

    /// Sends a report that was held through the multicast port, with that port's own address.
    fn pass_on(&self, mut frame: Vec<u8>) {
        let port = self.engine.multicast().port().and_then(|port| self.ports.get(&port)?.device);
        let Some(device) = port else { return };
        frame[6..12].copy_from_slice(&device.mac.0);
        self.chore(Chore::Report { link: device.ifindex, frame });
    }

    /// A port did not take a group.
    pub(super) fn group_refused(&mut self, link: u32, group: MacAddr) {
        if let Some(port) = self.port_of(link) {
            self.tell_groups(GroupEvent::Refused(port, group), Instant::now());
            self.act();
        }
    }

    pub(super) fn tell_groups(&mut self, event: GroupEvent, now: Instant) {
        self.engine.handle_event(Event::Groups(event), now);
    }

    /// Carries out what the engine wants done about groups.
    ///
    /// # Errors
    /// The datapath did not do its part.
    pub(super) fn carry_out_groups(&mut self, action: GroupAction) -> Result<(), dlmp_datapath::Error> {
        match action {
            GroupAction::Admit(group) => self.bpf.admit(group)?,
            GroupAction::Dismiss(group) => self.bpf.dismiss(group)?,
            GroupAction::AdmitAll(all) => self.bpf.set_all_multicast(all)?,
            GroupAction::ForgetRestored => {
                self.groups.restoring = false;
                self.bpf.forget_restored_groups()?;
                self.bpf.set_all_multicast(self.engine.multicast().wants_all())?;
            }
            GroupAction::FilterShort(short) => self.bpf.set_filter_short(short)?,
            GroupAction::Add(port, group) => self.filter(port, |link| Chore::Group { link, group, wanted: true }),
            GroupAction::Remove(port, group) => self.filter(port, |link| Chore::Group { link, group, wanted: false }),
            GroupAction::TakeAll(port, all) => {
                if all {
                    self.groups.unsure_of_all.insert(port);
                } else {
                    self.groups.unsure_of_all.remove(&port);
                }
                let all = all || self.groups.took_all.contains(&port);
                self.filter(port, |link| Chore::AllGroups { link, all });
            }
            GroupAction::Report(port) => self.report_again(port),
            GroupAction::Ask => self.ask_for_reports(),
            GroupAction::Exceeds(slot, why) => self.tell_excess(slot, why),
        }
        Ok(())
    }

    /// Has something done to the filter of a port, if it has a link.
    fn filter(&self, port: PortIndex, chore: impl FnOnce(u32) -> Chore) {
        if let Some(device) = self.ports.get(&port).and_then(|port| port.device) {
            self.chore(chore(device.ifindex));
        }
    }

    /// Reports everybody's groups through a port, so that snooping switches send them there at once.
    fn report_again(&self, port: PortIndex) {
        let Some(device) = self.ports.get(&port).and_then(|port| port.device) else { return };
        let mut current: BTreeMap<(u16, bool), Vec<IpAddr>> = BTreeMap::new();
        let mut old = 0;
        let mut buffer: membership::Buffer = [0; _];
        for Membership { slot, group, version } in self.engine.multicast().memberships() {
            let vlan = self.client_address(slot).map_or(0, |client| client.vlan);
            if version == Version::Old {
                let frame = reporter(device.mac, vlan, group.is_ipv4()).old_report(group, &mut buffer);
                let Some(frame) = frame else { continue };
                old += 1;
                match old <= AT_ONCE {
                    true => self.send_now(frame, device.ifindex),
                    // There can be tens of thousands, and this thread has more to do at a failover.
                    false => self.chore(Chore::Report { link: device.ifindex, frame: frame.to_vec() }),
                }
            } else {
                current.entry((vlan, group.is_ipv4())).or_default().push(group);
            }
        }
        for ((vlan, v4), mut groups) in current {
            // Several clients can be in one group.
            groups.sort_unstable();
            groups.dedup();
            let (reporter, mut groups) = (reporter(device.mac, vlan, v4), groups.into_iter());
            while let Some(frame) = reporter.report(&mut groups, device.mtu as usize, &mut buffer) {
                self.send_now(frame, device.ifindex);
            }
        }
    }

    /// Asks those whose lists cannot be seen to report their groups: VNICs in other namespaces, and guests of a bridge.
    pub(super) fn ask_for_reports(&self) {
        let port = self.engine.multicast().port().and_then(|port| self.ports.get(&port)?.device);
        let Some(asker) = port.or_else(|| self.devices().next()) else { return };
        let listed: BTreeSet<SlotIndex> = self.groups.listed.values().copied().collect();
        for (slot, lower) in self.vnic_lowers_by_slot() {
            if !listed.contains(&slot) {
                self.query(asker.mac, lower, 0);
            }
        }
        // A VLAN of 0 for guests without, and for none: the host answers as well, and nothing changes.
        let vlans: BTreeSet<u16> = self.learned_vlans().chain([0]).collect();
        for vlan in vlans {
            self.query(asker.mac, self.lower, vlan);
        }
    }

    /// Sends a general query out of the lower end of a pair of links, which comes in at the upper one.
    fn query(&self, mac: MacAddr, lower: u32, vlan: u16) {
        let mut buffer: membership::Buffer = [0; _];
        for address in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(ndp::link_local(mac))] {
            let querier = Sender { mac, address, vlan };
            self.send_now(querier.general_query(&mut buffer), lower);
        }
    }

    fn send_now(&self, frame: &[u8], link: u32) {
        if let Err(error) = self.frames.send(frame, link) {
            tracing::debug!(aggregation = self.name, %error, "report or query not sent");
        }
    }

    /// Tells the programs that reports which they hold are read.
    pub(super) fn sign_of_life(&self) {
        if let Err(error) = self.bpf.sign_of_life() {
            tracing::error!(aggregation = self.name, %error, "reports are not held");
        }
    }
}

/// Who reports for everybody: a host without an address (RFC 3376, 4.2.13; RFC 3590, 4), with the port's own MAC
/// address, so that no switch moves a client.
const fn reporter(mac: MacAddr, vlan: u16, v4: bool) -> Sender {
    let address = if v4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    Sender { mac, address, vlan }
}
