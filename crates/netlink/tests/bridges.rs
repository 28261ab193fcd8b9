//! Bridges are made, get ports and VLANs, as `bridge` and `ip` see them.
//!
//! Whether the kernel can filter VLANs, `ip` tells; where it cannot, the refusal is what is tested.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod common;

use std::process::Command;

use common::{in_namespace, ip, run};
use dlmp_netlink::{Error, Netlink, NewBridge, PortVlan};
use dlmp_wire::MacAddr;

const MAC: MacAddr = MacAddr([0x00, 0x14, 0x4f, 0xf8, 0x00, 0x01]);

fn vsw0() -> NewBridge {
    NewBridge { mac: MAC, mtu: 1500, vlan_filtering: false, default_pvid: None }
}

fn kernel_filters_vlans() -> bool {
    let attempt = "link add attempt type bridge vlan_filtering 1";
    let output = Command::new("ip").args(attempt.split(' ')).output().unwrap();
    if output.status.success() {
        ip("link delete attempt");
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("Operation not supported"), "{complaint}");
    }
    output.status.success()
}

fn assert_unsupported<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert_eq!(result.unwrap_err().errno(), Some(libc::EOPNOTSUPP));
}

/// A bridge and a port of it, by their indexes.
async fn bridge_with_port(netlink: &Netlink, new: NewBridge) -> (u32, u32) {
    let bridge = netlink.create_bridge("vsw0", new).await.unwrap().index;
    ip("link add port0 type veth peer name far0");
    let port = netlink.link("port0").await.unwrap().unwrap().index;
    netlink.set_master(port, Some(bridge)).await.unwrap();
    (bridge, port)
}

fn vlan(vid: u16, flags: &str) -> PortVlan {
    PortVlan { vid, pvid: flags.contains("PVID"), untagged: flags.contains("Untagged") }
}

#[test]
fn a_bridge_is_as_asked_for_and_down() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let bridge = netlink.create_bridge("vsw0", NewBridge { mtu: 9000, ..vsw0() }).await.unwrap();
        assert_eq!(netlink.link("vsw0").await.unwrap(), Some(bridge.clone()));
        assert_eq!(bridge.kind.as_deref(), Some("bridge"));
        assert_eq!((bridge.mac, bridge.mtu, bridge.admin_up), (Some(MAC), 9000, false));

        let details = run("ip -d link show vsw0");
        for wanted in ["forward_delay 0 ", "stp_state 0 ", "mcast_snooping 0 "] {
            assert!(details.contains(wanted), "{wanted}: {details}");
        }
    });
}

#[test]
fn a_bridge_keeps_its_mac_and_mtu_whatever_ports_it_gets() {
    for mtu in [1500, 1501, 9000] {
        in_namespace(|| async {
            let netlink = Netlink::connect().unwrap();
            let (bridge, port) = bridge_with_port(&netlink, NewBridge { mtu, ..vsw0() }).await;
            let seen = || async {
                let link = netlink.link_by_index(bridge).await.unwrap().unwrap();
                (link.mac, link.mtu)
            };
            assert_eq!(seen().await, (Some(MAC), mtu));
            netlink.set_mtu(port, 1280).await.unwrap();
            assert_eq!(seen().await, (Some(MAC), mtu));
            netlink.set_master(port, None).await.unwrap();
            assert_eq!(seen().await, (Some(MAC), mtu));
        });
    }
}

#[test]
fn a_bridge_that_is_refused_leaves_nothing() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        ip("link add taken type bridge");
        let before = netlink.links().await.unwrap();

        let error = netlink.create_bridge("taken", vsw0()).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST));
        assert!(error.to_string().starts_with("cannot create the bridge taken: "), "{error}");
        for mtu in [0, 67, 65536] {
            let error = netlink.create_bridge("vsw0", NewBridge { mtu, ..vsw0() }).await.unwrap_err();
            assert_eq!(error.errno(), Some(libc::EINVAL), "{mtu}");
        }
        let group = MacAddr([0x01, 0, 0, 0, 0, 1]);
        let error = netlink.create_bridge("vsw0", NewBridge { mac: group, ..vsw0() }).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EADDRNOTAVAIL));
        assert_eq!(netlink.links().await.unwrap(), before);
    });
}

#[test]
fn a_link_becomes_a_port_and_is_let_go() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let (bridge, port) = bridge_with_port(&netlink, vsw0()).await;
        let master = || async { netlink.link_by_index(port).await.unwrap().unwrap().master };
        assert_eq!(master().await, Some(bridge));
        netlink.set_master(port, None).await.unwrap();
        assert_eq!(master().await, None);

        let error = netlink.set_master(bridge, Some(bridge)).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::ELOOP));
        let error = netlink.set_master(port, Some(4711)).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EINVAL));
    });
}

#[test]
fn a_port_is_isolated_and_no_longer() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let (_, port) = bridge_with_port(&netlink, vsw0()).await;
        let details = || run("ip -d link show port0");
        assert!(details().contains("isolated off"));
        netlink.set_isolated(port, true).await.unwrap();
        assert!(details().contains("isolated on"));
        netlink.set_isolated(port, false).await.unwrap();
        assert!(details().contains("isolated off"));

        let far = netlink.link("far0").await.unwrap().unwrap();
        let error = netlink.set_isolated(far.index, true).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot isolate the bridge port "), "{error}");
    });
}

