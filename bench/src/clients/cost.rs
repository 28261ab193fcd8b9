//! Nanoseconds a packet of a client that is alone on its aggregation, and of one among thousands: the programs
//! run by the kernel over single frames (BPF_PROG_TEST_RUN), everything else left out.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use dlmp_datapath::bpf::{Attachment, Bpf, Entry, Served};
use dlmp_datapath::{
    ClientAddress, Datapath, MAX_LEARNED, MAX_VNICS, Placement, PortIndex, SlotIndex, Vnic, VnicIndex,
};
use dlmp_wire::MacAddr;

use crate::report::{Spread, Table};

const PORTS: u8 = 4;
/// Each round measures every kind of client, alone and among the others.
const ROUNDS: usize = 9;
/// Pairs of a client and a stranger in a round, all different where there are so many clients.
const PAIRS: usize = 256;
/// Runs over the frame of each pair, one after the other.
const REPEAT: u32 = 4000;
/// The test run takes any interface that exists: the loopback stands for link, port and VNIC.
const LOOPBACK: u32 = 1;
/// The index of no link.
const NO_LINK: u32 = u32::MAX;
/// TC_ACT_REDIRECT (linux/pkt_cls.h): the frame is on its way.
const REDIRECT: u32 = 7;

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Primary,
    Learned,
    Vnic,
}

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

/// A datapath with clients.
struct Scene {
    bpf: Bpf,
    /// The first so many clients of each kind exist.
    learned: usize,
    vnics: usize,
    seats: BTreeMap<MacAddr, PortIndex>,
}

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let mut table =
        Table::new(&["client", "way", "alone", "among all", "difference", "first packet, alone", "among all"]);
    for kind in [Kind::Primary, Kind::Learned, Kind::Vnic] {
        let mut scenes = [
            Scene::new(usize::from(kind == Kind::Learned), usize::from(kind == Kind::Vnic))?,
            Scene::new(MAX_LEARNED, MAX_VNICS)?,
        ];
        for way in [Way::Out, Way::In] {
            eprintln!("cost of {kind:?}, {way:?}: {ROUNDS} rounds");
            let mut warm = [Vec::new(), Vec::new()];
            let mut cold = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for ((scene, warm), cold) in scenes.iter_mut().zip(&mut warm).zip(&mut cold) {
                    warm.push(scene.mean(kind, way, REPEAT)?);
                    cold.push(scene.mean(kind, way, 1)?);
                }
            }
            let differences = warm[1].iter().zip(&warm[0]).map(|(all, alone)| all - alone).collect();
            let [warm, cold] = [warm, cold].map(|both| both.map(|values| Spread::of(values).text(0)));
            table.row(&[
                kind.name(),
                way.name(),
                &warm[0],
                &warm[1],
                &Spread::of(differences).text(0),
                &cold[0],
                &cold[1],
            ]);
        }
    }
    Ok(format!(
        "Nanoseconds a packet of a client that is alone on its aggregation, and among {MAX_LEARNED} learned clients and {MAX_VNICS} VNICs, both\non {PORTS} ports. In turn, {ROUNDS} rounds: the mean over {PAIRS} pairs of a client and a stranger, all different where there are so\nmany, {REPEAT} runs each (BPF_PROG_TEST_RUN). The first packet is the mean of single runs, each for another pair than the one before,\nwith the kernel's clock reads and whatever is not in the caches. Aim: a difference of 10 or less.\n\n{table}"
    ))
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary interface",
            Self::Learned => "learned",
            Self::Vnic => "VNIC",
        }
    }
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

