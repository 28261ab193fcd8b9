//! Where many clients are measured: guests of a bridge on an aggregation, and a host behind the switch.
//!
//! ```text
//!   machine: guests (tap) -- br0 -- aggr0 -- net0 .. netN ---- p0 .. pN -- br0 -- host (tap) :switch
//! ```
//! All guests are behind one tap, as many MAC addresses as are wanted; what they and the host send each
//! other carries a number, so that each frame that is lost or comes twice is seen.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use dlmp_testbed::{Arrival, Environment, Namespace, Pins, Stream, Tap, bridge, up, veth};
use dlmp_wire::MacAddr;
use serde_json::Value;

use crate::network::output;

const HOST: MacAddr = MacAddr([0x52, 0x54, 0, 0xff, 0, 1]);
/// Local experimental EtherType 2 (IEEE 802, 9.2.4): the numbered frames.
const NUMBERED: [u8; 2] = [0x88, 0xb6];
/// RARP (RFC 903): announcements.
const RARP: [u8; 2] = [0x80, 0x35];
/// Where a frame's number begins.
const NUMBER: Range<usize> = 14..22;
/// Frames that can wait to be read: more than a second's.
const QUEUE: u32 = 100_000;
/// A sender sends as many frames as are due, then sleeps so long.
pub const TICK: Duration = Duration::from_micros(200);
/// How long frames may still come in after the last one was sent.
const LINGER: Duration = Duration::from_millis(300);
/// How often a silent receiver looks whether it should end.
const LOOK: Duration = Duration::from_millis(20);
/// How long the daemon may take for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

/// The machine and the switch.
pub struct Scene {
    /// With the ports `net0`, `net1`, ... of the aggregation.
    pub machine: Namespace,
    /// With what they are connected to, `p0`, `p1`, ...
    pub switch: Namespace,
    dlmp: Environment,
    guests: Tap,
    host: Tap,
    ports: usize,
}

/// What is sent each way: frames of `length` bytes of these guests in turn, `rate` a second.
pub struct Load {
    /// Their numbers.
    pub guests: Vec<u16>,
    /// Frames a second, 1 or more.
    pub rate: u32,
    /// Bytes of a frame, 60 or more.
    pub length: usize,
}

/// What became of it. Times count from the start.
pub struct Record {
    /// From the guests to the host.
    pub forth: Stream,
    /// From the host to the guests.
    pub back: Stream,
    /// The announcements that the host saw.
    pub announcements: Vec<(Duration, MacAddr)>,
}

impl Scene {
    /// Builds it with so many ports. No guest is known yet.
    pub fn new(ports: usize) -> Result<Self> {
        let [machine, switch] = ["machine", "switch"].map(|name| Namespace::new("bg", name));
        let (machine, switch) = (machine?, switch?);
        machine.without_ipv6()?;
        switch.without_ipv6()?;
        for port in 0..ports {
            veth((&machine, &format!("net{port}")), (&switch, &format!("p{port}")))?;
        }
        let (host, guests) = (Tap::new(&switch, "host", 10_000)?, Tap::new(&machine, "guests", 10_000)?);
        switch.ip(&format!("link set dev host txqueuelen {QUEUE}"))?;
        machine.ip(&format!("link set dev guests txqueuelen {QUEUE}"))?;
        let ends: Vec<String> = (0..ports).map(|port| format!("p{port}")).chain(["host".to_owned()]).collect();
        bridge(&switch, "br0", &ends.iter().map(String::as_str).collect::<Vec<_>>())?;
        let dlmp = Environment::new(&machine, Pins::Mounted)?;
        let links: String = (0..ports).map(|port| format!(" -l net{port}")).collect();
        output(&mut dlmp.line(&format!("dladm create-aggr{links} aggr0")))?;
        bridge(&machine, "br0", &["aggr0", "guests"])?;
        Ok(Self { machine, switch, dlmp, guests, host, ports })
    }

