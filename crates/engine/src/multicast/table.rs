//! Which groups are wanted, and who asked for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use dlmp_wire::MacAddr;
use dlmp_wire::membership::{Change, Version};

use super::Excess;
use crate::SlotIndex;

/// How many groups are kept of one client that reports them. A host with more is rare; a guest that reports more is
/// likely a flood, and getting every group is no loss to either.
pub const CLIENT_GROUPS: usize = 8192;
/// How many are kept of all clients that report them: some 5 MiB, and a tenth of a second's work at a failover.
pub const AGGREGATION_GROUPS: usize = 32_768;

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
    /// How many of those there are of each client.
    counts: BTreeMap<SlotIndex, usize>,
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
            reported.into_iter().for_each(|key| self.forget_reported(key));
            turns.extend(self.remove(asker, group));
        }
        turns
    }

    /// A client has reported what it wants and what it does not want any more. If that exceeds what is kept, the rest is
    /// passed over, and it is said why.
    ///
    /// The groups of a client whose list is known are those of the list: reports of more groups are not kept, and nothing
    /// is lost.
    pub(super) fn report(&mut self, slot: SlotIndex, changes: &[Change]) -> (Vec<Turn>, Option<Excess>) {
        let mut turns = Vec::new();
        for &change in changes {
            match self.report_one(slot, change) {
                Ok(turn) => turns.extend(turn),
                Err(_) if self.listed.contains(&slot) => {}
                Err(why) => return (turns, Some(why)),
            }
        }
        (turns, None)
    }

    fn report_one(&mut self, slot: SlotIndex, change: Change) -> Result<Option<Turn>, Excess> {
        let Change { group, version, joined } = change;
        let mac = MacAddr::group(group);
        if joined {
            self.keep_reported((slot, mac, group), version)?;
            return Ok(self.add(Asker::Client(slot), mac));
        }
        self.forget_reported((slot, mac, group));
        if self.listed.contains(&slot) || self.reported_as(slot, mac).next().is_some() {
            return Ok(None);
        }
        Ok(self.remove(Asker::Client(slot), mac))
    }

    fn keep_reported(&mut self, key: (SlotIndex, MacAddr, IpAddr), version: Version) -> Result<(), Excess> {
        if let Some(known) = self.reported.get_mut(&key) {
            *known = version;
            return Ok(());
        }
        if self.reported.len() >= AGGREGATION_GROUPS {
            return Err(Excess::Aggregation);
        }
        let count = self.counts.entry(key.0).or_default();
        if *count >= CLIENT_GROUPS {
            return Err(Excess::Client);
        }
        *count += 1;
        self.reported.insert(key, version);
        Ok(())
    }

    fn forget_reported(&mut self, key: (SlotIndex, MacAddr, IpAddr)) {
        if self.reported.remove(&key).is_some()
            && let Some(count) = self.counts.get_mut(&key.0)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key.0);
            }
        }
    }

    /// Whether the kernel's list of a client is known.
    pub(super) fn is_listed(&self, slot: SlotIndex) -> bool {
        self.listed.contains(&slot)
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
            let lowest = (slot, MacAddr([0; 6]), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let reported = self.reported.range(lowest..).map(|(&key, _)| key).take_while(|key| key.0 == slot);
            for key in reported.collect::<Vec<_>>() {
                self.reported.remove(&key);
            }
            self.counts.remove(&slot);
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
