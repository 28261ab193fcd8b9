//! The VLANs that the ports of a running aggregation are to let in: those of its clients and of its probes, on every port
//! and beforehand, since many cards drop each VLAN that nobody has registered with them.
//!
//! What is wanted is let in at once. What is wanted no more is taken back some seconds later: it often comes again, as when
//! a daemon takes over and does not know yet what will be probed.

mod cards;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dlmp_datapath::{PortIndex, SlotIndex};
use dlmp_engine::{Event, LinkState};
use dlmp_netlink::{Link, Netlink};
use tokio::sync::mpsc;

use super::chores::Chore;
use super::running::Running;
use crate::state::Before;
pub(super) use cards::{Cards, Outcome, Wish};
pub(super) use rule::Way;

/// What is wanted no more is taken back after this.
const KEPT: Duration = Duration::from_secs(2);

/// What is known of the ports' VLANs.
#[derive(Debug, Default)]
pub(super) struct Vlans {
    wanted: Arc<BTreeSet<u16>>,
    /// Clients or probes have changed since.
    changed: bool,
    /// A port is new: whatever it lets in is not known.
    entered: bool,
    /// When what is not needed is taken back, if there may be such.
    take_back: Option<Instant>,
    before: BTreeMap<PortIndex, Before>,
    /// How each port lets them in, by its link.
    outcomes: BTreeMap<u32, Outcome>,
    /// Links that become ports now, and their carrier: no client moves there before its VLAN is let in.
    opening: BTreeMap<u32, bool>,
    /// VLAN devices on the ports' links.
    devices: BTreeSet<u32>,
}

impl Vlans {
    /// Notes that clients or probes are others.
    pub(super) const fn change(&mut self) {
        self.changed = true;
    }

    /// Notes that a port has a link that is new to us.
    pub(super) const fn enter(&mut self) {
        self.entered = true;
    }

    /// Notes what a port was like before it was one.
    pub(super) fn note_before(&mut self, port: PortIndex, before: Before) {
        self.before.insert(port, before);
    }

    /// When something is taken back next.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.take_back
    }

    /// Takes note of a link's carrier. Whether it counts already.
    pub(super) fn carrier_counts(&mut self, link: u32, carrier: bool) -> bool {
        self.opening.get_mut(&link).map(|known| *known = carrier).is_none()
    }
}

/// Has the card of a link be as it was before it was a port of an aggregation that does not run any more. What cannot be done is
/// logged.
pub async fn put_card_back(link: u32, before: Before, netlink: &Netlink) {
    let (outcomes, _) = mpsc::unbounded_channel();
    let mut cards = Cards::new(BTreeSet::new(), outcomes);
    cards.wish(link, Wish { before, vlans: Arc::default(), take_back: true, last: true });
    cards.write(netlink).await;
}

impl Running {
    /// Has every port let in what is wanted, if that has changed.
    pub(super) fn let_vlans_in(&mut self) {
        let (changed, entered) = (std::mem::take(&mut self.vlans.changed), std::mem::take(&mut self.vlans.entered));
        let before = self.vlans.wanted.clone();
        if changed || entered {
            self.find_wanted_vlans();
        }
        // A port may come with what an earlier daemon did.
        if entered || !before.is_subset(&self.vlans.wanted) {
            self.vlans.take_back.get_or_insert_with(|| Instant::now() + KEPT);
        }
        if entered || before != self.vlans.wanted {
            self.wish_everywhere(false);
        }
    }

    /// Takes back what is wanted no more, when it is time.
    pub(super) fn take_vlans_back(&mut self, now: Instant) {
        if self.vlans.take_back.is_some_and(|at| at <= now) {
            self.vlans.take_back = None;
            self.wish_everywhere(true);
        }
    }

    /// Tries again what was refused: a card that was being reset refuses everything.
    pub(super) fn try_vlans_again(&mut self) {
        if self.vlans.outcomes.values().any(|outcome| outcome.way == Way::Refused) {
            self.wish_everywhere(false);
        }
    }

    /// A link is to become a port of an aggregation that runs: first the VLANs, then clients.
    pub(super) fn open_first(&mut self, port: PortIndex) {
        let Some(device) = self.ports.get(&port).and_then(|port| port.device) else { return };
        self.find_wanted_vlans();
        if self.vlans.wanted.is_empty() {
            return;
        }
        self.vlans.opening.insert(device.ifindex, false);
        self.wish(port, false);
    }

