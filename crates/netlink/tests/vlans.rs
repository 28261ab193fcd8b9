//! What a link's driver is told of VLANs: features, VLAN devices and promiscuous mode, as `ethtool` and `ip` see them.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod common;

use std::process::Command;

use common::{in_namespace, ip, run};
use dlmp_netlink::Netlink;
use dlmp_netlink::ethtool::{Ethtool, Feature, VLAN_FILTER};

/// A feature as `ethtool -k` prints it.
fn printed(link: &str, name: &str) -> Feature {
    let text = run(&format!("ethtool -k {link}"));
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}: "))).unwrap();
    Feature { on: line.starts_with("on"), switchable: !line.contains("[fixed]") }
}

#[test]
fn features_are_as_ethtool_prints_them_and_those_that_are_not_fixed_can_be_switched() {
    in_namespace(|| async {
        ip("link add net0 type veth peer name far0");
        let ethtool = Ethtool::open().unwrap();
        for name in [VLAN_FILTER, "tx-vlan-hw-insert", "rx-gro", "rx-gro-hw", "tx-lockless", "highdma"] {
            let text = run("ethtool -k net0");
            // `ethtool` has other names for the oldest.
            if text.contains(&format!("{name}: ")) {
                assert_eq!(ethtool.feature("net0", name).unwrap(), printed("net0", name), "{name}");
            }
        }
        for name in ["tx-vlan-stag-hw-insert", "tx-udp-segmentation"] {
            for on in [false, true, true] {
                ethtool.set_feature("net0", name, on).unwrap();
                assert_eq!(printed("net0", name), Feature { on, switchable: true }, "{name}");
            }
        }
        let refused = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
        assert_eq!(refused(ethtool.set_feature("net0", VLAN_FILTER, true)), Some(libc::EOPNOTSUPP));
        assert_eq!(refused(ethtool.feature("net0", "rx-nonsense").map(drop)), Some(libc::EOPNOTSUPP));
        assert_eq!(refused(ethtool.feature("net7", VLAN_FILTER).map(drop)), Some(libc::ENODEV));
    });
}

#[test]
fn a_vlan_device_is_down_and_stays_so_when_its_link_goes_up() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        ip("link add net0 type veth peer name far0");
        let port = netlink.link("net0").await.unwrap().unwrap().index;
        let attempt = "link add link far0 name attempt type vlan id 7";
        if !Command::new("ip").args(attempt.split(' ')).status().unwrap().success() {
            // A kernel without 802.1Q.
            let error = netlink.create_vlan(port, 7, "dlmpv%d").await.unwrap_err();
            assert_eq!(error.errno(), Some(libc::EOPNOTSUPP), "{error}");
            assert_eq!(netlink.vlan_devices().await.unwrap(), []);
            return;
        }
        for vlan in [7, 4094] {
            netlink.create_vlan(port, vlan, "dlmpv%d").await.unwrap();
        }
        let error = netlink.create_vlan(port, 7, "dlmpv%d").await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST), "{error}");
        netlink.set_up(port, true).await.unwrap();
        let devices = netlink.vlan_devices().await.unwrap();
        let seen = devices.iter().filter(|device| device.peer_index == Some(port));
        let seen: Vec<_> = seen.map(|device| (device.name.as_str(), device.vlan, device.admin_up)).collect();
        assert_eq!(seen, [("dlmpv0", Some(7), false), ("dlmpv1", Some(4094), false)]);
        ip("link add link net0 name other type vlan proto 802.1ad id 9");
        assert_eq!(netlink.link("other").await.unwrap().unwrap().vlan, Some(0), "not 802.1Q");
    });
}

#[test]
fn promiscuous_mode_is_told_apart_from_what_programs_ask_for() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        ip("link add net0 type veth peer name far0");
        ip("link add br0 type bridge");
        let seen = || async {
            let link = netlink.link("net0").await.unwrap().unwrap();
            (link.promiscuous, link.promiscuous_flag)
        };
        let port = netlink.link("net0").await.unwrap().unwrap().index;
        ip("link set net0 master br0");
        assert_eq!(seen().await, (true, false), "a bridge");
        netlink.set_promiscuous(port, true).await.unwrap();
        assert_eq!(seen().await, (true, true));
        netlink.set_promiscuous(port, false).await.unwrap();
        assert_eq!(seen().await, (true, false), "the bridge still does");
        ip("link set net0 nomaster");
        assert_eq!(seen().await, (false, false));
    });
}
