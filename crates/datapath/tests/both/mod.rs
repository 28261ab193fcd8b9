//! The model and the loaded programs in the same state, fed with the same frames.
#![allow(dead_code, missing_docs, reason = "each test uses its own part")]

pub mod reports;

use dlmp_datapath::bpf::{Attachment, Bpf, Entry, Events, Served};
use dlmp_datapath::model::{Delivery, Model, Verdict};
use dlmp_datapath::{
    Above, ClientAddress, Counter, Counters, Datapath, Observation, Placement, PortIndex, SlotIndex, VnicIndex,
};
use dlmp_wire::MacAddr;

pub const TC_ACT_OK: u32 = 0;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;

pub const CLIENT: MacAddr = MacAddr([2, 8, 0x20, 1, 2, 3]);
pub const STRANGER: MacAddr = MacAddr([0x52, 0x54, 0, 9, 9, 9]);
pub const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 0xfb]);
pub const LLDP: MacAddr = MacAddr([1, 0x80, 0xc2, 0, 0, 0x0e]);
/// To the aggregation's own link.
pub const TO_LINK: Verdict = Verdict::Deliver(Delivery { to: Above::Link, untagged: false });
pub const NET0: PortIndex = PortIndex(0);
pub const NET1: PortIndex = PortIndex(1);

/// The test run takes any interface that exists: the loopback stands for the ports in turn.
pub const LOOPBACK: u32 = 1;
/// The index of no link.
pub const NO_LINK: u32 = u32::MAX;

pub fn port_mac(port: PortIndex) -> MacAddr {
    MacAddr([0, 0x14, 0x4f, 0xf9, 0, port.0])
}

/// Both back ends in the same state.
pub struct Pair {
    pub bpf: Bpf,
    pub model: Model,
    events: Events,
    /// What both observed.
    pub observed: Vec<Observation>,
    /// The copies of the last frame, by the model.
    pub copies: Vec<Delivery>,
}

impl Pair {
    /// Two usable ports; the client sits on net0, its backup is net1, every group is taken from net0.
    pub fn new() -> Self {
        let served = Served {
            name: "aggr0".into(),
            ifindex: LOOPBACK,
            lower: NO_LINK,
            lower_name: "dlmp0".into(),
            netns_cookie: 1,
        };
        let mut bpf = Bpf::load(served, Attachment::Clsact).expect("the programs load");
        let events = bpf.take_events().expect("the ring is there");
        let mut pair = Self { bpf, model: Model::default(), events, observed: Vec::new(), copies: Vec::new() };
        // The model's clock starts long after the move that places the client, as the kernel's does
        // after the window is over; `fresh` tests move again.
        pair.both(|d| d.set_port(NET0, 100, port_mac(NET0)));
        pair.both(|d| d.set_port(NET1, 101, port_mac(NET1)));
        pair.both(|d| d.set_usable(NET0, true));
        pair.both(|d| d.set_usable(NET1, true));
        pair.both(|d| d.set_client(ClientAddress { mac: CLIENT, vlan: 0 }, SlotIndex::PRIMARY));
        pair.both(|d| d.set_multicast_port(Some(NET0)));
        pair.both(|d| d.set_all_multicast(true));
        pair.settle(NET0, Some(NET1));
        pair
    }

    pub fn both(&mut self, write: impl Fn(&mut dyn Datapath) -> Result<(), dlmp_datapath::Error>) {
        write(&mut self.bpf).expect("the programs take the write");
        write(&mut self.model).expect("the model takes the write");
    }

    /// Places the client with its move long past.
    pub fn settle(&mut self, port: PortIndex, backup: Option<PortIndex>) {
        let placement = Placement { port, backup };
        self.bpf.restore(SlotIndex::PRIMARY, placement).unwrap();
        self.model.place(SlotIndex::PRIMARY, placement).unwrap();
        let minute = std::time::Duration::from_secs(60);
        self.model.set_time(self.model.time() + minute);
        self.bpf.age_moves(minute).unwrap();
    }

    fn counters(&self) -> Vec<Counters> {
        [NET0, NET1]
            .map(|port| self.bpf.counters(port).unwrap())
            .into_iter()
            .chain([self.bpf.aggregation_counters().unwrap()])
            .collect()
    }

