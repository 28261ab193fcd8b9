//! Asking an IPv6 target from a port that has no address: a neighbour solicitation (RFC 4861) from
//! the link-local address that the port's MAC address makes (RFC 4291, appendix A). The answer goes
//! to that MAC address; no client's address appears in it.

use core::net::Ipv6Addr;

use crate::MacAddr;
use crate::checksum::icmpv6_checksum;
use crate::ethernet::{self, Frame, HEADER_LEN, TAG_LEN, ethertype};

const IPV6_LEN: usize = 40;
/// Solicitation with the source link-layer address option.
const SOLICITATION_LEN: usize = 32;
/// Advertisement without options.
const ADVERTISEMENT_LEN: usize = 24;
const ICMPV6: u8 = 58;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// A neighbour discovery message that a router has forwarded is none (RFC 4861, 7.1).
const HOP_LIMIT: u8 = 255;

/// A question from a port to an IPv6 target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// The port's own address.
    pub port: MacAddr,
    /// Whom it asks.
    pub target: Ipv6Addr,
    /// Its VLAN, 0 for none; at most 4094.
    pub vlan: u16,
}

/// A buffer that holds any solicitation.
pub type Buffer = [u8; HEADER_LEN + TAG_LEN + IPV6_LEN + SOLICITATION_LEN];

impl Solicitation {
    /// Writes the frame into `buffer` and returns the part that it fills, without checksum.
    pub fn emit(self, buffer: &mut Buffer) -> &[u8] {
        buffer.fill(0);
        let [.., a, b, c] = self.target.octets();
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
        let at = ethernet::emit(buffer, MacAddr::group(group.into()), self.port, self.vlan, ethertype::IPV6);
        let frame = &mut buffer[..at + IPV6_LEN + SOLICITATION_LEN];
        let (source, target) = (link_local(self.port).octets(), self.target.octets());
        let (ip, icmp) = frame[at..].split_at_mut(IPV6_LEN);
        ip[0] = 0x60;
        ip[5] = SOLICITATION_LEN as u8;
        ip[6] = ICMPV6;
        ip[7] = HOP_LIMIT;
        ip[8..24].copy_from_slice(&source);
        ip[24..40].copy_from_slice(&group.octets());
        icmp[0] = NEIGHBOUR_SOLICITATION;
        icmp[8..24].copy_from_slice(&target);
        // Option 1, source link-layer address, one unit of eight bytes.
        icmp[24..26].copy_from_slice(&[1, 1]);
        icmp[26..32].copy_from_slice(&self.port.0);
        let sum = icmpv6_checksum(ip, icmp);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

/// The target that answers a solicitation of a port with this address; `None` if the frame is none such.
pub fn answer(frame: &Frame<'_>, port: MacAddr) -> Option<Ipv6Addr> {
    let (ip, rest) = frame.payload().split_first_chunk::<IPV6_LEN>()?;
    let len = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
    let icmp = rest.get(..len).filter(|icmp| icmp.len() >= ADVERTISEMENT_LEN)?;
    let ours = frame.ethertype() == ethertype::IPV6
        && frame.destination() == port
        && ip[0] >> 4 == 6
        && ip[6] == ICMPV6
        && ip[7] == HOP_LIMIT
        && ip[24..40] == link_local(port).octets()
        && icmp[..2] == [NEIGHBOUR_ADVERTISEMENT, 0]
        // Over a right message the sum is zero.
        && icmpv6_checksum(ip, icmp) == 0;
    let octets: [u8; 16] = icmp[8..24].try_into().ok()?;
    ours.then_some(octets.into())
}

/// The link-local address that a MAC address makes (modified EUI-64).
pub const fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use etherparse::{Icmpv6Type, PacketHeaders, TransportHeader};
    use proptest::prelude::*;

    const PORT: MacAddr = MacAddr([0, 0x14, 0x4f, 0xf9, 0, 1]);
    const TARGET: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x1234, 0x5678);

    #[test]
    fn another_implementation_reads_the_solicitation_and_finds_its_checksum_right() {
        let mut buffer = [0; _];
        let frame = Solicitation { port: PORT, target: TARGET, vlan: 0 }.emit(&mut buffer);
        let packet = PacketHeaders::from_ethernet_slice(frame).unwrap();
        let Some(TransportHeader::Icmpv6(icmp)) = packet.transport else { panic!("no ICMPv6") };
        assert!(matches!(icmp.icmp_type, Icmpv6Type::NeighborSolicitation), "{icmp:?}");
        let etherparse::NetHeaders::Ipv6(ip, _) = packet.net.unwrap() else { panic!("no IPv6") };
        assert_eq!(ip.source, link_local(PORT).octets());
        let payload = packet.payload.slice();
        let wanted = icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload).unwrap();
        assert_eq!(icmp.checksum, wanted);
    }

    /// An advertisement of the target to the port.
    fn advertisement() -> [u8; HEADER_LEN + IPV6_LEN + ADVERTISEMENT_LEN] {
        let mut frame = [0; _];
        let at = ethernet::emit(&mut frame, PORT, MacAddr([2, 0, 0, 0, 0, 9]), 0, ethertype::IPV6);
        let (ip, icmp) = frame[at..].split_at_mut(IPV6_LEN);
        ip[0] = 0x60;
        ip[5] = ADVERTISEMENT_LEN as u8;
        ip[6..8].copy_from_slice(&[ICMPV6, HOP_LIMIT]);
        ip[8..24].copy_from_slice(&TARGET.octets());
        ip[24..40].copy_from_slice(&link_local(PORT).octets());
        icmp[0] = NEIGHBOUR_ADVERTISEMENT;
        icmp[4] = 0x60;
        icmp[8..24].copy_from_slice(&TARGET.octets());
        let sum = icmpv6_checksum(ip, icmp);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    #[test]
    fn an_advertisement_names_its_target_and_a_changed_one_is_none() {
        let good = advertisement();
        let read = |bytes: &[u8]| answer(&Frame::parse(bytes).unwrap(), PORT);
        assert_eq!(read(&good), Some(TARGET));
        for at in (0..good.len()).filter(|at| !(6..12).contains(at)) {
            let mut bad = good;
            bad[at] ^= 0x10;
            // The version's traffic class and flow label are not covered by anything.
            assert!(read(&bad).is_none() || (14..18).contains(&at), "byte {at}");
            assert_eq!(read(&good[..at.max(HEADER_LEN)]), None, "cut off at {at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 14..1500)) {
            let _ = answer(&Frame::parse(&bytes).unwrap(), PORT);
        }
    }
}
