//! The filter of wanted groups (the group rule): which of its bits a group has, and how many groups share one.
//!
//! A frame's group is looked up by one bit, however many groups there are. With 100,000 groups every tenth
//! group that nobody wants passes too; those above compare exactly.

use std::collections::BTreeMap;

use dlmp_wire::MacAddr;

use crate::abi::{DLMP_GROUP_BITS, DLMP_GROUP_HASH};

/// The number of a group's bit, below [`DLMP_GROUP_BITS`]. The same hash is in bpf/group.h.
pub(crate) fn bit(group: MacAddr) -> u32 {
    let [a, b, c, d, e, f] = group.0;
    let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    (number.wrapping_mul(DLMP_GROUP_HASH) >> (64 - DLMP_GROUP_BITS.trailing_zeros())) as u32
}

/// The groups that the daemon has admitted, as a count for each bit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Admitted(BTreeMap<u32, u32>);

impl Admitted {
    /// Counts a group in and returns its bit.
    pub(crate) fn admit(&mut self, group: MacAddr) -> u32 {
        let bit = bit(group);
        *self.0.entry(bit).or_default() += 1;
        bit
    }

    /// Counts a group out; its bit, if it was the last group there.
    pub(crate) fn dismiss(&mut self, group: MacAddr) -> Option<u32> {
        let bit = bit(group);
        let count = self.0.get_mut(&bit)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.0.remove(&bit);
        Some(bit)
    }

    /// The bits of all of them.
    pub(crate) fn bits(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_free_when_the_last_of_its_groups_has_gone() {
        let mut admitted = Admitted::default();
        let (one, other) = (MacAddr([1, 0, 0x5e, 0, 0, 1]), MacAddr([1, 0, 0x5e, 0, 0, 2]));
        assert_ne!(admitted.admit(one), admitted.admit(other));
        admitted.admit(one);
        assert_eq!(admitted.dismiss(one), None);
        assert_eq!(admitted.dismiss(one), Some(bit(one)));
        assert_eq!(admitted.dismiss(one), None);
        assert_eq!(admitted.bits().collect::<Vec<_>>(), [bit(other)]);
    }

    #[test]
    fn neighbours_have_bits_of_their_own() {
        let groups = (0..100_000u32).map(|n| [1, 0, 0x5e, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
        let bits: std::collections::BTreeSet<_> = groups.map(|group| bit(MacAddr(group))).collect();
        assert_eq!(bits.len(), 100_000);
    }
}
