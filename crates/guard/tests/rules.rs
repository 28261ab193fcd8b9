//! The rules, frame by frame, fed to the loaded programs by BPF_PROG_TEST_RUN: a table of promises, and sequences of
//! frames made up, on which the programs and a pure model of the rules must agree.
//!
//! Needs root and a kernel with BPF. Nothing is attached, so the machine's traffic is not touched.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use dlmp_guard::{Counter, Direction, Error, Guard, InUse, Limits, Priority, Protection, Settings};
use dlmp_wire::MacAddr;
use proptest::prelude::*;

use common::model::Model;
use common::*;

/// What a guard does with a frame that the guest sends, as its verdict and its counters say.
fn send(guard: &Guard, frame: &[u8]) -> Fate {
    let before = guard.counters().unwrap();
    let outcome = guard.test_run(Direction::Ingress, frame, 1, 1).unwrap();
    let after = guard.counters().unwrap();
    let counted: Vec<_> =
        Counter::ALL.iter().filter(|(counter, _)| after.get(*counter) != before.get(*counter)).collect();
    assert_eq!(after.total() - before.total(), u64::from(!outcome.passed), "each dropped frame is counted once");
    match counted[..] {
        [] => Ok(()),
        [(counter, _)] => Err(*counter),
        _ => panic!("counted as several: {counted:?}"),
    }
}

