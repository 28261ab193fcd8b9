//! Multicast filters and lists are what the kernel says they are.

// Whatever fails here fails the test.
#![allow(clippy::expect_used)]

mod common;

use std::collections::HashSet;
use std::net::Ipv4Addr;

use common::{in_namespace, ip, run};
use dlmp_netlink::{GroupEvents, MulticastFilter, MulticastList, MulticastReader, Netlink};
use dlmp_wire::MacAddr;

/// Group addresses that nobody else uses, all different.
fn groups(count: u32) -> Vec<MacAddr> {
    let group = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        MacAddr([0x03, 0, 0x44, a, b, c])
    };
    (0..count).map(group).collect()
}

fn all(groups: &[MacAddr], wanted: bool) -> Vec<(MacAddr, bool)> {
    groups.iter().map(|&group| (group, wanted)).collect()
}

fn read(index: u32, most: usize) -> MulticastList {
    MulticastReader::open().and_then(|mut reader| reader.read(index, most)).expect("the kernel lists")
}

/// The kernel's list of a link.
fn list(index: u32) -> HashSet<MacAddr> {
    read(index, usize::MAX).groups.into_iter().collect()
}

#[test]
fn many_addresses_are_added_and_taken_out_and_what_is_done_already_is_no_refusal() {
    in_namespace(|| async {
        ip("link add net0 index 50 type veth peer name net1");
        let mut filter = MulticastFilter::open().unwrap();
        let groups = groups(5000);
        let before = list(50);
        for _ in 0..2 {
            assert!(filter.change(50, &all(&groups, true)).unwrap().refused.is_empty());
            let now = list(50);
            assert_eq!(now.len(), before.len() + groups.len());
            assert!(groups.iter().all(|group| now.contains(group)));
        }
        for _ in 0..2 {
            assert!(filter.change(50, &all(&groups, false)).unwrap().refused.is_empty());
            assert_eq!(list(50), before);
        }
        assert!(filter.change(50, &[]).unwrap().refused.is_empty());
    });
}

#[test]
fn changes_are_made_in_their_order() {
    in_namespace(|| async {
        ip("link add net0 index 50 type veth peer name net1");
        let mut filter = MulticastFilter::open().unwrap();
        let [one, two] = groups(2)[..] else { panic!() };
        filter.change(50, &[(one, true), (two, true), (one, false)]).unwrap();
        assert!(list(50).contains(&two) && !list(50).contains(&one));
        filter.change(50, &[(two, false), (two, true)]).unwrap();
        assert!(list(50).contains(&two));
    });
}

#[test]
fn only_what_was_added_is_taken_out_whoever_added_it() {
    in_namespace(|| async {
        ip("link add net0 index 50 type veth peer name net1");
        ip("link set net0 up");
        // Every IPv4 link that is up has it.
        let joined: MacAddr = "01:00:5e:00:00:01".parse().unwrap();
        ip("link add link net0 name macvlan0 type macvlan");
        ip("link set macvlan0 up");
        ip("maddress add 33:33:00:0a:0b:0c dev macvlan0");
        ip("maddress add 33:33:00:01:02:03 dev net0");
        let [above, other]: [MacAddr; 2] = ["33:33:00:0a:0b:0c", "33:33:00:01:02:03"].map(|mac| mac.parse().unwrap());
        let added = groups(1)[0];
        let mut filter = MulticastFilter::open().unwrap();
        let outcome = filter.change(50, &all(&[joined, added], true)).unwrap();
        assert_eq!(outcome.present, [joined]);
        let before = list(50);
        assert!(before.is_superset(&HashSet::from([joined, above, other, added])));
        let taken = filter.take_out_added(50, &before.iter().copied().collect::<Vec<_>>()).unwrap();
        assert_eq!(taken, 2);
        assert_eq!(list(50), &before - &HashSet::from([other, added]));
        assert_eq!(filter.take_out_added(4711, &[added]).unwrap_err().errno(), Some(libc::ENODEV));
    });
}

#[test]
fn of_a_long_list_no_more_is_read_than_is_asked_for() {
    in_namespace(|| async {
        ip("link add net0 index 50 type veth peer name net1");
        ip("link add net2 index 52 type veth peer name net3");
        let (mut filter, added) = (MulticastFilter::open().unwrap(), groups(3000));
        filter.change(50, &all(&added, true)).unwrap();
        filter.change(52, &all(&added[..200], true)).unwrap();
        let groups = read(50, usize::MAX).groups;
        let mut reader = MulticastReader::open().unwrap();
        for _ in 0..3 {
            let few = reader.read(50, 100).unwrap();
            assert_eq!((few.groups.len(), few.more), (100, true));
            let most = reader.read(50, groups.len() - 1).unwrap();
            assert_eq!((most.groups.len(), most.more, most.piecemeal), (groups.len() - 1, true, true));
            let whole = reader.read(50, groups.len()).unwrap();
            assert_eq!((&whole.groups, whole.more, whole.piecemeal), (&groups, false, true));
            let other = reader.read(52, 3000).unwrap();
            assert!(other.groups.ends_with(&added[..200]) && !other.more && !other.piecemeal);
            assert_eq!(reader.read(4711, 10).unwrap(), MulticastList::default());
        }
    });
}

