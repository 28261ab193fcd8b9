//! Reads what hosts report and what queriers ask.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{Family, Message};
use super::{Change, Version};
use crate::ethernet::Frame;

/// Record types of reports (RFC 3376, 4.2.12; RFC 3810, 5.2.12).
const MODE_IS_INCLUDE: u8 = 1;
const MODE_IS_EXCLUDE: u8 = 2;
const CHANGE_TO_INCLUDE: u8 = 3;
const CHANGE_TO_EXCLUDE: u8 = 4;
const ALLOW_NEW_SOURCES: u8 = 5;

/// Whether the frame tells switches which groups its sender wants (or no longer wants): by its message
/// type alone, as the datapath's programs judge it.
pub fn is_report(frame: &Frame<'_>) -> bool {
    let Some(message) = Message::find(frame) else { return false };
    let family = message.family;
    (message.kind())
        .is_some_and(|kind| kind == family.report || kind == family.old_leave || family.old_reports.contains(&kind))
}

/// Whether the frame asks for all groups, in any version of the protocol.
pub fn is_general_query(frame: &Frame<'_>) -> bool {
    let Some(message) = Message::find(frame) else { return false };
    let Family { query, group_at, address_len, .. } = *message.family;
    let group = message.body().get(group_at..group_at + address_len);
    message.kind() == Some(query) && group.is_some_and(|group| group.iter().all(|&byte| byte == 0))
}

/// What the report in a frame says, in its order; nothing if the frame holds none.
///
/// Sources are not told apart: whoever wants a group from some sources has joined it. Records that only
/// block sources change nothing. Of a report that is cut off, what is whole counts; unknown records
/// and addresses that are no groups do not.
pub fn changes<'a>(frame: &Frame<'a>) -> impl Iterator<Item = Change> + use<'a> {
    let message = Message::find(frame);
    let old = message.as_ref().and_then(old_change);
    let records = message.as_ref().and_then(Records::find);
    old.into_iter().chain(records.into_iter().flatten())
}

/// What a message of the old generation says.
fn old_change(message: &Message<'_>) -> Option<Change> {
    let Family { group_at, address_len, old_leave, old_reports, .. } = *message.family;
    let kind = message.kind()?;
    if kind != old_leave && !old_reports.contains(&kind) {
        return None;
    }
    let group = group(message.body().get(group_at..group_at + address_len)?)?;
    Some(Change { group, version: Version::Old, joined: kind != old_leave })
}

/// The group whose address these bytes are, if they are one.
fn group(bytes: &[u8]) -> Option<IpAddr> {
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from_octets(bytes.try_into().ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from_octets(bytes.try_into().ok()?)),
    };
    address.is_multicast().then_some(address)
}

/// The records of a report of the current generation.
struct Records<'a> {
    address_len: usize,
    /// How many are still to come, by the report's own count.
    left: u16,
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    fn find(message: &Message<'a>) -> Option<Self> {
        let (&[kind, _, _, _, _, _, n0, n1], rest) = message.body().split_first_chunk()?;
        let records = Self { address_len: message.family.address_len, left: u16::from_be_bytes([n0, n1]), rest };
        (kind == message.family.report).then_some(records)
    }

    /// The next record: its type, the bytes of its group and how many sources it has.
    fn take(&mut self) -> Option<(u8, &'a [u8], usize)> {
        self.left = self.left.checked_sub(1)?;
        let (&[kind, words, s0, s1], rest) = self.rest.split_first_chunk()?;
        let sources = usize::from(u16::from_be_bytes([s0, s1]));
        let len = self.address_len * (1 + sources) + 4 * usize::from(words);
        let (body, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some((kind, &body[..self.address_len], sources))
    }
}

