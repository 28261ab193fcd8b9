//! The announcement: a RARP request (RFC 903) that makes switches learn where a client sits.
//!
//! Broadcast, with the client's address as Ethernet source and in both hardware fields, protocol
//! addresses zero: what QEMU, Open vSwitch and vSphere send after a move. It needs no IP address,
//! so it works for every client, and hosts ignore it.

use crate::MacAddr;
use crate::ethernet::{self, TAG_LEN, ethertype};

/// Length of the ARP part in bytes, Ethernet and IPv4 addresses.
const BODY_LEN: usize = 28;
/// The least Ethernet frame without checksum, which drivers need not pad for us.
const MIN_FRAME: usize = 60;

/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4, opcode 3 (request reverse).
const PREFIX: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 3];

/// An announcement of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// The client's address.
    pub client: MacAddr,
    /// Its VLAN, 0 for none; at most 4094.
    pub vlan: u16,
}

/// A buffer that holds any announcement.
pub type Buffer = [u8; MIN_FRAME + TAG_LEN];

impl Announcement {
    /// Writes the frame into `buffer` and returns the part that it fills, without checksum.
    pub fn emit(self, buffer: &mut Buffer) -> &[u8] {
        buffer.fill(0);
        let tag = if self.vlan == 0 { 0 } else { TAG_LEN };
        let frame = &mut buffer[..MIN_FRAME + tag];
        let body = ethernet::emit(frame, MacAddr::BROADCAST, self.client, self.vlan, ethertype::RARP);
        let arp = &mut frame[body..body + BODY_LEN];
        arp[..8].copy_from_slice(&PREFIX);
        arp[8..14].copy_from_slice(&self.client.0); // sender hardware address
        arp[18..24].copy_from_slice(&self.client.0); // target hardware address
        frame
    }

    /// Reads a frame that [`emit`](Self::emit) wrote, or one of the same kind; else `None`.
    pub fn parse(frame: &crate::ethernet::Frame<'_>) -> Option<Self> {
        let arp = frame.payload().get(..BODY_LEN)?;
        let client = frame.source();
        (frame.ethertype() == ethertype::RARP
            && arp[..8] == PREFIX
            && arp[8..14] == client.0
            && arp[18..24] == client.0)
            .then_some(Self { client, vlan: frame.vlan() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::Frame;
    use proptest::prelude::*;

    #[test]
    fn the_frame_is_the_one_in_the_protocol_document() {
        let announcement = Announcement { client: MacAddr([2, 8, 0x20, 0x88, 0x84, 0xba]), vlan: 0 };
        let mut buffer = [0xaa; MIN_FRAME + TAG_LEN];
        let frame = announcement.emit(&mut buffer);
        let mut wanted = [0; 60];
        wanted[..42].copy_from_slice(&[
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 8, 0x20, 0x88, 0x84, 0xba, 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3, 2, 8,
            0x20, 0x88, 0x84, 0xba, 0, 0, 0, 0, 2, 8, 0x20, 0x88, 0x84, 0xba, 0, 0, 0, 0,
        ]);
        assert_eq!(frame, wanted);
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed_back(octets: [u8; 6], vlan in 0u16..4095) {
            let announcement = Announcement { client: MacAddr(octets), vlan };
            let mut buffer = [0; MIN_FRAME + TAG_LEN];
            let frame = Frame::parse(announcement.emit(&mut buffer)).unwrap();
            prop_assert_eq!(Announcement::parse(&frame), Some(announcement));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 14..80)) {
            let frame = Frame::parse(&bytes).unwrap();
            let _ = Announcement::parse(&frame);
        }
    }
}
