//! Which addresses a card with so many slots admits, of those that the kernel gives it. Pure.

use std::collections::{HashSet, VecDeque};

use super::Address;

/// The filter of a card. Other addresses than those of groups always have a place.
#[derive(Debug)]
pub(super) struct Table {
    slots: usize,
    groups: HashSet<Address>,
    /// Groups for which there is no slot, in the order in which they came.
    waiting: VecDeque<Address>,
    others: HashSet<Address>,
}

/// An address that is admitted from now on, or no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) address: Address,
    pub(super) admitted: bool,
}

impl Table {
    /// An empty filter with slots for so many groups.
    pub(super) fn new(slots: usize) -> Self {
        Self { slots, groups: HashSet::new(), waiting: VecDeque::new(), others: HashSet::new() }
    }

    /// The kernel adds an address to the end of its list.
    pub(super) fn add(&mut self, address: Address) -> Option<Change> {
        let is_new = if !is_group(address) {
            self.others.insert(address)
        } else if self.groups.len() < self.slots {
            self.groups.insert(address)
        } else {
            if !self.groups.contains(&address) && !self.waiting.contains(&address) {
                self.waiting.push_back(address);
            }
            false
        };
        is_new.then_some(Change { address, admitted: true })
    }

    /// The kernel takes an address off its list. The first that waits gets the slot.
    pub(super) fn remove(&mut self, address: Address) -> Vec<Change> {
        if self.others.remove(&address) {
            return vec![Change { address, admitted: false }];
        }
        if !self.groups.remove(&address) {
            self.waiting.retain(|&other| other != address);
            return Vec::new();
        }
        let next = self.waiting.pop_front();
        self.groups.extend(next);
        let next = next.map(|address| Change { address, admitted: true });
        [Change { address, admitted: false }].into_iter().chain(next).collect()
    }

    /// The kernel's list of groups is this one.
    pub(super) fn replace_groups(&mut self, list: &[Address]) -> Vec<Change> {
        let (first, rest) = list.split_at(list.len().min(self.slots));
        let groups: HashSet<Address> = first.iter().copied().collect();
        let gone = self.groups.difference(&groups).map(|&address| Change { address, admitted: false });
        let new = groups.difference(&self.groups).map(|&address| Change { address, admitted: true });
        let changes = gone.chain(new).collect();
        self.groups = groups;
        self.waiting = rest.iter().copied().collect();
        changes
    }

    /// Whether addresses are on the kernel's list that are not groups.
    pub(super) fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// How many groups are on the kernel's list.
    pub(super) fn listed_groups(&self) -> usize {
        self.groups.len() + self.waiting.len()
    }
}

fn is_group(address: Address) -> bool {
    address[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(number: u8) -> Address {
        [0x01, 0, 0x5e, 0, 0, number]
    }

    fn change(number: u8, admitted: bool) -> Change {
        Change { address: group(number), admitted }
    }

    #[test]
    fn the_first_groups_have_the_slots_and_the_next_one_follows_when_one_is_free() {
        let mut table = Table::new(2);
        assert_eq!(table.add(group(1)), Some(change(1, true)));
        assert_eq!(table.add(group(2)), Some(change(2, true)));
        assert_eq!(table.add(group(3)), None);
        assert_eq!(table.add(group(4)), None);
        assert_eq!(table.remove(group(3)), []);
        assert_eq!(table.remove(group(1)), [change(1, false), change(4, true)]);
        assert_eq!(table.remove(group(2)), [change(2, false)]);
        assert_eq!(table.listed_groups(), 1);
    }

    #[test]
    fn a_group_that_is_listed_twice_has_one_slot() {
        let mut table = Table::new(1);
        assert_eq!(table.add(group(1)), Some(change(1, true)));
        assert_eq!(table.add(group(1)), None);
        assert_eq!(table.remove(group(1)), [change(1, false)]);
    }

    #[test]
    fn other_addresses_take_no_slot() {
        let mut table = Table::new(0);
        let address = [2, 8, 0x20, 0, 0, 1];
        assert_eq!(table.add(address), Some(Change { address, admitted: true }));
        assert_eq!(table.add(group(1)), None);
        assert_eq!(table.remove(address), [Change { address, admitted: false }]);
    }

    #[test]
    fn a_new_list_changes_what_differs() {
        let mut table = Table::new(2);
        for number in 1..=3 {
            table.add(group(number));
        }
        let mut changes = table.replace_groups(&[group(2), group(4), group(1)]);
        changes.sort_by_key(|change| change.admitted);
        assert_eq!(changes, [change(1, false), change(4, true)]);
        assert_eq!(table.remove(group(2)), [change(2, false), change(1, true)]);
    }
}
