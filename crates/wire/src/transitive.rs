//! The transitive probe: from one port of an aggregation to another, and back.
//!
//! Ours alone, as `docs/protocol.md` lays it out; the fields are those of Solaris' probe, with a
//! keyed tag besides. The tag (SipHash-2-4) shows that the asking host's own daemon made the probe;
//! its time and sequence number keep an old one from being played again.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::MacAddr;
use crate::ethernet::{self, HEADER_LEN, TAG_LEN, ethertype};

/// Length of a probe behind the Ethernet header, in bytes.
pub const LEN: usize = 48;

const MAGIC: [u8; 4] = *b"DLMP";
const VERSION: u8 = 1;
/// What the tag covers.
const TAGGED: usize = 40;

/// A secret that only the asking host's daemon and programs know.
pub type Key = [u8; 16];

/// A buffer that holds any probe with its Ethernet header.
pub type Buffer = [u8; HEADER_LEN + TAG_LEN + LEN];

/// A question or the answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From the asking port to the asked one.
    Request,
    /// The way back.
    Response,
}

/// A transitive probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Which way it goes.
    pub kind: Kind,
    /// Its VLAN, 0 for none; at most 4094.
    pub vlan: u16,
    /// Counts the probes of a pair, from 1, serially (RFC 1982).
    pub sequence: u32,
    /// CLOCK_MONOTONIC of the asking host at sending, in nanoseconds; the answer brings it back.
    pub sent: u64,
    /// The asked port's own address.
    pub asked: MacAddr,
    /// The asking port's own address.
    pub asking: MacAddr,
}

/// Why bytes are no probe of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// They do not begin like one: somebody else's experiment.
    Foreign,
    /// They begin like one and go on otherwise.
    Malformed,
    /// The tag is not made with this key.
    Forged,
}

impl Probe {
    /// Writes the frame into `buffer` and returns the part that it fills, without checksum.
    pub fn emit<'a>(&self, key: &Key, buffer: &'a mut Buffer) -> &'a [u8] {
        buffer.fill(0);
        let (to, from) = self.ends();
        let at = ethernet::emit(buffer, to, from, self.vlan, ethertype::EXPERIMENTAL);
        let frame = &mut buffer[..at + LEN];
        let body = &mut frame[at..];
        body[..4].copy_from_slice(&MAGIC);
        body[4] = VERSION;
        body[5] = self.kind as u8;
        body[6..8].copy_from_slice(&self.vlan.to_be_bytes());
        body[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        body[16..24].copy_from_slice(&self.sent.to_be_bytes());
        body[24..30].copy_from_slice(&self.asked.0);
        body[30..36].copy_from_slice(&self.asking.0);
        let tag = tag(key, &body[..TAGGED]);
        body[TAGGED..].copy_from_slice(&tag.to_be_bytes());
        frame
    }

    /// Reads what follows the Ethernet header; bytes behind the probe are padding.
    ///
    /// # Errors
    /// Why it is no probe made with this key.
    pub fn parse(body: &[u8], key: &Key) -> Result<Self, Refused> {
        if body.get(..4) != Some(&MAGIC[..]) {
            return Err(Refused::Foreign);
        }
        let body: &[u8; LEN] = body.first_chunk().ok_or(Refused::Malformed)?;
        let kind = match body[5] {
            0 => Kind::Request,
            1 => Kind::Response,
            _ => return Err(Refused::Malformed),
        };
        if body[4] != VERSION || body[12..16] != [0; 4] || body[36..40] != [0; 4] {
            return Err(Refused::Malformed);
        }
        let word = |at: usize| u32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        if tag(key, &body[..TAGGED]) != long(TAGGED) {
            return Err(Refused::Forged);
        }
        let mac = |at: usize| MacAddr([body[at], body[at + 1], body[at + 2], body[at + 3], body[at + 4], body[at + 5]]);
        Ok(Self {
            kind,
            vlan: u16::from_be_bytes([body[6], body[7]]),
            sequence: word(8),
            sent: long(16),
            asked: mac(24),
            asking: mac(30),
        })
    }

    /// Where a probe of this kind goes to and comes from.
    pub const fn ends(&self) -> (MacAddr, MacAddr) {
        match self.kind {
            Kind::Request => (self.asked, self.asking),
            Kind::Response => (self.asking, self.asked),
        }
    }
}

fn tag(key: &Key, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::Frame;
    use proptest::prelude::*;

    const KEY: Key = *b"0123456789abcdef";

    fn any_probe() -> impl Strategy<Value = Probe> {
        (any::<bool>(), 0u16..4095, any::<u32>(), any::<u64>(), any::<[u8; 6]>(), any::<[u8; 6]>()).prop_map(
            |(response, vlan, sequence, sent, asked, asking)| Probe {
                kind: if response { Kind::Response } else { Kind::Request },
                vlan,
                sequence,
                sent,
                asked: MacAddr(asked),
                asking: MacAddr(asking),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed_back_by_the_same_key_only(probe in any_probe(), other: Key) {
            let mut buffer = [0; _];
            let frame = Frame::parse(probe.emit(&KEY, &mut buffer)).unwrap();
            prop_assert_eq!((frame.destination(), frame.source()), probe.ends());
            prop_assert_eq!((frame.ethertype(), frame.vlan()), (ethertype::EXPERIMENTAL, probe.vlan));
            prop_assert_eq!(Probe::parse(frame.payload(), &KEY), Ok(probe));
            prop_assert_eq!(Probe::parse(frame.payload(), &other), Err(Refused::Forged));
        }

        #[test]
        fn no_changed_byte_passes(probe in any_probe(), at in 0usize..LEN, change in 1u8..) {
            let mut buffer = [0; _];
            let len = probe.emit(&KEY, &mut buffer).len();
            let body = &mut buffer[len - LEN..len];
            body[at] ^= change;
            prop_assert!(Probe::parse(body, &KEY).is_err());
        }

        #[test]
        fn bytes_of_any_length_neither_panic_nor_pass(bytes in proptest::collection::vec(any::<u8>(), 0..1500), ours: bool) {
            let mut bytes = bytes;
            if ours && bytes.len() >= 8 {
                bytes[..6].copy_from_slice(&[b'D', b'L', b'M', b'P', VERSION, 0]);
            }
            prop_assert!(Probe::parse(&bytes, &KEY).is_err());
        }
    }
}
