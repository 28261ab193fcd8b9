//! The network: time, frames on their way, faults, and the questions that tests ask of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dlmp_engine::{Detection, Event, Health, LinkState, Notice, PortIndex, SlotIndex};
use dlmp_wire::MacAddr;
use dlmp_wire::ethernet::{Frame, ethertype};

use crate::guest::{Guest, Sent, Setup, client_mac, is_client};
use crate::host::{Behaviour, DATA, Host, frame, number, numbered};
use crate::link::{Direction, Link, LinkId, Node};
use crate::promise::Promises;
use crate::switch::Switch;

/// Names a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchId(usize);

/// Names an outside host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostId(usize);

/// What the clock of a virtual machine does while that is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It stops too.
    Stops,
    /// It goes on: for the machine it jumps.
    Jumps,
}

/// Between two data frames each way.
const DATA_INTERVAL: Duration = Duration::from_millis(5);

/// A frame on its way.
struct Arrival {
    at: Duration,
    number: u64,
    link: LinkId,
    direction: usize,
    bytes: Rc<[u8]>,
}

/// The network under simulation.
pub struct World {
    seed: u64,
    random: fastrand::Rng,
    now: Duration,
    sent: u64,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    links: Vec<Link>,
    switches: Vec<Switch>,
    hosts: Vec<Host>,
    guest: Guest,
    /// The link of each port.
    port_links: BTreeMap<PortIndex, LinkId>,
    promises: Promises,
    /// The host under test does not run before.
    stopped_until: Duration,
    /// With whom data is exchanged, and when the next frames are due.
    peer: Option<HostId>,
    next_data: Duration,
    data: u64,
}