/// A promise: what the guard does with a frame of a guest with these settings.
type Row = (&'static str, Settings, Vec<u8>, Fate);

fn hold(rows: Vec<Row>) {
    for (promise, settings, frame, fate) in rows {
        let guard = Guard::load(&settings).unwrap();
        assert_eq!(send(&guard, &frame), fate, "{promise}: {frame:02x?}");
        assert_eq!(Model::new(settings).judge(&frame), fate, "the model on {promise}");
    }
}

fn protected(change: impl FnOnce(&mut Protection)) -> Settings {
    settings(|set| {
        change(&mut set.protection);
        set.allowed_ips = [OWN_IP.into(), OWN_IPV6.into()].into();
    })
}

#[test]
fn a_guest_does_not_speak_to_the_switch_itself() {
    let plain = || Settings::new(OWN);
    hold(vec![
        ("our own frames go to guests only", plain(), frame(LINK_LOCAL, OWN, CONTROL, &[]), Err(Counter::Control)),
        ("LLDP", plain(), frame(LINK_LOCAL, OWN, LLDP, &[]), Err(Counter::LinkLocal)),
        ("STP", plain(), frame(MacAddr([1, 0x80, 0xc2, 0, 0, 0]), OWN, 0x26, &[]), Err(Counter::LinkLocal)),
        ("PAUSE", custom(9, 9), frame(MacAddr([1, 0x80, 0xc2, 0, 0, 1]), OWN, 0x8808, &[]), Err(Counter::LinkLocal)),
        ("IS-IS is for routers", plain(), frame(MacAddr([1, 0x80, 0xc2, 0, 0, 0x14]), OWN, 0x26, &[]), PASSES),
        ("the type alone is for experiments", plain(), frame(PEER, OWN, CONTROL, &[]), PASSES),
        ("a group sends nothing", custom(9, 9), from(GROUP), Err(Counter::SourceInvalid)),
        ("nobody sends nothing", custom(9, 9), from(MacAddr([0; 6])), Err(Counter::SourceInvalid)),
    ]);
}

#[test]
fn a_guest_does_not_speak_to_switches_of_any_vendor() {
    for (what, destination) in [
        ("bridge management", [1, 0x80, 0xc2, 0, 0, 0x10]),
        ("GVRP", [1, 0x80, 0xc2, 0, 0, 0x21]),
        ("the last of MRP", [1, 0x80, 0xc2, 0, 0, 0x2f]),
        ("CFM", [1, 0x80, 0xc2, 0, 0, 0x30]),
        ("TRILL", [1, 0x80, 0xc2, 0, 0, 0x40]),
        ("CDP, VTP, DTP, UDLD", [1, 0, 0x0c, 0xcc, 0xcc, 0xcc]),
        ("PVST+", [1, 0, 0x0c, 0xcc, 0xcc, 0xcd]),
        ("UplinkFast", [1, 0, 0x0c, 0xcd, 0xcd, 0xcd]),
        ("ISL", [1, 0, 0x0c, 0, 0, 7]),
        ("EDP", [0, 0xe0, 0x2b, 0, 0, 0]),
        ("EAPS", [0, 0xe0, 0x2b, 0, 0, 4]),
        ("FDP", [1, 0xe0, 0x52, 0xcc, 0xcc, 0xcc]),
        ("SONMP", [1, 0, 0x81, 0, 1, 0]),
    ] {
        let frame = frame(MacAddr(destination), OWN, 0x26, &[0x42, 0x42, 3]);
        let seven = settings(|set| set.vlans = [7].into());
        hold(vec![
            (what, Settings::new(OWN), frame.clone(), Err(Counter::SwitchProtocol)),
            (what, custom(9, 9), frame.clone(), Err(Counter::SwitchProtocol)),
            (what, seven, tagged(&frame, VLAN, 7), Err(Counter::SwitchProtocol)),
            (what, custom(9, 9), tagged(&tagged(&frame, VLAN, 7), PROVIDER_VLAN, 9), Err(Counter::SwitchProtocol)),
        ]);
    }
}

#[test]
fn a_guest_sends_from_its_own_addresses() {
    let two = || settings(|set| set.alternates = [ALTERNATE].into());
    let trusted_not_for_macs = || {
        settings(|set| {
            set.custom = Some(Limits { macs: 9, vlans: 9 });
            set.protection.mac_nospoof = true;
        })
    };
    hold(vec![
        ("its own", Settings::new(OWN), from(OWN), PASSES),
        ("to everybody", Settings::new(OWN), frame(MacAddr::BROADCAST, OWN, IPV4, &[]), PASSES),
        ("another one", Settings::new(OWN), from(OTHER), Err(Counter::MacForeign)),
        ("an alternate one", two(), from(ALTERNATE), PASSES),
        ("its own beside alternate ones", two(), from(OWN), PASSES),
        ("neither", two(), from(OTHER), Err(Counter::MacForeign)),
        ("one of its choice", custom(1, 1), from(OTHER), PASSES),
        ("mac-nospoof with custom", trusted_not_for_macs(), from(OTHER), Err(Counter::MacForeign)),
        ("mac-nospoof leaves VLANs free", trusted_not_for_macs(), in_vlan(OWN, 7), PASSES),
    ]);
}

#[test]
fn the_first_addresses_heard_are_the_guests_and_the_vnets_own_count_for_nothing() {
    let mut set = custom(2, 1);
    set.alternates = [ALTERNATE].into();
    let guard = Guard::load(&set).unwrap();
    for mac in [OTHER, OWN, ALTERNATE, ANOTHER, OTHER] {
        assert_eq!(send(&guard, &from(mac)), PASSES);
    }
    assert_eq!(guard.in_use().unwrap(), InUse { macs: 2, vlans: 0 });
    assert_eq!(send(&guard, &from(PEER)), Err(Counter::MacOverflow));
    assert_eq!(send(&guard, &from(OTHER)), PASSES, "who is known stays known");
    assert_eq!(send(&guard, &from(OWN)), PASSES);
}

#[test]
fn a_full_table_is_as_large_as_the_limit_and_a_flood_does_not_change_it() {
    let guard = Guard::load(&custom(dlmp_guard::MAX_MACS, 1)).unwrap();
    let mac = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        MacAddr([2, 0, 0, a, b, c])
    };
    // Linux 6.1 gives no memory for many entries in a row, and then refuses a frame or two.
    let becomes_known = |number| {
        (0..1000).any(|_| {
            send(&guard, &from(mac(number))) == PASSES || {
                thread::sleep(Duration::from_millis(1));
                false
            }
        })
    };
    assert!((0..4096).all(becomes_known));
    let fates = |from_number| (from_number..from_number + 4096).map(|number| send(&guard, &from(mac(number))));
    assert!(fates(10_000).all(|fate| fate == Err(Counter::MacOverflow)));
    assert!(fates(0).all(|fate| fate == PASSES));
    assert_eq!(guard.in_use().unwrap().macs, 4096);
}

