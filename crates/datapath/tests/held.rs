//! Held reports and groups that a new daemon takes over, with the programs attached to links.
//!
//! Needs root and a kernel with BPF. Each test has a network namespace of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod both;

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use dlmp_datapath::bpf::{Attachment, Bpf, Entry, Served};
use dlmp_datapath::{ALIVE, ClientAddress, Counter, Datapath, SlotIndex};
use dlmp_netlink::{Link, Netlink};
use dlmp_testbed::Namespace;
use dlmp_wire::ethernet::Frame;
use dlmp_wire::{MacAddr, membership};
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, socket};

use both::reports::{igmp_old, mac4};
use both::{CLIENT, NET0, STRANGER, frame, port_mac};

const TC_ACT_REDIRECT: u32 = 7;
/// A frame that the link itself sent (PACKET_OUTGOING, linux/if_packet.h).
const OUTGOING: u8 = 4;

/// Runs a test in a namespace with the link of an aggregation and its lower end.
fn scene(test: impl AsyncFnOnce(Netlink, Link, Link) + Send) {
    let namespace = Namespace::new("dlmph", "held").unwrap();
    namespace.without_ipv6().unwrap();
    namespace
        .ip(&format!("link add name aggr0 address {CLIENT} type veth peer name dlmp0\nlink set dev dlmp0 up\nlink set dev aggr0 up\n\
             address add 192.0.2.1/24 dev aggr0"))
        .unwrap();
    namespace
        .enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let netlink = Netlink::connect().unwrap();
                let aggr0 = netlink.link("aggr0").await.unwrap().unwrap();
                let dlmp0 = netlink.link("dlmp0").await.unwrap().unwrap();
                test(netlink, aggr0, dlmp0).await;
            });
        })
        .unwrap();
}

/// The datapath of that link, with one port, from which groups are taken.
fn datapath(link: &Link, lower: &Link) -> Bpf {
    let served = Served {
        name: link.name.clone(),
        ifindex: link.index,
        lower: lower.index,
        lower_name: lower.name.clone(),
        netns_cookie: 1,
    };
    let mut bpf = Bpf::load(served, Attachment::Clsact).unwrap();
    bpf.set_port(NET0, 100, port_mac(NET0)).unwrap();
    bpf.set_client(ClientAddress { mac: CLIENT, vlan: 0 }, SlotIndex::PRIMARY).unwrap();
    bpf.set_multicast_port(Some(NET0)).unwrap();
    // The test run takes links that exist: this one stands for the port.
    bpf.alias_ifindex(lower.index, NET0).unwrap();
    bpf
}

fn takes(bpf: &mut Bpf, lower: &Link, group: MacAddr) -> bool {
    let (verdict, ..) = bpf.test_run(Entry::Port(lower.index), &frame(group, STRANGER, &[8, 0, 0x45]), 1).unwrap();
    verdict == TC_ACT_REDIRECT
}

fn held(bpf: &Bpf) -> u64 {
    bpf.aggregation_counters().unwrap().get(Counter::TxReportHeld)
}

