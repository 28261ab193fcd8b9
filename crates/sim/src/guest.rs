//! The host under test: the engine and the model of the datapath, as dlmpd puts them together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use dlmp_datapath::model::{Model, Verdict};
use dlmp_datapath::{ClientAddress, Counter, Datapath, Observation, Placement, PortIndex, Probing};
use dlmp_engine::{
    Action, Aggregation, Event, LinkState, Notice, PortView, Question, QuestionId, SlotIndex, Source, Way,
};
use dlmp_wire::ethernet::{Frame, HEADER_LEN, ethertype};
use dlmp_wire::rarp::Announcement;
use dlmp_wire::transitive::{self, Kind, Probe};
use dlmp_wire::{MacAddr, arp};

use crate::host::{ALL_HOSTS, ECHO, REPLY, frame, number, numbered};

/// How the host under test is configured.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Clients, each with an address; the first is the aggregation's own interface.
    pub clients: u16,
    /// Failure detection time; none: no probing.
    pub fdt: Option<Duration>,
    /// Given targets.
    pub given: Vec<IpAddr>,
    /// Routers.
    pub routers: Vec<IpAddr>,
}

impl Setup {
    /// Probing of one client at the default detection time, with these targets given.
    #[must_use]
    pub fn given(given: Vec<IpAddr>) -> Self {
        Self { clients: 1, fdt: Some(Duration::from_secs(1)), given, routers: vec![] }
    }
}

/// A frame that leaves through a port.
pub(crate) type Sent = (PortIndex, Vec<u8>);

pub(crate) struct Guest {
    pub(crate) engine: Aggregation,
    pub(crate) model: Model,
    start: Instant,
    /// Own addresses of its ports.
    pub(crate) ports: BTreeMap<PortIndex, MacAddr>,
    /// Where the clients of each slot sit, and since when, as told to the datapath.
    pub(crate) places: BTreeMap<SlotIndex, (PortIndex, Duration)>,
    pub(crate) usable: BTreeSet<PortIndex>,
    multicast_port: Option<PortIndex>,
    /// Questions by name; when they left.
    questions: BTreeMap<QuestionId, (Question, Duration)>,
    heard: BTreeMap<(PortIndex, PortIndex), u32>,
    /// Answers that came in and were not looked at yet.
    inbox: Vec<Event>,
    pub(crate) notices: Vec<(Duration, Notice)>,
    /// Clients that moved from one port to another.
    pub(crate) moves: usize,
    pub(crate) steps: u64,
    /// By its own clock.
    pub(crate) asleep_until: Duration,
    /// How much its clock has lost against the world's, by having stopped.
    pub(crate) behind: Duration,
    setup: Option<Setup>,
    /// So many of the clients have an address that can be a source.
    pub(crate) sources: u16,
    /// Further addresses that it has.
    pub(crate) own: BTreeSet<IpAddr>,
    /// Frames for clients alone that were taken in by each port, as last looked at.
    taken: BTreeMap<PortIndex, u64>,
    /// Echoes to all hosts so far.
    pub(crate) discoveries: usize,
    key: transitive::Key,
    /// MAC addresses of targets, which the kernel has resolved long ago.
    pub(crate) neighbours: BTreeMap<IpAddr, MacAddr>,
}

/// The number of echoes to all hosts: that of no question.
const DISCOVERY: u64 = u64::MAX;

const KEY: transitive::Key = *b"the sim's secret";

/// The MAC address of a client.
pub(crate) fn client_mac(slot: SlotIndex) -> MacAddr {
    let [high, low] = slot.0.to_be_bytes();
    MacAddr([2, 8, 0x20, 0, high, low])
}

fn slot_of(source: IpAddr) -> SlotIndex {
    let IpAddr::V4(source) = source else { return SlotIndex::PRIMARY };
    let [.., high, low] = source.octets();
    SlotIndex(u16::from(high - 1) << 8 | u16::from(low))
}

/// Whether this is the address of a client.
pub(crate) fn is_client(mac: MacAddr) -> bool {
    mac.0[..4] == [2, 8, 0x20, 0]
}