#[test]
fn silent_addresses_and_vlans_make_room() {
    let mut guard = Guard::load(&custom(1, 1)).unwrap();
    assert_eq!(send(&guard, &in_vlan(OTHER, 7)), PASSES);
    guard.age(Duration::from_secs(60)).unwrap();
    assert_eq!(guard.in_use().unwrap(), InUse { macs: 1, vlans: 1 }, "heard just now");
    assert_eq!(send(&guard, &from(ANOTHER)), Err(Counter::MacOverflow));
    guard.age(Duration::ZERO).unwrap();
    assert_eq!(guard.in_use().unwrap(), InUse { macs: 0, vlans: 0 });
    assert_eq!(send(&guard, &in_vlan(ANOTHER, 8)), PASSES);
    assert_eq!(send(&guard, &from(OTHER)), Err(Counter::MacOverflow));
    assert_eq!(send(&guard, &in_vlan(ANOTHER, 7)), Err(Counter::VlanOverflow));
}

#[test]
fn a_guest_sends_in_its_own_vlans_with_one_tag() {
    let seven = || settings(|set| set.vlans = [7, 4094].into());
    let own = from(OWN);
    hold(vec![
        ("its own", seven(), in_vlan(OWN, 7), PASSES),
        ("the last one", seven(), in_vlan(OWN, 4094), PASSES),
        ("its own with a priority", seven(), in_vlan(OWN, 0xe007), PASSES),
        ("another one", seven(), in_vlan(OWN, 8), Err(Counter::VlanForeign)),
        ("none", Settings::new(OWN), in_vlan(OWN, 1), Err(Counter::VlanForeign)),
        ("a priority alone is no VLAN", Settings::new(OWN), in_vlan(OWN, 0xe000), PASSES),
        ("4095 is reserved", custom(9, 9), in_vlan(OWN, 4095), Err(Counter::VlanInvalid)),
        ("one of its choice", custom(1, 1), in_vlan(OWN, 9), PASSES),
        ("802.1ad", custom(9, 9), tagged(&own, PROVIDER_VLAN, 7), Err(Counter::VlanStacked)),
        ("two tags", custom(9, 9), tagged(&in_vlan(OWN, 7), VLAN, 7), Err(Counter::VlanStacked)),
        (
            "two tags, 802.1ad inside",
            seven(),
            tagged(&tagged(&own, PROVIDER_VLAN, 7), VLAN, 7),
            Err(Counter::VlanStacked),
        ),
    ]);
}

#[test]
fn the_first_vlans_heard_are_the_guests() {
    let guard = Guard::load(&custom(1, 2)).unwrap();
    for vlan in [5, 4094, 5, 0] {
        assert_eq!(send(&guard, &in_vlan(OWN, vlan)), PASSES);
    }
    assert_eq!(send(&guard, &in_vlan(OWN, 6)), Err(Counter::VlanOverflow));
    assert_eq!(guard.in_use().unwrap(), InUse { macs: 0, vlans: 2 });
}

#[test]
fn what_is_dropped_takes_none_of_the_guests_places() {
    let mut set = custom(1, 1);
    set.protection.restricted = true;
    let guard = Guard::load(&set).unwrap();
    assert_eq!(send(&guard, &frame(PEER, OTHER, RARP, &[])), Err(Counter::Protocol));
    assert_eq!(send(&guard, &in_vlan(OTHER, 4095)), Err(Counter::VlanInvalid));
    assert_eq!(guard.in_use().unwrap(), InUse { macs: 0, vlans: 0 });
}

