//! Writes reports and general queries.

use core::net::IpAddr;

use super::message::{Family, put_address};
use crate::MacAddr;
use crate::ethernet::{self, HEADER_LEN, TAG_LEN};

/// Largest IP packet that is written, in bytes: what every Ethernet carries.
pub const MTU_MAX: usize = 1500;
/// Smallest MTU that is kept to, in bytes: an MLDv2 report of one group.
pub const MTU_MIN: usize = 76;

/// A buffer that holds any frame of this module.
pub type Buffer = [u8; HEADER_LEN + TAG_LEN + MTU_MAX];

/// The least Ethernet frame without checksum, which drivers need not pad for us.
const MIN_FRAME: usize = 60;
/// Where the records of a report begin (RFC 3376, 4.2; RFC 3810, 5.2).
const RECORDS_AT: usize = 8;
/// A record in front of its group: type, auxiliary words, number of sources.
const RECORD_HEADER_LEN: usize = 4;
/// The record type of a host that wants a group from every source (RFC 3376, 4.2.12).
const MODE_IS_EXCLUDE: u8 = 2;
/// What a querier tells about itself by default: robustness 2, and 125 s between queries
/// (RFC 3376, 8.1 and 8.2; RFC 3810, 9.1 and 9.2).
const ROBUSTNESS_AND_INTERVAL: [u8; 2] = [2, 125];

/// Who a report or a query comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Source address of the frames.
    pub mac: MacAddr,
    /// Source address of the packets; its family tells IGMP from MLD. Unspecified (0.0.0.0, ::) is right
    /// for a report of a host without an address (RFC 3376, 4.2.13; RFC 3590, 4). A query must come from a
    /// link-local address in MLD, or hosts ignore it (RFC 3810, 5.1.14).
    pub address: IpAddr,
    /// VLAN of the frames, 0 for none; at most 4094.
    pub vlan: u16,
}

