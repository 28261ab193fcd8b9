//! The filter of our own addresses: a bit for each hash of one, by which the ingress program tells foreign
//! sources without a look-up.

use std::collections::BTreeMap;

use aya::maps::{Array, MapData};

use super::failed;
use crate::Error;
use crate::abi::{self, dlmp_address, dlmp_own};

/// The filter, with how many addresses share each bit.
pub(super) struct Own {
    map: Array<MapData, dlmp_own>,
    counts: BTreeMap<usize, u16>,
}

impl Own {
    pub(super) fn new(map: Array<MapData, dlmp_own>) -> Self {
        Self { map, counts: BTreeMap::new() }
    }

    /// Takes an address in: before the programs can find it in the map of addresses.
    pub(super) fn insert(&mut self, address: dlmp_address) -> Result<(), Error> {
        let count = self.counts.entry(hash(address)).or_default();
        *count = count.saturating_add(1);
        if *count == 1 { self.write() } else { Ok(()) }
    }

    /// Takes an address out, once it is out of the map of addresses.
    pub(super) fn remove(&mut self, address: dlmp_address) -> Result<(), Error> {
        match self.counts.get_mut(&hash(address)) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                self.counts.remove(&hash(address));
                return self.write();
            }
            None => {}
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Error> {
        let mut filter = dlmp_own::default();
        for at in self.counts.keys() {
            filter.bits[at / 64] |= 1 << (at % 64);
        }
        (self.map.set(0, filter, 0)).map_err(|error| failed("set its filter of own addresses", &error))
    }
}

/// The same hash is in bpf/ingress.h.
fn hash(address: dlmp_address) -> usize {
    let octet = |at: usize| usize::from(address.mac[at]);
    ((octet(3) << 4) ^ (octet(4) << 8) ^ octet(5) ^ usize::from(address.vlan)) % abi::DLMP_OWN_BITS as usize
}
