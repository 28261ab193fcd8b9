//! One aggregation: the health of its ports, where its clients sit, and what to do about it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::announce::Announcements;
use crate::{Placement, PortIndex, SlotIndex, spread};

/// What is known of a port's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkState {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// There is a carrier.
    Up,
    /// There is no carrier, or the link was brought down.
    Down,
    /// The link does not exist (hot-unplugged, its namespace deleted).
    Absent,
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A port was added to the aggregation.
    PortAdded(PortIndex),
    /// A port was taken out of it.
    PortRemoved(PortIndex),
    /// A port's link was looked at.
    Link(PortIndex, LinkState),
    /// A client has come; it wants a port.
    ClientAdded(SlotIndex),
    /// A client that the running datapath has on a port already, at a takeover.
    ClientRestored(SlotIndex, PortIndex),
    /// The running datapath takes group-addressed frames from this port already, at a takeover.
    MulticastRestored(PortIndex),
    /// A frame for the slot arrived on a port that is not its own (rule 3): switches do not know
    /// where it sits.
    Stray(SlotIndex),
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Mark a port as fit for traffic or not.
    SetUsable(PortIndex, bool),
    /// Place the clients of a slot.
    Place(SlotIndex, Placement),
    /// Take group-addressed frames from this port.
    SetMulticastPort(Option<PortIndex>),
    /// Give the aggregation's link a carrier or take it away.
    SetCarrier(bool),
    /// Announce the clients of a slot through a port.
    Announce(SlotIndex, PortIndex),
    /// Tell people.
    Notify(Notice),
}

/// News for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A port's health changed.
    Health(PortIndex, Health),
    /// The clients of a slot moved.
    Moved {
        /// The slot.
        slot: SlotIndex,
        /// Where they sat before.
        from: Option<PortIndex>,
        /// Where they sit now.
        to: PortIndex,
    },
}

/// A port's health, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Its link is up. Nothing else is asked of it: no probing is configured.
    LinkUp,
    /// Its link has not been looked at yet.
    LinkUnknown,
    /// Its link is down.
    LinkDown,
    /// Its link does not exist.
    LinkAbsent,
}

impl Health {
    /// Whether the port may carry traffic.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::LinkUp)
    }
}

impl From<LinkState> for Health {
    fn from(state: LinkState) -> Self {
        match state {
            LinkState::Unknown => Self::LinkUnknown,
            LinkState::Up => Self::LinkUp,
            LinkState::Down => Self::LinkDown,
            LinkState::Absent => Self::LinkAbsent,
        }
    }
}

/// A port, for displays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortView {
    /// Its place.
    pub port: PortIndex,
    /// What is known of its link.
    pub link: LinkState,
    /// Its health.
    pub health: Health,
    /// Who sits on it.
    pub slots: Vec<SlotIndex>,
}

/// The state of one aggregation.
///
/// # Decisions
///
/// A port is active while its link is up. When a port becomes inactive its clients move to the
/// active ports, those with the fewest clients first; when one becomes active, only as many move to
/// it as an even spread takes, and without clients to spread nobody moves. With no active port
/// clients stay where they are. Group-addressed frames are taken from one active port, which stays
/// the same as long as it is active.
#[derive(Debug, Default)]
pub struct Aggregation {
    ports: BTreeMap<PortIndex, LinkState>,
    places: BTreeMap<SlotIndex, Option<PortIndex>>,
    /// As last told to the datapath.
    placements: BTreeMap<SlotIndex, Placement>,
    multicast_port: Option<PortIndex>,
    carrier: Option<bool>,
    announcements: Announcements,
    actions: VecDeque<Action>,
}