    /// Has so many guests speak up until each sits on a port.
    pub fn learn(&self, count: u16) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        self.host.send(&frame(MacAddr::BROADCAST, HOST, 60))?;
        while self.seats()?.len() < usize::from(count) {
            self.load(&Load { guests: (0..count).collect(), rate: 10_000, length: 60 }, |_| {
                thread::sleep(Duration::from_secs(1) * u32::from(count) / 8000);
                Ok(())
            })?;
            if Instant::now() > deadline {
                bail!("{} of {count} guests are learned after {PATIENCE:?}", self.seats()?.len());
            }
        }
        self.wait_until_even()
    }

    /// The port that each guest sits on, by its number.
    pub fn seats(&self) -> Result<BTreeMap<u16, String>> {
        let rows: Value = serde_json::from_str(&output(&mut self.dlmp.line("dladm show-aggr -C -j aggr0"))?)?;
        let rows = rows.as_array().context("show-aggr -C -j prints no list")?;
        let learned = rows.iter().filter(|row| row["type"] == "learned");
        let guest = |row: &Value| Some((number_of(row["address"].as_str()?)?, row["port"].as_str()?.to_owned()));
        Ok(learned.filter_map(guest).collect())
    }

    /// Waits until no port has two clients more than another.
    pub fn wait_until_even(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seats = self.seats()?;
            let count = |port: usize| seats.values().filter(|seat| **seat == format!("net{port}")).count();
            let loads: Vec<usize> = (0..self.ports).map(count).collect();
            // The primary interface is a client too.
            if loads.iter().max() <= loads.iter().min().map(|least| least + 2).as_ref() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("after {PATIENCE:?} the ports have {loads:?} guests");
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Gives a port its carrier back.
    pub fn mend(&self, port: usize) -> Result<()> {
        up(&self.switch, &format!("p{port}"))
    }

    /// Sends both ways while `work` is done, which is told the start, and returns what became of it and what the work returned.
    pub fn load<T>(&self, load: &Load, work: impl FnOnce(Instant) -> Result<T>) -> Result<(Record, T)> {
        let (sending, receiving) = (AtomicBool::new(true), AtomicBool::new(true));
        let start = Instant::now();
        let interval = Duration::from_secs(1) / load.rate;
        let (guests, host) = (&self.guests, &self.host);
        let forth = |guest: u16| frame(HOST, guest_address(guest), load.length);
        let back = |guest: u16| frame(guest_address(guest), HOST, load.length);
        thread::scope(|scope| {
            let receivers = [host, guests].map(|tap| scope.spawn(|| receive(tap, start, &receiving)));
            let senders = [
                scope.spawn(|| send(guests, load, forth, start, &sending)),
                scope.spawn(|| send(host, load, back, start, &sending)),
            ];
            let result = work(start);
            sending.store(false, Ordering::Relaxed);
            let badly = |_| anyhow!("a sender or receiver ended badly");
            let [sent_forth, sent_back] = senders.map(|thread| thread.join().map_err(badly));
            thread::sleep(LINGER);
            receiving.store(false, Ordering::Relaxed);
            let [at_host, at_guests] = receivers.map(|thread| thread.join().map_err(badly));
            let ((arrivals_forth, announcements), (arrivals_back, _)) = (at_host??, at_guests??);
            let stream = |sent, arrivals| Stream { interval, sent, arrivals };
            let record = Record {
                forth: stream(sent_forth?, arrivals_forth),
                back: stream(sent_back?, arrivals_back),
                announcements,
            };
            Ok((record, result?))
        })
    }
}

/// Sends numbered frames of the guests in turn. Returns when each was sent; one that is refused is sent when the
/// next is due.
fn send(tap: &Tap, load: &Load, frame: impl Fn(u16) -> Vec<u8>, start: Instant, go_on: &AtomicBool) -> Vec<Duration> {
    let mut frames: Vec<Vec<u8>> = load.guests.iter().map(|&guest| frame(guest)).collect();
    let mut sent = Vec::new();
    while go_on.load(Ordering::Relaxed) {
        let due = start.elapsed().as_nanos() * u128::from(load.rate) / 1_000_000_000;
        while (sent.len() as u128) < due {
            let turn = sent.len() % frames.len();
            frames[turn][NUMBER].copy_from_slice(&(sent.len() as u64).to_be_bytes());
            let now = start.elapsed();
            if tap.send(&frames[turn]).is_err() {
                break;
            }
            sent.push(now);
        }
        thread::sleep(TICK);
    }
    sent
}

type Arrived = (Vec<Arrival>, Vec<(Duration, MacAddr)>);

/// Receives numbered frames and announcements until it should end and nothing is left.
fn receive(tap: &Tap, start: Instant, go_on: &AtomicBool) -> Result<Arrived> {
    let (mut arrivals, mut announcements, mut frame) = (Vec::new(), Vec::new(), [0; 2048]);
    loop {
        let last_look = !go_on.load(Ordering::Relaxed);
        let Some(length) = tap.receive(&mut frame, LOOK)? else {
            if last_look {
                return Ok((arrivals, announcements));
            }
            continue;
        };
        let at = start.elapsed();
        let Some(&[_, _, _, _, _, _, ref source @ .., first, second]) = frame[..length].first_chunk::<14>() else {
            continue;
        };
        match [first, second] {
            NUMBERED => {
                if let Some(number) = frame[..length].get(NUMBER).and_then(|bytes| bytes.try_into().ok()) {
                    arrivals.push(Arrival { sequence: usize::try_from(u64::from_be_bytes(number))?, at });
                }
            }
            RARP => announcements.push((at, MacAddr(*source))),
            _ => {}
        }
    }
}

/// The address of a guest. The last two bytes are its number.
pub fn guest_address(guest: u16) -> MacAddr {
    let [high, low] = guest.to_be_bytes();
    MacAddr([0x52, 0x54, 0, 1, high, low])
}

/// The number of the guest with this address.
fn number_of(address: &str) -> Option<u16> {
    let address: MacAddr = address.parse().ok()?;
    let guest = u16::from_be_bytes([address.0[4], address.0[5]]);
    (guest_address(guest) == address).then_some(guest)
}

/// A frame without a number.
fn frame(to: MacAddr, from: MacAddr, length: usize) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &NUMBERED].concat();
    frame.resize(length, 0xff);
    frame
}
