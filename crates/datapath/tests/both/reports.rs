//! Reports of group membership, as bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use dlmp_wire::MacAddr;

use super::frame;

pub const IS_INCLUDE: u8 = 1;
pub const IS_EXCLUDE: u8 = 2;
pub const TO_INCLUDE: u8 = 3;
pub const TO_EXCLUDE: u8 = 4;
pub const ALLOW: u8 = 5;
pub const BLOCK: u8 = 6;

/// A record of an IGMPv3 or MLDv2 report: its type, the number of sources, and 32-bit words of other data.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub kind: u8,
    pub sources: u8,
    pub extra: u8,
    /// The group is 239.1.0.0 or ff02::1:0:0 and this.
    pub group: u16,
}

pub const fn record(kind: u8, sources: u8, group: u16) -> Record {
    Record { kind, sources, extra: 0, group }
}

/// The address of the group of this number.
pub fn group4(group: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(239, 1, 0, 0).to_bits() | u32::from(group))
}

/// The address of the group of this number.
pub fn group6(group: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0, group)
}

/// The Ethernet address of the IPv4 group of this number (RFC 1112, 6.4).
pub fn mac4(group: u16) -> MacAddr {
    let [high, low] = group.to_be_bytes();
    MacAddr([1, 0, 0x5e, 1, high, low])
}

/// The Ethernet address of the IPv6 group of this number (RFC 2464, 7).
pub fn mac6(group: u16) -> MacAddr {
    let [high, low] = group.to_be_bytes();
    MacAddr([0x33, 0x33, 0, 0, high, low])
}

/// An IGMP message of the old versions.
pub fn igmp_old(source: MacAddr, kind: u8, group: u16) -> Vec<u8> {
    igmp(source, &[&[kind, 0, 0, 0], &group4(group).octets()[..]].concat())
}

/// An MLDv1 message.
pub fn mld_old(source: MacAddr, kind: u8, group: u16) -> Vec<u8> {
    mld(source, &[&[kind, 0, 0, 0, 0, 0, 0, 0], &group6(group).octets()[..]].concat())
}

/// An IGMPv3 report.
pub fn igmp_v3(source: MacAddr, records: &[Record]) -> Vec<u8> {
    igmp(source, &message(0x22, records, |group| group4(group).octets().to_vec()))
}

/// An MLDv2 report.
pub fn mld_v2(source: MacAddr, records: &[Record]) -> Vec<u8> {
    mld(source, &message(143, records, |group| group6(group).octets().to_vec()))
}

/// With the tag of a VLAN.
pub fn tagged(vlan: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &vlan.to_be_bytes(), &frame[12..]].concat()
}

fn message(kind: u8, records: &[Record], address: impl Fn(u16) -> Vec<u8>) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0];
    message.extend((records.len() as u16).to_be_bytes());
    for record in records {
        message.extend([record.kind, record.extra, 0, record.sources]);
        message.extend(address(record.group));
        (0..record.sources).for_each(|_| message.extend(address(0)));
        message.resize(message.len() + 4 * usize::from(record.extra), 0xee);
    }
    message
}

/// With the header of RFC 3376, 4; without checksums, which nobody here looks at.
fn igmp(source: MacAddr, message: &[u8]) -> Vec<u8> {
    let mut rest = vec![8, 0, 0x46, 0xc0];
    rest.extend((24 + message.len() as u16).to_be_bytes());
    rest.extend([0, 0, 0x40, 0, 1, 2, 0, 0, 0, 0, 0, 0, 224, 0, 0, 22, 0x94, 4, 0, 0]);
    rest.extend(message);
    frame(MacAddr([1, 0, 0x5e, 0, 0, 0x16]), source, &rest)
}

/// With the headers of RFC 3810, 5.
fn mld(source: MacAddr, message: &[u8]) -> Vec<u8> {
    let mut rest = vec![0x86, 0xdd, 0x60, 0, 0, 0];
    rest.extend((8 + message.len() as u16).to_be_bytes());
    rest.extend([0, 1]);
    rest.extend([0; 32]);
    rest.extend([58, 0, 5, 2, 0, 0, 1, 0]);
    rest.extend(message);
    frame(MacAddr([0x33, 0x33, 0, 0, 0, 0x16]), source, &rest)
}