impl Guest {
    pub(crate) fn new(start: Instant) -> Self {
        let mut model = Model::default();
        // The model takes every write.
        let _ = model.set_probing(Some(Probing { key: KEY, vlan: 0 }));
        Self {
            engine: Aggregation::new(start),
            model,
            start,
            ports: BTreeMap::new(),
            places: BTreeMap::new(),
            usable: BTreeSet::new(),
            multicast_port: None,
            questions: BTreeMap::new(),
            heard: BTreeMap::new(),
            inbox: Vec::new(),
            notices: Vec::new(),
            moves: 0,
            steps: 0,
            asleep_until: Duration::ZERO,
            behind: Duration::ZERO,
            setup: None,
            sources: u16::MAX,
            own: BTreeSet::new(),
            taken: BTreeMap::new(),
            discoveries: 0,
            key: KEY,
            neighbours: BTreeMap::new(),
        }
    }

    /// Adds a port whose link is up.
    pub(crate) fn add_port(&mut self, now: Duration) -> PortIndex {
        let port = PortIndex(self.ports.len() as u8);
        let mac = MacAddr([0, 0x14, 0x4f, 0xf9, 0, port.0]);
        self.ports.insert(port, mac);
        let _ = self.model.set_port(port, 100 + u32::from(port.0), mac);
        self.tell(Event::PortAdded(port), now);
        port
    }

    /// Configures it: what dlmpd does at the start and at `set-linkprop`.
    pub(crate) fn configure(&mut self, setup: &Setup, now: Duration) {
        for slot in (0..setup.clients).map(SlotIndex) {
            let _ = self.model.set_client(ClientAddress { mac: client_mac(slot), vlan: 0 }, slot);
        }
        self.tell(Event::ClientsAdded((0..setup.clients).map(SlotIndex).collect()), now);
        for port in self.ports.keys().copied().collect::<Vec<_>>() {
            self.tell(Event::Link(port, LinkState::Up), now);
        }
        self.setup = Some(setup.clone());
        self.set_up_probing(now);
    }

