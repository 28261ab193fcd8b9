//! Ethernet headers with at most one 802.1Q tag.

use crate::MacAddr;

/// Length of an untagged header in bytes.
pub const HEADER_LEN: usize = 14;
/// Length of an 802.1Q tag in bytes.
pub const TAG_LEN: usize = 4;

/// EtherTypes, from the IEEE registry.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// RARP (RFC 903).
    pub const RARP: u16 = 0x8035;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad tag, which is no VLAN here.
    pub const PROVIDER_VLAN: u16 = 0x88a8;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// For experiments within one organisation (IEEE 802, local experimental 1): transitive probes.
    pub const EXPERIMENTAL: u16 = 0x88b5;
    /// Local experimental 2: what a virtual machine is told of its links, and measuring the filter of a port.
    pub const VNET: u16 = 0x88b6;
}

/// Writes a header, with a tag unless the VLAN is 0, and returns its length. The buffer is long enough.
pub(crate) fn emit(buffer: &mut [u8], destination: MacAddr, source: MacAddr, vlan: u16, ethertype: u16) -> usize {
    buffer[..6].copy_from_slice(&destination.0);
    buffer[6..12].copy_from_slice(&source.0);
    let mut at = 12;
    if vlan != 0 {
        buffer[12..14].copy_from_slice(&ethertype::VLAN.to_be_bytes());
        buffer[14..16].copy_from_slice(&(vlan & 0x0fff).to_be_bytes());
        at += TAG_LEN;
    }
    buffer[at..at + 2].copy_from_slice(&ethertype.to_be_bytes());
    at + 2
}

/// The frame is shorter than its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated;

/// A view of a frame whose header is known to be whole.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    destination: MacAddr,
    source: MacAddr,
    ethertype: u16,
    vlan: u16,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks the header and the tag, if there is one.
    ///
    /// A tag that is cut off leaves the frame untagged with an empty payload, as the kernel's own
    /// parser does: such a frame carries nothing for anybody.
    ///
    /// # Errors
    /// [`Truncated`] when the 14 bytes of the header are not there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Truncated> {
        let Some((&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1], rest)) =
            bytes.split_first_chunk::<HEADER_LEN>()
        else {
            return Err(Truncated);
        };
        let mut frame = Self {
            destination: MacAddr([d0, d1, d2, d3, d4, d5]),
            source: MacAddr([s0, s1, s2, s3, s4, s5]),
            ethertype: u16::from_be_bytes([t0, t1]),
            vlan: 0,
            payload: rest,
        };
        if frame.ethertype == ethertype::VLAN {
            match rest.split_first_chunk::<TAG_LEN>() {
                Some((&[c0, c1, e0, e1], inner)) => {
                    frame.vlan = u16::from_be_bytes([c0, c1]) & 0x0fff;
                    frame.ethertype = u16::from_be_bytes([e0, e1]);
                    frame.payload = inner;
                }
                None => frame.payload = &[],
            }
        }
        Ok(frame)
    }

    /// Destination address.
    pub const fn destination(&self) -> MacAddr {
        self.destination
    }

    /// Source address.
    pub const fn source(&self) -> MacAddr {
        self.source
    }

    /// VLAN id, 0 for none or for a priority tag.
    pub const fn vlan(&self) -> u16 {
        self.vlan
    }

    /// EtherType of the payload, behind the tag if there is one.
    pub const fn ethertype(&self) -> u16 {
        self.ethertype
    }

    /// What follows the header and the tag.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn a_frame_of_another_implementation_is_read() {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2, 8, 0x20, 1, 2, 3], [0xff; 6])
            .single_vlan(etherparse::VlanId::try_new(77).unwrap())
            .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .udp(1, 2)
            .write(&mut bytes, b"x")
            .unwrap();
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(frame.source(), MacAddr([2, 8, 0x20, 1, 2, 3]));
        assert_eq!(frame.destination(), MacAddr::BROADCAST);
        assert_eq!(frame.vlan(), 77);
        assert_eq!(frame.ethertype(), ethertype::IPV4);
        assert_eq!(frame.payload()[0], 0x45);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let parsed = Frame::parse(&bytes);
            prop_assert_eq!(parsed.is_err(), bytes.len() < HEADER_LEN);
        }
    }
}