#[test]
fn the_list_of_a_port_of_a_bridge_has_nothing_of_the_bridges() {
    in_namespace(|| async {
        ip("link add net0 index 50 type veth peer name net1");
        ip("link add br0 type bridge");
        ip("link set net0 master br0");
        run("bridge fdb add 02:00:00:00:00:01 dev net0 master static");
        ip("maddress add 33:33:00:01:02:03 dev net0");
        assert!(list(50).contains(&"33:33:00:01:02:03".parse().unwrap()));
        assert!(list(50).iter().all(|mac| mac.is_group()));
    });
}

#[test]
fn what_is_refused_comes_back_with_the_reason_and_the_rest_is_done() {
    in_namespace(|| async {
        // A bridge refuses the address of nobody.
        ip("link add br0 index 50 type bridge");
        let mut filter = MulticastFilter::open().unwrap();
        let [one, two] = groups(2)[..] else { panic!() };
        let refused = filter.change(50, &[(one, true), (MacAddr::default(), true), (two, true)]).unwrap().refused;
        let refused: Vec<_> = refused.iter().map(|(mac, error)| (*mac, error.raw_os_error())).collect();
        assert_eq!(refused, [(MacAddr::default(), Some(libc::EINVAL))]);
        let entries = run("bridge fdb show dev br0");
        assert!(entries.contains(&one.to_string()) && entries.contains(&two.to_string()), "{entries}");
    });
}

#[test]
fn a_link_that_refuses_everything_is_told_for_each_address() {
    in_namespace(|| async {
        let mut filter = MulticastFilter::open().unwrap();
        let groups = groups(1000);
        // The loopback is no Ethernet link.
        let refused = filter.change(1, &all(&groups, true)).unwrap().refused;
        let addresses: Vec<_> = refused.iter().map(|(mac, _)| *mac).collect();
        assert_eq!(addresses, groups);
    });
}

#[test]
fn a_link_that_is_not_there_is_one_error_and_the_socket_works_on() {
    in_namespace(|| async {
        ip("link add net0 index 50 type veth peer name net1");
        let mut filter = MulticastFilter::open().unwrap();
        let groups = groups(300);
        for _ in 0..2 {
            let error = filter.change(4711, &all(&groups, true)).unwrap_err();
            assert_eq!(error.errno(), Some(libc::ENODEV));
            assert!(error.to_string().contains("link 4711"), "{error}");
        }
        assert!(filter.change(50, &all(&groups, true)).unwrap().refused.is_empty());
        assert!(groups.iter().all(|group| list(50).contains(group)));
    });
}

#[test]
fn the_lists_are_those_of_the_threads_own_namespace() {
    in_namespace(|| async {
        ip("link add net0 index 50 type veth peer name net1");
        ip("link set net0 up");
        ip("maddress add 33:33:00:01:02:03 dev net0");
        assert!(list(50).contains(&"33:33:00:01:02:03".parse().unwrap()));

        let other = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            !list(50).is_empty()
        });
        assert!(!other.join().unwrap());
        assert!(list(50).contains(&"33:33:00:01:02:03".parse().unwrap()));
    });
}

#[test]
fn all_multicast_is_set_and_seen_whoever_asked_for_it() {
    in_namespace(|| async {
        ip("link add net0 index 50 type veth peer name net1");
        let netlink = Netlink::connect().unwrap();
        let modes = async || {
            let link = netlink.link("net0").await.unwrap().unwrap();
            (link.all_multicast, link.promiscuous)
        };
        assert_eq!(modes().await, (false, false));
        netlink.set_all_multicast(50, true).await.unwrap();
        assert_eq!(modes().await, (true, false));
        assert!(run("ip link show net0").contains("ALLMULTI"));
        netlink.set_all_multicast(50, false).await.unwrap();
        assert_eq!(modes().await, (false, false));

        ip("link set net0 promisc on");
        assert_eq!(modes().await, (false, true));
        ip("link set net0 promisc off");
        // A bridge asks its ports for both, without their flags.
        ip("link add br0 type bridge");
        ip("link set net0 master br0");
        assert_eq!(modes().await, (true, true));
        ip("link set net0 nomaster");
        assert_eq!(modes().await, (false, false));

        let error = netlink.set_all_multicast(4711, true).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV));
    });
}

#[test]
fn joining_and_leaving_a_group_names_the_link() {
    in_namespace(|| async {
        ip("link add net0 index 50 type veth peer name net1");
        // IPv6 joins nothing more then.
        ip("link set net0 addrgenmode none");
        ip("link set net0 up");
        ip("address add 192.0.2.1/24 dev net0");
        // A kernel before 6.14 tells nothing: there is nothing to see then.
        let Some(mut events) = GroupEvents::open().unwrap() else { return };
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let (group, near) = (Ipv4Addr::new(239, 1, 2, 3), Ipv4Addr::new(192, 0, 2, 1));

        socket.join_multicast_v4(&group, &near).unwrap();
        assert_eq!(events.next().await, Some(50));
        assert!(list(50).contains(&MacAddr::group(group.into())));
        socket.leave_multicast_v4(&group, &near).unwrap();
        assert_eq!(events.next().await, Some(50));
        assert!(!list(50).contains(&MacAddr::group(group.into())));
    });
}
