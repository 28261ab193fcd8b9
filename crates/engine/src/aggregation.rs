//! One aggregation: the health of its ports, where its clients sit, and what to do about it.

mod lending;
mod probed;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::announce::Announcements;
use crate::clients::{Clients, Move};
use crate::multicast::Multicast;
use crate::probe::{Detection, Probing, Standing, View};
use crate::{Action, Event, Health, LinkState, Notice, PortIndex, PortView, SlotIndex, Source};
use lending::Loan;

/// At most so many clients whose port is fine move together to even the load. It is what one batch of
/// announcements holds, so that switches hear of each of them at once.
const BALANCE_BATCH: usize = 32;
/// The least time between two such batches: their announcements take a tenth of it, and a failure that
/// comes in between finds the announcements' queue empty.
const BALANCE_PACE: Duration = Duration::from_millis(10);

/// The state of one aggregation.
///
/// # Decisions
///
/// A port is active while its link is up and, with probing, nothing is known against it
/// ([`Health`]). When a port becomes inactive all its clients move at once to the active ports, those
/// with the fewest clients first. When one becomes active, only as many move to it as an even load takes,
/// a batch at a time, and without clients to spread nobody moves. With no active port clients stay where
/// they are.
/// Group-addressed frames are taken from one active port, which stays the same as long as it is active.
#[derive(Debug)]
pub struct Aggregation {
    epoch: Instant,
    ports: BTreeMap<PortIndex, Port>,
    clients: Clients,
    /// When the next batch may move to even the load; nothing while none is under way.
    next_balance: Option<Instant>,
    multicast: Multicast,
    carrier: Option<bool>,
    announcements: Announcements,
    sources: Vec<Source>,
    probing: Option<Probing>,
    /// The client that sits on another port than its own to have targets asked from there.
    loan: Option<Loan>,
    /// Ports that were restored as failed, until it is known whether there is probing.
    failed_before: BTreeSet<PortIndex>,
    /// The number of the last transitive probe, when probing is stopped.
    last_probe: u32,
    detection: Detection,
    actions: VecDeque<Action>,
}

#[derive(Debug, Default)]
struct Port {
    link: LinkState,
    /// Its link and whether it is active, as last told.
    told: Option<(LinkState, bool)>,
    /// When somebody's frame for a client last came in through it.
    received: Option<Instant>,
}

