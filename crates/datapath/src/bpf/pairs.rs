//! The map of pairs, in which the programs write the answers to transitive probes. It is read as memory,
//! without a system call, and only as much of it is seen as the ports need that there are: each page of a
//! map that is seen counts as the daemon's memory.

use std::mem::{offset_of, size_of};
use std::os::fd::AsFd;
use std::time::Duration;

use aya::maps::{Map, MapData};

use super::{failed, sys};
use crate::abi::dlmp_pair;
use crate::{Answered, Error, MAX_PORTS, PortIndex};

/// Bytes of the pairs of one local port.
const ROW: usize = MAX_PORTS * size_of::<dlmp_pair>();

/// The map, and what is seen of it.
pub(super) struct Pairs {
    map: MapData,
    seen: sys::Words,
}

impl Pairs {
    pub(super) fn new(map: Option<Map>) -> Result<Self, Error> {
        let Some(Map::Array(map)) = map else { return Err(Error::new("find its map", "pairs")) };
        let seen = see(&map, ROW)?;
        Ok(Self { map, seen })
    }

    /// Sees the pairs of this local port too, and of those below it.
    pub(super) fn make_room(&mut self, port: PortIndex) -> Result<(), Error> {
        let bytes = (usize::from(port.0) + 1) * ROW;
        if bytes > self.seen.bytes() {
            self.seen = see(&self.map, bytes)?;
        }
        Ok(())
    }

    /// The newest answer that a port has had from another one.
    pub(super) fn answered(&self, port: PortIndex, by: PortIndex) -> Option<Answered> {
        let at = usize::from(port.0) * ROW + usize::from(by.0) * size_of::<dlmp_pair>();
        if at >= self.seen.bytes() {
            return None; // no such port
        }
        // The program writes the sequence number last, so it is read before and after the rest.
        let sequence = || self.seen.u32(at + offset_of!(dlmp_pair, answered));
        let first = sequence();
        let answered = Answered {
            sequence: first,
            sent: Duration::from_nanos(self.seen.u64(at + offset_of!(dlmp_pair, answered_sent_ns))),
            at: Duration::from_nanos(self.seen.u64(at + offset_of!(dlmp_pair, answered_ns))),
        };
        // A newer one is just being written: it is read the next time.
        (first != 0 && first == sequence()).then_some(answered)
    }
}

fn see(map: &MapData, bytes: usize) -> Result<sys::Words, Error> {
    sys::Words::map(map.fd().as_fd(), 0, bytes).map_err(|error| failed("look into its pairs", &error))
}
