//! Recognises reports of group membership: IGMP and MLD.
//!
//! Only recognises them. The groups in them are read by whoever keeps the multicast table.

use crate::ethernet::{Frame, ethertype};

/// IP protocol number of IGMP.
const IGMP: u8 = 2;
/// Next-header number of hop-by-hop options.
const HOP_BY_HOP: u8 = 0;
/// Next-header number of ICMPv6.
const ICMPV6: u8 = 58;

/// IGMPv1, v2 and v3 reports and the v2 leave (RFC 1112, 2236, 3376).
const IGMP_REPORTS: [u8; 4] = [0x12, 0x16, 0x17, 0x22];
/// MLDv1 report and done, MLDv2 report (RFC 2710, 3810).
const MLD_REPORTS: [u8; 3] = [131, 132, 143];

/// Whether the frame tells switches which groups its sender wants (or no longer wants).
pub fn is_report(frame: &Frame<'_>) -> bool {
    match frame.ethertype() {
        ethertype::IPV4 => igmp_type(frame.payload()).is_some_and(|t| IGMP_REPORTS.contains(&t)),
        ethertype::IPV6 => mld_type(frame.payload()).is_some_and(|t| MLD_REPORTS.contains(&t)),
        _ => false,
    }
}

fn igmp_type(packet: &[u8]) -> Option<u8> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    if *packet.get(9)? != IGMP {
        return None;
    }
    packet.get(header_len).copied()
}

/// MLD always has a hop-by-hop header with the router alert (RFC 2710, section 3).
fn mld_type(packet: &[u8]) -> Option<u8> {
    if *packet.get(6)? != HOP_BY_HOP || *packet.get(40)? != ICMPV6 {
        return None;
    }
    let options_len = (usize::from(*packet.get(41)?) + 1) * 8;
    packet.get(40 + options_len).copied()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// An MLDv2 report as Linux sends it.
    fn mld_v2_report() -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend([0x33, 0x33, 0, 0, 0, 0x16, 2, 8, 0x20, 1, 2, 3, 0x86, 0xdd]);
        frame.extend([0x60, 0, 0, 0, 0, 36, 0, 1]);
        frame.extend([0; 32]);
        frame.extend([58, 0, 5, 2, 0, 0, 1, 0]);
        frame.extend([143, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([4, 0, 0, 0]);
        frame.extend([0xff; 16]);
        frame
    }

    #[test]
    fn reports_are_told_from_queries_and_data() {
        let mut frame = mld_v2_report();
        assert!(is_report(&Frame::parse(&frame).unwrap()));
        frame[62] = 130; // a query
        assert!(!is_report(&Frame::parse(&frame).unwrap()));
        frame[62] = 135; // a neighbour solicitation
        assert!(!is_report(&Frame::parse(&frame).unwrap()));

        let mut igmp = Vec::from([1, 0, 0x5e, 0, 0, 0x16, 2, 8, 0x20, 1, 2, 3, 8, 0]);
        igmp.extend([0x46, 0xc0, 0, 40, 0, 0, 0x40, 0, 1, 2, 0, 0]);
        igmp.extend([0; 8]);
        igmp.extend([0x94, 4, 0, 0]);
        igmp.extend([0x22, 0, 0, 0]);
        assert!(is_report(&Frame::parse(&igmp).unwrap()));
        igmp[38] = 0x11;
        assert!(!is_report(&Frame::parse(&igmp).unwrap()));
    }

    #[test]
    fn a_report_cut_anywhere_is_no_report_and_no_panic() {
        let frame = mld_v2_report();
        for len in 14..62 {
            assert!(!is_report(&Frame::parse(&frame[..len]).unwrap()), "{len}");
        }
    }
}