impl Aggregation {
    /// An aggregation without ports. What is done at regular times is counted from `epoch`: give all
    /// aggregations of a host the same, so that one wake-up serves all.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            ports: BTreeMap::new(),
            clients: Clients::default(),
            next_balance: None,
            multicast: Multicast::default(),
            carrier: None,
            announcements: Announcements::default(),
            sources: Vec::new(),
            probing: None,
            loan: None,
            failed_before: BTreeSet::new(),
            last_probe: 0,
            detection: Detection::Link,
            actions: VecDeque::new(),
        }
    }

    /// Takes in what happened, at `now`: the time of the call, which never goes backwards.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        let counted = self.probing.as_mut().map_or(now, |probing| probing.arrive(now));
        // Strays move nobody, and what probes bring only when a port's health changes.
        let mut decide = true;
        match event {
            // By far the most frequent one. It says nothing new of any port before the next beat looks at it.
            Event::PortAnswered { from, to, sequence, rtt } => {
                if let Some(probing) = &mut self.probing {
                    probing.pair_answered(from, to, sequence, rtt, counted);
                }
                return;
            }
            Event::Received(port) => return self.received(port, now),
            Event::PortAdded(port) => {
                self.ports.insert(port, Port::default());
                self.multicast.add_port(port);
            }
            Event::PortRemoved(port) => {
                self.ports.remove(&port);
                self.multicast.remove_port(port, &mut self.actions);
                self.failed_before.remove(&port);
                if let Some(probing) = &mut self.probing {
                    probing.remove(port, counted);
                }
            }
            Event::Link(port, state) => self.link(port, state, counted),
            Event::ClientsAdded(slots) => slots.into_iter().for_each(|slot| self.clients.add(slot)),
            Event::ClientsSeated(seats) => seats.into_iter().for_each(|(slot, port)| self.clients.seat(slot, port)),
            Event::ClientsRemoved(slots) => self.remove_clients(&slots),
            Event::MulticastRestored(port) => self.multicast.restore_port(port),
            Event::Groups(event) => decide = self.multicast.handle_event(event, now, &mut self.actions),
            Event::FailureRestored(port) => match &mut self.probing {
                Some(probing) => probing.restore_failed(port, counted),
                None => drop(self.failed_before.insert(port)),
            },
            Event::Stray(slot) => {
                self.stray(slot, now);
                decide = false;
            }
            Event::NewPeers(port) => {
                self.new_peers(port, now);
                decide = false;
            }
            Event::Probing(fdt) => self.set_probing(fdt, now),
            Event::Sources(sources) => {
                self.sources = sources;
                self.sources.sort();
            }
            event => decide = self.probe_event(event, counted),
        }
        let changed = self.tell_health(now);
        if self.settle_loan(now) || decide || changed {
            self.decide(now);
        }
    }

    /// Does what is due at `now`. May be called at any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.announce(now);
        self.multicast.handle_timeout(now, &mut self.actions);
        let mut decide = self.next_balance.is_some_and(|at| at <= now);
        if let Some(probing) = &mut self.probing {
            let counted = probing.arrive(now);
            probing.beat(now, counted, &mut self.actions);
            decide |= self.tell_health(now);
        }
        if self.settle_loan(now) || decide {
            self.decide(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let beat = self.probing.as_ref().map(Probing::poll_timeout);
        [self.announcements.next(), self.next_balance, self.multicast.poll_timeout(), beat].into_iter().flatten().min()
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The ports, for displays, at `now`.
    pub fn ports(&self, now: Instant) -> impl Iterator<Item = PortView> + '_ {
        let mut seats = self.clients.seats();
        self.ports.iter().map(move |(&port, known)| {
            let view = self.view(port, now);
            PortView {
                port,
                link: known.link,
                health: Health::of(known.link, &view, self.detection()),
                slots: seats.remove(&port).unwrap_or_default(),
                prober: view.prober,
                icmp: view.icmp,
                joined: view.joined,
                targets: view.targets,
                peers: view.peers.iter().collect(),
            }
        })
    }

    /// What decides about the ports at present.
    #[must_use]
    pub fn detection(&self) -> Detection {
        self.probing.as_ref().map_or(Detection::Link, Probing::detection)
    }

    /// Which groups are wanted and which ports take them.
    #[must_use]
    pub const fn multicast(&self) -> &Multicast {
        &self.multicast
    }

    fn link(&mut self, port: PortIndex, state: LinkState, counted: Instant) {
        let Some(known) = self.ports.get_mut(&port) else { return };
        if known.link == state {
            return;
        }
        known.link = state;
        if state == LinkState::Absent {
            self.multicast.lose_port(port);
        }
        if let Some(probing) = &mut self.probing
            && state != LinkState::Unknown
        {
            probing.link(port, state == LinkState::Up, counted);
        }
    }

    fn remove_clients(&mut self, slots: &[SlotIndex]) {
        for &slot in slots {
            self.clients.remove(slot);
            self.announcements.cancel(slot);
            self.multicast.forget_client(slot, &mut self.actions);
        }
        self.loan = self.loan.filter(|loan| !slots.contains(&loan.slot()));
        // What is still to be carried out must not bring one back: its slot may soon be another's.
        let gone: BTreeSet<SlotIndex> = slots.iter().copied().collect();
        self.actions.retain(|action| match action {
            Action::Place(slot, _) | Action::Announce(slot, _) => !gone.contains(slot),
            _ => true,
        });
    }

    fn stray(&mut self, slot: SlotIndex, now: Instant) {
        if let Some(port) = self.clients.port(slot)
            && self.is_active(port)
        {
            self.announcements.start(slot, now);
            self.announce(now);
        }
    }

    fn new_peers(&mut self, port: PortIndex, now: Instant) {
        if self.is_active(port) {
            for slot in self.clients.on(port) {
                self.announcements.start(slot, now);
            }
            self.announce(now);
            self.multicast.new_peers(port, now, &mut self.actions);
        }
    }

    fn announce(&mut self, now: Instant) {
        for slot in self.announcements.due(now) {
            match self.clients.port(slot) {
                // Never on a failed port: its switch must not learn what it cannot deliver.
                Some(port) if self.is_active(port) => self.actions.push_back(Action::Announce(slot, port)),
                _ => self.announcements.cancel(slot),
            }
        }
    }

    /// Tells the datapath and people what has changed about the ports. Says whether a port became
    /// active or inactive.
    fn tell_health(&mut self, now: Instant) -> bool {
        let detection = self.detection();
        if detection != self.detection {
            self.detection = detection;
            self.actions.push_back(Action::Notify(Notice::Detection(detection)));
        }
        let mut changed = false;
        for port in self.ports.keys().copied().collect::<Vec<_>>() {
            changed |= self.tell_port(port, now);
        }
        changed
    }

    fn tell_port(&mut self, port: PortIndex, now: Instant) -> bool {
        let standing = self.standing(port);
        let Some(known) = self.ports.get_mut(&port) else { return false };
        let (link, before) = (known.link, known.told);
        let active = link == LinkState::Up && standing.is_none_or(|standing| standing == Standing::Good);
        if before == Some((link, active)) || (before.is_none() && link == LinkState::Unknown) {
            return false;
        }
        known.told = Some((link, active));
        let changed = before.is_none_or(|(_, before)| before != active);
        if changed {
            self.actions.push_back(Action::SetUsable(port, active));
        }
        let health = Health::of(link, &self.view(port, now), self.detection);
        self.actions.push_back(Action::Notify(Notice::Health(port, health)));
        // A client that waited on this port through an outage: the switch behind it may be new.
        if changed && active && before.is_some() {
            for slot in self.clients.on(port) {
                self.announcements.start(slot, now);
            }
        }
        changed
    }

    fn view(&self, port: PortIndex, now: Instant) -> View {
        let view = self.probing.as_ref().map(|probing| probing.view(port, now)).unwrap_or_default();
        View { standing: self.standing(port), ..view }
    }

    /// How a port stands; nothing while it is not probed.
    fn standing(&self, port: PortIndex) -> Option<Standing> {
        let failed_before = self.failed_before.contains(&port).then_some(Standing::Returning);
        self.probing.as_ref().and_then(|probing| probing.standing(port)).or(failed_before)
    }

    /// Brings clients, multicast port and carrier in line with the ports.
    fn decide(&mut self, now: Instant) {
        // A port that nobody has looked at yet may be fine: at a takeover nothing must move because
        // its ports are looked at one after another.
        if self.ports.values().any(|port| port.link == LinkState::Unknown) {
            self.next_balance = None;
            return;
        }
        let active = self.active_ports();
        let mut moves = self.clients.house(&active);
        if self.next_balance.is_none_or(|at| at <= now) {
            let batch = self.clients.balance(&active, BALANCE_BATCH);
            self.next_balance = (!batch.is_empty()).then(|| now + BALANCE_PACE);
            moves.extend(batch);
        }
        for Move { slot, from, to } in moves {
            self.announcements.start(slot, now);
            self.actions.push_back(Action::Notify(Notice::Moved { slot, from, to }));
        }
        self.place(&active);
        self.choose_multicast_port(&active, now);
        // The carrier follows the links, never the probes (design, "Datapath").
        self.set_carrier(self.ports.values().any(|port| port.link == LinkState::Up));
        self.seat_sources(now);
        self.announce(now);
    }

    /// Tells the datapath every placement that changed.
    fn place(&mut self, active: &[PortIndex]) {
        let changes = self.clients.changes(active).into_iter();
        let actions = changes.map(|(slot, placement)| Action::Place(slot, placement));
        // Before anything that was queued for people, and after places that were queued before.
        let notices = self.actions.drain(..).collect::<Vec<_>>();
        let (first, mut later): (Vec<_>, Vec<_>) =
            (notices.into_iter()).partition(|action| matches!(action, Action::SetUsable(..) | Action::Place(..)));
        // An announcement that was queued before a move would undo it in the switches.
        later.retain(|action| match *action {
            Action::Announce(slot, port) => self.clients.port(slot) == Some(port) && active.contains(&port),
            _ => true,
        });
        self.actions.extend(first);
        self.actions.extend(actions);
        self.actions.extend(later);
    }

    fn choose_multicast_port(&mut self, active: &[PortIndex], now: Instant) {
        let there = |port: &Port| port.link != LinkState::Absent;
        let present: Vec<PortIndex> =
            self.ports.iter().filter(|(_, port)| there(port)).map(|(&port, _)| port).collect();
        // Where the primary client sits, so that a single client has one path for everything.
        let preferred = self.clients.port(SlotIndex::PRIMARY);
        self.multicast.choose(active, &present, preferred, now, &mut self.actions);
    }

    fn set_carrier(&mut self, carrier: bool) {
        if self.carrier != Some(carrier) {
            self.carrier = Some(carrier);
            self.actions.push_back(Action::SetCarrier(carrier));
        }
    }

    fn is_active(&self, port: PortIndex) -> bool {
        self.ports.get(&port).and_then(|port| port.told).is_some_and(|(_, active)| active)
    }

    fn active_ports(&self) -> Vec<PortIndex> {
        self.ports.keys().copied().filter(|&port| self.is_active(port)).collect()
    }
}
