//! Lines that `ldm` refuses: each says why, and nothing at all has changed.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use dlmp_testbed::{Namespace, Scene};
use dlmp_tests::{VirtualHost, link, links, refused, run, wait_for};

/// Built, at rest, with links in `primary` that are in use by somebody else.
fn host() -> VirtualHost {
    let host = VirtualHost::built();
    host.primary()
        .ip("link add other type bridge\nlink add port type veth peer name peer\nlink set dev port master other")
        .unwrap();
    host.primary().ip("link add used type veth peer name far\naddress add 192.0.2.1/24 dev used").unwrap();
    host.wait_until_at_rest();
    host
}

#[test]
fn names_that_are_taken_too_long_or_none() {
    let host = host();
    for (line, names) in [
        ("add-domain ldg6", &["the domain ldg6 exists already", "ldm list ldg6"][..]),
        ("add-domain primary", &["the domain primary exists already"]),
        (&format!("add-domain --netns {} again", host.scene.ldg5.name()), &["is the domain ldg5 already"]),
        (&format!("add-domain {}", "d".repeat(64)), &["at most 63"]),
        ("add-domain a/b", &["is no name for a domain"]),
        ("add-vsw primary-vsw0 ldg5", &["the virtual switch primary-vsw0 exists already"]),
        ("add-vsw net0 primary", &["the name net0 is taken by another link"]),
        ("add-vsw sixteen-letters0 primary", &["at most 15", "16"]),
        ("add-vsw 0 primary", &["is no name for a virtual switch"]),
        ("add-vnet vnet6 ldg5-vsw0 ldg6", &["has a vnet vnet6 already", "ldm list -o network ldg6"]),
        (&format!("add-vnet {} primary-vsw0 ldg6", "v".repeat(32)), &["at most 31"]),
        ("add-vnet ../x primary-vsw0 ldg6", &["is no name for a vnet"]),
    ] {
        host.refused(&format!("ldm {line}"), names);
    }
}

#[test]
fn things_that_do_not_exist_are_in_use_or_cannot_be_what_they_should() {
    let host = host();
    host.refused("ldm list-netdev nowhere", &["there is no domain nowhere"]);
    for (line, names) in [
        ("add-vsw vsw1 ldg9", &["there is no domain ldg9", "ldm list"][..]),
        ("add-vsw net-dev=net9 vsw1 primary", &["has no link net9", "dladm show-phys"]),
        ("add-vsw net-dev=net9 vsw1 ldg5", &["has no link net9", "ldm list-netdev ldg5"]),
        ("add-vsw net-dev=net0 vsw1 primary", &["is the net-dev of the virtual switch primary-vsw0"]),
        ("add-vsw net-dev=port vsw1 primary", &["port is a port of the bridge other", "nomaster"]),
        ("add-vsw net-dev=used vsw1 primary", &["192.0.2.1/24", "ip address delete 192.0.2.1/24 dev used"]),
        ("add-vsw net-dev=other vsw1 primary", &["other is a bridge itself"]),
        ("add-vsw net-dev=lo vsw1 primary", &["lo is not an Ethernet link"]),
        ("add-vsw net-dev=ldm0 vsw1 primary", &["ldm0 is the switch end of a vnet"]),
        ("set-vsw net-dev=net9 primary-vsw0", &["has no link net9"]),
        ("set-vsw net-dev=port primary-vsw0", &["port of the bridge other"]),
        ("set-vsw mtu=9000 vsw9", &["there is no virtual switch vsw9", "ldm list-services"]),
        ("rm-vsw vsw9", &["there is no virtual switch vsw9"]),
        ("rm-vsw primary-vsw0", &["vnet6 of ldg6 is connected", "ldm rm-vnet vnet6 ldg6"]),
        ("add-vnet vnet2 vsw9 ldg6", &["there is no virtual switch vsw9"]),
        ("add-vnet vnet2 primary-vsw0 ldg9", &["there is no domain ldg9"]),
        ("set-vnet mtu=1500 vnet9 ldg6", &["has no vnet vnet9"]),
        ("set-vnet vswitch=vsw9 vnet6 ldg6", &["there is no virtual switch vsw9"]),
        ("set-vnet id=1 vnet6 ldg6", &["another vnet of ldg6 has the number 1"]),
        ("rm-vnet vnet9 ldg6", &["has no vnet vnet9"]),
        ("rm-vnet vnet6 ldg9", &["there is no domain ldg9"]),
        ("remove-domain ldg9", &["there is no domain ldg9"]),
        ("remove-domain ldg6", &["has the vnet", "ldm rm-vnet"]),
        ("remove-domain ldg5", &["has the virtual switch ldg5-vsw0", "ldm rm-vsw ldg5-vsw0"]),
        ("remove-domain primary", &["it cannot be removed"]),
        ("stop-domain primary", &["it cannot be stopped"]),
        ("stop-domain ldg9", &["there is no domain ldg9"]),
        ("add-domain --path /nowhere x", &["/nowhere"]),
        ("add-domain --path /etc/passwd x", &["/etc/passwd"]),
        ("add-domain --pid 4194304 x", &["4194304"]),
    ] {
        host.refused(&format!("ldm {line}"), names);
    }
}

