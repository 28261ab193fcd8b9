//! Two opposite UDP streams between namespaces, with events at given times: sending and receiving.
//! What the record means is decided in `stream`.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::clock;
use crate::namespace::Namespace;
use crate::stream::{Arrival, Stream};
use crate::sys;
use crate::watch::{self, PortTraffic};

/// How long after the last one was sent or came in a packet may still come in.
const LINGER: Duration = Duration::from_millis(500);
/// So many packets a sender that was held up sends at once; for the others it takes the time they
/// need, since a longer burst overruns queues on its way and would look like a fault of the network.
const BURST: u32 = 5;
/// A sender that can send nothing for so long gives up.
const STUCK: Duration = Duration::from_secs(10);
/// How often a silent receiver looks whether it should end.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(20);
/// Between the start of the threads and the first packet.
const LEAD: Duration = Duration::from_millis(20);
/// Receive buffer in bytes: more than a second of packets at any rate used here.
const BUFFER: usize = 4 << 20;
/// Flow identity and sequence number, in network byte order.
const PAYLOAD: usize = 12;

/// One end of a flow: an address in a namespace.
#[derive(Debug, Clone)]
pub struct End {
    namespace: Namespace,
    address: IpAddr,
}

impl End {
    /// The end at `address`, which a link of `namespace` must have.
    #[must_use]
    pub fn new(namespace: &Namespace, address: IpAddr) -> Self {
        Self { namespace: namespace.clone(), address }
    }
}

/// A flow to be run: packets with sequence numbers both ways at the same steady rate.
pub struct Flow<'a> {
    ends: [End; 2],
    interval: Duration,
    packets: usize,
    events: Vec<Planned<'a>>,
    watched: Option<(Namespace, Vec<String>)>,
}

/// Something that is to happen during a flow.
struct Planned<'a> {
    at: Duration,
    label: String,
    action: Box<dyn FnOnce() -> Result<()> + 'a>,
}

/// Something that happened during a flow. Times count from the start of the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it is called.
    pub label: String,
    /// When its action began.
    pub began: Duration,
    /// When its action had returned.
    pub done: Duration,
}

/// What was recorded of a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// From the first end to the second.
    pub forth: Stream,
    /// From the second end to the first.
    pub back: Stream,
    /// The events, in the order of time.
    pub events: Vec<Event>,
    /// The counters of the links given to [`Flow::watch`].
    pub ports: PortTraffic,
}

impl Record {
    /// From the beginning of the `index`-th event to the beginning of the next one, or to the end.
    #[must_use]
    pub fn after_event(&self, index: usize) -> Range<Duration> {
        let begin = |index: usize| self.events.get(index).map(|event| event.began);
        begin(index).unwrap_or(Duration::MAX)..begin(index + 1).unwrap_or(Duration::MAX)
    }
}

