//! Taps stay, say what they are told to, and are what a virtual machine attaches to.

mod common;

use common::{in_namespace, ip, run};
use dlmp_netlink::ethtool::{Duplex, Ethtool, Settings};
use dlmp_netlink::{Netlink, attach_tap, create_tap};

#[test]
fn a_tap_stays_until_it_is_deleted() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        assert_eq!(create_tap("ldm%d").unwrap(), "ldm0");
        assert_eq!(create_tap("ldm%d").unwrap(), "ldm1");
        assert_eq!(create_tap("a-name-up-to-15").unwrap(), "a-name-up-to-15");
        let details = run("ip -d link show ldm0");
        for wanted in ["tun type tap ", "pi off ", "vnet_hdr on ", "persist on"] {
            assert!(details.contains(wanted), "{wanted}: {details}");
        }
        assert!(!details.contains("multi_queue"), "{details}");

        let tap = netlink.link("ldm0").await.unwrap().unwrap();
        assert!(tap.ethernet && !tap.admin_up);
        netlink.delete_link(tap.index).await.unwrap();
        assert_eq!(netlink.link("ldm0").await.unwrap(), None);
        assert!(netlink.link("ldm1").await.unwrap().is_some());
    });
}

#[test]
fn a_tap_has_a_carrier_while_one_program_is_attached() {
    in_namespace(|| async {
        create_tap("ldm0").unwrap();
        ip("link set ldm0 up");
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.carrier("ldm0").unwrap(), Some(false));
        for _ in 0..2 {
            let attached = attach_tap("ldm0").unwrap();
            assert_eq!(ethtool.carrier("ldm0").unwrap(), Some(true));
            assert_eq!(attach_tap("ldm0").unwrap_err().errno(), Some(libc::EBUSY));
            drop(attached);
            assert_eq!(ethtool.carrier("ldm0").unwrap(), Some(false));
        }
    });
}

#[test]
fn what_is_no_tap_cannot_be_attached_to_and_none_is_made() {
    in_namespace(|| async {
        ip("link add bridge0 type bridge");
        let netlink = Netlink::connect().unwrap();
        let before = netlink.links().await.unwrap();
        for (name, errno) in [("bridge0", libc::EINVAL), ("ldm0", libc::ENODEV), ("", libc::ENODEV)] {
            assert_eq!(attach_tap(name).unwrap_err().errno(), Some(errno), "{name}");
        }
        assert_eq!(netlink.links().await.unwrap(), before);
    });
}

#[test]
fn a_name_that_a_tap_cannot_have_is_refused_with_nothing_made() {
    in_namespace(|| async {
        let netlink = Netlink::connect().unwrap();
        ip("link add bridge0 type bridge");
        create_tap("ldm0").unwrap();
        let before = netlink.links().await.unwrap();
        for (name, reason) in [
            ("ldm0", "Device or resource busy (os error 16)"),
            ("bridge0", "Device or resource busy (os error 16)"),
            ("a/b", "Invalid argument (os error 22)"),
            ("", "a link's name has 1 to 15 bytes"),
            ("sixteen-bytes-it", "a link's name has 1 to 15 bytes"),
        ] {
            assert_eq!(create_tap(name).unwrap_err().to_string(), format!("cannot create the tap {name}: {reason}"));
        }
        assert_eq!(netlink.links().await.unwrap(), before);
    });
}

#[test]
fn a_tap_says_the_speed_and_duplex_that_it_was_given() {
    in_namespace(|| async {
        create_tap("ldm0").unwrap();
        let ethtool = Ethtool::open().unwrap();
        for settings in [
            Settings { speed: Some(1000), duplex: Duplex::Full },
            Settings { speed: Some(100), duplex: Duplex::Half },
            Settings { speed: Some(200_000), duplex: Duplex::Full },
            Settings { speed: None, duplex: Duplex::Unknown },
        ] {
            ethtool.set_settings("ldm0", settings).unwrap();
            assert_eq!(ethtool.settings("ldm0").unwrap(), settings);
        }
        ethtool.set_settings("ldm0", Settings { speed: Some(10_000), duplex: Duplex::Full }).unwrap();
        assert!(run("ethtool ldm0").contains("Speed: 10000Mb/s"));
    });
}

#[test]
fn a_link_whose_driver_cannot_be_told_refuses_a_speed() {
    in_namespace(|| async {
        ip("link add net0 type veth peer name net1");
        let ethtool = Ethtool::open().unwrap();
        let settings = Settings { speed: Some(1000), duplex: Duplex::Full };
        let refused = |name| ethtool.set_settings(name, settings).unwrap_err().raw_os_error();
        assert_eq!(refused("net0"), Some(libc::EOPNOTSUPP));
        assert_eq!(refused("absent"), Some(libc::ENODEV));
    });
}
