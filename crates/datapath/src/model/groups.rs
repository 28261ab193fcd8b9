//! Which groups are wanted above (the group rule), and what clients' reports say about that.

use std::collections::BTreeSet;

use dlmp_wire::ethernet::{Frame, ethertype};
use dlmp_wire::{MacAddr, membership};

use crate::Counter;
use crate::abi::DLMP_MAX_RECORDS;
use crate::group::{Admitted, bit};

/// Message types of the reports that have records (RFC 3376, 4; RFC 3810, 5).
const IGMP_V3_REPORT: u8 = 0x22;
const MLD_V2_REPORT: u8 = 143;

/// The filter of wanted groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    admitted: Admitted,
    /// Bits of admitted groups and of those that clients' reports have joined.
    bits: BTreeSet<u32>,
    pub(super) all: bool,
    pub(super) filter_short: bool,
}

impl Groups {
    pub(super) fn admit(&mut self, group: MacAddr) {
        self.bits.insert(self.admitted.admit(group));
    }

    pub(super) fn dismiss(&mut self, group: MacAddr) {
        if let Some(bit) = self.admitted.dismiss(group) {
            self.bits.remove(&bit);
        }
    }

    /// What a group-addressed frame that a port received counts as; only [`Counter::RxGroup`] is taken.
    pub(super) fn judge(&self, group: MacAddr, on_multicast_port: bool) -> Counter {
        let is_broadcast = group == MacAddr::BROADCAST;
        let is_wanted = is_broadcast || self.all || self.bits.contains(&bit(group));
        match (on_multicast_port, is_wanted) {
            (true, true) => Counter::RxGroup,
            (true, false) => Counter::RxGroupUnwanted,
            (false, true) if self.filter_short && !is_broadcast => Counter::RxGroupNoFilter,
            (false, _) => Counter::RxGroupOtherPort,
        }
    }

    /// Makes the groups wanted that the report in this frame joins, or all if it has more records than are read.
    pub(super) fn admit_reported(&mut self, bytes: &[u8]) {
        let mut read = bytes.to_vec();
        if let Some(count) = record_count(bytes) {
            let stated = u16::from_be_bytes([bytes[count], bytes[count + 1]]);
            self.all |= u32::from(stated) > DLMP_MAX_RECORDS;
            read[count..count + 2].copy_from_slice(&stated.min(DLMP_MAX_RECORDS as u16).to_be_bytes());
        }
        let Ok(frame) = Frame::parse(&read) else { return };
        let joined = membership::changes(&frame).filter(|change| change.joined);
        self.bits.extend(joined.map(|change| bit(MacAddr::group(change.group))));
    }
}

/// Where in a frame the number of records stands, if it holds a report that has records.
fn record_count(bytes: &[u8]) -> Option<usize> {
    let frame = Frame::parse(bytes).ok()?;
    let packet = frame.payload();
    let length = |at: usize| Some(usize::from(u16::from_be_bytes(*packet.get(at..)?.first_chunk()?)));
    let (message, end) = match frame.ethertype() {
        ethertype::IPV4 => (usize::from(packet.first()? & 0x0f) * 4, length(2)?),
        _ => (40 + (usize::from(*packet.get(41)?) + 1) * 8, 40 + length(4)?),
    };
    let is_whole = message + 8 <= end.min(packet.len());
    let has_records = matches!(*packet.get(message)?, IGMP_V3_REPORT | MLD_V2_REPORT);
    (is_whole && has_records).then_some(bytes.len() - packet.len() + message + 6)
}
