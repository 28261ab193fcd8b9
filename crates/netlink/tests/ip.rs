//! Addresses, default routes and the IPv6 switch of a link.

// A failure of the helpers below fails the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, Ipv4Addr};

use common::{OtherNamespace, in_namespace, ip, run};
use dlmp_netlink::{Address, Lifetime, Netlink, Route, ipv6, namespace};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A connection, and the index of the link `net0`, which is up.
async fn with_net0() -> (Netlink, u32) {
    let netlink = Netlink::connect().unwrap();
    ip("link add net0 type veth peer name net1");
    ip("link set net0 up");
    ip("link set net1 up");
    let index = netlink.link("net0").await.unwrap().unwrap().index;
    (netlink, index)
}

async fn find(netlink: &Netlink, index: u32, address: IpAddr) -> Option<Address> {
    let addresses = netlink.addresses().await.unwrap();
    addresses.into_iter().find(|a| a.index == index && a.address == address)
}

#[test]
fn an_address_is_there_until_it_is_deleted() {
    in_namespace(|| async {
        let (netlink, index) = with_net0().await;
        for (address, prefix_len) in [(ADDRESS, 24), ("2001:db8::10".parse().unwrap(), 64)] {
            netlink.add_address(index, address, prefix_len, Lifetime::Forever).await.unwrap();
            let found = find(&netlink, index, address).await.unwrap();
            assert_eq!(found.prefix_len, prefix_len);
            assert!(!found.link_local && !found.kernel_made && !found.duplicate);

            // Twice: one that is gone is no error.
            for _ in 0..2 {
                netlink.delete_address(index, address, prefix_len).await.unwrap();
                assert_eq!(find(&netlink, index, address).await, None);
            }
        }
    });
}

#[test]
fn an_ipv4_address_has_the_broadcast_address_of_its_network() {
    in_namespace(|| async {
        let (netlink, index) = with_net0().await;
        netlink.add_address(index, ADDRESS, 20, Lifetime::Forever).await.unwrap();
        let shown = run("ip -4 address show dev net0");
        assert!(shown.contains("192.0.2.10/20 brd 192.0.15.255"), "{shown}");
    });
}

#[test]
fn a_renewal_changes_only_the_lifetime() {
    in_namespace(|| async {
        let (netlink, index) = with_net0().await;
        netlink.add_address(index, ADDRESS, 24, Lifetime::Seconds(1000)).await.unwrap();
        netlink.add_address(index, ADDRESS, 24, Lifetime::Seconds(5000)).await.unwrap();
        let shown = run("ip -4 address show dev net0");
        assert_eq!(shown.matches("inet ").count(), 1, "{shown}");
        assert!(shown.contains("valid_lft 5000sec") || shown.contains("valid_lft 4999sec"), "{shown}");

        netlink.add_address(index, ADDRESS, 24, Lifetime::Forever).await.unwrap();
        assert!(run("ip -4 address show dev net0").contains("valid_lft forever"));
    });
}

#[test]
fn the_kernels_own_link_local_address_is_marked() {
    in_namespace(|| async {
        let (netlink, index) = with_net0().await;
        let addresses = netlink.addresses().await.unwrap();
        let own: Vec<_> = addresses.iter().filter(|a| a.index == index).collect();
        assert_eq!(own.len(), 1, "{own:?}");
        assert!(own[0].kernel_made && own[0].link_local && own[0].address.is_ipv6());
    });
}

#[test]
fn a_wrong_address_is_refused_by_name() {
    in_namespace(|| async {
        let (netlink, index) = with_net0().await;
        for (address, prefix_len) in [(ADDRESS, 33), ("2001:db8::10".parse().unwrap(), 129)] {
            let result = netlink.add_address(index, address, prefix_len, Lifetime::Forever).await;
            let error = result.unwrap_err().to_string();
            assert!(error.contains(&format!("{address}/{prefix_len}")), "{error}");
        }
    });
}

#[test]
fn a_default_route_is_there_until_it_is_deleted() {
    in_namespace(|| async {
        let (netlink, index) = with_net0().await;
        netlink.add_address(index, ADDRESS, 24, Lifetime::Forever).await.unwrap();
        // Twice each: what is done already is no error.
        for _ in 0..2 {
            netlink.add_default_route(index, GATEWAY).await.unwrap();
            let shown = run("ip route show default");
            assert_eq!(shown.trim(), "default via 192.0.2.1 dev net0 proto dhcp onlink");
        }
        for _ in 0..2 {
            netlink.delete_default_route(index, GATEWAY).await.unwrap();
            assert_eq!(run("ip route show default"), "");
        }
    });
}

