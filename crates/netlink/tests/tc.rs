//! BPF filters on a link are found and removed.

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::{in_namespace, ip, run};
use dlmp_netlink::{Direction, FilterPlace, Netlink};

/// Adds a filter that is only a return, in the old BPF that needs no compiler.
fn add_filter(direction: &str, priority: u16, handle: u32) {
    let place = format!("filter add dev net0 {direction} prio {priority} handle {handle}");
    let status = Command::new("tc").args(place.split_whitespace()).args(["bpf", "bytecode", "1,6 0 0 0,"]).status();
    assert!(status.is_ok_and(|status| status.success()));
}

#[test]
fn filters_are_listed_by_direction_priority_and_handle() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        ip("link add net0 type bridge");
        let index = netlink.link("net0").await.unwrap().unwrap().index;
        assert_eq!(netlink.bpf_filters(index, Direction::Ingress).await.unwrap(), []);

        run("tc qdisc add dev net0 clsact");
        add_filter("ingress", 7, 1);
        add_filter("ingress", 7, 2);
        add_filter("egress", 9, 3);
        let found = async |direction| {
            let filters = netlink.bpf_filters(index, direction).await.unwrap();
            // The kernel lists the filters of one priority in no promised order.
            let numbers = filters.iter().map(|filter| (filter.priority, filter.handle));
            BTreeSet::from_iter(numbers)
        };
        assert_eq!(found(Direction::Ingress).await, BTreeSet::from([(7, 1), (7, 2)]));
        assert_eq!(found(Direction::Egress).await, BTreeSet::from([(9, 3)]));

        // Twice: a clsact that is gone is no error.
        for _ in 0..2 {
            netlink.delete_clsact(index).await.unwrap();
            assert_eq!(found(Direction::Ingress).await, BTreeSet::new());
        }
    });
}

#[test]
fn the_last_filter_that_is_deleted_takes_clsact_along() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        ip("link add net0 type bridge");
        let index = netlink.link("net0").await.unwrap().unwrap().index;
        run("tc qdisc add dev net0 clsact");
        add_filter("ingress", 7, 1);
        add_filter("egress", 7, 1);
        let place = FilterPlace { priority: 7, handle: 1 };
        for (direction, left) in [(Direction::Ingress, 1), (Direction::Ingress, 1), (Direction::Egress, 0)] {
            netlink.delete_bpf_filter(index, direction, place).await.unwrap();
            assert_eq!(netlink.filter_count(index).await.unwrap(), left);
        }
        assert!(!run("tc qdisc show dev net0").contains("clsact"));
    });
}
