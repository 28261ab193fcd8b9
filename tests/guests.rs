//! Guests of a Linux bridge on an aggregation: learned, spread, moved, and let go when they live elsewhere.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use dlmp_testbed::{End, Flow, Namespace, Pins, Tap, up, veth};
use dlmp_tests::{Guest, HOST, assert_whole, ip_json, json, run, typed, wait_for};
use nix::sys::signal::Signal;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A guest of the bridge `br0` on the aggregation.
struct Vm {
    namespace: Namespace,
    address: IpAddr,
    mac: String,
}

/// A machine with an aggregation, a bridge on it and guests on that, the first at 10.9.0.10.
struct Machine {
    guest: Guest,
    vms: Vec<Vm>,
}

impl Machine {
    fn new(count: u8) -> Self {
        let guest = Guest::new(Pins::Mounted);
        typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
        // The bridge is made while the aggregation is at work, as an administrator would.
        guest.namespace.ip("link add name br0 type bridge\nlink set dev aggr0 master br0").unwrap();
        up(&guest.namespace, "br0").unwrap();
        let vms = (0..count).map(|number| Vm::new(&guest, number)).collect();
        Self { guest, vms }
    }

    /// Where the guests sit, by MAC address, as `show-aggr -C` says.
    fn seats(&self) -> BTreeMap<String, String> {
        let rows = json(&self.guest.dlmp, "dladm show-aggr -C -j aggr0");
        let learned = rows.as_array().unwrap().iter().filter(|row| row["type"] == "learned");
        learned.map(|row| (row["address"].as_str().unwrap().into(), row["port"].as_str().unwrap().into())).collect()
    }

    /// Waits until each guest has been seen.
    fn all_are_learned(&self) {
        for vm in &self.vms {
            wait_for("the guest reaches the host", || vm.reaches(HOST));
        }
        wait_for("all are shown", || self.vms.iter().all(|vm| self.seats().contains_key(&vm.mac)));
    }

    fn flow(&self, vm: usize, duration: Duration) -> Flow<'_> {
        let vm = &self.vms[vm];
        Flow::new(End::new(&vm.namespace, vm.address), End::new(&self.guest.host, HOST), 500, duration)
    }
}

impl Vm {
    fn new(guest: &Guest, number: u8) -> Self {
        let namespace = Namespace::new("ee", &format!("vm{number}")).unwrap();
        let (address, mac) = (format!("10.9.0.{}", 10 + number), format!("52:54:00:00:00:{:02x}", 10 + number));
        veth((&namespace, "eth0"), (&guest.namespace, &format!("tap{number}"))).unwrap();
        namespace.ip(&format!("link set dev eth0 address {mac}\naddress add {address}/24 dev eth0")).unwrap();
        guest.namespace.ip(&format!("link set dev tap{number} master br0")).unwrap();
        Self { namespace, address: address.parse().unwrap(), mac }
    }

    fn reaches(&self, address: IpAddr) -> bool {
        reaches(&self.namespace, address)
    }
}

fn reaches(from: &Namespace, address: IpAddr) -> bool {
    run(from.command("ping").args(["-q", "-c", "1", "-W", "1", &address.to_string()])).code == 0
}