impl Scene {
    /// An aggregation of all ports with its primary interface and so many other clients.
    fn new(learned: usize, vnics: usize) -> Result<Self> {
        let served = Served {
            name: "bench".into(),
            ifindex: LOOPBACK,
            lower: NO_LINK,
            lower_name: "dlmp0".into(),
            netns_cookie: 0,
        };
        let mut bpf = Bpf::load(served, Attachment::Clsact)?;
        for port in (0..PORTS).map(PortIndex) {
            bpf.set_port(port, 1000 + u32::from(port.0), MacAddr([0, 0x14, 0x4f, 0xf9, 0, port.0]))?;
            bpf.set_usable(port, true)?;
        }
        bpf.set_multicast_port(Some(PortIndex(0)))?;
        let mut scene = Self { bpf, learned, vnics, seats: BTreeMap::new() };
        let primary = address(Kind::Primary, 0);
        scene.bpf.set_client(ClientAddress { mac: primary, vlan: 0 }, SlotIndex::PRIMARY)?;
        scene.seat(SlotIndex::PRIMARY, primary, PortIndex(0))?;
        for index in (0..=u8::MAX).map(VnicIndex).take(vnics) {
            let mac = address(Kind::Vnic, index.0.into());
            // Only the first can send: of the others no link exists.
            let lower = if index.0 == 0 { LOOPBACK } else { 2000 + u32::from(index.0) };
            scene.bpf.set_vnic(index, Some(Vnic { lower, mac, vlan: 0 }))?;
            scene.seat(index.slot(), mac, PortIndex(index.0 % PORTS))?;
        }
        scene.bpf.set_bridged(learned > 0)?;
        for number in 0..learned {
            // As the guests of a bridge are learned: by what they send.
            scene.bpf.test_run(Entry::Link, &frame(stranger(number), address(Kind::Learned, number)), 1)?;
        }
        let there = scene.bpf.learned()?;
        ensure!(there.len() == learned, "{} of {learned} clients were learned", there.len());
        for client in there {
            scene.seat(client.slot, client.client.mac, client.port.context("a client without a port")?)?;
        }
        Ok(scene)
    }

    fn seat(&mut self, slot: SlotIndex, mac: MacAddr, port: PortIndex) -> Result<()> {
        self.seats.insert(mac, port);
        let backup = Some(PortIndex((port.0 + 1) % PORTS));
        Ok(self.bpf.restore(slot, Placement { port, backup })?)
    }

    /// The mean over many pairs of a client of this kind and a stranger, each run so often.
    fn mean(&mut self, kind: Kind, way: Way, repeat: u32) -> Result<f64> {
        let mut sum = 0;
        let mut port = None;
        for pair in 0..PAIRS {
            let client = match kind {
                Kind::Primary => 0,
                // 1009 is a prime: the clients of a row are far from each other, and on all ports.
                Kind::Learned => pair * 1009 % self.learned,
                // A VNIC needs a link to send from.
                Kind::Vnic if way == Way::Out => 0,
                Kind::Vnic => pair % self.vnics,
            };
            let (here, there) = (address(kind, client), stranger(pair));
            let (entry, frame) = match way {
                Way::Out if kind == Kind::Vnic => (Entry::Vnic(LOOPBACK), frame(there, here)),
                Way::Out => (Entry::Link, frame(there, here)),
                Way::In => (Entry::Port(LOOPBACK), frame(here, there)),
            };
            if way == Way::In {
                let on = self.seats[&here];
                if port.replace(on) != Some(on) {
                    self.bpf.alias_ifindex(LOOPBACK, on)?;
                }
            }
            let (verdict, _, duration) = self.bpf.test_run(entry, &frame, repeat)?;
            ensure!(verdict == REDIRECT, "a packet of {kind:?} {client}, {way:?}, was not forwarded but {verdict}");
            sum += duration.as_nanos();
        }
        Ok(sum as f64 / PAIRS as f64)
    }
}

/// The address of a client.
fn address(kind: Kind, number: usize) -> MacAddr {
    match kind {
        Kind::Primary => spread([0x02, 0x08, 0x20], 1 << 20),
        Kind::Vnic => spread([0x02, 0x08, 0x20], number),
        Kind::Learned => spread([0x52, 0x54, 0x00], (1 << 16) + number),
    }
}

/// The address of somebody elsewhere.
fn stranger(number: usize) -> MacAddr {
    spread([0x00, 0x50, 0x56], (1 << 17) + number)
}

/// An address of this vendor, its last half as if drawn at random; another one for each number below 2^24.
fn spread(vendor: [u8; 3], number: usize) -> MacAddr {
    // Multiplying by an odd number and folding the upper half into the lower one are both one to one.
    let mixed = (0..3).fold(number, |at, _| {
        let at = at * 0x9e_3779 % (1 << 24);
        at ^ at >> 12
    });
    let [.., third, second, first] = mixed.to_be_bytes();
    MacAddr([vendor[0], vendor[1], vendor[2], third, second, first])
}

/// An IPv4 frame of the least length.
fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &[8, 0, 0x45]].concat();
    frame.resize(60, 0);
    frame
}
