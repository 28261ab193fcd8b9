//! Nanoseconds a group-addressed packet with 10, 1,000 and 100,000 groups wanted: the ingress program run by the
//! kernel over single frames (BPF_PROG_TEST_RUN), everything else left out.

use anyhow::{Result, ensure};
use dlmp_datapath::bpf::{Attachment, Bpf, Entry, Served};
use dlmp_datapath::{Datapath, PortIndex};
use dlmp_wire::MacAddr;

use crate::report::{Spread, Table};

const COUNTS: [u32; 3] = [10, 1_000, 100_000];
/// Each round measures every number of groups.
const ROUNDS: usize = 9;
/// Frames in a round, each of another group where there are so many.
const FRAMES: u32 = 256;
/// Runs over each frame, one after the other.
const REPEAT: u32 = 4000;
/// Groups that nobody wants, asked to see how many pass.
const UNWANTED: u32 = 20_000;
/// The test run takes any interface that exists: the loopback stands for link and port.
const LOOPBACK: u32 = 1;
/// The index of no link.
const NO_LINK: u32 = u32::MAX;
const PORT: PortIndex = PortIndex(0);
/// TC_ACT_REDIRECT (linux/pkt_cls.h): the frame is on its way.
const REDIRECT: u32 = 7;

/// A datapath that so many groups are wanted from.
struct Scene {
    bpf: Bpf,
    wanted: u32,
    /// Some groups that nobody wants and that do not pass.
    unwanted: Vec<MacAddr>,
    /// How many of [`UNWANTED`] pass.
    passing: u32,
}

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let mut scenes = Vec::new();
    for count in COUNTS {
        scenes.push(Scene::new(count)?);
    }
    // For each number of groups: wanted, unwanted, and both for the first time.
    let mut costs = COUNTS.map(|_| [const { Vec::new() }; 4]);
    for round in 1..=ROUNDS {
        eprintln!("groups: round {round} of {ROUNDS}");
        for (scene, costs) in scenes.iter_mut().zip(&mut costs) {
            for (costs, (repeat, wanted)) in
                costs.iter_mut().zip([(REPEAT, true), (REPEAT, false), (1, true), (1, false)])
            {
                costs.push(scene.mean(repeat, wanted)?);
            }
        }
    }
    let mut table =
        Table::new(&["groups", "wanted", "unwanted", "first packet, wanted", "first, unwanted", "others that pass"]);
    for (scene, costs) in scenes.iter().zip(costs) {
        let [wanted, unwanted, first_wanted, first_unwanted] = costs.map(|values| Spread::of(values).text(0));
        let passing = format!("{:.3} %", f64::from(scene.passing) * 100.0 / f64::from(UNWANTED));
        table.row(&[&scene.wanted.to_string(), &wanted, &unwanted, &first_wanted, &first_unwanted, &passing]);
    }
    Ok(format!(
        "Nanoseconds a packet at the multicast port, of a group that is wanted and of one that is not. In turn, {ROUNDS} rounds: the mean over\n{FRAMES} groups, all different where there are so many, {REPEAT} runs each (BPF_PROG_TEST_RUN). The first packet is the mean of single\nruns, each for another group than the one before, with the kernel's clock reads and whatever is not in the caches. Others that\npass: of {UNWANTED} groups that nobody wants, by sharing a bit. Aim: flat.\n\n{table}"
    ))
}

impl Scene {
    fn new(wanted: u32) -> Result<Self> {
        let served = Served {
            name: "bench".into(),
            ifindex: LOOPBACK,
            lower: NO_LINK,
            lower_name: "dlmp0".into(),
            netns_cookie: 0,
        };
        let mut bpf = Bpf::load(served, Attachment::Clsact)?;
        bpf.set_port(PORT, 1000, MacAddr([0, 0x14, 0x4f, 0xf9, 0, 1]))?;
        bpf.set_usable(PORT, true)?;
        bpf.set_multicast_port(Some(PORT))?;
        bpf.alias_ifindex(LOOPBACK, PORT)?;
        for number in 0..wanted {
            bpf.admit(ipv4_group(number))?;
        }
        let mut scene = Self { bpf, wanted, unwanted: Vec::new(), passing: 0 };
        for number in 0..UNWANTED {
            let group = ipv6_group(number);
            if scene.run(group, 1)?.0 == REDIRECT {
                scene.passing += 1;
            } else {
                scene.unwanted.push(group);
            }
        }
        Ok(scene)
    }

    /// The mean over many groups, each run so often.
    fn mean(&mut self, repeat: u32, wanted: bool) -> Result<f64> {
        let mut sum = 0.0;
        for frame in 0..FRAMES {
            // 1009 is a prime: the groups of a row are far from each other.
            let group = if wanted {
                ipv4_group(frame * 1009 % self.wanted)
            } else {
                self.unwanted[frame as usize % self.unwanted.len()]
            };
            let (verdict, nanoseconds) = self.run(group, repeat)?;
            ensure!((verdict == REDIRECT) == wanted, "a packet of group {group} was not judged as it should be");
            sum += nanoseconds;
        }
        Ok(sum / f64::from(FRAMES))
    }

    fn run(&mut self, group: MacAddr, repeat: u32) -> Result<(u32, f64)> {
        let stranger = MacAddr([0x52, 0x54, 0, 9, 9, 9]);
        let mut frame = [&group.0[..], &stranger.0, &[8, 0, 0x45]].concat();
        frame.resize(60, 0);
        let (verdict, _, duration) = self.bpf.test_run(Entry::Port(LOOPBACK), &frame, repeat)?;
        Ok((verdict, duration.as_nanos() as f64))
    }
}

/// Neighbours, as streams are numbered: from 239.0.0.0 on.
fn ipv4_group(number: u32) -> MacAddr {
    let [_, a, b, c] = number.to_be_bytes();
    MacAddr([1, 0, 0x5e, a, b, c])
}

/// Far from each other, as the addresses that IPv6 makes up.
fn ipv6_group(number: u32) -> MacAddr {
    let [a, b, c, d] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
    MacAddr([0x33, 0x33, a, b, c, d])
}