#[test]
fn a_held_report_arrives_at_the_lower_end_as_it_was_sent_and_its_group_is_wanted() {
    scene(async |netlink, aggr0, dlmp0| {
        let mut bpf = datapath(&aggr0, &dlmp0);
        bpf.attach_link(&netlink).await.unwrap();
        bpf.set_alive(true).unwrap();
        let listener =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll).unwrap();
        assert!(!takes(&mut bpf, &dlmp0, mac4(7)));
        let member = UdpSocket::bind("0.0.0.0:0").unwrap();
        member.join_multicast_v4(&Ipv4Addr::new(239, 1, 0, 7), &Ipv4Addr::new(192, 0, 2, 1)).unwrap();
        let mut bytes = [0; 2048];
        let mut waits = 0;
        let report = loop {
            assert!(waits < 30_000, "no report has arrived");
            match recvfrom::<LinkAddr>(listener.as_raw_fd(), &mut bytes) {
                Ok((len, Some(from))) if from.ifindex() == dlmp0.index as usize && from.pkttype() != OUTGOING => {
                    let frame = Frame::parse(&bytes[..len]).unwrap();
                    if membership::changes(&frame).any(|change| change.group == Ipv4Addr::new(239, 1, 0, 7)) {
                        break frame;
                    }
                }
                Ok(_) => {}
                Err(_) => {
                    waits += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        };
        assert_eq!(report.source(), CLIENT);
        assert!(held(&bpf) > 0);
        assert!(takes(&mut bpf, &dlmp0, mac4(7)));
    });
}

#[test]
fn a_sign_of_life_holds_reports_for_a_while() {
    scene(async |_, aggr0, dlmp0| {
        let mut bpf = datapath(&aggr0, &dlmp0);
        let report = igmp_old(CLIENT, 0x16, 7);
        let is_held = |bpf: &mut Bpf| {
            let before = held(bpf);
            bpf.test_run(Entry::Link, &report, 1).unwrap();
            held(bpf) > before
        };
        assert!(!is_held(&mut bpf), "before the first");
        // A machine that stands still between the two calls proves nothing.
        let any_held = (0..1000).any(|_| {
            bpf.sign_of_life().unwrap();
            is_held(&mut bpf)
        });
        assert!(any_held);
        bpf.sign_of_life().unwrap();
        std::thread::sleep(ALIVE);
        assert!(!is_held(&mut bpf), "after the last");
    });
}

#[test]
fn a_new_daemon_takes_groups_over_and_forgets_those_that_nobody_claims() {
    scene(async |netlink, aggr0, dlmp0| {
        let (claimed, unclaimed, joined, never) = (mac4(1), mac4(2), mac4(7), mac4(8));
        let mut old = datapath(&aggr0, &dlmp0);
        old.attach_link(&netlink).await.unwrap();
        old.admit(claimed).unwrap();
        old.admit(unclaimed).unwrap();
        old.test_run(Entry::Link, &igmp_old(CLIENT, 0x16, 7), 1).unwrap();
        drop(old);

        let mut new = datapath(&aggr0, &dlmp0);
        let previous = new.previous(&netlink).await.unwrap().expect("the old programs are attached");
        new.restore_groups(&previous).unwrap();
        for group in [claimed, unclaimed, joined] {
            assert!(takes(&mut new, &dlmp0, group));
        }
        assert!(!takes(&mut new, &dlmp0, never));
        new.admit(claimed).unwrap();
        new.forget_restored_groups().unwrap();
        assert!(takes(&mut new, &dlmp0, claimed));
        for group in [unclaimed, joined] {
            assert!(!takes(&mut new, &dlmp0, group));
        }
    });
}

#[test]
fn a_new_daemon_knows_how_many_groups_ports_were_found_to_hold() {
    scene(async |netlink, aggr0, dlmp0| {
        let mut old = datapath(&aggr0, &dlmp0);
        old.attach_link(&netlink).await.unwrap();
        for (noted, known) in [(Some(0), Some(0)), (Some(64), Some(64)), (Some(1_000_000), Some(65_534)), (None, None)]
        {
            old.note_room(NET0, noted).unwrap();
            let new = datapath(&aggr0, &dlmp0);
            let previous = new.previous(&netlink).await.unwrap().expect("the old programs are attached");
            assert_eq!(previous.rooms.get(&dlmp0.index).copied(), known);
        }
    });
}

#[test]
fn a_new_daemon_takes_over_that_every_group_is_wanted() {
    scene(async |netlink, aggr0, dlmp0| {
        let mut old = datapath(&aggr0, &dlmp0);
        old.attach_link(&netlink).await.unwrap();
        old.set_all_multicast(true).unwrap();
        let mut new = datapath(&aggr0, &dlmp0);
        let previous = new.previous(&netlink).await.unwrap().expect("the old programs are attached");
        new.restore_groups(&previous).unwrap();
        assert!(takes(&mut new, &dlmp0, mac4(1)));
        new.set_all_multicast(false).unwrap();
        assert!(!takes(&mut new, &dlmp0, mac4(1)));
    });
}
