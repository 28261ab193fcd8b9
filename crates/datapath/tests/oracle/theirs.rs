//! The other side: a bridge of Open vSwitch over a balance-slb bond.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use dlmp_datapath::{ClientAddress, PortIndex};
use dlmp_testbed::{Namespace, OpenVswitch, Tap};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::frames::{Outputs, Place, Sent, VLAN};
use crate::ours::Seats;

const LINKS: [&str; 5] = ["net0", "net1", "above0", "vnic0", "vnic1"];
/// The EtherType of markers, one of the two for experiments within an organisation (IEEE 802).
const MARKER: [u8; 2] = [0x88, 0xb6];
/// After this long without an answer Open vSwitch is taken for dead. It is no promise of anybody.
const DEAD: Duration = Duration::from_secs(60);

/// The switch and the far sides of its links.
pub struct Theirs {
    switch: OpenVswitch,
    taps: BTreeMap<Place, Tap>,
    markers: u64,
    _namespace: Namespace,
}

impl Theirs {
    /// Starts it with the links of [`Place`], all up.
    pub fn start() -> Self {
        let namespace = Namespace::new("dlmporacle", "ovs").unwrap();
        namespace.without_ipv6().unwrap();
        let taps: BTreeMap<_, _> = Place::ALL
            .into_iter()
            .zip(LINKS)
            .map(|(place, name)| (place, Tap::new(&namespace, name, 1000).unwrap()))
            .collect();
        for tap in taps.values() {
            fcntl(tap.device(), FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).unwrap();
        }
        let switch = OpenVswitch::start(&namespace).unwrap();
        let vlan = format!("tag={VLAN}");
        let mut line = "add-br br0 -- set bridge br0 datapath_type=netdev other_config:mac-aging-time=3600 \
                        -- add-bond br0 bond0 net0 net1 bond_mode=balance-slb lacp=off \
                        other_config:bond-rebalance-interval=0 \
                        -- add-port br0 above0 -- add-port br0 vnic0 -- add-port br0 vnic1"
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        line.push(vlan);
        for (number, name) in (1..).zip(LINKS) {
            line.extend(["--", "set", "interface", name].map(str::to_owned));
            line.push(format!("ofport_request={number}"));
        }
        switch.configure(&line.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        // A marker comes out of every link and is not learned from.
        switch.add_flow("br0", "priority=1,dl_type=0x88b6,actions=all").unwrap();
        let theirs = Self { switch, taps, markers: 0, _namespace: namespace };
        theirs.wait_for_ports();
        theirs
    }

    /// Forgets everything, takes groups from this port, and seats the addresses.
    pub fn reset(&mut self, seats: &Seats, multicast_port: PortIndex) {
        // Before the active port changes: then there is nobody to announce.
        self.control("fdb/flush", &["br0"]);
        self.control("bond/set-active-member", &["bond0", name(multicast_port)]);
        let mut taken = BTreeSet::new();
        for (&address, &port) in seats {
            assert!(taken.insert(self.hash(address)), "{address:?} shares its hash: choose another address");
            self.seat(address, port);
        }
    }

    /// Seats an address on a port.
    pub fn seat(&self, address: ClientAddress, port: PortIndex) {
        self.control("bond/migrate", &["bond0", &self.hash(address), name(port)]);
    }

    /// Where its table of addresses has everybody; the outside as the port net0 or net1.
    pub fn table(&self) -> BTreeMap<ClientAddress, Place> {
        let entry = |line: &str| {
            let mut words = line.split_whitespace();
            let number: usize = words.next()?.parse().ok()?;
            let vlan = words.next()?.parse().ok()?;
            let mac = words.next()?.parse().ok()?;
            Some((ClientAddress { mac, vlan }, *Place::ALL.get(number.checked_sub(1)?)?))
        };
        self.control("fdb/show", &["br0"]).lines().filter_map(entry).collect()
    }

    /// Sends a frame and returns what came out.
    pub fn send(&mut self, sent: &Sent) -> Outputs {
        // What was decided for an earlier frame is kept for those like it and revised a little later:
        // each frame is to be judged by the table as it is.
        self.control("revalidator/purge", &[]);
        self.write(sent.at, &sent.bytes());
        self.markers += 1;
        let mut marker = vec![0xff; 12];
        marker.extend(MARKER);
        marker.extend(self.markers.to_be_bytes());
        marker.resize(64, 0);
        self.write(sent.at, &marker);

        // One thread of Open vSwitch takes the two in turn, and a tap hands over at once: what comes before
        // the marker on any other link is all there will be, on the first one as well.
        let mut outputs = Outputs::new();
        for place in Place::ALL.into_iter().filter(|&place| place != sent.at) {
            while let Some(frame) = self.read(place, DEAD).filter(|frame| *frame != marker) {
                outputs.entry(place).or_default().push(frame);
            }
        }
        while let Some(frame) = self.read(sent.at, Duration::ZERO) {
            outputs.entry(sent.at).or_default().push(frame);
        }
        outputs
    }

    fn write(&self, place: Place, frame: &[u8]) {
        self.taps[&place].send(frame).unwrap();
    }

    /// The next frame out of a link; without one in time nothing if none was to be waited for.
    fn read(&self, place: Place, patience: Duration) -> Option<Vec<u8>> {
        let mut tap = self.taps[&place].device();
        let deadline = Instant::now() + patience;
        let mut bytes = vec![0; 2048];
        loop {
            match tap.read(&mut bytes) {
                Ok(len) => {
                    bytes.truncate(len);
                    return Some(bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{place:?}: {error}"),
            }
            if patience.is_zero() {
                return None;
            }
            assert!(Instant::now() < deadline, "no marker came out of {place:?}: Open vSwitch is dead");
            poll(&mut [PollFd::new(tap.as_fd(), PollFlags::POLLIN)], PollTimeout::from(1000_u16)).unwrap();
        }
    }

    /// The hash of an address in the bond.
    fn hash(&self, address: ClientAddress) -> String {
        let answer = self.control("bond/hash", &[&address.mac.to_string(), &address.vlan.to_string()]);
        answer.trim().to_owned()
    }

    fn wait_for_ports(&self) {
        let deadline = Instant::now() + DEAD;
        while self.control("bond/show", &["bond0"]).matches(": enabled").count() < 2 {
            assert!(Instant::now() < deadline, "the ports do not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn control(&self, command: &str, arguments: &[&str]) -> String {
        self.switch.control(command, arguments).unwrap()
    }
}

fn name(port: PortIndex) -> &'static str {
    LINKS[usize::from(port.0)]
}
