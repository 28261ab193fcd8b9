//! Asking an IPv4 target from a port that has no address: the ARP probe of RFC 5227, section 2.1.1.
//!
//! Its sender address is 0.0.0.0, so nobody's cache changes; the answer goes to the port's own MAC
//! address and names no address of ours either, which tells it from every other ARP frame.

use core::net::Ipv4Addr;

use crate::MacAddr;
use crate::ethernet::{self, Frame, TAG_LEN, ethertype};

/// Length of the ARP part in bytes, Ethernet and IPv4 addresses.
const LEN: usize = 28;
/// The least Ethernet frame without checksum.
const MIN_FRAME: usize = 60;
/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// A question from a port to an IPv4 target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The port's own address.
    pub port: MacAddr,
    /// Whom it asks.
    pub target: Ipv4Addr,
    /// Its VLAN, 0 for none; at most 4094.
    pub vlan: u16,
}

/// A buffer that holds any ARP probe.
pub type Buffer = [u8; MIN_FRAME + TAG_LEN];

impl Probe {
    /// Writes the frame into `buffer` and returns the part that it fills, without checksum.
    pub fn emit(self, buffer: &mut Buffer) -> &[u8] {
        buffer.fill(0);
        let at = ethernet::emit(buffer, MacAddr::BROADCAST, self.port, self.vlan, ethertype::ARP);
        let body = &mut buffer[at..at + LEN];
        body[..6].copy_from_slice(&PREFIX);
        body[6..8].copy_from_slice(&REQUEST);
        body[8..14].copy_from_slice(&self.port.0);
        body[24..28].copy_from_slice(&self.target.octets());
        &buffer[..MIN_FRAME + at - ethernet::HEADER_LEN]
    }
}

/// The target that answers an ARP probe of a port with this address; `None` if the frame is none such.
pub fn answer(frame: &Frame<'_>, port: MacAddr) -> Option<Ipv4Addr> {
    let body: &[u8; LEN] = frame.payload().first_chunk()?;
    let ours = frame.ethertype() == ethertype::ARP
        && frame.destination() == port
        && body[..6] == PREFIX
        && body[6..8] == REPLY
        && body[18..24] == port.0
        && body[24..28] == [0; 4];
    ours.then(|| Ipv4Addr::new(body[14], body[15], body[16], body[17]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PORT: MacAddr = MacAddr([0, 0x14, 0x4f, 0xf9, 0, 1]);

    #[test]
    fn the_frame_is_the_one_in_the_protocol_document() {
        let mut buffer = [0xaa; _];
        let frame = Probe { port: PORT, target: Ipv4Addr::new(192, 0, 2, 1), vlan: 5 }.emit(&mut buffer);
        let mut wanted = [0; 64];
        wanted[..46].copy_from_slice(&[
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x14, 0x4f, 0xf9, 0, 1, 0x81, 0, 0, 5, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
            0, 0x14, 0x4f, 0xf9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1,
        ]);
        assert_eq!(frame, wanted);
    }

    #[test]
    fn an_answer_names_its_sender_and_nothing_else_is_one() {
        let mut bytes = [0; 60];
        bytes[..42].copy_from_slice(&[
            0, 0x14, 0x4f, 0xf9, 0, 1, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 9, 192, 0, 2, 1,
            0, 0x14, 0x4f, 0xf9, 0, 1, 0, 0, 0, 0,
        ]);
        let read = |bytes: &[u8]| answer(&Frame::parse(bytes).unwrap(), PORT);
        assert_eq!(read(&bytes), Some(Ipv4Addr::new(192, 0, 2, 1)));
        // For another port, a request, an answer to somebody's address, a cut off one.
        for at in [5, 21, 37, 41] {
            let mut other = bytes;
            other[at] ^= 3;
            assert_eq!(read(&other), None, "byte {at}");
        }
        assert_eq!(read(&bytes[..41]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 14..1500)) {
            let _ = answer(&Frame::parse(&bytes).unwrap(), PORT);
        }
    }
}
