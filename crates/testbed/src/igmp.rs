//! Reports of group membership made by hand, for more of them than a kernel would send.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Result, anyhow};
use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv4Options, PacketBuilder};

use crate::groups::mac_of_group;

/// Where IGMPv3 reports go (RFC 3376, 4.2.14).
const ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// The router alert option (RFC 2113).
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];
/// Type of a version 3 membership report, and of its records (RFC 3376, 4 and 4.2.12).
const REPORT: u8 = 0x22;
/// Type of a version 2 report (RFC 2236, 2.1), and of an MLDv2 one (RFC 3810, 5.2), which goes to these (5.2.14).
const OLD_REPORT: u8 = 0x16;
const MLD_REPORT: u8 = 143;
const MLD_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
const ICMPV6: u8 = 58;
const CHANGE_TO_INCLUDE: u8 = 3;
const CHANGE_TO_EXCLUDE: u8 = 4;

/// A frame in which `source` says that it joins a group, or leaves it.
///
/// # Errors
/// When it cannot be built.
pub fn igmp_report(source: [u8; 6], group: Ipv4Addr, joins: bool) -> Result<Vec<u8>> {
    let record = if joins { CHANGE_TO_EXCLUDE } else { CHANGE_TO_INCLUDE };
    let mut report = vec![REPORT, 0, 0, 0, 0, 0, 0, 1, record, 0, 0, 0];
    report.extend(group.octets());
    igmp(source, ROUTERS, report)
}

/// A frame in which `source` says by IGMPv2 that it joins a group.
///
/// # Errors
/// When it cannot be built.
pub fn igmp_old_report(source: [u8; 6], group: Ipv4Addr) -> Result<Vec<u8>> {
    let mut report = vec![OLD_REPORT, 0, 0, 0];
    report.extend(group.octets());
    igmp(source, group, report)
}

/// A frame in which `source` says by MLDv2 that it joins groups: of up to 70 there is room in 1500 bytes.
#[must_use]
pub fn mld_report(source: [u8; 6], groups: &[Ipv6Addr]) -> Vec<u8> {
    let mut report = vec![MLD_REPORT, 0, 0, 0, 0, 0];
    report.extend(u16::try_from(groups.len()).unwrap_or(u16::MAX).to_be_bytes());
    for group in groups {
        report.extend([CHANGE_TO_EXCLUDE, 0, 0, 0]);
        report.extend(group.octets());
    }
    let sender = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let length = u32::try_from(report.len()).unwrap_or(u32::MAX);
    let pseudo = [&sender.octets()[..], &MLD_ROUTERS.octets(), &length.to_be_bytes(), &[0, 0, 0, ICMPV6]].concat();
    let sum = checksum(&[pseudo, report.clone()].concat());
    report[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = [mac_of_group(MLD_ROUTERS.into()), source].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(u16::try_from(report.len() + 8).unwrap_or(u16::MAX).to_be_bytes());
    // Hop-by-hop options come next, with the router alert (RFC 2711); one hop.
    frame.extend([0, 1]);
    frame.extend(sender.octets());
    frame.extend(MLD_ROUTERS.octets());
    frame.extend([ICMPV6, 0, 5, 2, 0, 0, 1, 0]);
    frame.extend(report);
    frame
}

fn igmp(source: [u8; 6], destination: Ipv4Addr, mut report: Vec<u8>) -> Result<Vec<u8>> {
    let sum = checksum(&report);
    report[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut header = Ipv4Header::new(0, 1, IpNumber::IGMP, [0; 4], destination.octets())?;
    header.options = Ipv4Options::from(ROUTER_ALERT);
    let packet = PacketBuilder::ethernet2(source, mac_of_group(destination.into()))
        .ip(IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()));
    let mut frame = Vec::new();
    packet.write(&mut frame, IpNumber::IGMP, &report).map_err(|error| anyhow!("cannot build a report: {error}"))?;
    Ok(frame)
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_other_versions_have_the_form_of_their_rfcs() {
        let frame = igmp_old_report([2, 0, 0, 0, 0, 1], Ipv4Addr::new(239, 1, 2, 3)).unwrap();
        assert_eq!(frame[..6], [1, 0, 0x5e, 1, 2, 3]);
        assert_eq!((frame[38], &frame[42..]), (OLD_REPORT, &[239, 1, 2, 3][..]));
        assert_eq!(checksum(&frame[38..]), 0);

        let group = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 1, 2);
        let frame = mld_report([2, 0, 0, 0, 0, 1], &[group; 70]);
        assert_eq!(frame.len(), 14 + 40 + 8 + 8 + 70 * 20);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 0x16]);
        assert_eq!((frame[62], &frame[68..70]), (MLD_REPORT, &[0, 70][..]));
        assert_eq!(frame[74..90], group.octets());
    }

    #[test]
    fn a_report_has_the_form_of_the_rfc() {
        let frame = igmp_report([2, 0, 0, 0, 0, 1], Ipv4Addr::new(239, 1, 2, 3), true).unwrap();
        assert_eq!(frame[..12], [1, 0, 0x5e, 0, 0, 22, 2, 0, 0, 0, 0, 1]);
        assert_eq!(frame[14], 0x46, "a header with one option");
        assert_eq!(frame[34..38], ROUTER_ALERT);
        let report = &frame[38..];
        assert_eq!(report[0], REPORT);
        assert_eq!(report[8..], [CHANGE_TO_EXCLUDE, 0, 0, 0, 239, 1, 2, 3]);
        assert_eq!(checksum(report), 0, "the sum over all of it");
        assert_eq!(checksum(&frame[14..38]), 0);
    }
}
