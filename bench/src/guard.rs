//! Nanoseconds a frame that a guest sends, by what its guard has to do: the program run by the kernel over single frames
//! (BPF_PROG_TEST_RUN), everything else left out.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use dlmp_guard::{Direction, Guard, Limits, MAX_MACS, Protection, Settings};
use dlmp_wire::MacAddr;

use crate::report::{Spread, Table};

/// Each round measures every case.
const ROUNDS: usize = 9;
/// Frames in a round, each from another address where there are so many.
const FRAMES: u32 = 128;
/// Runs over each frame, one after the other.
const REPEAT: u32 = 4000;
const OWN: MacAddr = MacAddr([0, 0x14, 0x4f, 0xf8, 0, 1]);
const PEER: MacAddr = MacAddr([0x52, 0x54, 0, 9, 9, 9]);
const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// EtherType and header of a UDP packet up to its source address.
const IPV4: [u8; 14] = [8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0];

/// A guard, and whose frames it is asked to pass.
struct Case {
    name: &'static str,
    guard: Guard,
    sources: Vec<MacAddr>,
    passes: bool,
}

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let own = || vec![OWN];
    let custom = |macs| changed(|set| set.custom = Some(Limits { macs, vlans: 1 }));
    let cases = [
        Case::new("its own address, nothing set", Settings::new(OWN), own())?,
        Case::new("its own address, `custom`", custom(MAX_MACS), own())?,
        Case::new("1 address of its choice", custom(MAX_MACS), addresses(0, 1))?,
        Case::new("4096 addresses of its choice", custom(MAX_MACS), addresses(0, MAX_MACS))?,
        Case::full("one more than it may have: dropped", custom(MAX_MACS))?,
        Case::new("its own address, every protection", changed(protect), own())?,
        Case::new("its own address, `maxbw`", changed(|set| set.maxbw = Some(dlmp_guard::MAX_BANDWIDTH)), own())?,
    ];
    let mut costs = vec![Vec::new(); cases.len()];
    for round in 1..=ROUNDS {
        eprintln!("guard: round {round} of {ROUNDS}");
        for (case, costs) in cases.iter().zip(&mut costs) {
            costs.push(case.mean()?);
        }
    }
    let mut table = Table::new(&["what the guest sends from", "ns a frame"]);
    for (case, costs) in cases.iter().zip(costs) {
        table.row(&[case.name, &Spread::of(costs).text(0)]);
    }
    Ok(format!(
        "Nanoseconds a frame that a guest sends, in turn, {ROUNDS} rounds: the mean over {FRAMES} frames, from different addresses where there\nare several, {REPEAT} runs each (BPF_PROG_TEST_RUN). Aim: flat with 1 and 4096 addresses.\n\n{table}"
    ))
}

impl Case {
    /// A guard that has heard all these addresses.
    fn new(name: &'static str, settings: Settings, sources: Vec<MacAddr>) -> Result<Self> {
        let case = Self { name, guard: Guard::load(&settings)?, sources, passes: true };
        for &source in &case.sources {
            case.run(source, 1)?;
        }
        Ok(case)
    }

    /// A guard that has heard as many addresses as the guest may have, and is asked for others.
    fn full(name: &'static str, settings: Settings) -> Result<Self> {
        let case = Self::new(name, settings, addresses(0, MAX_MACS))?;
        Ok(Self { sources: addresses(MAX_MACS, FRAMES), passes: false, ..case })
    }

    /// The mean over many frames, each run so often.
    fn mean(&self) -> Result<f64> {
        let mut sum = 0.0;
        for frame in 0..FRAMES as usize {
            // 1009 is a prime: the addresses of a row are far from each other.
            sum += self.run(self.sources[frame * 1009 % self.sources.len()], REPEAT)?;
        }
        Ok(sum / f64::from(FRAMES))
    }

    fn run(&self, source: MacAddr, repeat: u32) -> Result<f64> {
        let mut frame = [&PEER.0[..], &source.0, &IPV4].concat();
        frame.extend(IP.octets());
        frame.resize(60, 0);
        let outcome = self.guard.test_run(Direction::Ingress, &frame, 1, repeat)?;
        ensure!(outcome.passed == self.passes, "a frame from {source} was not judged as it should be");
        Ok(outcome.duration.as_nanos() as f64)
    }
}

fn changed(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::new(OWN);
    change(&mut settings);
    settings
}

fn protect(set: &mut Settings) {
    set.protection = Protection { mac_nospoof: true, ip_nospoof: true, dhcp_nospoof: true, restricted: true };
    set.allowed_ips = [IP.into()].into();
}

/// So many addresses from this one on.
fn addresses(first: u32, count: u32) -> Vec<MacAddr> {
    let address = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        MacAddr([2, 0, 0, a, b, c])
    };
    (first..first + count).map(address).collect()
}
