//! The filter of our own addresses: a bit for each hash of one, by which the programs tell foreign addresses
//! without a look-up.
//!
//! Bits are only ever set: the programs set some themselves, when they learn a client, and one that is clear
//! must always mean a foreign address. The next daemon begins with an empty filter.

use std::sync::atomic::Ordering;

use super::sys::Words;
use crate::abi::{self, dlmp_address, dlmp_own};

/// Bytes of the filter.
pub(super) const BYTES: usize = size_of::<dlmp_own>();

/// Takes an address in.
pub(super) fn insert(filter: &Words, address: dlmp_address) {
    let hash = hash(address);
    filter.word(hash / 64 * 8).fetch_or(1 << (hash % 64), Ordering::AcqRel);
}

/// The same hash is in bpf/place.h.
fn hash(address: dlmp_address) -> usize {
    let octet = |at: usize| usize::from(address.mac[at]);
    ((octet(3) << 13) ^ (octet(4) << 8) ^ octet(5)) % abi::DLMP_OWN_BITS as usize
}
