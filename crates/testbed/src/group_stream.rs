//! One frame to each of many groups, round after round, and what of it arrives.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

use crate::clock;
use crate::frames::{FrameSocket, Look};
use crate::groups::{Groups, mac_of_group};
use crate::namespace::Namespace;

/// A sender sends what is due, then sleeps so long.
const TICK: Duration = Duration::from_millis(1);
/// A sender that was held up for longer goes on from there: what it would send at once would only overrun queues.
const LATE: Duration = Duration::from_millis(5);
/// How often a silent receiver looks whether it should end.
const LOOK: Duration = Duration::from_millis(20);
/// When nothing has come for so long, everything has come.
const LINGER: Duration = Duration::from_millis(500);
/// The UDP port for packets to be discarded (RFC 863).
const DISCARD: u16 = 9;
/// Marks our frames; the round follows.
const MARK: [u8; 4] = *b"dlmp";
/// Where they seem to come from.
const SOURCE_V4: [u8; 4] = [10, 9, 0, 1];
const SOURCE_V6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Sends a frame to each group in turn, and again, until it is dropped or stopped.
#[derive(Debug)]
pub struct GroupSender {
    round: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl GroupSender {
    /// Sends through `link`, `rate` frames a second (1 or more).
    ///
    /// # Errors
    /// When there is no such link.
    pub fn start(namespace: &Namespace, link: &str, groups: &[Groups], rate: u32) -> Result<Self> {
        let socket = FrameSocket::open_to_send(namespace, link)?;
        let groups: Vec<IpAddr> = groups.iter().flat_map(|row| row.addresses()).collect();
        let (round, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = thread::Builder::new()
            .name("groups".into())
            .spawn({
                let (round, stop) = (Arc::clone(&round), Arc::clone(&stop));
                move || send(&socket, &groups, rate, &round, &stop)
            })
            .context("cannot start a thread")?;
        Ok(Self { round, stop, thread: Some(thread) })
    }

    /// The round that is being sent. They count from 0.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.round.load(Ordering::Relaxed)
    }

    /// Waits until so many rounds (1 or more) have begun and ended after this call, and returns which.
    #[must_use]
    pub fn rounds(&self, count: u32) -> Range<u32> {
        let first = self.round() + 1;
        while self.round() < first + count && !self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(1));
        }
        first..first + count
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it could not send.
    pub fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended.context("it was stopped before")?.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for GroupSender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Who wants to know how it ended calls `stop`.
            let _ = thread.join();
        }
    }
}

fn send(socket: &FrameSocket, groups: &[IpAddr], rate: u32, round: &AtomicU32, stop: &AtomicBool) -> Result<()> {
    let interval = Duration::from_secs(1) / rate.max(1);
    let mut due = clock::now();
    let mut frame = Vec::new();
    loop {
        for &group in groups {
            if due > clock::now() {
                clock::sleep_until(due.max(clock::now() + TICK));
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            frame.clear();
            emit(&mut frame, socket.address(), group, round.load(Ordering::Relaxed))?;
            socket.send(&frame).with_context(|| format!("cannot send to {group}"))?;
            due = (due + interval).max(clock::now().saturating_sub(LATE));
        }
        round.fetch_add(1, Ordering::Relaxed);
    }
}

fn emit(frame: &mut Vec<u8>, source: [u8; 6], group: IpAddr, round: u32) -> Result<()> {
    let ethernet = PacketBuilder::ethernet2(source, mac_of_group(group));
    let packet = match group {
        IpAddr::V4(group) => ethernet.ipv4(SOURCE_V4, group.octets(), 1),
        IpAddr::V6(group) => ethernet.ipv6(SOURCE_V6, group.octets(), 1),
    };
    let [a, b, c, d] = round.to_be_bytes();
    let payload = [MARK[0], MARK[1], MARK[2], MARK[3], a, b, c, d];
    packet.udp(DISCARD, DISCARD).write(frame, &payload).map_err(|error| anyhow!("cannot build a frame: {error}"))
}

/// The group and the round of one of our frames.
fn parse(frame: &[u8]) -> Option<(IpAddr, u32)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let group = match packet.net? {
        NetSlice::Ipv4(packet) => IpAddr::V4(packet.header().destination_addr()),
        NetSlice::Ipv6(packet) => IpAddr::V6(packet.header().destination_addr()),
        NetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Udp(datagram)) = packet.transport else {
        return None;
    };
    let (mark, round) = datagram.payload().split_first_chunk::<4>()?;
    (*mark == MARK).then_some((group, u32::from_be_bytes(*round.first_chunk()?)))
}