#[test]
fn filtering_is_switched_on_or_refused_for_what_the_kernel_lacks() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let filtering = NewBridge { vlan_filtering: true, default_pvid: Some(7), ..vsw0() };
        if !kernel_filters_vlans() {
            let before = netlink.links().await.unwrap();
            assert_unsupported(netlink.create_bridge("vsw0", filtering).await);
            assert_eq!(netlink.links().await.unwrap(), before);
            // Without filtering a default is as good as none.
            let bridge = netlink.create_bridge("vsw0", NewBridge { default_pvid: Some(7), ..vsw0() }).await.unwrap();
            assert_unsupported(netlink.set_vlan_filtering(bridge.index, true).await);
            return;
        }
        let (bridge, port) = bridge_with_port(&netlink, filtering).await;
        let details = || run("ip -d link show vsw0");
        assert!(details().contains("vlan_filtering 1") && details().contains("vlan_default_pvid 7"), "{}", details());
        assert_eq!(netlink.port_vlans(port).await.unwrap(), [vlan(7, "PVID Untagged")]);
        netlink.set_vlan_filtering(bridge, false).await.unwrap();
        assert!(details().contains("vlan_filtering 0"));
        netlink.set_vlan_filtering(bridge, true).await.unwrap();
        assert!(details().contains("vlan_filtering 1"));
    });
}

#[test]
fn a_port_and_the_bridge_itself_are_put_in_vlans_and_taken_out() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let supported = kernel_filters_vlans();
        let (bridge, port) = bridge_with_port(&netlink, NewBridge { vlan_filtering: supported, ..vsw0() }).await;
        for (index, name) in [(port, "port0"), (bridge, "vsw0")] {
            assert_eq!(netlink.port_vlans(index).await.unwrap(), []);
            if !supported {
                assert_unsupported(netlink.add_port_vlan(index, vlan(5, "")).await);
                netlink.delete_port_vlan(index, 5).await.unwrap();
                assert_eq!(netlink.port_vlans(index).await.unwrap(), []);
                continue;
            }
            let wanted = [vlan(1, "PVID Untagged"), vlan(5, ""), vlan(6, "Untagged"), vlan(4094, "")];
            for vlan in wanted {
                netlink.add_port_vlan(index, vlan).await.unwrap();
            }
            assert_eq!(netlink.port_vlans(index).await.unwrap(), wanted);
            let shown = run(&format!("bridge vlan show dev {name}"));
            let shown: Vec<&str> = shown.split_whitespace().skip(2).collect();
            assert_eq!(shown.join(" "), format!("{name} 1 PVID Egress Untagged 5 6 Egress Untagged 4094"));

            // Twice: what is done already is no error.
            for _ in 0..2 {
                netlink.delete_port_vlan(index, 5).await.unwrap();
                assert_eq!(netlink.port_vlans(index).await.unwrap(), [wanted[0], wanted[2], wanted[3]]);
            }
            // How a port is in a VLAN changes in place; there is one VLAN for what comes without a tag.
            netlink.add_port_vlan(index, vlan(4094, "PVID")).await.unwrap();
            let changed = [vlan(1, "Untagged"), vlan(6, "Untagged"), vlan(4094, "PVID")];
            assert_eq!(netlink.port_vlans(index).await.unwrap(), changed);
        }
    });
}

#[test]
fn many_vlans_in_a_row_are_all_listed() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let supported = kernel_filters_vlans();
        let (_, port) = bridge_with_port(&netlink, NewBridge { vlan_filtering: supported, ..vsw0() }).await;
        if !supported {
            assert_unsupported(netlink.add_port_vlan(port, vlan(2, "")).await);
            return;
        }
        ip_bridge("vlan add dev port0 vid 2-4094");
        ip_bridge("vlan add dev port0 vid 1 pvid untagged");
        let wanted: Vec<PortVlan> =
            [vlan(1, "PVID Untagged")].into_iter().chain((2..=4094).map(|vid| vlan(vid, ""))).collect();
        assert_eq!(netlink.port_vlans(port).await.unwrap(), wanted);
    });
}

#[test]
fn vlans_in_a_row_are_set_at_once() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let supported = kernel_filters_vlans();
        let (_, port) = bridge_with_port(&netlink, NewBridge { vlan_filtering: supported, ..vsw0() }).await;
        if !supported {
            assert_unsupported(netlink.add_port_vlans(port, 2..=9).await);
            return;
        }
        for vids in [2..=9, 11..=11, 4000..=4094] {
            netlink.add_port_vlans(port, vids).await.unwrap();
        }
        netlink.delete_port_vlans(port, 3..=4093).await.unwrap();
        assert_eq!(netlink.port_vlans(port).await.unwrap(), [vlan(2, ""), vlan(4094, "")]);
    });
}

fn ip_bridge(arguments: &str) {
    run(&format!("bridge {arguments}"));
}

#[test]
fn what_is_no_vlan_or_no_port_is_refused() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        let supported = kernel_filters_vlans();
        let (_, port) = bridge_with_port(&netlink, NewBridge { vlan_filtering: supported, ..vsw0() }).await;
        for vid in [0, 4095, 4096, u16::MAX] {
            for result in [netlink.add_port_vlan(port, vlan(vid, "")).await, netlink.delete_port_vlan(port, vid).await]
            {
                assert_eq!(result.unwrap_err().errno(), Some(libc::EINVAL), "{vid}");
            }
        }
        let far = netlink.link("far0").await.unwrap().unwrap();
        assert_unsupported(netlink.add_port_vlan(far.index, vlan(5, "")).await);
        assert_unsupported(netlink.delete_port_vlan(far.index, 5).await);
        let error = netlink.add_port_vlan(4711, vlan(5, "")).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV));
        assert_eq!(netlink.port_vlans(far.index).await.unwrap(), []);
    });
}
