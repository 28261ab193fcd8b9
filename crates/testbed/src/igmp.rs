//! IGMPv3 reports made by hand, for more of them than a kernel would send.

use std::net::Ipv4Addr;

use anyhow::{Result, anyhow};
use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv4Options, PacketBuilder};

use crate::groups::mac_of_group;

/// Where IGMPv3 reports go (RFC 3376, 4.2.14).
const ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// The router alert option (RFC 2113).
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];
/// Type of a version 3 membership report, and of its records (RFC 3376, 4 and 4.2.12).
const REPORT: u8 = 0x22;
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
    let sum = checksum(&report);
    report[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut header = Ipv4Header::new(0, 1, IpNumber::IGMP, [0; 4], ROUTERS.octets())?;
    header.options = Ipv4Options::from(ROUTER_ALERT);
    let packet = PacketBuilder::ethernet2(source, mac_of_group(ROUTERS.into()))
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
