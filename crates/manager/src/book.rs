//! The addresses that a manager has or asks for, and when each is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use dlmp_wire::MacAddr;

use crate::claim::{Claim, Standing};

/// Where an address came from. Freed ones are used first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The list of freed addresses.
    Freed,
    /// Chance.
    Chosen,
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is asked for.
    Claimed(Source, Claim),
    /// It was claimed and waits to be used.
    Pooled(Source),
    /// It was handed out; whoever asked for it is about to use it, or to give it back.
    Lent,
    /// A device has it.
    Used,
}

impl Purpose {
    pub const fn standing(self) -> Standing {
        match self {
            Self::Claimed(..) => Standing::Claimed,
            Self::Pooled(_) | Self::Lent | Self::Used => Standing::Held,
        }
    }
}

/// An address.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub purpose: Purpose,
    /// When something is to be done about it.
    pub due: Instant,
    /// When it was last asked for.
    pub asked: Option<Instant>,
    /// When it was last said to be taken.
    pub said: Option<Instant>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<MacAddr, Entry>,
    due: BTreeSet<(Instant, MacAddr)>,
    claims: BTreeSet<(Source, MacAddr)>,
    pool: BTreeSet<(Source, MacAddr)>,
}

impl Book {
    pub fn get(&self, mac: MacAddr) -> Option<&Entry> {
        self.entries.get(&mac)
    }

    /// What the address is to this manager.
    pub fn standing(&self, mac: MacAddr) -> Standing {
        self.get(mac).map_or(Standing::Foreign, |entry| entry.purpose.standing())
    }

    /// Enters an address, or gives it another purpose.
    pub fn set(&mut self, mac: MacAddr, purpose: Purpose, due: Instant) {
        let before = self.remove(mac);
        let (asked, said) = before.map_or((None, None), |entry| (entry.asked, entry.said));
        match purpose {
            Purpose::Claimed(source, _) => drop(self.claims.insert((source, mac))),
            Purpose::Pooled(source) => drop(self.pool.insert((source, mac))),
            Purpose::Lent | Purpose::Used => {}
        }
        self.due.insert((due, mac));
        self.entries.insert(mac, Entry { purpose, due, asked, said });
    }

    /// Notes that it is being asked for.
    pub fn asked(&mut self, mac: MacAddr, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&mac) {
            entry.asked = Some(now);
        }
    }

    /// Notes that it is being said to be taken.
    pub fn said(&mut self, mac: MacAddr, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&mac) {
            entry.said = Some(now);
        }
    }

    /// Puts off, or brings forward, what is to be done about it.
    pub fn set_due(&mut self, mac: MacAddr, due: Instant) {
        if let Some(entry) = self.entries.get_mut(&mac) {
            self.due.remove(&(entry.due, mac));
            entry.due = due;
            self.due.insert((due, mac));
        }
    }

    /// Strikes an address off.
    pub fn remove(&mut self, mac: MacAddr) -> Option<Entry> {
        let entry = self.entries.remove(&mac)?;
        self.due.remove(&(entry.due, mac));
        match entry.purpose {
            Purpose::Claimed(source, _) => drop(self.claims.remove(&(source, mac))),
            Purpose::Pooled(source) => drop(self.pool.remove(&(source, mac))),
            Purpose::Lent | Purpose::Used => {}
        }
        Some(entry)
    }

    /// One that is due.
    pub fn next_due(&self, now: Instant) -> Option<MacAddr> {
        self.due.first().filter(|(due, _)| *due <= now).map(|(_, mac)| *mac)
    }

    /// When the next one is.
    pub fn due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Those that devices have.
    pub fn used(&self) -> impl Iterator<Item = MacAddr> {
        let used = self.entries.iter().filter(|(_, entry)| entry.purpose == Purpose::Used);
        used.map(|(mac, _)| *mac)
    }

    /// Those that wait to be used, freed ones first.
    pub const fn pool(&self) -> &BTreeSet<(Source, MacAddr)> {
        &self.pool
    }

    /// Those that are asked for, freed ones first.
    pub const fn claims(&self) -> &BTreeSet<(Source, MacAddr)> {
        &self.claims
    }
}

/// How many of a list are freed ones.
pub fn freed(list: &BTreeSet<(Source, MacAddr)>) -> usize {
    list.iter().take_while(|(source, _)| *source == Source::Freed).count()
}