    fn model_counters(&self) -> Vec<Counters> {
        vec![self.model.counters(NET0), self.model.counters(NET1), self.model.aggregation_counters()]
    }

    /// Sends a frame from above; returns what both did with it.
    pub fn egress(&mut self, frame: &[u8]) -> Verdict {
        let verdict = self.model.egress(frame);
        self.agree(Entry::Link, frame, verdict);
        verdict
    }

    /// Has a frame come to the lower end of the aggregation's link; returns what both did with it.
    pub fn lower(&mut self, frame: &[u8], marked: bool) -> Verdict {
        let verdict = self.model.lower(frame, marked);
        self.bpf.swap_ends().unwrap();
        self.agree(Entry::Lower { marked }, frame, verdict);
        self.bpf.swap_ends().unwrap();
        verdict
    }

    /// Receives a frame on a port; returns what both did with it.
    pub fn ingress(&mut self, port: PortIndex, frame: &[u8]) -> Verdict {
        let verdict = self.model.ingress(port, frame);
        self.bpf.alias_ifindex(LOOPBACK, port).unwrap();
        self.agree(Entry::Port(LOOPBACK), frame, verdict);
        verdict
    }

    /// Sends a frame from a VNIC whose lower end is the loopback; returns what both did with it.
    pub fn vnic(&mut self, index: VnicIndex, frame: &[u8]) -> Verdict {
        let verdict = self.model.vnic(index, frame);
        self.agree(Entry::Vnic(LOOPBACK), frame, verdict);
        verdict
    }

    /// Whether the daemon is alive, for both.
    pub fn set_alive(&mut self, alive: bool) {
        self.bpf.set_alive(alive).unwrap();
        self.model.set_alive(alive);
    }

    /// A count of the aggregation's, the same in both.
    pub fn aggregation(&self, counter: Counter) -> u64 {
        self.bpf.aggregation_counters().unwrap().get(counter)
    }

    pub fn agree(&mut self, entry: Entry, frame: &[u8], verdict: Verdict) {
        let (action, out, _) = self.bpf.test_run(entry, frame, 1).unwrap();
        let wanted = match verdict {
            Verdict::Send { .. } | Verdict::Hold | Verdict::Deliver(_) | Verdict::Answer(_) => TC_ACT_REDIRECT,
            Verdict::Stay => TC_ACT_OK,
            Verdict::Drop => TC_ACT_SHOT,
        };
        assert_eq!(action, wanted, "the programs disagree on {verdict:?} for {frame:02x?} on {entry:?}");
        let mut sent = frame.to_vec();
        if let Verdict::Send { source: Some(mac), .. } = verdict {
            sent[6..12].copy_from_slice(&mac.0);
        }
        if let Verdict::Answer(answer) = verdict {
            sent[..answer.len()].copy_from_slice(&answer);
        }
        self.copies = std::iter::from_fn(|| self.model.poll_copy()).collect();
        let untagged = matches!(verdict, Verdict::Deliver(Delivery { untagged: true, .. }));
        // A tag that was off while copies were made is back in the frame's metadata, which does not come out.
        let is_group = frame.first().is_some_and(|first| first & 1 == 1);
        let strip = |frame: &mut Vec<u8>| {
            if (untagged || is_group) && frame.get(12..14) == Some(&[0x81, 0]) {
                frame.drain(12..16);
            }
        };
        let mut out = out;
        if is_group {
            strip(&mut out);
        }
        strip(&mut sent);
        assert_eq!(out, sent, "the frame left changed");
        while let Some(event) = self.events.poll() {
            let observed = self.bpf.understand(event);
            assert_eq!(observed, self.model.poll_observation(), "observed for {frame:02x?} on {entry:?}");
            self.observed.extend(observed);
        }
        assert_eq!(None, self.model.poll_observation(), "observed by the model alone for {frame:02x?}");
        assert_eq!(self.counters(), self.model_counters(), "the counts differ after {verdict:?} on {entry:?}");
    }
}

pub fn frame(destination: MacAddr, source: MacAddr, rest: &[u8]) -> Vec<u8> {
    let mut frame = [destination.0, source.0].concat();
    frame.extend(rest);
    frame.resize(frame.len().max(60), 0);
    frame
}