#[test]
fn restricted_leaves_ipv4_ipv6_and_arp() {
    let set = || protected(|protection| protection.restricted = true);
    hold(vec![
        ("IPv4", set(), from(OWN), PASSES),
        ("IPv6", set(), frame(PEER, OWN, IPV6, &ipv6(OTHER_IPV6, 59, &[])), PASSES),
        ("ARP", set(), frame(MacAddr::BROADCAST, OWN, ARP, &arp(1, OWN, OTHER_IP)), PASSES),
        ("RARP", set(), frame(MacAddr::BROADCAST, OWN, RARP, &arp(3, OWN, OWN_IP)), Err(Counter::Protocol)),
        ("a length", set(), frame(PEER, OWN, 46, &[]), Err(Counter::Protocol)),
        ("in a tag", set(), tagged(&frame(PEER, OWN, RARP, &[]), VLAN, 0), Err(Counter::Protocol)),
    ]);
}

#[test]
fn ip_nospoof_holds_a_guest_to_its_ip_addresses() {
    let set = || protected(|protection| protection.ip_nospoof = true);
    let in_ipv4 = |source| frame(PEER, OWN, IPV4, &ipv4(source, UDP, 0, &udp(5, 5, &[])));
    let in_arp = |sender| frame(MacAddr::BROADCAST, OWN, ARP, &arp(2, OWN, sender));
    let in_ipv6 = |source| frame(PEER, OWN, IPV6, &ipv6(source, UDP, &udp(5, 5, &[])));
    let claims = |target| frame(PEER, OWN, IPV6, &ipv6(OWN_IPV6, ICMPV6, &advertisement(target)));
    let hidden = |target| frame(PEER, OWN, IPV6, &ipv6(OWN_IPV6, 60, &extension(ICMPV6, &advertisement(target))));
    let deep = extension(60, &extension(60, &extension(60, &extension(60, &extension(UDP, &udp(5, 5, &[]))))));
    let long = [&[ICMPV6, 20][..], &[0; 166], &advertisement(OWN_IPV6)].concat();
    let others_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    hold(vec![
        ("its IPv4 address", set(), in_ipv4(OWN_IP), PASSES),
        ("another IPv4 address", set(), in_ipv4(OTHER_IP), Err(Counter::IpSpoofed)),
        ("in a tag", set(), tagged(&in_ipv4(OTHER_IP), VLAN, 0), Err(Counter::IpSpoofed)),
        ("0.0.0.0 for DHCP", set(), in_ipv4(Ipv4Addr::UNSPECIFIED), PASSES),
        ("its address by ARP", set(), in_arp(OWN_IP), PASSES),
        ("another address by ARP", set(), in_arp(OTHER_IP), Err(Counter::IpSpoofed)),
        ("an ARP probe", set(), in_arp(Ipv4Addr::UNSPECIFIED), PASSES),
        ("ARP of something else", set(), frame(PEER, OWN, ARP, &[0, 6, 8, 0, 6, 4]), Err(Counter::IpSpoofed)),
        ("its IPv6 address", set(), in_ipv6(OWN_IPV6), PASSES),
        ("another IPv6 address", set(), in_ipv6(OTHER_IPV6), Err(Counter::IpSpoofed)),
        ("the link-local address of its MAC address", set(), in_ipv6(OWN_LOCAL), PASSES),
        ("another link-local address", set(), in_ipv6(others_local), Err(Counter::IpSpoofed)),
        (":: for duplicate address detection", set(), in_ipv6(Ipv6Addr::UNSPECIFIED), PASSES),
        ("its IPv4 address, mapped", set(), in_ipv6(OWN_IP.to_ipv6_mapped()), Err(Counter::IpSpoofed)),
        ("its own advertised", set(), claims(OWN_IPV6), PASSES),
        ("another one advertised", set(), claims(OTHER_IPV6), Err(Counter::IpSpoofed)),
        ("the same behind a header", set(), hidden(OTHER_IPV6), Err(Counter::IpSpoofed)),
        ("its own behind a header", set(), hidden(OWN_IPV6), PASSES),
        ("behind too many headers", set(), frame(PEER, OWN, IPV6, &ipv6(OWN_IPV6, 60, &deep)), Err(Counter::IpSpoofed)),
        ("behind too long headers", set(), frame(PEER, OWN, IPV6, &ipv6(OWN_IPV6, 60, &long)), Err(Counter::IpSpoofed)),
        ("what is not IP", set(), frame(PEER, OWN, RARP, &[]), PASSES),
    ]);
}