    /// What became of a port's VLANs.
    pub(super) fn vlans_open(&mut self, link: u32, outcome: &Outcome) {
        let Some(port) = self.port_of(link) else { return };
        if let Some(carrier) = self.vlans.opening.remove(&link) {
            let state = if carrier { LinkState::Up } else { LinkState::Down };
            self.engine.handle_event(Event::Link(port, state), Instant::now());
        }
        let before = self.vlans.outcomes.insert(link, outcome.clone());
        if before.as_ref().unwrap_or(&Outcome::default()) != outcome {
            let name = self.ports.get(&port).map(|port| port.name.as_str());
            tracing::info!(
                aggregation = self.name,
                port = name,
                vlans = self.vlans.wanted.len(),
                way = word(outcome.way).unwrap_or("nothing to do"),
                "{}",
                if outcome.reason.is_empty() { "VLANs are let in" } else { &outcome.reason }
            );
            self.find_problems();
        }
        self.act();
    }

    /// A port's link has changed in some way, such as its features.
    pub(super) fn follow_card(&mut self, port: PortIndex) {
        if !self.vlans.wanted.is_empty() {
            self.wish(port, false);
        }
    }

    /// Takes note of a VLAN device on a port's link.
    pub(super) fn note_vlan_device(&mut self, link: &Link) {
        if link.kind.as_deref() == Some("vlan") && link.peer_index.is_some_and(|port| self.port_of(port).is_some()) {
            self.vlans.devices.insert(link.index);
        }
    }

    /// A link is gone. If it was a VLAN device on a port, its VLAN may be let in no more.
    pub(super) fn forget_vlan_device(&mut self, link: u32) {
        self.vlans.opening.remove(&link);
        if self.vlans.outcomes.remove(&link).is_some() {
            self.find_problems();
        }
        if self.vlans.devices.remove(&link) && !self.vlans.wanted.is_empty() {
            self.wish_everywhere(false);
        }
    }

    /// Has the card of a port that is one no more be as it was before.
    pub(super) fn restore_card(&mut self, link: u32, before: Before) {
        self.vlans.outcomes.remove(&link);
        self.vlans.opening.remove(&link);
        let wish = Wish { before, vlans: Arc::default(), take_back: true, last: true };
        self.chore(Chore::Vlans { link, wish });
        self.find_problems();
    }

    /// How a port lets in VLANs, in a word; nothing where nothing needs to be done.
    pub(super) fn vlan_way(&self, link: u32) -> Option<&'static str> {
        word(self.vlans.outcomes.get(&link)?.way)
    }

    /// What is wrong with the ports' VLANs, in words.
    pub(super) fn vlan_problems(&self) -> impl Iterator<Item = String> {
        self.ports.values().filter_map(|port| {
            let outcome = self.vlans.outcomes.get(&port.device?.ifindex)?;
            match outcome.way {
                Way::Promiscuous => {
                    Some(format!("{} is promiscuous, to receive VLANs of clients: {}", port.name, outcome.reason))
                }
                Way::Refused => {
                    Some(format!("{} does not receive the VLANs of all clients: {}", port.name, outcome.reason))
                }
                Way::Nothing | Way::Registered | Way::FilterOff => None,
            }
        })
    }

    fn find_wanted_vlans(&mut self) {
        let mut wanted: BTreeSet<u16> = self.learned_vlans().collect();
        wanted.extend(self.own_slots().filter_map(|slot: SlotIndex| Some(self.client_address(slot)?.vlan)));
        wanted.insert(self.probed_vlan());
        // Untagged frames; and VLAN 0 is a priority alone, which 802.1Q registers by itself (vlan_device_event).
        wanted.remove(&0);
        if wanted != *self.vlans.wanted {
            self.vlans.wanted = Arc::new(wanted);
        }
    }

    fn wish_everywhere(&mut self, take_back: bool) {
        for port in self.ports.keys().copied().collect::<Vec<_>>() {
            self.wish(port, take_back);
        }
    }

    fn wish(&mut self, port: PortIndex, take_back: bool) {
        let Some(device) = self.ports.get(&port).and_then(|port| port.device) else { return };
        let before = self.vlans.before.get(&port).cloned().unwrap_or_default();
        let wish = Wish { before, vlans: self.vlans.wanted.clone(), take_back, last: false };
        self.chore(Chore::Vlans { link: device.ifindex, wish });
    }
}

/// A way, in a word.
const fn word(way: Way) -> Option<&'static str> {
    match way {
        Way::Nothing => None,
        Way::Registered => Some("registered"),
        Way::FilterOff => Some("filter-off"),
        Way::Promiscuous => Some("promiscuous"),
        Way::Refused => Some("refused"),
    }
}