#[test]
fn guests_are_spread_and_reach_everybody() {
    let machine = Machine::new(4);
    machine.all_are_learned();
    let mut load = BTreeMap::new();
    for row in json(&machine.guest.dlmp, "dladm show-aggr -C -j aggr0").as_array().unwrap() {
        *load.entry(row["port"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    let difference = load["net0"] - load["net1"];
    assert!(load.values().sum::<i32>() >= 5 && i32::abs(difference) <= 1, "{load:?}");
    let vnic = Namespace::new("ee", "container").unwrap();
    typed(&machine.guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    machine.guest.namespace.ip(&format!("link set dev vnic1 netns {}", vnic.name())).unwrap();
    vnic.ip("link set dev vnic1 up\naddress add 10.9.0.99/24 dev vnic1").unwrap();
    for vm in &machine.vms {
        wait_for("a neighbour", || vm.reaches(machine.vms[0].address));
        wait_for("from the host", || reaches(&machine.guest.host, vm.address));
        wait_for("a container beside the bridge", || vm.reaches("10.9.0.99".parse().unwrap()));
        wait_for("from the container", || reaches(&vnic, vm.address));
    }
}

#[test]
fn a_guest_moves_with_its_port_and_nothing_comes_twice() {
    let machine = Machine::new(3);
    machine.all_are_learned();
    let vm = &machine.vms[0];
    let port = machine.seats()[&vm.mac].clone();
    let record = machine
        .flow(0, ms(3000))
        .event(ms(500), "unplug", || {
            machine.guest.unplug(&port);
            Ok(())
        })
        .event(ms(1500), "plug", || {
            machine.guest.plug(&port);
            Ok(())
        })
        .run()
        .unwrap();
    for stream in [&record.forth, &record.back] {
        assert_eq!(stream.total().duplicated, 0);
        let after = stream.report(ms(1000)..Duration::MAX);
        assert_eq!((after.lost, after.duplicated), (0, 0), "after the failover, and when the port is back: {after:?}");
    }
    wait_for("the load is even again", || {
        let seats = machine.seats();
        ["net0", "net1"].iter().all(|port| seats.values().any(|seat| seat == port))
    });
}

#[test]
fn a_silent_guest_is_reached_after_a_failover() {
    let machine = Machine::new(1);
    machine.all_are_learned();
    let vm = &machine.vms[0];
    // Nothing makes it speak: whom it would have to answer is known for good, and it only listens.
    machine.guest.host.ip(&format!("neigh replace {} lladdr {} dev net0 nud permanent", vm.address, vm.mac)).unwrap();
    let listener = vm.namespace.enter(|| UdpSocket::bind((vm.address, 9999))).unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    let sender = machine.guest.host.enter(|| UdpSocket::bind((HOST, 0))).unwrap().unwrap();
    let arrives = |text: &str| {
        sender.send_to(text.as_bytes(), (vm.address, 9999)).unwrap();
        std::thread::sleep(ms(5));
        let mut buffer = [0; 64];
        std::iter::from_fn(|| listener.recv(&mut buffer).ok().map(|len| buffer[..len] == *text.as_bytes()))
            .any(|same| same)
    };
    wait_for("before", || arrives("before"));
    let port = machine.seats()[&vm.mac].clone();
    machine.guest.unplug(&port);
    wait_for("it has moved", || machine.seats()[&vm.mac] != port);
    wait_for("after", || arrives("after"));
}

#[test]
fn no_guest_finds_its_own_ipv6_address_taken() {
    let machine = Machine::new(2);
    typed(&machine.guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    let container = Namespace::new("ee", "container").unwrap();
    machine.guest.namespace.ip(&format!("link set dev vnic1 netns {} name eth0", container.name())).unwrap();
    container.ip("link set dev eth0 up").unwrap();
    // Every one asks whether anybody has its address, and the switch sends the question back to the other port.
    let all = machine.vms.iter().map(|vm| &vm.namespace).chain([&container]);
    for (namespace, number) in all.zip(1..) {
        namespace.ip(&format!("address add 2001:db8::{number}/64 dev eth0")).unwrap();
        let addresses = || ip_json(namespace, "-6 address show dev eth0 scope global")[0]["addr_info"].clone();
        wait_for("the address is checked", || addresses()[0]["tentative"].is_null());
        assert!(addresses()[0]["dadfailed"].is_null(), "{}", addresses());
    }
}

#[test]
fn as_many_guests_are_learned_as_the_limit_allows() {
    let mut machine = Machine::new(0);
    typed(&machine.guest.dlmp, "dladm set-linkprop -p learn-limit=0 aggr0");
    machine.vms = (0..2).map(|number| Vm::new(&machine.guest, number)).collect();
    assert!(!machine.vms[0].reaches(HOST));
    typed(&machine.guest.dlmp, "dladm set-linkprop -p learn-limit=4096 aggr0");
    machine.all_are_learned();
    let learned = machine.seats().len();
    typed(&machine.guest.dlmp, &format!("dladm set-linkprop -p learn-limit={learned} aggr0"));
    let new = Vm::new(&machine.guest, 9);
    assert!(!new.reaches(HOST));
    machine.guest.end_daemon(Signal::SIGTERM);
    machine.guest.start_daemon();
    assert!(!new.reaches(HOST), "the limit is kept");
    assert!(machine.vms[0].reaches(HOST));
    typed(&machine.guest.dlmp, "dladm reset-linkprop -p learn-limit aggr0");
    wait_for("there is room", || new.reaches(HOST));
}

#[test]
fn a_killed_daemon_loses_nothing_of_a_guest_and_the_next_one_moves_nobody() {
    let machine = Machine::new(4);
    machine.all_are_learned();
    let before = machine.seats();
    let record = machine
        .flow(1, ms(3000))
        .event(ms(500), "kill", || {
            machine.guest.end_daemon(Signal::SIGKILL);
            Ok(())
        })
        .event(ms(1200), "start", || {
            machine.guest.start_daemon();
            Ok(())
        })
        .run()
        .unwrap();
    assert_whole(&record);
    let after = machine.seats();
    for vm in &machine.vms {
        assert_eq!(after[&vm.mac], before[&vm.mac], "{before:?} became {after:?}");
    }
}

#[test]
fn a_guest_that_migrates_to_another_host_is_let_go_and_taken_back() {
    let machine = Machine::new(2);
    machine.all_are_learned();
    let vm = &machine.vms[0];
    // It leaves here, and speaks up on the other side of the switch.
    machine.guest.namespace.ip("link set dev tap0 nomaster").unwrap();
    let elsewhere = Namespace::new("ee", "elsewhere").unwrap();
    veth((&elsewhere, "eth0"), (&machine.guest.switch, "p9")).unwrap();
    machine.guest.switch.ip("link set dev p9 master br0").unwrap();
    elsewhere
        .ip(&format!("link set dev eth0 down\nlink set dev eth0 address {}\nlink set dev eth0 up", vm.mac))
        .unwrap();
    elsewhere.ip(&format!("address add {}/24 dev eth0", vm.address)).unwrap();
    // The kernel announces an address when its link comes up (arp_notify, ip-sysctl.rst).
    elsewhere.enter(|| std::fs::write("/proc/sys/net/ipv4/conf/eth0/arp_notify", "1")).unwrap().unwrap();
    let announce = || elsewhere.ip("link set dev eth0 down\nlink set dev eth0 up").unwrap();
    wait_for("the client is released", || {
        announce();
        !machine.seats().contains_key(&vm.mac)
    });
    wait_for("its old neighbour reaches it there", || {
        announce();
        machine.vms[1].reaches(vm.address)
    });
    // And back.
    elsewhere.ip("link set dev eth0 down").unwrap();
    machine.guest.namespace.ip("link set dev tap0 master br0").unwrap();
    wait_for("the guest is at home again", || vm.reaches(HOST));
    assert!(machine.seats().contains_key(&vm.mac));
    wait_for("its neighbour reaches it here", || machine.vms[1].reaches(vm.address));
}

#[test]
fn a_flood_of_addresses_is_counted_and_harms_no_established_guest() {
    const FLOOD: u32 = 100_000;
    let machine = Machine::new(2);
    machine.all_are_learned();
    let before = machine.seats();
    let tap = Tap::new(&machine.guest.namespace, "evil", 1000).unwrap();
    machine.guest.namespace.ip("link set dev evil master br0").unwrap();
    let flood = || {
        for number in 0..FLOOD {
            let mut frame = [0; 60];
            frame[..6].fill(0xff);
            frame[6..8].copy_from_slice(&[0x52, 0x66]);
            frame[8..12].copy_from_slice(&number.to_be_bytes());
            frame[12..14].copy_from_slice(&[0x88, 0xb6]);
            tap.send(&frame)?;
            if number % 100 == 99 {
                // No faster than the kernel can hand the copies on.
                std::thread::sleep(ms(1));
            }
        }
        Ok(())
    };
    let record = machine.flow(0, ms(6000)).event(ms(200), "flood", flood).run().unwrap();
    assert_whole(&record);

    let learned = machine.seats();
    assert_eq!(learned.len(), 4096, "as many as there is room for");
    for (mac, port) in before {
        assert!(learned.contains_key(&mac), "{mac} was on {port} and is gone");
    }
    let rules = json(&machine.guest.dlmp, "dlstat show-aggr -j aggr0").to_string();
    assert!(rules.contains("tx-clients-full"), "{rules}");
    // Those that never sent again make room for a new guest.
    let new = Vm::new(&machine.guest, 9);
    wait_for("a new guest", || new.reaches(HOST));
}