#[test]
fn dhcp_nospoof_makes_a_guest_a_client_for_itself() {
    let set = || protected(|protection| protection.dhcp_nospoof = true);
    let zero = Ipv4Addr::UNSPECIFIED;
    let message = |from, to, operation, client| {
        frame(MacAddr::BROADCAST, OWN, IPV4, &ipv4(zero, UDP, 0, &udp(from, to, &dhcp(operation, client))))
    };
    let fragment = frame(PEER, OWN, IPV4, &ipv4(zero, UDP, 0x2000, &udp(68, 67, &dhcp(1, OWN))));
    let in_ipv6 = |to| frame(PEER, OWN, IPV6, &ipv6(OWN_LOCAL, UDP, &udp(5, to, &[])));
    hold(vec![
        ("asks for itself", set(), message(68, 67, 1, OWN), PASSES),
        ("asks for another one", set(), message(68, 67, 1, OTHER), Err(Counter::DhcpSpoofed)),
        ("offers", set(), message(67, 68, 2, PEER), Err(Counter::DhcpSpoofed)),
        ("offers from another port", set(), message(6767, 68, 2, PEER), Err(Counter::DhcpSpoofed)),
        ("answers a relay", set(), message(67, 67, 2, OWN), Err(Counter::DhcpSpoofed)),
        ("asks in fragments", set(), fragment, Err(Counter::DhcpSpoofed)),
        ("other datagrams", set(), message(68, 69, 2, OTHER), PASSES),
        ("asks by DHCPv6", set(), in_ipv6(547), PASSES),
        ("offers by DHCPv6", set(), in_ipv6(546), Err(Counter::DhcpSpoofed)),
    ]);
}

#[test]
fn reports_of_membership_beyond_the_rate_are_dropped_and_nothing_else_is() {
    let guard = Guard::load(&Settings::new(OWN)).unwrap();
    for report in [igmp_report(OWN), mld_report(OWN)] {
        // A thousand each second is what passes however slow this runs, so that a burst of many must lose some.
        let outcome = guard.test_run(Direction::Ingress, &report, 1, 1_000_000).unwrap();
        assert!(!outcome.passed || outcome.duration > Duration::from_millis(1));
        assert_eq!(send(&guard, &frame(GROUP, OWN, IPV4, &ipv4(OWN_IP, UDP, 0, &udp(5, 5, &[])))), PASSES);
    }
    let counters = guard.counters().unwrap();
    assert_eq!(counters.get(Counter::ReportRate), counters.total());
    assert!(counters.total() > 0);
}

#[test]
fn each_direction_has_its_own_bucket_and_no_frame_is_too_large_for_it() {
    let guard = Guard::load(&settings(|set| set.maxbw = Some(1_000))).unwrap();
    // At 1 kb/s the bucket holds 64 KiB: more than eight minutes' worth, so that the time this takes adds nothing.
    let large = frame(PEER, OWN, IPV4, &[0; 1486]);
    let passing = |direction, segments| {
        (0..100).take_while(|_| guard.test_run(direction, &large, segments, 1).unwrap().passed).count()
    };
    assert_eq!(passing(Direction::Ingress, 1), 65536 / 1500 + 1);
    assert_eq!(passing(Direction::Ingress, 1), 0);
    assert_eq!(passing(Direction::Egress, 10_000), 1, "a super-frame of more than the bucket holds");
    let counters = guard.counters().unwrap();
    assert_eq!(counters.get(Counter::MaxbwSent), 2);
    assert_eq!(counters.get(Counter::MaxbwReceived), 1);
}

#[test]
fn what_was_owed_at_a_low_limit_is_forgotten_at_another_one() {
    let mut guard = Guard::load(&settings(|set| set.maxbw = Some(1_000))).unwrap();
    assert!(guard.test_run(Direction::Ingress, &from(OWN), 50_000, 1).unwrap().passed);
    assert_eq!(send(&guard, &from(OWN)), Err(Counter::MaxbwSent));
    guard.set(&settings(|set| set.maxbw = Some(1_001))).unwrap();
    assert_eq!(send(&guard, &from(OWN)), PASSES);
}