impl<'a> Flow<'a> {
    /// A flow between two ends with `rate` packets a second (1 or more) each way for `duration`.
    #[must_use]
    pub fn new(first: End, second: End, rate: u32, duration: Duration) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        let packets = duration.as_nanos() / interval.as_nanos().max(1);
        Self {
            ends: [first, second],
            interval,
            packets: usize::try_from(packets).unwrap_or(usize::MAX),
            events: Vec::new(),
            watched: None,
        }
    }

    /// Has `action` carried out `at` this time after the start. Events are given in the order of
    /// time and happen one after the other; one that takes long delays the next.
    #[must_use]
    pub fn event(mut self, at: Duration, label: &str, action: impl FnOnce() -> Result<()> + 'a) -> Self {
        let label = label.to_owned();
        self.events.push(Planned { at, label, action: Box::new(action) });
        self
    }

    /// Also records the packet counters of `links` in `namespace`.
    #[must_use]
    pub fn watch(mut self, namespace: &Namespace, links: &[&str]) -> Self {
        let links = links.iter().map(|&link| link.to_owned()).collect();
        self.watched = Some((namespace.clone(), links));
        self
    }

    /// Runs the flow and returns when the last packet has come in or had the time to.
    ///
    /// # Errors
    /// When a namespace or address does not exist, or an event's action fails (the flow runs to
    /// its end even so), or a sender finds no room in its own send buffer for 10 s. A packet that the
    /// network refuses, for example for want of a route, is no error: it counts as lost.
    ///
    /// Where the machine holds a sender up, or its send buffer is full, its packets are sent later:
    /// the flow takes longer, and [`Report::held_up`](crate::Report::held_up) tells.
    pub fn run(self) -> Result<Record> {
        let [first, second] = &self.ends;
        let (forth, back) = (Direction::new(first, second)?, Direction::new(second, first)?);
        let start = clock::now() + LEAD;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let receivers = [&forth, &back].map(|way| scope.spawn(|| way.receive(start, self.packets, &stop)));
            let watcher = self.watched.as_ref().map(|(namespace, links)| {
                let stop = &stop;
                scope.spawn(move || {
                    namespace.move_thread()?;
                    watch::watch(links, start, stop)
                })
            });
            let senders = [&forth, &back].map(|way| scope.spawn(|| way.send(start, self.packets, self.interval)));

            let events = carry_out(self.events, start);
            let [sent_forth, sent_back] = senders.map(join);
            wait_for_the_rest(&[&forth, &back], self.packets);
            stop.store(true, Ordering::Relaxed);
            let [got_forth, got_back] = receivers.map(join);
            let ports = watcher.map(join).transpose()?.unwrap_or_default();

            let stream = |sent, arrivals| Stream { interval: self.interval, sent, arrivals };
            Ok(Record {
                forth: stream(sent_forth?, got_forth?),
                back: stream(sent_back?, got_back?),
                events: events?,
                ports,
            })
        })
    }
}

/// Carries out the events at their times and notes when. Returns the first failure at the end.
fn carry_out(events: Vec<Planned<'_>>, start: Duration) -> Result<Vec<Event>> {
    let since_start = || clock::now().saturating_sub(start);
    let mut done = Vec::new();
    for Planned { at, label, action } in events {
        clock::sleep_until(start + at);
        let began = since_start();
        let result = action().with_context(|| format!("event {label:?} failed"));
        done.push(result.map(|()| Event { label, began, done: since_start() }));
    }
    done.into_iter().collect()
}

