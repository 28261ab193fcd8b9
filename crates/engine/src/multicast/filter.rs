//! The receive filter of one port: which groups are in it, and what is to be written to it.

use std::collections::{BTreeSet, VecDeque};

use dlmp_wire::MacAddr;

use super::GroupAction;
use super::table::Table;
use crate::{Action, PortIndex};

/// How many groups a port is given whose room is not known. Cards with a table of their own hold 16 to a few hundred and
/// drop others in silence, or take all by themselves; those that filter by a hash of 64 to 4096 bits let through what
/// nobody asked for as well, the more, the more groups there are: every sixteenth with 256 groups and 4096 bits. A
/// limit that is set or measured counts instead.
pub const FILTER_GROUPS: usize = 256;
/// A filter that was too small is exact again when this part of its room is free, so that one group more or less does
/// not have it written over and over.
const FREE: usize = 8;

/// What a port's own filter lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reception {
    /// Nothing on purpose: the port does not take groups for the aggregation, and would not next.
    None,
    /// The groups that are wanted.
    Exact,
    /// Every group: the datapath picks those that are wanted.
    All,
    /// Fewer groups than are wanted, and it cannot take all.
    Short,
}

/// The filter of a port, as it is when everything that was told is written.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// It is to receive the groups.
    serves: bool,
    held: Held,
    /// It takes all groups.
    all: bool,
    /// Groups that it can hold; absent: as many as are wanted.
    limit: Option<usize>,
    /// It has refused one more than this.
    full_at: Option<usize>,
    /// It was too small for the groups when they were last looked at.
    too_small: bool,
    /// Whether it takes all groups when it is told to: an untrusted virtual function does not, and says nothing. Absent as
    /// long as that is not known.
    takes_all: Option<bool>,
}

/// The groups in a filter.
#[derive(Debug)]
enum Held {
    /// All of the table.
    Table,
    /// These.
    Some(BTreeSet<MacAddr>),
}

impl Default for Held {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Filter {
    /// What a port has in it already. It goes on receiving that until it is known what the port is for.
    pub(super) fn restore(&mut self, groups: &[MacAddr], all: bool) {
        self.serves = true;
        self.held = Held::Some(groups.iter().copied().collect());
        self.all = all;
    }

    /// The link is gone, and so is what was in its filter.
    pub(super) fn lose(&mut self) {
        *self = Self { limit: self.limit, ..Self::default() };
    }

    /// Says how many groups it can hold.
    pub(super) const fn set_limit(&mut self, limit: Option<usize>) {
        self.limit = limit;
        self.full_at = None;
        self.too_small = false;
    }

    /// Says whether it can take all groups.
    pub(super) const fn set_takes_all(&mut self, takes_all: bool) {
        self.takes_all = Some(takes_all);
    }

    /// Says whether it is to receive the groups. [`settle`](Self::settle) does it.
    pub(super) const fn set_serves(&mut self, serves: bool) {
        self.serves = serves;
    }

    /// Whether it receives the groups.
    pub(super) const fn serves(&self) -> bool {
        self.serves
    }

    /// How many groups are in it.
    pub(super) fn held(&self, table: &Table) -> usize {
        match &self.held {
            Held::Table => table.len(),
            Held::Some(groups) => groups.len(),
        }
    }

    /// The groups in it.
    pub(super) fn groups<'a>(&'a self, table: &'a Table) -> Box<dyn Iterator<Item = MacAddr> + 'a> {
        match &self.held {
            Held::Table => Box::new(table.groups()),
            Held::Some(groups) => Box::new(groups.iter().copied()),
        }
    }

    /// How many groups it can hold, as far as is known.
    pub(super) fn capacity(&self) -> Option<usize> {
        self.limit.into_iter().chain(self.full_at).min()
    }

    /// What it lets through if it serves.
    pub(super) fn reception(&self, table: &Table, all_wanted: bool) -> Reception {
        match (self.must_take_all(table, all_wanted), self.takes_all) {
            (false, _) => Reception::Exact,
            (true, Some(false)) => Reception::Short,
            (true, _) => Reception::All,
        }
    }

    /// Takes all groups until [`settle`](Self::settle) has had the wanted ones written: one write, and fast.
    pub(super) fn open(&mut self, port: PortIndex, actions: &mut VecDeque<Action>) {
        if !self.all {
            self.all = true;
            actions.push_back(GroupAction::TakeAll(port, true).into());
        }
    }

    /// These groups have come into the table.
    pub(super) fn wanted(
        &mut self,
        port: PortIndex,
        new: &BTreeSet<MacAddr>,
        table: &Table,
        actions: &mut VecDeque<Action>,
    ) {
        // The others lack some already; `settle` sees to them.
        let Held::Table = self.held else { return };
        if self.is_written() && self.fits(table) {
            actions.extend(new.iter().map(|&group| Action::from(GroupAction::Add(port, group))));
        } else {
            self.held = Held::Some(table.groups().filter(|group| !new.contains(group)).collect());
        }
    }