/// Counts what a link receives of what a [`GroupSender`] sends, until it is dropped.
#[derive(Debug)]
pub struct GroupReceiver {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Seen {
    copies: HashMap<(IpAddr, u32), u32>,
    last: HashMap<IpAddr, u32>,
    overtaken: Vec<(IpAddr, u32)>,
}

/// What became of some rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Groups of which a frame is missing, each once.
    pub lost: Vec<IpAddr>,
    /// Groups of which a frame came more than once, each once.
    pub duplicated: Vec<IpAddr>,
    /// Groups of which a frame came after one of a later round, each once.
    pub overtaken: Vec<IpAddr>,
    /// Groups that came in though nobody is said to want them, each once.
    pub foreign: Vec<IpAddr>,
}

impl GroupReceiver {
    /// Counts from now on.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn start(namespace: &Namespace, link: &str) -> Result<Self> {
        let socket = FrameSocket::open(namespace, link)?;
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let thread = thread::Builder::new()
            .name("receiver".into())
            .spawn({
                let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
                move || receive(&socket, &seen, &stop)
            })
            .context("cannot start a thread")?;
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// Waits until nothing new comes in of these rounds, which have been sent, and tells what became of them.
    ///
    /// # Errors
    /// When the receiver itself could not follow.
    pub fn received(&self, rounds: Range<u32>, wanted: &[Groups]) -> Result<Received> {
        self.wait_for_the_rest(&rounds);
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(anyhow!("the receiver has ended; it reports why when it is stopped"));
        }
        let seen = lock(&self.seen);
        let wanted: HashMap<IpAddr, ()> =
            wanted.iter().flat_map(|row| row.addresses()).map(|group| (group, ())).collect();
        let copies = |group: IpAddr| {
            let seen = &seen;
            rounds.clone().map(move |round| seen.copies.get(&(group, round)).copied().unwrap_or(0))
        };
        let mut result = Received {
            lost: wanted.keys().copied().filter(|&group| copies(group).any(|count| count == 0)).collect(),
            duplicated: seen.last.keys().copied().filter(|&group| copies(group).any(|count| count > 1)).collect(),
            overtaken: seen.overtaken.iter().filter(|(_, round)| rounds.contains(round)).map(|seen| seen.0).collect(),
            foreign: seen.last.keys().copied().filter(|group| !wanted.contains_key(group)).collect(),
        };
        result.foreign.retain(|&group| copies(group).any(|count| count > 0));
        for groups in [&mut result.lost, &mut result.duplicated, &mut result.overtaken, &mut result.foreign] {
            groups.sort_unstable();
            groups.dedup();
        }
        Ok(result)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it could not follow what came in.
    pub fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended.context("it was stopped before")?.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn wait_for_the_rest(&self, rounds: &Range<u32>) {
        let count = || lock(&self.seen).copies.keys().filter(|(_, round)| rounds.contains(round)).count();
        let mut before = count();
        loop {
            thread::sleep(LINGER);
            let now = count();
            if now == before {
                return;
            }
            before = now;
        }
    }
}

impl Drop for GroupReceiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Who wants to know how it ended calls `stop`.
            let _ = thread.join();
        }
    }
}

fn receive(socket: &FrameSocket, seen: &Mutex<Seen>, stop: &AtomicBool) -> Result<()> {
    let mut frame = [0; 256];
    while !stop.load(Ordering::Relaxed) {
        if let Look::Received(length) = socket.receive(&mut frame, LOOK)?
            && let Some((group, round)) = parse(&frame[..length])
        {
            lock(seen).note(group, round);
        }
    }
    Ok(())
}

impl Seen {
    fn note(&mut self, group: IpAddr, round: u32) {
        *self.copies.entry((group, round)).or_default() += 1;
        let last = self.last.entry(group).or_insert(round);
        if round < *last {
            self.overtaken.push((group, round));
        }
        *last = round.max(*last);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_tells_its_group_and_round() {
        for groups in [Groups::v4(7, 1), Groups::v6(7, 1)] {
            let group = groups.addresses().next().unwrap();
            let mut frame = Vec::new();
            emit(&mut frame, [2, 0, 0, 0, 0, 1], group, 12_345).unwrap();
            assert_eq!(frame[..6], mac_of_group(group));
            assert_eq!(parse(&frame), Some((group, 12_345)));
            assert_eq!(parse(&frame[..frame.len() - 1]), None);
        }
    }
}
