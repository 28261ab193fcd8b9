//! Where IGMP and MLD differ, and the IP header around their messages.
//!
//! Both have a router alert option and live for one hop (RFC 3376, 4; RFC 3810, 5). Behind that the
//! formats of one generation are the same but for the length of addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::{checksum, icmpv6_checksum};
use crate::ethernet::{Frame, ethertype};

/// IP protocol number of IGMP.
const IGMP_PROTOCOL: u8 = 2;
/// Next-header number of hop-by-hop options.
const HOP_BY_HOP: u8 = 0;
/// Next-header number of ICMPv6.
const ICMPV6: u8 = 58;
const IPV6_LEN: usize = 40;
/// Precedence "internetwork control", as RFC 3376, 4 wants it.
const TYPE_OF_SERVICE: u8 = 0xc0;
const DONT_FRAGMENT: u8 = 0x40;
/// RFC 2113.
const IPV4_ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];
/// A hop-by-hop header with the router alert of RFC 2711, value 0 (MLD), and two bytes of padding.
const IPV6_ROUTER_ALERT: [u8; 8] = [ICMPV6, 0, 5, 2, 0, 0, 1, 0];

/// One of the two protocols.
pub(super) struct Family {
    pub(super) ethertype: u16,
    /// Length of the IP header with the router alert in bytes, as it is written.
    pub(super) header_len: usize,
    /// Length of an address in bytes.
    pub(super) address_len: usize,
    /// Message type of queries.
    pub(super) query: u8,
    /// Message types of the old generation that report a group; the first is the one to send.
    pub(super) old_reports: &'static [u8],
    /// Message type by which a host of the old generation leaves a group.
    pub(super) old_leave: u8,
    /// Message type of the current generation's reports.
    pub(super) report: u8,
    /// Where the group stands in queries and in messages of the old generation.
    pub(super) group_at: usize,
    /// Destination of general queries.
    pub(super) all_hosts: IpAddr,
    /// Destination of the current generation's reports.
    pub(super) all_routers: IpAddr,
}

static IGMP: Family = Family {
    ethertype: ethertype::IPV4,
    header_len: 20 + IPV4_ROUTER_ALERT.len(),
    address_len: 4,
    query: 0x11,
    old_reports: &[0x16, 0x12],
    old_leave: 0x17,
    report: 0x22,
    group_at: 4,
    all_hosts: IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
    all_routers: IpAddr::V4(Ipv4Addr::new(224, 0, 0, 22)),
};

static MLD: Family = Family {
    ethertype: ethertype::IPV6,
    header_len: IPV6_LEN + IPV6_ROUTER_ALERT.len(),
    address_len: 16,
    query: 130,
    old_reports: &[131],
    old_leave: 132,
    report: 143,
    group_at: 8,
    all_hosts: IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
    all_routers: IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16)),
};

impl Family {
    pub(super) fn of(address: IpAddr) -> &'static Self {
        if address.is_ipv4() { &IGMP } else { &MLD }
    }

    /// Writes the IP header in front of a message and the checksum into it. The packet starts with
    /// `header_len` bytes for the header; both addresses are of this family.
    pub(super) fn finish(&self, packet: &mut [u8], source: IpAddr, destination: IpAddr) {
        let total_len = packet.len() as u16;
        let (ip, message) = packet.split_at_mut(self.header_len);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ip[..2].copy_from_slice(&[0x40 | (self.header_len / 4) as u8, TYPE_OF_SERVICE]);
                ip[2..4].copy_from_slice(&total_len.to_be_bytes());
                ip[6] = DONT_FRAGMENT;
                ip[8..10].copy_from_slice(&[1, IGMP_PROTOCOL]);
                ip[12..16].copy_from_slice(&source.octets());
                ip[16..20].copy_from_slice(&destination.octets());
                ip[20..].copy_from_slice(&IPV4_ROUTER_ALERT);
                let sum = checksum(&[ip]);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                let sum = checksum(&[message]);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
            }
            (source, destination) => {
                ip[0] = 0x60;
                ip[4..6].copy_from_slice(&(total_len - IPV6_LEN as u16).to_be_bytes());
                ip[6..8].copy_from_slice(&[HOP_BY_HOP, 1]);
                put_address(&mut ip[8..24], source);
                put_address(&mut ip[24..40], destination);
                ip[IPV6_LEN..].copy_from_slice(&IPV6_ROUTER_ALERT);
                let sum = icmpv6_checksum(&ip[..IPV6_LEN], message);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
            }
        }
    }
}

/// Writes an address to the start of `bytes`, which are enough for it.
pub(super) fn put_address(bytes: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes[..16].copy_from_slice(&address.octets()),
    }
}

/// The IGMP or ICMPv6 message in a frame.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) family: &'static Family,
    /// From its first byte to the end of the frame.
    bytes: &'a [u8],
    /// How long the IP header says it is; padding of the frame may follow it.
    stated_len: usize,
}

impl<'a> Message<'a> {
    /// `None` for a frame that holds neither.
    pub(super) fn find(frame: &Frame<'a>) -> Option<Self> {
        match frame.ethertype() {
            ethertype::IPV4 => Self::igmp(frame.payload()),
            ethertype::IPV6 => Self::mld(frame.payload()),
            _ => None,
        }
    }

    fn igmp(packet: &'a [u8]) -> Option<Self> {
        let header_len = usize::from(packet.first()? & 0x0f) * 4;
        if *packet.get(9)? != IGMP_PROTOCOL {
            return None;
        }
        let total_len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let bytes = packet.get(header_len..)?;
        Some(Self { family: &IGMP, bytes, stated_len: total_len.saturating_sub(header_len) })
    }

    /// MLD always has a hop-by-hop header with the router alert (RFC 2710, 3).
    fn mld(packet: &'a [u8]) -> Option<Self> {
        if *packet.get(6)? != HOP_BY_HOP || *packet.get(IPV6_LEN)? != ICMPV6 {
            return None;
        }
        let options_len = (usize::from(*packet.get(IPV6_LEN + 1)?) + 1) * 8;
        let payload_len = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
        let bytes = packet.get(IPV6_LEN + options_len..)?;
        Some(Self { family: &MLD, bytes, stated_len: payload_len.saturating_sub(options_len) })
    }

    /// Its type; absent when the frame ends before it.
    pub(super) fn kind(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// Its bytes, as far as they are there.
    pub(super) fn body(&self) -> &'a [u8] {
        &self.bytes[..self.stated_len.min(self.bytes.len())]
    }
}