#[test]
fn values_that_are_out_of_range_or_taken() {
    let host = host();
    let taken = format!("mac-addr={}", Scene::NET1);
    for (property, names) in [
        ("mac-addr=1:0:5e:0:0:1", &["multicast"][..]),
        ("mac-addr=ff:ff:ff:ff:ff:ff", &["multicast"]),
        ("mac-addr=0:0:0:0:0:0", &["00:00:00:00:00:00"]),
        ("mac-addr=vnet6", &["vnet6"]),
        (&taken, &[Scene::NET1, "vnet1 of ldg6"]),
        ("alt-mac-addrs=auto", &["custom=enable"]),
        ("mtu=1499", &["1500", "16000"]),
        ("mtu=16001", &["1500", "16000"]),
        ("pvid=0", &["1 to 4094"]),
        ("pvid=4095", &["1 to 4094"]),
        ("vid=7,4095", &["1 to 4094"]),
        ("custom/max-mac-addrs=4097", &["1 to 4096"]),
        ("custom/max-vlans=0", &["1 to 4096"]),
        ("linkprop=up", &["phys-state"]),
        ("mode=hybrid", &["mode"]),
        ("pvlan=7,isolated", &["pvlan", "inter-vnet-link=off"]),
        ("colour=red", &["there is no property colour"]),
    ] {
        host.refused(&format!("ldm set-vnet {property} vnet6 ldg6"), names);
        host.refused(&format!("ldm add-vnet custom=enable {property} vnet2 primary-vsw0 ldg6"), names);
    }
    for (property, names) in [
        ("mac-addr=1:0:5e:0:0:1", &["multicast"][..]),
        (&taken, &["vnet1 of ldg6"]),
        ("mtu=1499", &["1500", "16000"]),
        ("pvid=4095", &["1 to 4094"]),
        ("default-vlan-id=0", &["1 to 4094"]),
        ("inter-vnet-link=maybe", &["inter-vnet-link"]),
        ("vsw-relay-mode=remote", &["vsw-relay-mode"]),
        ("linkprop=up", &["phys-state"]),
    ] {
        host.refused(&format!("ldm set-vsw {property} primary-vsw0"), names);
        host.refused(&format!("ldm add-vsw {property} vsw1 primary"), names);
    }
    // A good property before a bad one is not set either.
    host.refused("ldm set-vnet linkprop= mtu=1 vnet6 ldg6", &["mtu"]);
}

#[test]
fn a_vnet_whose_links_name_is_taken_in_the_guest() {
    let host = host();
    host.scene.ldg6.ip("link add net2 type bridge").unwrap();
    host.refused("ldm add-vnet vnet2 primary-vsw0 ldg6", &["has a link net2 already", "id="]);
    host.refused("ldm set-vnet id=2 vnet6 ldg6", &["has a link net2 already"]);
    host.typed("ldm add-vnet id=3 vnet2 primary-vsw0 ldg6");
    host.wait_for_link("net3", "up");
    assert_eq!(link(&host.scene.ldg6, "net2").unwrap()["linkinfo"]["info_kind"], "bridge");
}

#[test]
fn a_configuration_that_cannot_be_written_undoes_what_was_built() {
    let host = host();
    let made = Namespace::reserve("ee", "made").unwrap();
    let config = host.scene.primary.config();
    let lines = [
        format!("ldm add-domain --netns {} ldg7", made.name()),
        "ldm add-vsw vsw1 primary".into(),
        "ldm set-vsw mtu=9000 primary-vsw0".into(),
        "ldm set-vsw net-dev= primary-vsw0".into(),
        "ldm add-vnet vnet2 primary-vsw0 ldg6".into(),
        "ldm set-vnet linkprop= vnet6 ldg6".into(),
        "ldm set-vnet mac-addr=2:0:0:0:0:1 vnet6 ldg6".into(),
        "ldm rm-vnet vnet6 ldg6".into(),
        "ldm stop-domain ldg5".into(),
    ];
    let hidden = Hidden::new(&config);
    for line in &lines {
        host.refused(line, &["ldmd.toml"]);
    }
    drop(hidden);
    assert!(!Path::new("/run/netns").join(made.name()).exists(), "what was made for ldg7 is removed");
    host.give_address("net0");
    host.wait_until_reachable();
    // And once it can be written, all is well.
    for line in &lines[..3] {
        host.typed(line);
    }
}

/// Makes a file impossible to write, whoever tries, while it lives.
struct Hidden(PathBuf);

impl Hidden {
    fn new(file: &Path) -> Self {
        fs::rename(file, file.with_extension("hidden")).unwrap();
        fs::create_dir(file).unwrap();
        Self(file.into())
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
        let _ = fs::rename(self.0.with_extension("hidden"), &self.0);
    }
}

#[test]
fn a_guest_that_vanishes_half_way_leaves_no_half_of_a_vnet() {
    let host = VirtualHost::built();
    for _ in 0..10 {
        let guest = Namespace::new("ee", "short").unwrap();
        host.typed(&format!("ldm add-domain --netns {} short", guest.name()));
        thread::scope(|scope| {
            scope.spawn(|| guest.shut_down());
            // Either is right, by who was first.
            let _ = run(&mut host.dlmp().line("ldm add-vnet vnet0 primary-vsw0 short"));
        });
        let _ = run(&mut host.dlmp().line("ldm rm-vnet vnet0 short"));
        host.typed("ldm remove-domain short");
        let left = || {
            let links = links(host.primary());
            links.as_array().unwrap().iter().filter(|link| link["ifalias"].to_string().contains("short/")).count()
        };
        wait_for("nothing is left of it", || left() == 0);
    }
    refused(host.dlmp(), "ldm rm-vnet vnet0 short");
}