impl World {
    /// An empty network.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            random: fastrand::Rng::with_seed(seed),
            now: Duration::ZERO,
            sent: 0,
            arrivals: BinaryHeap::new(),
            links: Vec::new(),
            switches: Vec::new(),
            hosts: Vec::new(),
            guest: Guest::new(Instant::now()),
            port_links: BTreeMap::new(),
            promises: Promises::default(),
            stopped_until: Duration::ZERO,
            peer: None,
            next_data: Duration::ZERO,
            data: 0,
        }
    }

    /// Adds a switch.
    pub fn switch(&mut self) -> SwitchId {
        self.switches.push(Switch::default());
        SwitchId(self.switches.len() - 1)
    }

    /// Joins two switches.
    pub fn join(&mut self, one: SwitchId, other: SwitchId) -> LinkId {
        self.link(Node::Switch(one.0), Node::Switch(other.0))
    }

    /// Adds a host on a switch. The first one exchanges data with the host under test.
    pub fn host(&mut self, on: SwitchId) -> HostId {
        let index = self.hosts.len();
        let link = self.link(Node::Host(index), Node::Switch(on.0));
        self.hosts.push(Host::new(link, index as u8 + 1));
        let host = &self.hosts[index];
        self.guest.neighbours.insert(host.address.into(), host.mac);
        self.peer.get_or_insert(HostId(index));
        HostId(index)
    }

    /// Adds a port of the host under test, on a switch. Returns its link, seen from the port.
    pub fn port(&mut self, on: SwitchId) -> LinkId {
        let port = self.guest.add_port(self.clock());
        let link = self.link(Node::Port(port.0), Node::Switch(on.0));
        self.port_links.insert(port, link);
        link
    }

    /// Configures the host under test.
    pub fn configure(&mut self, setup: &Setup) {
        self.guest.configure(setup, self.clock());
        self.step();
    }

    /// The address of a host.
    #[must_use]
    pub fn address(&self, host: HostId) -> IpAddr {
        self.hosts[host.0].address.into()
    }

    /// The link of a host, seen from it.
    #[must_use]
    pub fn link_of(&self, host: HostId) -> LinkId {
        self.hosts[host.0].link
    }

    /// Changes how a host answers.
    pub fn behave(&mut self, host: HostId, behaviour: Behaviour) {
        self.hosts[host.0].behaviour = behaviour;
    }

    /// Gives an address to so many clients only, from the next configuration on.
    pub fn limit_sources(&mut self, count: u16) {
        self.guest.sources = count;
    }

    /// Gives the host under test a further address, on a link that has nothing to do with its ports, or takes it away.
    pub fn own_address(&mut self, address: IpAddr, own: bool) {
        if own {
            self.guest.own.insert(address)
        } else {
            self.guest.own.remove(&address)
        };
        let all = self.guest.own.iter().copied().collect();
        self.guest.tell(Event::OwnAddresses(all), self.clock());
        self.step();
    }

    /// How often hosts were looked for.
    #[must_use]
    pub const fn discoveries(&self) -> usize {
        self.guest.discoveries
    }

    /// The targets that are asked through any port.
    #[must_use]
    pub fn targets(&self) -> BTreeSet<IpAddr> {
        self.guest.views(self.clock()).flat_map(|port| port.targets).collect()
    }

    /// Tells the host under test that this host answered a multicast echo.
    pub fn found(&mut self, host: HostId) {
        let address = self.address(host);
        self.guest.tell(Event::Found(address), self.clock());
        self.step();
    }

    /// Lets nothing pass between these links of a switch: a private VLAN.
    pub fn isolate(&mut self, switch: SwitchId, links: &[LinkId]) {
        self.switches[switch.0].isolated = links.to_vec();
    }

    /// Silently stops a link in both directions: carriers stay up. Or lets it work again.
    pub fn cut(&mut self, link: LinkId, cut: bool) {
        self.links[link.0].cut = [cut; 2];
    }

    /// Silently stops one direction of a link, or lets it work again.
    pub fn cut_one_way(&mut self, link: LinkId, direction: Direction, cut: bool) {
        self.links[link.0].cut[direction as usize] = cut;
    }

    /// Loses this share of frames, in each direction.
    pub fn lose(&mut self, link: LinkId, share: f64) {
        self.links[link.0].loss = [share; 2];
    }

    /// Loses this share of frames in one direction.
    pub fn lose_one_way(&mut self, link: LinkId, direction: Direction, share: f64) {
        self.links[link.0].loss[direction as usize] = share;
    }

    /// Makes frames take this long, and at random up to the jitter longer.
    pub fn delay(&mut self, link: LinkId, delay: Duration, jitter: Duration) {
        self.delay_one_way(link, Direction::Forth, delay, jitter);
        self.delay_one_way(link, Direction::Back, delay, jitter);
    }

    /// Makes frames of one direction take this long, and at random up to the jitter longer.
    pub fn delay_one_way(&mut self, link: LinkId, direction: Direction, delay: Duration, jitter: Duration) {
        self.links[link.0].delay[direction as usize] = delay;
        self.links[link.0].jitter[direction as usize] = jitter;
    }

    /// Takes the carrier of a link away or gives it back; both ends notice.
    pub fn carrier(&mut self, link: LinkId, carrier: bool) {
        self.links[link.0].carrier = carrier;
        for end in self.links[link.0].ends {
            match end {
                Node::Switch(switch) => self.switches[switch].forget(link),
                Node::Port(port) => {
                    let state = if carrier { LinkState::Up } else { LinkState::Down };
                    self.guest.receive(Event::Link(PortIndex(port), state));
                }
                Node::Host(_) => {}
            }
        }
        self.run(Duration::ZERO);
    }

    /// Lets the host under test sleep: nothing of it runs but the datapath.
    pub fn sleep(&mut self, time: Duration) {
        self.guest.asleep_until = self.clock() + time;
    }

    /// Stops the host under test, a virtual machine, datapath and all; frames wait for it. Its clock stops
    /// too, or jumps when it goes on.
    pub fn stop(&mut self, time: Duration, clock: Clock) {
        let before = self.now.max(self.stopped_until);
        self.stopped_until = before.max(self.now + time);
        if clock == Clock::Stops {
            self.guest.behind += self.stopped_until - before;
        }
    }

    /// Replaces the daemon of the host under test: another one takes over the datapath.
    pub fn restart(&mut self) {
        let up = |link: &LinkId| self.links[link.0].carrier;
        let up: Vec<PortIndex> = self.port_links.iter().filter(|(_, link)| up(link)).map(|(&port, _)| port).collect();
        self.guest.restart(&up, self.clock());
        self.step();
    }

    /// Sets probing up as at first.
    pub fn set_up_again(&mut self) {
        self.guest.set_up_probing(self.clock());
        self.step();
    }

    /// Changes the failure detection time, or stops probing.
    pub fn set_fdt(&mut self, fdt: Option<Duration>) {
        self.guest.tell(Event::Probing(fdt), self.clock());
        self.step();
    }

    /// Lets this much time pass.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.arrivals.peek().map(|Reverse(arrival)| arrival.at);
            let wake = self
                .guest
                .wake(self.clock())
                .map(|wake| (wake + self.guest.behind).max(self.now).max(self.stopped_until));
            let next = [arrival, wake, Some(self.next_data)].into_iter().flatten().min().unwrap_or(end);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            if arrival == Some(next) {
                self.arrive();
            } else if self.next_data == next {
                self.exchange_data();
            } else {
                self.step();
            }
        }
    }

    /// The time that has passed.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// Runs of the engine so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.guest.steps
    }

    /// The port where a client sits.
    ///
    /// # Panics
    /// It sits nowhere yet.
    #[must_use]
    pub fn place(&self, client: u16) -> usize {
        usize::from(self.guest.places[&SlotIndex(client)].0.0)
    }

    /// How often clients have moved from one port to another.
    #[must_use]
    pub const fn moves(&self) -> usize {
        self.guest.moves
    }

    /// The ports that may carry traffic.
    #[must_use]
    pub fn active(&self) -> Vec<usize> {
        self.guest.active(self.clock()).iter().map(|port| usize::from(port.0)).collect()
    }

    /// Whether probes say nothing at all of a port that may carry traffic, and displays show that.
    #[must_use]
    pub fn is_unknown(&self, port: usize) -> bool {
        self.guest.views(self.clock()).any(|view| usize::from(view.port.0) == port && view.health == Health::LinkUp)
    }

    /// What decides about the ports.
    #[must_use]
    pub fn detection(&self) -> Detection {
        self.guest.engine.detection()
    }

    /// Whether frames pass between a port and a host both ways: what is true, whatever the engine makes of it.
    #[must_use]
    pub fn reaches(&self, port: usize, host: HostId) -> bool {
        let Some(&link) = self.port_links.get(&PortIndex(port as u8)) else { return false };
        self.is_open(link) && self.leads_to(self.links[link.0].ends[1], link, host)
    }

    /// Whether frames come from a host to a port, whatever becomes of those that go back.
    #[must_use]
    pub fn hears(&self, port: usize, host: HostId) -> bool {
        let Some(&link) = self.port_links.get(&PortIndex(port as u8)) else { return false };
        let near = self.links[link.0].ends[1];
        self.carries(near, link) && self.leads_back(near, link, host)
    }

    /// The port to which switches bring what a host sends to a client; nothing if one of them has not
    /// learned the client, or has it where it is not.
    #[must_use]
    pub fn finds(&self, host: HostId, client: u16) -> Option<usize> {
        let (mut node, mut by) = (Node::Host(host.0), self.hosts[host.0].link);
        loop {
            let [one, other] = self.links[by.0].ends;
            node = if one == node { other } else { one };
            let onward = match node {
                Node::Switch(switch) => self.switches[switch].knows(client_mac(SlotIndex(client)))?,
                Node::Port(port) => return Some(port.into()),
                Node::Host(_) => return None,
            };
            if std::mem::replace(&mut by, onward) == onward {
                return None;
            }
        }
    }

    /// When a port was last judged failed.
    #[must_use]
    pub fn failed_at(&self, port: usize) -> Option<Duration> {
        self.guest.notices.iter().rev().find_map(|(at, notice)| match notice {
            Notice::Health(index, health) if usize::from(index.0) == port && !health.is_active() => Some(*at),
            _ => None,
        })
    }

    /// The most questions that a host heard in any span of this length so far, of whatever kind.
    #[must_use]
    pub fn most_questions(&self, host: HostId, span: Duration) -> usize {
        let questions = &self.hosts[host.0].questions;
        let until = |from: Duration| questions.partition_point(|&at| at <= from + span);
        questions.iter().enumerate().map(|(first, &from)| until(from) - first).max().unwrap_or_default()
    }

    /// How many echoes a host heard a second during this time.
    #[must_use]
    pub fn echoes_a_second(&self, host: HostId, during: Range<Duration>) -> f64 {
        let heard = self.hosts[host.0].echoes.iter().filter(|at| during.contains(at)).count();
        heard as f64 / (during.end - during.start).as_secs_f64()
    }

    /// Data frames exchanged so far: numbers from 0.
    #[must_use]
    pub const fn data(&self) -> u64 {
        self.data
    }

    /// How many data frames of these numbers were lost.
    #[must_use]
    pub fn lost(&self, numbers: Range<u64>) -> usize {
        self.promises.lost(numbers)
    }

    fn is_open(&self, link: LinkId) -> bool {
        self.links[link.0].carrier && self.links[link.0].cut == [false; 2]
    }

    /// Whether a host is to be found behind a node that was reached by a link. Networks are trees.
    fn leads_to(&self, node: Node, by: LinkId, host: HostId) -> bool {
        let Node::Switch(switch) = node else { return matches!(node, Node::Host(index) if index == host.0) };
        let switch = &self.switches[switch];
        switch.onward(by).any(|link| {
            let [one, other] = self.links[link.0].ends;
            self.is_open(link) && self.leads_to(if one == node { other } else { one }, link, host)
        })
    }

    /// Whether a link carries what this end of it sends.
    fn carries(&self, from: Node, link: LinkId) -> bool {
        let link = &self.links[link.0];
        link.carrier && !link.cut[usize::from(link.ends[0] != from)]
    }

    /// Whether what a host sends comes to a node, by another link than this one.
    fn leads_back(&self, node: Node, by: LinkId, host: HostId) -> bool {
        let Node::Switch(switch) = node else { return matches!(node, Node::Host(index) if index == host.0) };
        let switch = &self.switches[switch];
        switch.onward(by).any(|link| {
            let [one, other] = self.links[link.0].ends;
            let next = if one == node { other } else { one };
            self.carries(next, link) && self.leads_back(next, link, host)
        })
    }

    fn link(&mut self, one: Node, other: Node) -> LinkId {
        let id = LinkId(self.links.len());
        self.links.push(Link::new(one, other));
        for node in [one, other] {
            if let Node::Switch(switch) = node {
                self.switches[switch].links.push(id);
            }
        }
        id
    }

    /// The time by the clock of the host under test. While it is stopped: that at which it goes on.
    fn clock(&self) -> Duration {
        self.now.max(self.stopped_until) - self.guest.behind
    }

    fn step(&mut self) {
        let clock = self.clock();
        let sent = self.guest.run(clock);
        self.promises.check(&mut self.guest, clock);
        self.send_all(sent);
    }

    fn send_all(&mut self, sent: impl IntoIterator<Item = Sent>) {
        for (port, bytes) in sent {
            self.send(Node::Port(port.0), self.port_links[&port], bytes.into());
        }
    }

    fn send(&mut self, from: Node, id: LinkId, bytes: Rc<[u8]>) {
        let lost = self.random.f64();
        let link = &mut self.links[id.0];
        let direction = usize::from(link.ends[0] != from);
        if !link.carrier || link.cut[direction] || lost < link.loss[direction] {
            return;
        }
        let jitter = link.jitter[direction].mul_f64(self.random.f64());
        let at = (self.now + link.delay[direction] + jitter).max(link.busy[direction]);
        link.busy[direction] = at;
        self.sent += 1;
        self.arrivals.push(Reverse(Arrival { at, number: self.sent, link: id, direction, bytes }));
    }

    fn arrive(&mut self) {
        let Some(Reverse(arrival)) = self.arrivals.pop() else { return };
        let to = self.links[arrival.link.0].ends[1 - arrival.direction];
        if matches!(to, Node::Port(_)) && self.now < self.stopped_until {
            self.arrivals.push(Reverse(Arrival { at: self.stopped_until, ..arrival }));
            return;
        }
        let (id, bytes) = (arrival.link, arrival.bytes);
        match to {
            Node::Switch(switch) => {
                for next in self.switches[switch].forward(id, &bytes) {
                    self.send(to, next, bytes.clone());
                }
            }
            Node::Host(index) => self.arrive_at_host(index, &bytes),
            Node::Port(port) => {
                let clock = self.clock();
                let (answer, delivered) = self.guest.ingress(PortIndex(port), &bytes, clock);
                self.send_all(answer);
                if let Some(bytes) = delivered {
                    self.promises.came_in(&bytes);
                    if let Some(number) = data_number(&bytes) {
                        self.promises.delivered(number, clock);
                    }
                }
            }
        }
    }

    fn arrive_at_host(&mut self, index: usize, bytes: &[u8]) {
        let host = &mut self.hosts[index];
        let for_it = |frame: Frame<'_>| frame.destination() == host.mac || frame.destination() == MacAddr::BROADCAST;
        let for_it = Frame::parse(bytes).is_ok_and(|frame| is_client(frame.source()) && for_it(frame));
        if for_it
            && self.peer == Some(HostId(index))
            && let Some(number) = data_number(bytes)
        {
            self.promises.delivered(number, self.clock());
        }
        let host = &mut self.hosts[index];
        if let Some(answer) = host.answer(bytes, self.now) {
            let (link, delay, now) = (host.link, host.behaviour.delay, self.now);
            self.now += delay;
            self.send(Node::Host(index), link, answer.into());
            self.now = now;
        }
    }

    /// A frame each way between the first client and its peer, and a broadcast of each.
    fn exchange_data(&mut self) {
        self.next_data = self.now + DATA_INTERVAL;
        let Some(peer) = self.peer else { return };
        if self.guest.places.is_empty() || self.now < self.stopped_until {
            return;
        }
        let (mac, link) = (self.hosts[peer.0].mac, self.hosts[peer.0].link);
        let client = client_mac(SlotIndex::PRIMARY);
        let body = |number: u64| numbered(DATA, number);
        self.guest.model.set_time(self.clock());
        for (offset, to) in [(0, mac), (3, MacAddr::BROADCAST)] {
            let sent = self.guest.egress(&frame(to, client, ethertype::IPV4, &body(self.data + offset)));
            self.send_all(sent);
        }
        for (offset, to) in [(1, client), (2, MacAddr::BROADCAST)] {
            let bytes = frame(to, mac, ethertype::IPV4, &body(self.data + offset));
            self.send(Node::Host(peer.0), link, bytes.into());
        }
        self.data += 4;
    }
}

fn data_number(bytes: &[u8]) -> Option<u64> {
    number(Frame::parse(bytes).ok()?.payload(), DATA)
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} at {:?} after {} steps", self.seed, self.now, self.guest.steps);
            let last = self.guest.notices.len().saturating_sub(20);
            for (at, notice) in &self.guest.notices[last..] {
                eprintln!("  {at:?} {notice:?}");
            }
        }
    }
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Arrival {}
impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Arrival {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
