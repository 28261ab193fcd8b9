//! Sets of ports.

use std::fmt;

use crate::PortIndex;

/// A set of ports. An aggregation has at most 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub(crate) struct PortSet(u32);

impl PortSet {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) const fn contains(self, port: PortIndex) -> bool {
        self.0 & Self::bit(port) != 0
    }

    pub(crate) const fn insert(&mut self, port: PortIndex) {
        self.0 |= Self::bit(port);
    }

    pub(crate) const fn remove(&mut self, port: PortIndex) {
        self.0 &= !Self::bit(port);
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(crate) fn first(self) -> Option<PortIndex> {
        self.iter().next()
    }

    /// The port after this one, from the start again after the last.
    pub(crate) fn after(self, port: PortIndex) -> Option<PortIndex> {
        self.iter().find(|&other| other > port).or_else(|| self.first())
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = PortIndex> {
        (0..32).map(PortIndex).filter(move |&port| self.contains(port))
    }

    const fn bit(port: PortIndex) -> u32 {
        1 << (port.0 & 31)
    }
}

impl FromIterator<PortIndex> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortIndex>>(ports: I) -> Self {
        let mut set = Self::EMPTY;
        for port in ports {
            set.insert(port);
        }
        set
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|port| port.0)).finish()
    }
}