/// Waits until every packet has come in, or none for [`LINGER`].
fn wait_for_the_rest(directions: &[&Direction; 2], packets: usize) {
    let received = || directions.map(|way| way.received.load(Ordering::Relaxed));
    let (mut before, mut deadline) = (received(), clock::now() + LINGER);
    while clock::now() < deadline && before.iter().any(|&count| count < packets) {
        thread::sleep(Duration::from_millis(5));
        let now = received();
        if now != before {
            (before, deadline) = (now, clock::now() + LINGER);
        }
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The sockets of one direction. They belong to the namespaces in which they were opened, so any
/// thread can use them.
struct Direction {
    sender: UdpSocket,
    receiver: UdpSocket,
    target: SocketAddr,
    /// Tells our packets from those of any other flow.
    identity: u32,
    /// Datagrams received so far, copies included.
    received: AtomicUsize,
}

impl Direction {
    fn new(from: &End, to: &End) -> Result<Self> {
        static IDENTITY: AtomicU32 = AtomicU32::new(0);
        let sender = bind(from)?;
        let receiver = bind(to)?;
        receiver.set_read_timeout(Some(RECEIVE_TIMEOUT))?;
        sender.set_nonblocking(true)?;
        setsockopt(&receiver, sockopt::ReceiveTimestampns, &true).context("the kernel gives no receive time stamps")?;
        setsockopt(&receiver, sockopt::RcvBufForce, &BUFFER)
            .context("cannot enlarge a receive buffer; are you root?")?;
        Ok(Self {
            target: receiver.local_addr()?,
            sender,
            receiver,
            identity: std::process::id() ^ IDENTITY.fetch_add(1 << 24, Ordering::Relaxed),
            received: AtomicUsize::new(0),
        })
    }

    /// Sends `count` packets from `start` on and returns when each was sent.
    fn send(&self, start: Duration, count: usize, interval: Duration) -> Result<Vec<Duration>> {
        sys::prefer_this_thread();
        let mut sent = Vec::with_capacity(count);
        let (mut due, mut progress) = (start, start);
        while sent.len() < count {
            clock::sleep_until(due);
            let now = clock::now();
            let payload = encode(self.identity, sent.len() as u64);
            match self.sender.send_to(&payload, self.target) {
                // The send buffer is full: the packet has not left, and is sent when it is due next.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ensure!(now < progress + STUCK, "the send buffer was full for {STUCK:?}: {error}");
                }
                _ => {
                    sent.push(now.saturating_sub(start));
                    progress = now;
                }
            }
            due = (due + interval).max(now.saturating_sub(interval * BURST));
        }
        Ok(sent)
    }

    /// Receives until `stop` is set and nothing is left to read.
    fn receive(&self, start: Duration, expected: usize, stop: &AtomicBool) -> Result<Vec<Arrival>> {
        sys::prefer_this_thread();
        let mut arrivals = Vec::with_capacity(expected);
        loop {
            // Read before the socket is looked at, so that what came before `stop` is not missed.
            let last_look = stop.load(Ordering::Relaxed);
            match self.receive_one(start)? {
                Received::Ours(arrival) => {
                    arrivals.push(arrival);
                    self.received.fetch_add(1, Ordering::Relaxed);
                }
                Received::Foreign => {}
                Received::Nothing if last_look => return Ok(arrivals),
                Received::Nothing => {}
            }
        }
    }

    fn receive_one(&self, start: Duration) -> Result<Received> {
        let mut payload = [0; PAYLOAD];
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut buffers = [IoSliceMut::new(&mut payload)];
        let message =
            match recvmsg::<()>(self.receiver.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::empty()) {
                Ok(message) => message,
                Err(error) => {
                    let error = std::io::Error::from(error);
                    return match error.kind() {
                        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(Received::Nothing),
                        _ => Err(anyhow!(error).context("cannot receive")),
                    };
                }
            };
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
            _ => None,
        });
        let length = message.bytes;
        let Some(sequence) = decode(&payload[..length], self.identity) else {
            return Ok(Received::Foreign);
        };
        let at = stamp.map_or_else(clock::now, clock::from_wall_clock).saturating_sub(start);
        Ok(Received::Ours(Arrival { sequence, at }))
    }
}

enum Received {
    Ours(Arrival),
    Foreign,
    Nothing,
}

/// A UDP socket with a free port at `end`.
fn bind(end: &End) -> Result<UdpSocket> {
    end.namespace
        .enter(|| UdpSocket::bind((end.address, 0)))?
        .with_context(|| format!("cannot use the address {} in {}", end.address, end.namespace.name()))
}

fn encode(identity: u32, sequence: u64) -> [u8; PAYLOAD] {
    let mut payload = [0; PAYLOAD];
    payload[..4].copy_from_slice(&identity.to_be_bytes());
    payload[4..].copy_from_slice(&sequence.to_be_bytes());
    payload
}

/// The sequence number of a packet of the flow `identity`.
fn decode(payload: &[u8], identity: u32) -> Option<usize> {
    let (id, sequence) = payload.split_first_chunk()?;
    let sequence: &[u8; 8] = sequence.try_into().ok()?;
    (u32::from_be_bytes(*id) == identity).then(|| usize::try_from(u64::from_be_bytes(*sequence)).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_carries_its_sequence_number() {
        assert_eq!(decode(&encode(7, 123_456), 7), Some(123_456));
    }

    #[test]
    fn packets_of_another_flow_and_other_lengths_are_not_ours() {
        assert_eq!(decode(&encode(8, 1), 7), None);
        assert_eq!(decode(&encode(7, 1)[..11], 7), None);
        assert_eq!(decode(&[], 7), None);
    }
}