impl Aggregation {
    /// Takes in what happened, at `now`.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::PortAdded(port) => {
                self.ports.insert(port, LinkState::Unknown);
            }
            Event::PortRemoved(port) => {
                self.ports.remove(&port);
            }
            Event::Link(port, state) => self.link(port, state, now),
            Event::ClientAdded(slot) => {
                self.places.entry(slot).or_default();
            }
            Event::ClientRestored(slot, port) => {
                let placement = Placement { port, backup: None };
                self.places.insert(slot, Some(port));
                self.placements.insert(slot, placement);
            }
            Event::MulticastRestored(port) => self.multicast_port = Some(port),
            Event::Stray(slot) => self.stray(slot, now),
        }
        self.decide(now);
    }

    /// Does what is due at `now`. May be called at any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        for slot in self.announcements.due(now) {
            match self.places.get(&slot).copied().flatten() {
                // Never on a failed port: its switch must not learn what it cannot deliver.
                Some(port) if self.is_active(port) => self.actions.push_back(Action::Announce(slot, port)),
                _ => self.announcements.cancel(slot),
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.announcements.next()
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The ports, for displays.
    pub fn ports(&self) -> impl Iterator<Item = PortView> + '_ {
        self.ports.iter().map(|(&port, &link)| PortView {
            port,
            link,
            health: link.into(),
            slots: (self.places.iter()).filter(|&(_, &place)| place == Some(port)).map(|(&slot, _)| slot).collect(),
        })
    }

    /// The port that group-addressed frames are taken from.
    pub const fn multicast_port(&self) -> Option<PortIndex> {
        self.multicast_port
    }

    fn link(&mut self, port: PortIndex, state: LinkState, now: Instant) {
        let Some(known) = self.ports.get_mut(&port) else {
            return;
        };
        let before = *known;
        if before == state {
            return;
        }
        *known = state;
        let active = Health::from(state).is_active();
        self.actions.push_back(Action::SetUsable(port, active));
        self.actions.push_back(Action::Notify(Notice::Health(port, state.into())));
        // A client that waited on this port through an outage: the switch behind it may be new.
        if active && before != LinkState::Unknown {
            for (&slot, &place) in &self.places {
                if place == Some(port) {
                    self.announcements.start(slot, now);
                }
            }
        }
    }

    fn stray(&mut self, slot: SlotIndex, now: Instant) {
        if let Some(port) = self.places.get(&slot).copied().flatten()
            && self.is_active(port)
        {
            self.announcements.start(slot, now);
            self.handle_timeout(now);
        }
    }

    /// Brings clients, multicast port and carrier in line with the ports.
    fn decide(&mut self, now: Instant) {
        // A port that nobody has looked at yet may be fine: at a takeover nothing must move because
        // its ports are looked at one after another.
        if self.ports.values().any(|&link| link == LinkState::Unknown) {
            return;
        }
        let active = self.active_ports();
        for (slot, to) in spread::moves(&self.places, &active) {
            let from = self.places.insert(slot, Some(to)).flatten();
            self.announcements.start(slot, now);
            self.actions.push_back(Action::Notify(Notice::Moved { slot, from, to }));
        }
        self.place(&active);
        self.choose_multicast_port(&active);
        self.set_carrier(!active.is_empty());
        self.handle_timeout(now);
    }

    /// Tells the datapath every placement that changed. Failed ports are left before backups are
    /// refreshed, so that the clients that lost their port come first.
    fn place(&mut self, active: &[PortIndex]) {
        let mut changes = Vec::new();
        for (&slot, &place) in &self.places {
            let Some(port) = place else { continue };
            let placement = Placement { port, backup: spread::backup(&self.places, active, port) };
            let before = self.placements.insert(slot, placement);
            if before != Some(placement) {
                let moved = before.is_none_or(|before| before.port != port);
                changes.push((!moved, slot, placement));
            }
        }
        changes.sort_by_key(|&(stays, slot, _)| (stays, slot));
        let actions = changes.into_iter().map(|(_, slot, placement)| Action::Place(slot, placement));
        // Before anything that was queued for people.
        let notices = self.actions.drain(..).collect::<Vec<_>>();
        let (first, later): (Vec<_>, Vec<_>) =
            (notices.into_iter()).partition(|action| matches!(action, Action::SetUsable(..)));
        self.actions.extend(first);
        self.actions.extend(actions);
        self.actions.extend(later);
    }

    fn choose_multicast_port(&mut self, active: &[PortIndex]) {
        if self.multicast_port.is_some_and(|port| active.contains(&port)) {
            return;
        }
        // Where the primary client sits, so that a single client has one path for everything.
        let primary = self.places.get(&SlotIndex::PRIMARY).copied().flatten();
        let chosen = primary.filter(|port| active.contains(port)).or(active.first().copied());
        // With no active port the old one stays, unless it is no port any more.
        let kept = self.multicast_port.filter(|port| self.ports.contains_key(port));
        let port = chosen.or(kept);
        if port != self.multicast_port {
            self.multicast_port = port;
            self.actions.push_back(Action::SetMulticastPort(port));
        }
    }

    fn set_carrier(&mut self, carrier: bool) {
        if self.carrier != Some(carrier) {
            self.carrier = Some(carrier);
            self.actions.push_back(Action::SetCarrier(carrier));
        }
    }

    fn is_active(&self, port: PortIndex) -> bool {
        self.ports.get(&port).is_some_and(|&link| Health::from(link).is_active())
    }

    fn active_ports(&self) -> Vec<PortIndex> {
        self.ports.keys().copied().filter(|&port| self.is_active(port)).collect()
    }
}
