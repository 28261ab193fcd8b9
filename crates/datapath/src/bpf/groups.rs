//! The map of wanted groups, in which the programs and the daemon set bits at the same time (the group rule).
//!
//! Its first page, with the sign of life, is always seen as memory. Any other is seen only while a bit of it
//! changes: each page that is seen counts as the daemon's memory, and all of them would be 128 KiB an aggregation.

use std::mem::{offset_of, size_of};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Map, MapData};
use dlmp_wire::MacAddr;

use super::sys::{Words, page_size};
use super::{Bpf, Previous, failed, now};
use crate::Error;
use crate::abi::{DLMP_GROUP_BITS, dlmp_groups};
use crate::group::Admitted;

const ALIVE: usize = offset_of!(dlmp_groups, alive_ns);
const ALL: usize = offset_of!(dlmp_groups, all);
const FILTER_SHORT: usize = offset_of!(dlmp_groups, filter_short);
const BITS: usize = offset_of!(dlmp_groups, bits);
/// How many words of 64 bits there are.
const WORDS: usize = DLMP_GROUP_BITS as usize / 64;

/// The map, and which groups the daemon has admitted.
pub(super) struct Groups {
    map: MapData,
    head: Words,
    admitted: Admitted,
}

impl Groups {
    pub(super) fn new(map: Option<Map>) -> Result<Self, Error> {
        let Some(Map::Array(map)) = map else { return Err(Error::new("find its map", "groups")) };
        let head = see(&map, 0, page_size())?;
        Ok(Self { map, head, admitted: Admitted::default() })
    }

    pub(super) fn admit(&mut self, group: MacAddr) -> Result<(), Error> {
        let bit = self.admitted.admit(group);
        let set = self.change(bit, |word, mask| word.fetch_or(mask, Ordering::AcqRel));
        set.inspect_err(|_| {
            self.admitted.dismiss(group);
        })
    }

    pub(super) fn dismiss(&mut self, group: MacAddr) -> Result<(), Error> {
        let Some(bit) = self.admitted.dismiss(group) else { return Ok(()) };
        let cleared = self.change(bit, |word, mask| word.fetch_and(!mask, Ordering::AcqRel));
        cleared.inspect_err(|_| {
            self.admitted.admit(group);
        })
    }

    pub(super) fn set_all(&self, all: bool) {
        self.head.word(ALL).store(all.into(), Ordering::Release);
    }

    pub(super) fn set_filter_short(&self, short: bool) {
        self.head.word(FILTER_SHORT).store(short.into(), Ordering::Release);
    }

    /// Notes when the daemon was alive, by CLOCK_MONOTONIC in nanoseconds.
    pub(super) fn set_alive(&self, at: u64) {
        self.head.word(ALIVE).store(at, Ordering::Release);
    }

    /// Does something to the word of a bit.
    fn change(&self, bit: u32, change: impl FnOnce(&AtomicU64, u64) -> u64) -> Result<(), Error> {
        let at = BITS + bit as usize / 64 * 8;
        let in_page = at % page_size();
        let page = see(&self.map, at - in_page, page_size())?;
        change(page.word(in_page), 1 << (bit % 64));
        Ok(())
    }
}

impl Bpf {
    /// Tells the programs that somebody reads the reports that they hold: from now on, for [`ALIVE`](crate::ALIVE).
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn sign_of_life(&self) -> Result<(), Error> {
        self.groups.set_alive(now()?);
        Ok(())
    }

    /// Makes every group wanted that an earlier daemon's programs take, until
    /// [`forget_restored_groups`](Self::forget_restored_groups). Called again when those no longer run, it takes
    /// over what they have learned since.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn restore_groups(&mut self, previous: &Previous) -> Result<(), Error> {
        let (old, new) = (see_all(&previous.groups)?, see_all(&self.groups.map)?);
        for at in std::iter::once(ALL).chain((0..WORDS).map(|word| BITS + word * 8)) {
            new.word(at).fetch_or(old.u64(at), Ordering::AcqRel);
        }
        Ok(())
    }

    /// Leaves only those groups wanted that were admitted. What a client joins just now is lost if its report was
    /// not held; one that was held is about to be read and admitted.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn forget_restored_groups(&mut self) -> Result<(), Error> {
        let mut admitted = vec![0; WORDS];
        for bit in self.groups.admitted.bits() {
            admitted[bit as usize / 64] |= 1 << (bit % 64);
        }
        let seen = see_all(&self.groups.map)?;
        for (index, admitted) in admitted.into_iter().enumerate() {
            seen.word(BITS + index * 8).fetch_and(admitted, Ordering::AcqRel);
        }
        Ok(())
    }
}

fn see_all(map: &MapData) -> Result<Words, Error> {
    see(map, 0, size_of::<dlmp_groups>())
}

fn see(map: &MapData, at: usize, bytes: usize) -> Result<Words, Error> {
    Words::map(map.fd().as_fd(), at, bytes).map_err(|error| failed("look into its groups", &error))
}