#[test]
fn another_default_route_in_the_way_is_an_error_and_stays() {
    in_namespace(|| async {
        let (netlink, index) = with_net0().await;
        netlink.add_address(index, ADDRESS, 24, Lifetime::Forever).await.unwrap();
        ip("link add net8 type veth peer name net9");
        ip("link set net8 up");
        ip("address add 198.51.100.2/24 dev net8");
        ip("route add default via 198.51.100.1");
        let error = netlink.add_default_route(index, GATEWAY).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST), "{error}");
        assert!(run("ip route show default").starts_with("default via 198.51.100.1 dev net8"));
    });
}

#[test]
fn a_router_outside_the_network_of_the_link_can_be_the_default() {
    in_namespace(|| async {
        let (netlink, index) = with_net0().await;
        (netlink.add_address(index, ADDRESS, 32, Lifetime::Forever)).await.unwrap();
        netlink.add_default_route(index, GATEWAY).await.unwrap();
        assert!(run("ip route get 203.0.113.1").contains("via 192.0.2.1 dev net0"));
    });
}

#[test]
fn routes_are_listed_with_every_next_hop() {
    in_namespace(|| async {
        let (netlink, index) = with_net0().await;
        ip("address add 192.0.2.10/24 dev net0");
        ip("route add 203.0.113.0/24 metric 5 nexthop via 192.0.2.1 nexthop via 192.0.2.2");
        ip("route add default via 192.0.2.1 metric 7");
        ip("-6 route add default via fe80::1 dev net0");
        ip("route add 198.51.100.0/24 via 192.0.2.1 table 99");
        ip("route add blackhole 198.51.100.0/24");

        let routes = netlink.routes().await.unwrap();
        let route = |destination: &str, prefix_len, gateway: Option<&str>, metric| Route {
            destination: destination.parse().unwrap(),
            prefix_len,
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            index: Some(index),
            metric,
        };
        let ipv4: Vec<_> = routes.iter().filter(|r| r.destination.is_ipv4()).collect();
        assert_eq!(
            ipv4,
            [
                &route("0.0.0.0", 0, Some("192.0.2.1"), 7),
                &route("192.0.2.0", 24, None, 0),
                &route("203.0.113.0", 24, Some("192.0.2.1"), 5),
                &route("203.0.113.0", 24, Some("192.0.2.2"), 5),
            ]
        );
        // 1024 is IP6_RT_PRIO_USER, the kernel's metric for routes without one.
        assert!(routes.contains(&route("::", 0, Some("fe80::1"), 1024)), "{routes:?}");
    });
}

#[test]
fn ipv6_is_switched_off_and_on() {
    in_namespace(|| async {
        let (netlink, index) = with_net0().await;
        assert_eq!(ipv6::disabled("net0").unwrap(), Some(false));
        ipv6::set_disabled("net0", true).unwrap();
        assert_eq!(ipv6::disabled("net0").unwrap(), Some(true));
        assert!(netlink.addresses().await.unwrap().iter().all(|a| a.index != index));
        ipv6::set_disabled("net0", false).unwrap();
        assert_eq!(ipv6::disabled("net0").unwrap(), Some(false));
    });
}

#[test]
fn the_ipv6_switch_of_no_link_is_none() {
    in_namespace(|| async {
        // `all` and `../default` would be switches of the whole namespace.
        for name in ["net0", "", "all", "default", "../conf/default", ".."] {
            assert_eq!(ipv6::disabled(name).unwrap(), None, "{name:?}");
            ipv6::set_disabled(name, true).unwrap();
        }
        assert_eq!(run("sysctl -n net.ipv6.conf.default.disable_ipv6").trim(), "0");
    });
}

#[test]
fn every_namespace_has_a_cookie_of_its_own() {
    let outside = namespace::cookie().unwrap();
    assert_eq!(namespace::cookie().unwrap(), outside);
    in_namespace(|| async move {
        let inside = namespace::cookie().unwrap();
        assert_ne!(inside, outside);
        // The cookie is that of the socket's namespace: making another one changes nothing.
        let _other = OtherNamespace::new();
        assert_eq!(namespace::cookie().unwrap(), inside);
    });
}