#[test]
fn without_a_limit_everything_passes() {
    let mut guard = Guard::load(&settings(|set| set.maxbw = Some(1_000))).unwrap();
    guard.set(&Settings::new(OWN)).unwrap();
    for direction in [Direction::Ingress, Direction::Egress] {
        assert!(guard.test_run(direction, &from(OWN), 1, 100_000).unwrap().passed);
    }
    assert_eq!(guard.counters().unwrap().total(), 0);
}

#[test]
fn frames_get_the_priority_of_the_vnet() {
    for (priority, value) in [(Priority::High, 6), (Priority::Medium, 0), (Priority::Low, 2)] {
        let guard = Guard::load(&settings(|set| set.priority = Some(priority))).unwrap();
        assert_eq!(guard.test_run(Direction::Ingress, &from(OWN), 1, 1).unwrap().priority, value);
    }
}

#[test]
fn a_frame_leaves_as_it_came() {
    let guard = Guard::load(&custom(9, 9)).unwrap();
    for frame in [from(OWN), in_vlan(OTHER, 7), igmp_report(OWN)] {
        assert_eq!(guard.test_run(Direction::Ingress, &frame, 1, 1).unwrap().frame, frame);
    }
}

#[test]
fn new_settings_hold_from_the_next_frame_on() {
    let mut guard = Guard::load(&settings(|set| set.alternates = [OTHER, ALTERNATE].into())).unwrap();
    guard.set(&settings(|set| set.alternates = [ALTERNATE, ANOTHER].into())).unwrap();
    assert_eq!(send(&guard, &from(OTHER)), Err(Counter::MacForeign));
    assert_eq!(send(&guard, &from(ALTERNATE)), PASSES);
    assert_eq!(send(&guard, &from(ANOTHER)), PASSES);
    guard.set(&custom(1, 1)).unwrap();
    assert_eq!(send(&guard, &from(OTHER)), PASSES);
    guard.set(&Settings::new(OWN)).unwrap();
    assert_eq!(guard.in_use().unwrap(), InUse { macs: 0, vlans: 0 }, "a guest without custom has none");
    assert_eq!(send(&guard, &from(OTHER)), Err(Counter::MacForeign));
}

#[test]
fn limits_below_what_is_in_use_are_refused_and_change_nothing() {
    let mut guard = Guard::load(&custom(3, 3)).unwrap();
    for frame in [from(OTHER), from(ANOTHER), in_vlan(OWN, 7)] {
        assert_eq!(send(&guard, &frame), PASSES);
    }
    let refused = guard.set(&custom(1, 3));
    assert!(matches!(refused, Err(Error::InUse(InUse { macs: 2, vlans: 1 }))), "{refused:?}");
    assert_eq!(send(&guard, &from(PEER)), PASSES, "the limit is still three");
    guard.set(&custom(3, 1)).unwrap();
}

#[test]
fn settings_out_of_range_are_refused() {
    let wrong = [
        Settings::new(GROUP),
        Settings::new(MacAddr([0; 6])),
        settings(|set| set.alternates = (0..65).map(|number| MacAddr([2, 0, 0, 0, 0, number])).collect()),
        settings(|set| set.alternates = [MacAddr::BROADCAST].into()),
        settings(|set| set.vlans = [0].into()),
        settings(|set| set.vlans = [4095].into()),
        settings(|set| set.allowed_ips = (0..257).map(|number| Ipv4Addr::from_bits(number).into()).collect()),
        settings(|set| set.maxbw = Some(999)),
        settings(|set| set.maxbw = Some(dlmp_guard::MAX_BANDWIDTH + 1)),
        settings(|set| set.cos = Some(8)),
        custom(0, 1),
        custom(1, 0),
        custom(4097, 1),
        custom(1, 4095),
    ];
    for settings in wrong {
        let refused = Guard::load(&settings).err();
        assert!(matches!(refused, Some(Error::Settings(_))), "{settings:?}: {refused:?}");
    }
}

