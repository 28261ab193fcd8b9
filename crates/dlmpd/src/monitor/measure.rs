//! Measures what the filter of a port does with multicast groups: how many it holds, and whether it takes all when it
//! is told to. Drivers tell neither: the kernel's list of addresses is as long as one likes (net/core/dev_addr_lists.c),
//! and a virtual function that is not trusted just goes on dropping.
//!
//! Another port sends frames to groups, and it is counted which of them come in at this one. They carry a number
//! that nobody can guess, and a type that hosts ignore.

use std::collections::BTreeSet;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use dlmp_netlink::{MulticastFilter, Netlink};
use dlmp_wire::MacAddr;
use dlmp_wire::ethernet::ethertype;
use tokio::sync::mpsc;

use super::frames::FrameSender;
use super::running::Device;
use crate::sys;

/// How many groups are tried at most: more than the devices hold that are known for holding few, and few enough to be no load.
pub(super) const TRIED: usize = 128;
/// How many frames say whether a way is open at all.
const CONTROL: usize = 8;
/// How long the device may take to follow its list, and a frame to come over.
const PATIENCE: Duration = Duration::from_millis(100);
/// The type of what a host tells its machines, too; those frames begin otherwise.
const ETHERTYPE: u16 = ethertype::VNET;
const NONCE: usize = 16;
const FRAME: usize = 60;

/// What a measurement is to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// How many groups the port holds.
    Capacity {
        /// How many are in its filter already, or were put there.
        held: usize,
        /// Some of those, [`TRIED`] at most.
        sample: Vec<MacAddr>,
    },
    /// Whether the port, which was told to, takes all groups.
    TakesAll {
        /// A group that comes in whether it does or not, since it is in the port's filter. Without one, another is put there
        /// for a moment.
        held: Option<MacAddr>,
    },
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// The port holds so many groups, or more than were tried.
    Capacity(Option<usize>),
    /// Whether it takes all.
    TakesAll(bool),
}

/// A finding, or none because the ports do not reach each other or the port takes all groups now.
#[derive(Debug)]
pub(super) struct Measured {
    /// The link of the port.
    pub(super) link: u32,
    /// What was asked.
    pub(super) question: Question,
    /// The answer.
    pub(super) finding: Option<Finding>,
}

/// Measures the filter of a port with frames that another port sends, in a thread of its own.
pub(super) fn start(port: Device, from: Device, question: Question, results: mpsc::UnboundedSender<Measured>) {
    let measure = move || {
        let finding = Measurement::new(port, from).and_then(|measurement| match &question {
            Question::Capacity { held, sample } => measurement.capacity(*held, sample),
            Question::TakesAll { held } => measurement.takes_all(*held),
        });
        let finding = finding.unwrap_or_else(|error| {
            tracing::warn!(%error, link = port.ifindex, "the port's filter cannot be measured");
            None
        });
        let _ = results.send(Measured { link: port.ifindex, question, finding });
    };
    if let Err(error) = thread::Builder::new().name("measure".into()).spawn(measure) {
        tracing::warn!(%error, "no filter can be measured");
    }
}

struct Measurement {
    port: Device,
    from: Device,
    nonce: [u8; NONCE],
    sender: FrameSender,
    receiver: socket2::Socket,
}

