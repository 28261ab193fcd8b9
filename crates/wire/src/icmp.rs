//! ICMP echoes (RFC 792, RFC 4443) as raw sockets send and receive them.
//!
//! The kernel makes the IP header, and for IPv6 the checksum. A nonce in the data keeps anybody who
//! has not seen the echo from answering it.

use crate::checksum::checksum;

/// Length of an echo with our data, in bytes.
pub const LEN: usize = 24;

const V4_REQUEST: u8 = 8;
const V4_REPLY: u8 = 0;
const V6_REQUEST: u8 = 128;
const V6_REPLY: u8 = 129;
/// The least IPv4 header.
const IPV4_LEN: usize = 20;
const MAGIC: [u8; 4] = *b"DLMP";

/// An echo of ours, either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Tells our echoes from those of other programs.
    pub id: u16,
    /// Sequence number.
    pub sequence: u16,
    /// Known to nobody who has not seen the echo.
    pub nonce: u64,
}

impl Echo {
    /// The request as an ICMPv4 message.
    pub fn emit_v4(self) -> [u8; LEN] {
        let mut message = self.emit(V4_REQUEST);
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }

    /// The request as an ICMPv6 message; the kernel fills in its checksum (RFC 3542, 3.1).
    pub fn emit_v6(self) -> [u8; LEN] {
        self.emit(V6_REQUEST)
    }

    /// Reads what a raw ICMPv4 socket received: an IP header and a reply to an echo of ours.
    pub fn parse_v4(packet: &[u8]) -> Option<Self> {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let message = packet.get(header.max(IPV4_LEN)..)?;
        // The kernel has checked the sum of what it hands to raw sockets only for its own use.
        Self::parse(message, V4_REPLY).filter(|_| checksum(&[message]) == 0)
    }

    /// Reads what a raw ICMPv6 socket received: a reply to an echo of ours; the kernel has checked it.
    pub fn parse_v6(message: &[u8]) -> Option<Self> {
        Self::parse(message, V6_REPLY)
    }

    fn emit(self, kind: u8) -> [u8; LEN] {
        let mut message = [0; LEN];
        message[0] = kind;
        message[4..6].copy_from_slice(&self.id.to_be_bytes());
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        message[8..12].copy_from_slice(&MAGIC);
        message[12..20].copy_from_slice(&self.nonce.to_be_bytes());
        message
    }

    fn parse(message: &[u8], kind: u8) -> Option<Self> {
        let message: &[u8; LEN] = message.first_chunk()?;
        let &[first, code, _, _, id0, id1, s0, s1, m0, m1, m2, m3, n0, n1, n2, n3, n4, n5, n6, n7, ..] = message;
        (first == kind && code == 0 && [m0, m1, m2, m3] == MAGIC).then(|| Self {
            id: u16::from_be_bytes([id0, id1]),
            sequence: u16::from_be_bytes([s0, s1]),
            nonce: u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use etherparse::{Icmpv4Slice, Icmpv4Type, PacketBuilder};
    use proptest::prelude::*;
    use std::vec::Vec;

    const ECHO: Echo = Echo { id: 0xd1, sequence: 7, nonce: 0x0123_4567_89ab_cdef };

    #[test]
    fn another_implementation_reads_the_request() {
        let message = ECHO.emit_v4();
        let slice = Icmpv4Slice::from_slice(&message).unwrap();
        let Icmpv4Type::EchoRequest(header) = slice.icmp_type() else { panic!("no echo request") };
        assert_eq!((header.id, header.seq), (0xd1, 7));
        assert_eq!(checksum(&[&message]), 0);
    }

    #[test]
    fn a_reply_with_the_same_data_is_read_back_and_a_truncated_or_changed_one_is_not() {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .icmpv4_echo_reply(ECHO.id, ECHO.sequence)
            .write(&mut packet, &ECHO.emit_v4()[8..])
            .unwrap();
        assert_eq!(Echo::parse_v4(&packet), Some(ECHO));
        for at in 0..packet.len() {
            assert_eq!(Echo::parse_v4(&packet[..at]), None);
            let mut bad = packet.clone();
            bad[at] ^= 0x10;
            assert!(at < IPV4_LEN || Echo::parse_v4(&bad).is_none(), "byte {at}");
        }
        let mut v6 = ECHO.emit_v6();
        assert_eq!(Echo::parse_v6(&v6), None, "a request is no reply");
        v6[0] = V6_REPLY;
        assert_eq!(Echo::parse_v6(&v6), Some(ECHO));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let _ = (Echo::parse_v4(&bytes), Echo::parse_v6(&bytes));
        }
    }
}