    /// Tells the engine how to probe: what dlmpd does at `set-linkprop`.
    pub(crate) fn set_up_probing(&mut self, now: Duration) {
        let Some(setup) = self.setup.clone() else { return };
        self.tell(Event::Probing(setup.fdt), now);
        let source = |slot: u16| Source {
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 1 + (slot >> 8) as u8, slot as u8)),
            prefix: 16,
            slot: SlotIndex(slot),
        };
        let sources: Vec<Source> = (0..setup.clients.min(self.sources)).map(source).collect();
        self.own.extend(sources.iter().map(|source| source.address));
        self.tell(Event::OwnAddresses(self.own.iter().copied().collect()), now);
        self.tell(Event::Sources(sources), now);
        self.tell(Event::Targets { given: setup.given, routers: setup.routers }, now);
    }

    /// Another daemon takes over what the datapath has: nobody moves. `up` are the ports with a link.
    pub(crate) fn restart(&mut self, up: &[PortIndex], now: Duration) {
        self.engine = Aggregation::new(self.start + now);
        self.inbox.clear();
        self.questions.clear();
        self.heard.clear();
        self.taken.clear();
        // Its own maps and its own key: answers to the old daemon count for nothing.
        self.key[0] = self.key[0].wrapping_add(1);
        self.model = Model::default();
        self.model.set_time(now);
        let _ = self.model.set_probing(Some(Probing { key: self.key, vlan: 0 }));
        for (&port, &mac) in &self.ports {
            let _ = self.model.set_port(port, 100 + u32::from(port.0), mac);
            let _ = self.model.set_usable(port, self.usable.contains(&port));
            self.engine.handle_event(Event::PortAdded(port), self.start + now);
        }
        let mut seats = Vec::new();
        for (&slot, place) in &mut self.places {
            // The model's window of a move starts anew.
            let port = place.0;
            place.1 = now;
            let _ = self.model.set_client(ClientAddress { mac: client_mac(slot), vlan: 0 }, slot);
            let _ = self.model.place(slot, Placement { port, backup: None });
            seats.push((slot, port));
        }
        self.tell(Event::ClientsSeated(seats), now);
        let _ = self.model.set_multicast_port(self.multicast_port);
        if let Some(port) = self.multicast_port {
            self.tell(Event::MulticastRestored(port), now);
        }
        for port in self.ports.keys().copied().collect::<Vec<_>>() {
            let state = if up.contains(&port) { LinkState::Up } else { LinkState::Down };
            if state == LinkState::Up && !self.usable.contains(&port) {
                self.tell(Event::FailureRestored(port), now);
            }
            self.tell(Event::Link(port, state), now);
        }
        self.set_up_probing(now);
    }

    /// Something comes in; it is looked at when the host runs.
    pub(crate) fn receive(&mut self, event: Event) {
        self.inbox.push(event);
    }

    pub(crate) fn tell(&mut self, event: Event, now: Duration) {
        self.steps += 1;
        self.engine.handle_event(event, self.start + now);
    }

    /// When it wants to run: at its timer, or now if something came in; not while it sleeps.
    pub(crate) fn wake(&self, now: Duration) -> Option<Duration> {
        let timer = self.engine.poll_timeout().map(|at| at.saturating_duration_since(self.start));
        let wake = if self.inbox.is_empty() { timer } else { Some(now) };
        wake.map(|wake| wake.max(self.asleep_until))
    }

    /// Runs once, as dlmpd's monitor does: input first, then the timer. Returns the frames that leave.
    pub(crate) fn run(&mut self, now: Duration) -> Vec<Sent> {
        for event in std::mem::take(&mut self.inbox) {
            self.tell(event, now);
        }
        for ((from, to), heard) in self.heard.clone() {
            if let Some(answered) = self.model.answered(from, to).filter(|answered| answered.sequence != heard) {
                self.heard.insert((from, to), answered.sequence);
                let (sequence, rtt) = (answered.sequence, answered.at - answered.sent);
                self.tell(Event::PortAnswered { from, to, sequence, rtt }, now);
            }
        }
        for port in self.ports.keys().copied().collect::<Vec<_>>() {
            let counters = self.model.counters(port);
            let taken = counters.get(Counter::RxPackets) - counters.get(Counter::RxGroup);
            if self.taken.insert(port, taken).is_some_and(|before| before < taken) {
                self.tell(Event::Received(port), now);
            }
        }
        self.steps += 1;
        self.engine.handle_timeout(self.start + now);
        self.act(now)
    }

    /// Carries out what the engine wants. Returns the frames that leave.
    pub(crate) fn act(&mut self, now: Duration) -> Vec<Sent> {
        let mut sent = Vec::new();
        self.model.set_time(now);
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::SetUsable(port, usable) => {
                    let _ = self.model.set_usable(port, usable);
                    if usable {
                        self.usable.insert(port)
                    } else {
                        self.usable.remove(&port)
                    };
                }
                Action::Place(slot, placement) => {
                    let _ = self.model.place(slot, placement);
                    let before = self.places.get(&slot).map(|&(port, _)| port);
                    if before != Some(placement.port) {
                        self.moves += usize::from(before.is_some());
                        self.places.insert(slot, (placement.port, now));
                    }
                }
                // Nobody in the simulated network asks for groups.
                Action::Groups(_) => {}
                Action::SetMulticastPort(port) => {
                    let _ = self.model.set_multicast_port(port);
                    self.multicast_port = port;
                }
                Action::SetCarrier(_) => {}
                Action::Announce(slot, port) => {
                    assert!(self.usable.contains(&port), "an announcement through {port:?}, which is not usable");
                    assert_eq!(self.places[&slot].0, port, "an announcement through another port than the client's");
                    let mut buffer = [0; _];
                    let frame = Announcement { client: client_mac(slot), vlan: 0 }.emit(&mut buffer).to_vec();
                    sent.push((port, frame));
                }
                Action::Ask(question) => sent.extend(self.ask(question, now)),
                Action::AskPort { from, to, sequence } => sent.push(self.ask_port(from, to, sequence, now)),
                Action::Discover(source) => {
                    // The kernel hears its own echoes to groups, and answers them.
                    self.discoveries += 1;
                    self.inbox.push(Event::Found(source));
                    let echo =
                        frame(ALL_HOSTS, client_mac(slot_of(source)), ethertype::IPV4, &numbered(ECHO, DISCOVERY));
                    sent.extend(self.egress(&echo));
                }
                Action::Notify(notice) => self.notices.push((now + self.behind, notice)),
            }
        }
        sent
    }

    fn ask(&mut self, question: Question, now: Duration) -> Option<Sent> {
        self.questions.retain(|_, (_, sent)| now - *sent < Duration::from_secs(60));
        self.questions.insert(question.id, (question, now));
        match question.way {
            Way::Echo { .. } if self.own.contains(&question.target) => {
                self.inbox.push(Event::Answered { question: question.id, rtt: Duration::ZERO });
                None
            }
            Way::Echo { source } => {
                let slot = slot_of(source);
                let to = self.neighbours.get(&question.target)?;
                let body = numbered(ECHO, question.id.0.into());
                self.egress(&frame(*to, client_mac(slot), ethertype::IPV4, &body))
            }
            Way::Address => {
                let IpAddr::V4(target) = question.target else { return None };
                let mut buffer = [0; _];
                let probe = arp::Probe { port: self.ports[&question.port], target, vlan: 0 };
                Some((question.port, probe.emit(&mut buffer).to_vec()))
            }
        }
    }

    fn ask_port(&mut self, from: PortIndex, to: PortIndex, sequence: u32, now: Duration) -> Sent {
        let sent = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let (asked, asking) = (self.ports[&to], self.ports[&from]);
        let probe = Probe { kind: Kind::Request, vlan: 0, sequence, sent, asked, asking };
        self.heard.entry((from, to)).or_default();
        let mut buffer = [0; _];
        (from, probe.emit(&self.key, &mut buffer).to_vec())
    }

    /// Sends a frame of a client through the datapath.
    pub(crate) fn egress(&mut self, bytes: &[u8]) -> Option<Sent> {
        match self.model.egress(bytes) {
            Verdict::Send { port, .. } => Some((port, bytes.to_vec())),
            _ => None,
        }
    }

    /// A frame arrives on a port. Returns what the datapath answers, and the data that it delivers.
    pub(crate) fn ingress(&mut self, port: PortIndex, bytes: &[u8], now: Duration) -> (Option<Sent>, Option<Vec<u8>>) {
        self.model.set_time(now);
        match self.model.ingress(port, bytes) {
            Verdict::Answer(answer) => (Some((port, answer.to_vec())), None),
            Verdict::Stay => {
                self.address_answer(port, bytes, now);
                (None, None)
            }
            Verdict::Deliver(_) => (None, self.deliver(bytes, now)),
            Verdict::Drop | Verdict::Hold | Verdict::Send { .. } => {
                while let Some(observation) = self.model.poll_observation() {
                    if let Observation::Stray { slot, .. } = observation {
                        self.inbox.push(Event::Stray(slot));
                    }
                }
                (None, None)
            }
        }
    }

    fn address_answer(&mut self, port: PortIndex, bytes: &[u8], now: Duration) {
        let Ok(frame) = Frame::parse(bytes) else { return };
        let Some(target) = arp::answer(&frame, self.ports[&port]) else { return };
        let asked = |question: &Question| {
            question.port == port && question.target == IpAddr::V4(target) && question.way == Way::Address
        };
        let newest = self.questions.iter().rev().find(|(_, (question, _))| asked(question)).map(|(&id, _)| id);
        if let Some((_, sent)) = newest.and_then(|id| self.questions.remove(&id))
            && let Some(question) = newest
        {
            self.inbox.push(Event::Answered { question, rtt: now - sent });
        }
    }

    fn deliver(&mut self, bytes: &[u8], now: Duration) -> Option<Vec<u8>> {
        let frame = Frame::parse(bytes).ok()?;
        let Some(id) = number(frame.payload(), REPLY) else { return Some(bytes.to_vec()) };
        if id == DISCOVERY {
            let [a, b, c, d] = *frame.payload().get(9..)?.first_chunk()?;
            self.inbox.push(Event::Found(Ipv4Addr::new(a, b, c, d).into()));
            return None;
        }
        let question = QuestionId(u32::try_from(id).ok()?);
        let (_, sent) = self.questions.remove(&question)?;
        self.inbox.push(Event::Answered { question, rtt: now - sent });
        None
    }

    /// The ports as the engine sees them.
    pub(crate) fn views(&self, now: Duration) -> impl Iterator<Item = PortView> + '_ {
        self.engine.ports(self.start + now)
    }

    /// The port through which the datapath sends what a client sends.
    pub(crate) fn leaves_by(&mut self, slot: SlotIndex) -> Option<PortIndex> {
        let mut bytes = [0; HEADER_LEN];
        bytes[..6].copy_from_slice(&MacAddr::BROADCAST.0);
        bytes[6..12].copy_from_slice(&client_mac(slot).0);
        match self.model.egress(&bytes) {
            Verdict::Send { port, .. } => Some(port),
            _ => None,
        }
    }

    /// The ports that the engine takes for active.
    pub(crate) fn active(&self, now: Duration) -> BTreeSet<PortIndex> {
        self.views(now).filter(|port| port.health.is_active()).map(|port| port.port).collect()
    }
}