impl Measurement {
    fn new(port: Device, from: Device) -> io::Result<Self> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let receiver = sys::whole_frame_socket(port.ifindex, ETHERTYPE)?;
        Ok(Self { port, from, nonce, sender: FrameSender::open()?, receiver })
    }

    fn capacity(&self, held: usize, sample: &[MacAddr]) -> io::Result<Option<Finding>> {
        if self.told_to_take_all()? {
            return Ok(None);
        }
        let strange = random_groups(CONTROL)?;
        let arrived = self.arrivals(&[&strange, sample].concat())?;
        if strange.iter().all(|group| arrived.contains(group)) {
            // A port that filters nothing, as most virtual ones, needs no more.
            return Ok((!self.told_to_take_all()?).then_some(Finding::Capacity(None)));
        }
        if arrived.is_empty() && !sample.is_empty() {
            return Ok(None);
        }
        let (more, refused) = self.arrivals_with_room_for(&random_groups(TRIED)?)?;
        if self.told_to_take_all()? {
            return Ok(None);
        }
        let sampled = sample.iter().filter(|group| arrived.contains(group)).count();
        Ok(match (more, sampled) {
            // Nothing comes over, or another's groups fill it.
            (0, 0) => None,
            // It was full before. If it lacks some of the sample, it holds this many at least.
            (0, _) => Some(Finding::Capacity(Some(if sampled == sample.len() { held } else { sampled }))),
            (TRIED, _) if refused == 0 => Some(Finding::Capacity(None)),
            _ => Some(Finding::Capacity(Some(held + more))),
        })
    }

    fn takes_all(&self, held: Option<MacAddr>) -> io::Result<Option<Finding>> {
        if let Some(held) = held {
            return self.takes_more_than(held);
        }
        let (mut filter, known) = (MulticastFilter::open()?, random_groups(1)?[0]);
        let mut change = |wanted: bool| filter.change(self.port.ifindex, &[(known, wanted)]).map_err(io::Error::other);
        change(true)?;
        let finding = self.takes_more_than(known);
        change(false)?;
        finding
    }

    /// Whether other groups come in besides one that does.
    fn takes_more_than(&self, held: MacAddr) -> io::Result<Option<Finding>> {
        let mut groups = random_groups(CONTROL)?;
        let strange: BTreeSet<MacAddr> = groups.iter().copied().collect();
        groups.extend([held; CONTROL]);
        let arrived = self.arrivals(&groups)?;
        Ok(match (arrived.iter().any(|group| strange.contains(group)), arrived.contains(&held)) {
            (true, _) => Some(Finding::TakesAll(true)),
            (false, true) => Some(Finding::TakesAll(false)),
            (false, false) => None,
        })
    }

    /// Whether the kernel has told the port to take all groups, whoever wants it. Nothing is seen of its filter then.
    fn told_to_take_all(&self) -> io::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let link = runtime.block_on(async {
            let netlink = Netlink::connect().map_err(io::Error::other)?;
            netlink.link_by_index(self.port.ifindex).await.map_err(io::Error::other)
        })?;
        Ok(link.is_some_and(|link| link.all_multicast || link.promiscuous_flag))
    }

    /// Puts groups into the port's filter for a moment. Returns how many of them come in, and how many it refused.
    fn arrivals_with_room_for(&self, groups: &[MacAddr]) -> io::Result<(usize, usize)> {
        let mut filter = MulticastFilter::open()?;
        let mut change = |wanted: bool| {
            let changes: Vec<_> = groups.iter().map(|&group| (group, wanted)).collect();
            filter.change(self.port.ifindex, &changes).map_err(io::Error::other)
        };
        let refused = change(true)?.refused.len();
        let arrived = self.arrivals_until_no_more(groups);
        change(false)?;
        Ok((arrived?.len(), refused))
    }

    /// Sends to each group again as long as more of them come in: a slow filter may follow later than usual, and a queue
    /// may overflow.
    fn arrivals_until_no_more(&self, groups: &[MacAddr]) -> io::Result<BTreeSet<MacAddr>> {
        let mut arrived = BTreeSet::new();
        loop {
            let before = arrived.len();
            arrived.extend(self.arrivals(groups)?);
            if arrived.len() == before || arrived.len() == groups.len() {
                return Ok(arrived);
            }
        }
    }

    /// Sends a frame to each group and gives those that come in.
    fn arrivals(&self, groups: &[MacAddr]) -> io::Result<BTreeSet<MacAddr>> {
        thread::sleep(PATIENCE);
        for group in groups {
            let mut frame = [0; FRAME];
            frame[..6].copy_from_slice(&group.0);
            frame[6..12].copy_from_slice(&self.from.mac.0);
            frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
            frame[14..14 + NONCE].copy_from_slice(&self.nonce);
            self.sender.send(&frame, self.from.ifindex)?;
        }
        let (mut arrived, mut buffer) = (BTreeSet::new(), Box::new([0; sys::FRAME_MAX]));
        let mut until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match sys::receive_frame(&self.receiver, &mut buffer) {
                Ok(frame) => {
                    // A slow machine is still at it.
                    if let Some(group) = self.group_of(&frame)
                        && arrived.insert(group)
                    {
                        until = Instant::now() + PATIENCE;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(error),
            }
        }
        Ok(arrived)
    }

    /// The group of one of our own frames.
    fn group_of(&self, frame: &[u8]) -> Option<MacAddr> {
        let ours = frame.get(12..14)? == ETHERTYPE.to_be_bytes() && frame.get(14..14 + NONCE)? == self.nonce;
        ours.then(|| frame.first_chunk().copied().map(MacAddr))?
    }
}

/// Locally administered groups, which nobody uses.
fn random_groups(count: usize) -> io::Result<Vec<MacAddr>> {
    let mut groups = vec![MacAddr::default(); count];
    for MacAddr(bytes) in &mut groups {
        getrandom::fill(bytes).map_err(io::Error::other)?;
        bytes[0] = 0x03;
    }
    Ok(groups)
}