impl Sender {
    /// Writes an IGMPv3 or MLDv2 report that all routers and switches hear: of as many of the groups, from
    /// every source, as fit a packet of `mtu` bytes (kept within [`MTU_MIN`] and [`MTU_MAX`]). It takes only
    /// those from the iterator, so that the next call goes on with the rest. Addresses that are no groups of the
    /// sender's family are passed over.
    ///
    /// Returns the part of `buffer` that it fills, without checksum; `None` when no group is left.
    pub fn report<'a>(
        &self,
        groups: &mut impl Iterator<Item = IpAddr>,
        mtu: usize,
        buffer: &'a mut Buffer,
    ) -> Option<&'a [u8]> {
        let family = Family::of(self.address);
        let at = self.message_at();
        let record_len = RECORD_HEADER_LEN + family.address_len;
        let room = mtu.clamp(MTU_MIN, MTU_MAX) - family.header_len - RECORDS_AT;
        buffer.fill(0);
        let records = buffer[at + RECORDS_AT..][..room].chunks_exact_mut(record_len);
        let mut count = 0u16;
        // The records come first: a group is taken only when there is room for it.
        for (record, group) in records.zip(groups.filter(|&group| self.may_report(group))) {
            record[0] = MODE_IS_EXCLUDE;
            put_address(&mut record[RECORD_HEADER_LEN..], group);
            count += 1;
        }
        if count == 0 {
            return None;
        }
        buffer[at] = family.report;
        buffer[at + 6..at + 8].copy_from_slice(&count.to_be_bytes());
        Some(self.finish(family.all_routers, RECORDS_AT + usize::from(count) * record_len, buffer))
    }

    /// Writes an IGMPv2 or MLDv1 report of one group, which only that group hears (RFC 2236, 9; RFC 2710, 3.7).
    ///
    /// Returns the part of `buffer` that it fills, without checksum; `None` when `group` is no group of the
    /// sender's family.
    pub fn old_report<'a>(&self, group: IpAddr, buffer: &'a mut Buffer) -> Option<&'a [u8]> {
        if !self.may_report(group) {
            return None;
        }
        let family = Family::of(self.address);
        let at = self.message_at();
        buffer.fill(0);
        buffer[at] = *family.old_reports.first()?;
        put_address(&mut buffer[at + family.group_at..], group);
        Some(self.finish(group, family.group_at + family.address_len, buffer))
    }

    /// Writes an IGMPv3 or MLDv2 query that asks all hosts for all their groups, to be answered within one
    /// second. Hosts of any version understand it.
    ///
    /// Returns the part of `buffer` that it fills, without checksum.
    pub fn general_query<'a>(&self, buffer: &'a mut Buffer) -> &'a [u8] {
        let family = Family::of(self.address);
        let at = self.message_at();
        buffer.fill(0);
        let message = &mut buffer[at..];
        message[0] = family.query;
        // The longest time to answer: in tenths of a second, or in milliseconds.
        if self.address.is_ipv4() {
            message[1] = 10;
        } else {
            message[4..6].copy_from_slice(&1000u16.to_be_bytes());
        }
        let group_end = family.group_at + family.address_len;
        message[group_end..group_end + 2].copy_from_slice(&ROBUSTNESS_AND_INTERVAL);
        // The number of sources, zero, ends it.
        self.finish(family.all_hosts, group_end + 4, buffer)
    }

    fn may_report(&self, group: IpAddr) -> bool {
        group.is_multicast() && group.is_ipv4() == self.address.is_ipv4()
    }

    /// Where the IP packet begins in the frame.
    fn packet_at(&self) -> usize {
        if self.vlan == 0 { HEADER_LEN } else { HEADER_LEN + TAG_LEN }
    }

    /// Where the message begins in the frame.
    fn message_at(&self) -> usize {
        self.packet_at() + Family::of(self.address).header_len
    }

    /// Writes the headers in front of a message and its checksum, and returns the frame.
    fn finish<'a>(&self, destination: IpAddr, message_len: usize, buffer: &'a mut Buffer) -> &'a [u8] {
        let family = Family::of(self.address);
        let at = ethernet::emit(buffer, MacAddr::group(destination), self.mac, self.vlan, family.ethertype);
        let end = at + family.header_len + message_len;
        family.finish(&mut buffer[at..end], self.address, destination);
        &buffer[..end.max(MIN_FRAME + at - HEADER_LEN)]
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::{Change, Version, changes, is_general_query};
    use super::*;
    use crate::ethernet::Frame;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
    use proptest::prelude::*;
    use std::vec::Vec;

    const MAC: MacAddr = MacAddr([2, 8, 0x20, 1, 2, 3]);
    const V4: Sender = Sender { mac: MAC, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), vlan: 0 };
    const V6: Sender = Sender { mac: MAC, address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), vlan: 0 };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn reports(sender: Sender, groups: &[IpAddr], mtu: usize) -> Vec<Vec<u8>> {
        let mut buffer = [0xaa; _];
        let mut groups = groups.iter().copied();
        core::iter::from_fn(|| sender.report(&mut groups, mtu, &mut buffer).map(<[u8]>::to_vec)).collect()
    }

    /// The bytes, and zeroes up to the least frame.
    fn padded(bytes: &[u8]) -> Vec<u8> {
        let mut frame = bytes.to_vec();
        frame.resize(bytes.len().max(60), 0);
        frame
    }

    // The frames below are spelled out from RFC 3376, 2236, 3810 and 2710, their checksums added up by hand.

    #[test]
    fn an_igmp_v3_report_is_the_one_of_the_rfc() {
        let wanted = [
            0x01, 0, 0x5e, 0, 0, 0x16, 2, 8, 0x20, 1, 2, 3, 8, 0, // Ethernet
            0x46, 0xc0, 0, 40, 0, 0, 0x40, 0, 1, 2, 0x03, 0xfa, 0, 0, 0, 0, 224, 0, 0, 22, 0x94, 4, 0, 0, // IPv4
            0x22, 0, 0xfb, 0x02, 0, 0, 0, 1, 2, 0, 0, 0, 224, 0, 0, 251, // one record
        ];
        assert_eq!(reports(V4, &[ip("224.0.0.251")], 1500), [padded(&wanted)]);
    }

    #[test]
    fn an_igmp_v2_report_goes_to_its_group() {
        let wanted = [
            0x01, 0, 0x5e, 1, 2, 3, 2, 8, 0x20, 1, 2, 3, 8, 0, // Ethernet
            0x46, 0xc0, 0, 32, 0, 0, 0x40, 0, 1, 2, 0x31, 0x09, 192, 0, 2, 10, 239, 1, 2, 3, 0x94, 4, 0,
            0, // IPv4
            0x16, 0, 0xf8, 0xfa, 239, 1, 2, 3,
        ];
        let sender = Sender { address: ip("192.0.2.10"), ..V4 };
        assert_eq!(sender.old_report(ip("239.1.2.3"), &mut [0xaa; _]).unwrap(), padded(&wanted));
    }

    #[test]
    fn an_igmp_v3_query_asks_everybody() {
        let wanted = [
            0x01, 0, 0x5e, 0, 0, 1, 2, 8, 0x20, 1, 2, 3, 8, 0, // Ethernet
            0x46, 0xc0, 0, 36, 0, 0, 0x40, 0, 1, 2, 0x42, 0x08, 192, 0, 2, 10, 224, 0, 0, 1, 0x94, 4, 0,
            0, // IPv4
            0x11, 10, 0xec, 0x78, 0, 0, 0, 0, 2, 125, 0, 0,
        ];
        let sender = Sender { address: ip("192.0.2.10"), ..V4 };
        assert_eq!(sender.general_query(&mut [0xaa; _]), padded(&wanted));
    }

    #[test]
    fn an_mld_v2_report_in_a_vlan_is_the_one_of_the_rfc() {
        let mut wanted = Vec::from([0x33, 0x33, 0, 0, 0, 0x16, 2, 8, 0x20, 1, 2, 3, 0x81, 0, 0, 5, 0x86, 0xdd]);
        wanted.extend([0x60, 0, 0, 0, 0, 36, 0, 1]);
        wanted.extend(Ipv6Addr::UNSPECIFIED.octets());
        wanted.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16]);
        wanted.extend([58, 0, 5, 2, 0, 0, 1, 0]); // hop-by-hop: router alert, padding
        wanted.extend([143, 0, 0x6f, 0x91, 0, 0, 0, 1, 2, 0, 0, 0]);
        wanted.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb]);
        assert_eq!(reports(Sender { vlan: 5, ..V6 }, &[ip("ff02::fb")], 1500), [wanted]);
    }

    #[test]
    fn another_implementation_finds_every_checksum_right() {
        let mut buffer = [0xaa; _];
        for vlan in [0, 4094] {
            for (address, group) in [("192.0.2.10", "239.1.2.3"), ("fe80::a:2080", "ff05::1:3")] {
                let sender = Sender { mac: MAC, address: ip(address), vlan };
                check(sender.old_report(ip(group), &mut buffer).unwrap());
                check(sender.general_query(&mut buffer));
                let groups = [ip(group); 60];
                reports(sender, &groups, 1500).iter().for_each(|frame| check(frame));
            }
        }
    }

    fn check(frame: &[u8]) {
        let packet = PacketHeaders::from_ethernet_slice(frame).unwrap();
        match (packet.net.unwrap(), packet.transport) {
            (NetHeaders::Ipv4(header, _), Some(TransportHeader::Igmp(igmp))) => {
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(igmp.checksum, igmp.calc_checksum(packet.payload.slice()));
            }
            (NetHeaders::Ipv6(header, extensions), Some(TransportHeader::Icmpv6(icmp))) => {
                assert!(extensions.hop_by_hop_options.is_some());
                let sum = icmp.icmp_type.calc_checksum(header.source, header.destination, packet.payload.slice());
                assert_eq!(icmp.checksum, sum.unwrap());
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn groups_that_do_not_fit_one_packet_go_on_in_the_next() {
        let groups: Vec<_> = (0..1000u16).map(|n| IpAddr::V4(Ipv4Addr::new(239, 0, (n >> 8) as u8, n as u8))).collect();
        let frames = reports(V4, &groups, 1500);
        // (1500 - 24 - 8) / 8 records a packet.
        assert_eq!(frames.len(), 1000usize.div_ceil(183));
        assert_eq!(frames[0].len(), HEADER_LEN + 24 + 8 + 183 * 8);
        assert_eq!(read(&frames), groups);
    }

    #[test]
    fn an_mtu_of_nothing_carries_one_group_a_packet() {
        let groups = [ip("ff02::1"), ip("ff02::2")];
        let frames = reports(V6, &groups, 0);
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [HEADER_LEN + MTU_MIN; 2]);
        assert_eq!(read(&frames), groups);
    }

    #[test]
    fn what_is_no_group_of_the_family_is_not_reported() {
        let groups = [ip("ff02::1"), ip("192.0.2.1"), ip("239.0.0.1"), ip("fe80::1")];
        assert_eq!(read(&reports(V4, &groups, 1500)), [ip("239.0.0.1")]);
        assert_eq!(read(&reports(V6, &groups, 1500)), [ip("ff02::1")]);
        assert!(reports(V4, &[], 1500).is_empty());
        assert_eq!(V4.old_report(ip("ff02::1"), &mut [0; _]), None);
        assert_eq!(V6.old_report(ip("fe80::1"), &mut [0; _]), None);
    }

    #[test]
    fn a_query_is_read_as_one_and_a_report_is_none() {
        let mut buffer = [0; _];
        for sender in [V4, V6, Sender { vlan: 7, ..V4 }, Sender { vlan: 7, ..V6 }] {
            assert!(is_general_query(&Frame::parse(sender.general_query(&mut buffer)).unwrap()));
            let group = if sender.address.is_ipv4() { ip("239.0.0.1") } else { ip("ff02::1") };
            let report = sender.old_report(group, &mut buffer).unwrap();
            let frame = Frame::parse(report).unwrap();
            assert!(!is_general_query(&frame));
            assert_eq!(frame.vlan(), sender.vlan);
            let change = Change { group, version: Version::Old, joined: true };
            assert_eq!(changes(&frame).collect::<Vec<_>>(), [change]);
        }
    }

    /// The groups that frames report, each joined in the current version.
    fn read(frames: &[Vec<u8>]) -> Vec<IpAddr> {
        let changes = frames.iter().flat_map(|frame| changes(&Frame::parse(frame).unwrap()));
        let joined = |change: Change| {
            assert!(change.joined && change.version == Version::Current);
            change.group
        };
        changes.map(joined).collect()
    }

    proptest! {
        #[test]
        fn what_is_reported_is_read_back(
            v4 in proptest::collection::vec(0xe000_0000u32..=0xefff_ffff, 0..500),
            v6 in proptest::collection::vec(0xffu128 << 120..=u128::MAX, 0..500),
            mtu in 0usize..3000,
            vlan in 0u16..4095,
        ) {
            let v4: Vec<_> = v4.into_iter().map(|bits| IpAddr::V4(bits.into())).collect();
            let v6: Vec<_> = v6.into_iter().map(|bits| IpAddr::V6(bits.into())).collect();
            for (sender, groups) in [(Sender { vlan, ..V4 }, v4), (Sender { vlan, ..V6 }, v6)] {
                let frames = reports(sender, &groups, mtu);
                let headers = sender.packet_at();
                let longest = (headers + mtu.clamp(MTU_MIN, MTU_MAX)).max(MIN_FRAME + headers - HEADER_LEN);
                prop_assert!(frames.iter().all(|frame| frame.len() <= longest));
                prop_assert_eq!(read(&frames), groups);
            }
        }
    }
}
