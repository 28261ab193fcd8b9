//! Which groups are wanted, and who asked for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use dlmp_wire::MacAddr;
use dlmp_wire::membership::{Change, Version};

use crate::SlotIndex;

/// Who asked for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asker {
    /// Somebody whom an earlier daemon knew.
    Restored,
    /// A client.
    Client(SlotIndex),
}

/// What has to be done about a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The first one asks for it.
    Wanted(MacAddr),
    /// The last one left it.
    Unwanted(MacAddr),
}

/// A group that somebody reported by IGMP or MLD, and so has to be reported again when the port changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// Who reported it.
    pub slot: SlotIndex,
    /// The group.
    pub group: IpAddr,
    /// In which version.
    pub version: Version,
}

/// The groups. One that was asked for twice is one; the last one who leaves removes it.
#[derive(Debug, Default)]
pub(super) struct Table {
    by_group: BTreeSet<(MacAddr, Asker)>,
    by_asker: BTreeSet<(Asker, MacAddr)>,
    /// How many groups there are.
    groups: usize,
    /// Thirty-two IPv4 groups share an address (RFC 1112, 6.4), so the group itself is here as well.
    reported: BTreeMap<(SlotIndex, MacAddr, IpAddr), Version>,
    /// Clients whose groups the kernel lists: a leave that they report is looked up there.
    listed: BTreeSet<SlotIndex>,
}

impl Table {
    /// The kernel's list for a client has changed.
    pub(super) fn list(&mut self, slot: SlotIndex, joined: &[MacAddr], left: &[MacAddr]) -> Vec<Turn> {
        self.listed.insert(slot);
        let asker = Asker::Client(slot);
        let mut turns: Vec<Turn> = joined.iter().filter_map(|&group| self.add(asker, group)).collect();
        for &group in left {
            let reported: Vec<_> = self.reported_as(slot, group).collect();
            for key in reported {
                self.reported.remove(&key);
            }
            turns.extend(self.remove(asker, group));
        }
        turns
    }

    /// A client has reported what it wants and what it does not want any more.
    pub(super) fn report(&mut self, slot: SlotIndex, changes: &[Change]) -> Vec<Turn> {
        changes.iter().filter_map(|change| self.report_one(slot, *change)).collect()
    }

    fn report_one(&mut self, slot: SlotIndex, Change { group, version, joined }: Change) -> Option<Turn> {
        let mac = MacAddr::group(group);
        if joined {
            self.reported.insert((slot, mac, group), version);
            return self.add(Asker::Client(slot), mac);
        }
        self.reported.remove(&(slot, mac, group));
        if self.listed.contains(&slot) || self.reported_as(slot, mac).next().is_some() {
            return None;
        }
        self.remove(Asker::Client(slot), mac)
    }

    /// What a client has reported that has this address.
    fn reported_as(&self, slot: SlotIndex, mac: MacAddr) -> impl Iterator<Item = (SlotIndex, MacAddr, IpAddr)> + '_ {
        let lowest = (slot, mac, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.reported.range(lowest..).map(|(&key, _)| key).take_while(move |key| (key.0, key.1) == (slot, mac))
    }

    /// Groups that an earlier daemon had.
    pub(super) fn restore(&mut self, groups: &[MacAddr]) -> Vec<Turn> {
        groups.iter().filter_map(|&group| self.add(Asker::Restored, group)).collect()
    }

    /// Forgets all that somebody asked for.
    pub(super) fn forget(&mut self, asker: Asker) -> Vec<Turn> {
        if let Asker::Client(slot) = asker {
            self.listed.remove(&slot);
            self.reported.retain(|(reporter, ..), _| *reporter != slot);
        }
        let of_asker = (asker, MacAddr([0; 6]))..=(asker, MacAddr([0xff; 6]));
        let groups: Vec<MacAddr> = self.by_asker.range(of_asker).map(|&(_, group)| group).collect();
        groups.into_iter().filter_map(|group| self.remove(asker, group)).collect()
    }

    fn add(&mut self, asker: Asker, group: MacAddr) -> Option<Turn> {
        let first = self.askers(group).next().is_none();
        if !self.by_group.insert((group, asker)) {
            return None;
        }
        self.by_asker.insert((asker, group));
        self.groups += usize::from(first);
        first.then_some(Turn::Wanted(group))
    }

    fn remove(&mut self, asker: Asker, group: MacAddr) -> Option<Turn> {
        if !self.by_group.remove(&(group, asker)) {
            return None;
        }
        self.by_asker.remove(&(asker, group));
        let last = self.askers(group).next().is_none();
        self.groups -= usize::from(last);
        last.then_some(Turn::Unwanted(group))
    }

    /// Who asked for a group.
    pub(super) fn askers(&self, group: MacAddr) -> impl Iterator<Item = Asker> + '_ {
        let all = (group, Asker::Restored)..=(group, Asker::Client(SlotIndex(u16::MAX)));
        self.by_group.range(all).map(|&(_, asker)| asker)
    }

    /// Every group with one of those who asked for it; a group comes as often as it was asked for.
    pub(super) fn entries(&self) -> impl Iterator<Item = (MacAddr, Asker)> + '_ {
        self.by_group.iter().copied()
    }

    /// Every group, once.
    pub(super) fn groups(&self) -> impl Iterator<Item = MacAddr> + '_ {
        let mut last = None;
        self.by_group.iter().map(|&(group, _)| group).filter(move |&group| last.replace(group) != Some(group))
    }

    /// How many groups there are.
    pub(super) const fn len(&self) -> usize {
        self.groups
    }

    /// What has to be reported again.
    pub(super) fn reported(&self) -> impl Iterator<Item = Membership> + '_ {
        self.reported.iter().map(|(&(slot, _, group), &version)| Membership { slot, group, version })
    }
}