impl Iterator for Records<'_> {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        loop {
            let (kind, address, sources) = self.take()?;
            let joined = match kind {
                MODE_IS_INCLUDE | CHANGE_TO_INCLUDE => sources > 0,
                MODE_IS_EXCLUDE | CHANGE_TO_EXCLUDE | ALLOW_NEW_SOURCES => true,
                _ => continue,
            };
            if let Some(group) = group(address) {
                return Some(Change { group, version: Version::Current, joined });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const SOURCE: [u8; 6] = [2, 8, 0x20, 1, 2, 3];

    /// An IPv4 packet as Linux sends it, with this IGMP message (checksums aside).
    fn igmp(message: &[u8]) -> Vec<u8> {
        let mut frame = Vec::from([1, 0, 0x5e, 0, 0, 0x16]);
        frame.extend(SOURCE);
        frame.extend([8, 0]);
        frame.extend([0x46, 0xc0, 0, 24 + message.len() as u8, 0, 0, 0x40, 0, 1, 2, 0, 0]);
        frame.extend([0, 0, 0, 0, 224, 0, 0, 22, 0x94, 4, 0, 0]);
        frame.extend(message);
        frame
    }

    /// An IPv6 packet as Linux sends it, with this ICMPv6 message (checksums aside).
    fn mld(message: &[u8]) -> Vec<u8> {
        let mut frame = Vec::from([0x33, 0x33, 0, 0, 0, 0x16]);
        frame.extend(SOURCE);
        frame.extend([0x86, 0xdd]);
        frame.extend([0x60, 0, 0, 0, 0, 8 + message.len() as u8, 0, 1]);
        frame.extend([0; 32]);
        frame.extend([58, 0, 5, 2, 0, 0, 1, 0]);
        frame.extend(message);
        frame
    }

    /// With the tag of VLAN 5.
    fn tagged(frame: &[u8]) -> Vec<u8> {
        [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat()
    }

    fn read(frame: &[u8]) -> Vec<(IpAddr, bool)> {
        let frame = Frame::parse(frame).unwrap();
        changes(&frame).map(|change| (change.group, change.joined)).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Every kind of record, each of a group of its own; the third has auxiliary data.
    fn igmp_v3() -> Vec<u8> {
        igmp(
            &[
                &[0x22, 0, 0, 0, 0, 0, 0, 8][..],
                &[1, 0, 0, 0, 239, 0, 0, 1],
                &[1, 0, 0, 1, 239, 0, 0, 2, 192, 0, 2, 1],
                &[2, 1, 0, 0, 239, 0, 0, 3, 0xee, 0xee, 0xee, 0xee],
                &[3, 0, 0, 0, 239, 0, 0, 4],
                &[4, 0, 0, 2, 239, 0, 0, 5, 192, 0, 2, 1, 192, 0, 2, 2],
                &[5, 0, 0, 1, 239, 0, 0, 6, 192, 0, 2, 1],
                &[6, 0, 0, 1, 239, 0, 0, 7, 192, 0, 2, 1],
                &[2, 0, 0, 0, 239, 0, 0, 8],
            ]
            .concat(),
        )
    }

    fn mld_v2() -> Vec<u8> {
        let group = |last| ip(&std::format!("ff02::{last}"));
        let IpAddr::V6(one) = group(1) else { panic!() };
        let IpAddr::V6(two) = group(2) else { panic!() };
        let body = [143, 0, 0, 0, 0, 0, 0, 2, 4, 0, 0, 0];
        mld(&[&body[..], &one.octets(), &[3, 0, 0, 0], &two.octets()].concat())
    }

    #[test]
    fn records_join_leave_or_change_nothing_by_their_type_and_sources() {
        let wanted = [(1, false), (2, true), (3, true), (4, false), (5, true), (6, true), (8, true)];
        let wanted: Vec<_> = wanted.map(|(last, joined)| (ip(&std::format!("239.0.0.{last}")), joined)).into();
        assert_eq!(read(&igmp_v3()), wanted);
        assert_eq!(read(&tagged(&igmp_v3())), wanted);
        let wanted = [(ip("ff02::1"), true), (ip("ff02::2"), false)];
        assert_eq!(read(&mld_v2()), wanted);
        assert_eq!(read(&tagged(&mld_v2())), wanted);
    }

    #[test]
    fn old_reports_and_leaves_are_told_from_current_ones() {
        let old = |group, joined| Change { group: ip(group), version: Version::Old, joined };
        for (kind, joined) in [(0x12, true), (0x16, true), (0x17, false)] {
            let frame = igmp(&[kind, 0, 0, 0, 239, 1, 2, 3]);
            let changes: Vec<_> = changes(&Frame::parse(&frame).unwrap()).collect();
            assert_eq!(changes, [old("239.1.2.3", joined)]);
        }
        for (kind, joined) in [(131, true), (132, false)] {
            let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0, 0xff, 2];
            message.extend([0; 13]);
            message.push(0xfb);
            let frame = mld(&message);
            let changes: Vec<_> = changes(&Frame::parse(&frame).unwrap()).collect();
            assert_eq!(changes, [old("ff02::fb", joined)]);
        }
        let frame = igmp_v3();
        assert!(changes(&Frame::parse(&frame).unwrap()).all(|change| change.version == Version::Current));
    }

    #[test]
    fn an_address_that_is_no_group_is_passed_over() {
        let records = [2, 0, 0, 0, 192, 0, 2, 1, 2, 0, 0, 0, 239, 0, 0, 9];
        let frame = igmp(&[&[0x22, 0, 0, 0, 0, 0, 0, 2][..], &records].concat());
        assert_eq!(read(&frame), [(ip("239.0.0.9"), true)]);
        assert_eq!(read(&igmp(&[0x16, 0, 0, 0, 0, 0, 0, 0])), []);
        let mut frame = mld_v2();
        frame[74] = 0xfe;
        assert_eq!(read(&frame), [(ip("ff02::2"), false)]);
    }

    #[test]
    fn of_a_report_that_is_cut_off_what_is_whole_counts() {
        for whole in [igmp_v3(), mld_v2()] {
            let all = read(&whole);
            let mut seen = Vec::new();
            for len in 14..=whole.len() {
                let part = read(&whole[..len]);
                assert_eq!(part, all[..part.len()], "{len}");
                seen.push(part.len());
            }
            assert!(seen.is_sorted());
            assert_eq!(seen.last(), Some(&all.len()));
            assert_eq!(seen[seen.len() - 2], all.len() - 1, "the last record lacks a byte");
        }
    }

    #[test]
    fn a_count_or_a_length_that_lies_adds_nothing() {
        let honest = read(&igmp_v3());
        // More records than there are, and padding that looks like one.
        let mut frame = igmp_v3();
        frame[14 + 24 + 7] = 200;
        frame.extend([2, 0, 0, 0, 239, 9, 9, 9]);
        assert_eq!(read(&frame), honest);
        // Fewer records, a packet longer than the frame, one shorter than its header.
        let mut frame = igmp_v3();
        frame[14 + 24 + 7] = 2;
        assert_eq!(read(&frame), honest[..2]);
        let mut frame = igmp_v3();
        frame[16] = 0xff;
        assert_eq!(read(&frame), honest);
        frame[16..18].fill(0);
        assert_eq!(read(&frame), []);
        // A record that says it has 65535 sources.
        let mut frame = igmp_v3();
        frame[14 + 24 + 8 + 2..][..2].fill(0xff);
        assert_eq!(read(&frame), []);
    }

    #[test]
    fn reports_are_told_from_queries_and_data() {
        let report = |frame: &[u8]| is_report(&Frame::parse(frame).unwrap());
        for kind in [131, 132, 143] {
            assert!(report(&mld(&[kind, 0, 0, 0])));
            assert!(report(&tagged(&mld(&[kind, 0, 0, 0]))));
        }
        for kind in [128, 130, 135] {
            assert!(!report(&mld(&[kind, 0, 0, 0])), "{kind}");
        }
        for kind in [0x12, 0x16, 0x17, 0x22] {
            assert!(report(&igmp(&[kind, 0, 0, 0])));
        }
        assert!(!report(&igmp(&[0x11, 0, 0, 0])));
        let mut udp = igmp(&[0x22, 0, 0, 0]);
        udp[14 + 9] = 17;
        assert!(!report(&udp));
        let frame = mld_v2();
        for len in 14..62 {
            assert!(!report(&frame[..len]), "cut off at {len}");
        }
    }

    #[test]
    fn a_general_query_asks_for_no_group_in_particular() {
        let query = |frame: &[u8]| is_general_query(&Frame::parse(frame).unwrap());
        let v2 = igmp(&[0x11, 100, 0, 0, 0, 0, 0, 0]);
        let v3 = igmp(&[0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]);
        let mut mld_v1 = [0; 24];
        mld_v1[0] = 130;
        let mld_v1 = mld(&mld_v1);
        let mut mld_v2 = [0; 28];
        mld_v2[0] = 130;
        mld_v2[24..26].copy_from_slice(&[2, 125]);
        let mld_v2 = mld(&mld_v2);
        for (frame, group_end) in [(&v2, 46), (&v3, 46), (&mld_v1, 86), (&mld_v2, 86)] {
            assert!(query(frame));
            assert!(query(&tagged(frame)));
            assert!(!query(&frame[..group_end - 1]));
            let mut specific = frame.clone();
            specific[group_end - 1] = 1;
            assert!(!query(&specific));
        }
        assert!(!query(&igmp_v3()) && !query(&self::mld_v2()));
    }

    fn judge(bytes: &[u8]) -> Result<(), TestCaseError> {
        let Ok(frame) = Frame::parse(bytes) else { return Ok(()) };
        let _ = is_general_query(&frame);
        let count = changes(&frame).count();
        // A record is at least eight bytes long.
        prop_assert!(count <= frame.payload().len() / 8);
        prop_assert!(count == 0 || is_report(&frame));
        prop_assert!(changes(&frame).all(|change| change.group.is_multicast()));
        Ok(())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            judge(&bytes)?;
        }

        #[test]
        fn no_change_of_a_report_makes_it_panic(
            (mut frame, edits, len) in prop_oneof![Just(igmp_v3()), Just(mld_v2()), Just(tagged(&igmp_v3()))].prop_flat_map(
                |frame| {
                    let edit = (12..frame.len(), any::<u8>());
                    let len = 0..=frame.len();
                    (Just(frame), proptest::collection::vec(edit, 1..6), len)
                }
            )
        ) {
            for (at, value) in edits {
                frame[at] = value;
            }
            judge(&frame)?;
            judge(&frame[..len])?;
        }
    }
}