    /// A group has left the table.
    pub(super) fn unwanted(&mut self, port: PortIndex, group: MacAddr, actions: &mut VecDeque<Action>) {
        let held = match &mut self.held {
            Held::Table => true,
            Held::Some(groups) => groups.remove(&group),
        };
        if held {
            actions.push_back(GroupAction::Remove(port, group).into());
        }
    }

    /// The port has refused a group. It is told to take all, which also tells whoever writes that the refusal was heard
    /// of ([`GroupAction::TakeAll`]); [`settle`](Self::settle) takes that back if it need not.
    pub(super) fn refused(&mut self, port: PortIndex, group: MacAddr, table: &Table, actions: &mut VecDeque<Action>) {
        let mut groups = match std::mem::take(&mut self.held) {
            Held::Table => table.groups().collect(),
            Held::Some(groups) => groups,
        };
        self.full_at = Some(match (groups.remove(&group), self.full_at) {
            // One of several that it refused together: the rest was taken out when the first was heard of.
            (false, Some(full_at)) => full_at.saturating_sub(1),
            _ => groups.len(),
        });
        self.held = Held::Some(groups);
        self.all = false;
        self.open(port, actions);
    }

    /// Has written what is missing and taken out what is too much. Whatever is let through before and after is
    /// let through in between: all is told first, and taken back last.
    ///
    /// While a port takes all groups none is put into its filter, and those in it are taken out as soon as it is known that
    /// it does as it is told.
    pub(super) fn settle(&mut self, port: PortIndex, table: &Table, all_wanted: bool, actions: &mut VecDeque<Action>) {
        self.too_small = !self.fits(table);
        let all = self.serves && self.must_take_all(table, all_wanted);
        if all {
            self.open(port, actions);
        }
        match (all, self.takes_all) {
            _ if !self.serves => self.empty(port, table, actions),
            (false, _) => self.fill(port, table, actions),
            (true, Some(true)) => self.empty(port, table, actions),
            (true, Some(false)) => self.fill_up(port, table, actions),
            (true, None) => self.trim(port, table, actions),
        }
        if self.all && !all {
            self.all = false;
            actions.push_back(GroupAction::TakeAll(port, false).into());
        }
    }

    /// Whether groups are put into it now.
    fn is_written(&self) -> bool {
        !self.all || self.takes_all == Some(false)
    }

    fn room(&self) -> usize {
        self.capacity().unwrap_or(FILTER_GROUPS)
    }

    fn fits(&self, table: &Table) -> bool {
        let room = self.room();
        table.len() <= if self.too_small { room - room / FREE } else { room }
    }

    fn must_take_all(&self, table: &Table, all_wanted: bool) -> bool {
        all_wanted || !self.fits(table)
    }

    fn empty(&mut self, port: PortIndex, table: &Table, actions: &mut VecDeque<Action>) {
        match std::mem::take(&mut self.held) {
            Held::Table => actions.extend(table.groups().map(|group| Action::from(GroupAction::Remove(port, group)))),
            Held::Some(groups) => {
                actions.extend(groups.into_iter().map(|group| Action::from(GroupAction::Remove(port, group))))
            }
        }
    }

    /// All groups of the table, and no others.
    fn fill(&mut self, port: PortIndex, table: &Table, actions: &mut VecDeque<Action>) {
        let Held::Some(mut old) = std::mem::replace(&mut self.held, Held::Table) else { return };
        let missing = table.groups().filter(|group| !old.remove(group));
        let missing: Vec<Action> = missing.map(|group| GroupAction::Add(port, group).into()).collect();
        // Out first, since it may be full.
        actions.extend(old.into_iter().map(|group| Action::from(GroupAction::Remove(port, group))));
        actions.extend(missing);
    }

    /// As many as it can hold of those that are wanted.
    fn fill_up(&mut self, port: PortIndex, table: &Table, actions: &mut VecDeque<Action>) {
        self.trim(port, table, actions);
        let room = self.room();
        let Held::Some(groups) = &mut self.held else { return };
        let free = room.saturating_sub(groups.len());
        if free == 0 {
            return;
        }
        let missing: Vec<MacAddr> = table.groups().filter(|group| !groups.contains(group)).take(free).collect();
        for group in missing {
            groups.insert(group);
            actions.push_back(GroupAction::Add(port, group).into());
        }
    }

    /// Takes out what is more than it can hold.
    fn trim(&mut self, port: PortIndex, table: &Table, actions: &mut VecDeque<Action>) {
        let (held, room) = (self.held(table), self.room());
        if held <= room {
            return;
        }
        let mut groups = match std::mem::take(&mut self.held) {
            Held::Table => table.groups().collect(),
            Held::Some(groups) => groups,
        };
        for _ in room..held {
            actions.extend(groups.pop_last().map(|group| Action::from(GroupAction::Remove(port, group))));
        }
        self.held = Held::Some(groups);
    }
}