fn any_mac() -> impl Strategy<Value = MacAddr> {
    let number = (0..8u8).prop_map(|number| MacAddr([2, 0, 0, 0, 0, number]));
    prop_oneof![Just(OWN), Just(OWN), Just(ALTERNATE), Just(GROUP), Just(LINK_LOCAL), Just(MacAddr([0; 6])), number]
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(IPV4), Just(IPV6), Just(ARP), Just(RARP), Just(CONTROL), Just(VLAN)];
    let ipv4_source = prop_oneof![Just(OWN_IP), Just(OTHER_IP), Just(Ipv4Addr::UNSPECIFIED)];
    let ipv6_source = prop_oneof![Just(OWN_IPV6), Just(OTHER_IPV6), Just(OWN_LOCAL), Just(Ipv6Addr::UNSPECIFIED)];
    let port = prop_oneof![Just(67u16), Just(68), Just(546), Just(547), Just(5)];
    let datagram =
        (port.clone(), port, 1..3u8, any_mac()).prop_map(|(from, to, kind, mac)| udp(from, to, &dhcp(kind, mac)));
    let claim = ipv6_source.clone().prop_map(advertisement);
    let noise = proptest::collection::vec(any::<u8>(), 46..90);
    let header = prop_oneof![Just(0u8), Just(43), Just(44), Just(60), Just(UDP), Just(ICMPV6)];
    let carried = prop_oneof![datagram, claim, noise.clone()];
    let carried = (carried, proptest::collection::vec(header.clone(), 0..6))
        .prop_map(|(carried, headers)| headers.into_iter().fold(carried, |rest, next| extension(next, &rest)));
    let fragment = prop_oneof![4 => Just(0u16), 1 => Just(0x2000), 1 => Just(0x2001), 1 => Just(185)];
    let payload = prop_oneof![
        (ipv4_source.clone(), prop_oneof![Just(UDP), Just(6)], fragment, carried.clone())
            .prop_map(|(source, protocol, fragment, rest)| (IPV4, ipv4(source, protocol, fragment, &rest))),
        (ipv6_source, header, carried).prop_map(|(source, next, rest)| (IPV6, ipv6(source, next, &rest))),
        (ipv4_source, any_mac()).prop_map(|(sender, mac)| (ARP, arp(1, mac, sender))),
        (kind, noise),
    ];
    let tag = prop_oneof![Just(VLAN), Just(VLAN), Just(VLAN), Just(PROVIDER_VLAN)];
    let tci = prop_oneof![0..6u16, Just(4095), Just(0xe003)];
    let tags = prop_oneof![3 => Just(vec![]), 3 => proptest::collection::vec((tag, tci), 1..3)];
    (any_mac(), any_mac(), payload, tags).prop_map(|(destination, source, (kind, payload), tags)| {
        tags.into_iter()
            .fold(frame(destination, source, kind, &payload), |frame, (kind, tci)| tagged(&frame, kind, tci))
    })
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let limits = proptest::option::of((1..4u32, 1..4u32).prop_map(|(macs, vlans)| Limits { macs, vlans }));
    (any::<[bool; 5]>(), limits, proptest::collection::btree_set(1..6u16, 0..4)).prop_map(
        |([mac_nospoof, ip_nospoof, dhcp_nospoof, restricted, alternate], custom, vlans)| {
            settings(|set| {
                set.protection = Protection { mac_nospoof, ip_nospoof, dhcp_nospoof, restricted };
                set.allowed_ips = [OWN_IP.into(), OWN_IPV6.into()].into();
                set.alternates.extend(alternate.then_some(ALTERNATE));
                set.custom = custom;
                set.vlans = vlans;
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn programs_and_model_agree_on_every_sequence(
        settings in any_settings(),
        frames in proptest::collection::vec(any_frame(), 1..150),
    ) {
        let guard = Guard::load(&settings).unwrap();
        let mut model = Model::new(settings);
        for frame in frames {
            prop_assert_eq!(send(&guard, &frame), model.judge(&frame), "{:02x?}", frame);
        }
        let in_use = guard.in_use().unwrap();
        prop_assert_eq!(in_use, InUse { macs: model.macs.len() as u64, vlans: model.vlans.len() as u64 });
    }
}
