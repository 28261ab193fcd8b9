//! Group-addressed traffic: which groups are wanted, which port takes them, and what is in the ports' filters.
//!
//! Two ports have the groups in their filters: the *multicast port*, which takes group-addressed frames for the
//! aggregation (the group rule), and its *successor*, which is ready to. So a failover waits for no driver (seed 001).

mod excess;
mod filter;
mod input;
mod table;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use dlmp_wire::MacAddr;
use dlmp_wire::membership::Change;

use crate::{Action, PortIndex, SlotIndex};
pub use excess::Excess;
use excess::Excesses;
use filter::Filter;
pub use filter::{FILTER_GROUPS, Reception};
pub use input::{GroupAction, GroupEvent};
pub use table::{AGGREGATION_GROUPS, Asker, CLIENT_GROUPS, Membership};
use table::{Table, Turn};

/// How long it takes until everybody has answered a query: more than hosts take, also in old versions (RFC 2236, 8.3
/// and RFC 2710, 7.3: 10 s). So long groups are kept that an earlier daemon knew, for whoever asked to ask again.
const ANSWERED: Duration = Duration::from_secs(15);
/// So many groups are written about as fast as the one flag that lets all of them through.
const QUICK: usize = 16;
/// Reports are sent again after so long, since one can get lost (RFC 3376, 8.11).
const REPORT_AGAIN: Duration = Duration::from_secs(1);

/// The multicast state of an aggregation.
#[derive(Debug, Default)]
pub struct Multicast {
    table: Table,
    /// Somebody above wants every group.
    all_wanted: bool,
    /// Clients for which every group is let in, since theirs are not kept.
    excesses: Excesses,
    /// The datapath was told that every group is wanted.
    told_all: bool,
    /// What the ports' filters held for an earlier daemon is not known: all that serve take all.
    restoring_all: bool,
    filters: BTreeMap<PortIndex, Filter>,
    port: Option<PortIndex>,
    successor: Option<PortIndex>,
    /// What the datapath was told of the multicast port's filter.
    told_short: bool,
    /// When groups of an earlier daemon that nobody asked for again are forgotten.
    forget_restored: Option<Instant>,
    report_again: Option<Instant>,
}

/// A port, as far as groups go, for displays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPort {
    /// The port.
    pub port: PortIndex,
    /// What its filter lets through.
    pub reception: Reception,
    /// How many groups are in it.
    pub held: usize,
    /// How many it can hold, as far as is known.
    pub limit: Option<usize>,
}

impl Multicast {
    /// A link is a port now, with an empty filter.
    pub(crate) fn add_port(&mut self, port: PortIndex) {
        self.filters.insert(port, Filter::default());
    }

    /// A link is a port no more: its filter is emptied.
    pub(crate) fn remove_port(&mut self, port: PortIndex, actions: &mut VecDeque<Action>) {
        if let Some(mut filter) = self.filters.remove(&port) {
            filter.set_serves(false);
            filter.settle(port, &self.table, false, actions);
        }
    }

    /// The link of a port is gone, and so is what was in its filter; what is known of the port stays.
    pub(crate) fn lose_port(&mut self, port: PortIndex) {
        if let Some(filter) = self.filters.get_mut(&port) {
            filter.lose();
        }
    }

    /// The running datapath takes groups from this port already.
    pub(crate) const fn restore_port(&mut self, port: PortIndex) {
        self.port = Some(port);
    }

    /// Takes in what happened, at `now`. Says whether another port may be the better one to take groups from.
    pub(crate) fn handle_event(&mut self, event: GroupEvent, now: Instant, actions: &mut VecDeque<Action>) -> bool {
        let short = self.told_short;
        let mut choose = true;
        match event {
            GroupEvent::Listed { slot, joined, left } => {
                let turns = self.table.list(slot, &joined, &left);
                self.carry_out(turns, actions);
                self.is_in_bounds(slot, actions);
            }
            GroupEvent::Unlisted(slot) => self.forget_client(slot, actions),
            GroupEvent::Reported { slot, changes } => {
                self.report(slot, &changes, now, actions);
                // There can be thousands a second.
                choose = self.told_short != short;
            }
            GroupEvent::TooFast(slots) => {
                for slot in slots {
                    if !self.table.is_listed(slot) {
                        self.exceed(slot, Excess::Rate, now, actions);
                    }
                }
                choose = self.told_short != short;
            }
            GroupEvent::Restored(groups) => {
                self.forget_restored = Some(now + ANSWERED);
                let turns = self.table.restore(&groups);
                self.carry_out(turns, actions);
            }
            GroupEvent::AllWanted(wanted) => {
                self.all_wanted = wanted;
                self.want_all(actions);
            }
            GroupEvent::FilterRestored { port, groups, more, all } => {
                if let Some(filter) = self.filters.get_mut(&port) {
                    filter.restore(&groups, all);
                }
                if all || more {
                    self.restoring_all = true;
                    self.forget_restored = Some(now + ANSWERED);
                    self.settle(actions);
                }
            }
            GroupEvent::Limit(port, limit) => self.change(port, actions, |filter| filter.set_limit(limit)),
            GroupEvent::Refused(port, group) => {
                if let Some(filter) = self.filters.get_mut(&port) {
                    filter.refused(port, group, &self.table, actions);
                }
                self.settle(actions);
            }
            GroupEvent::TakesAll(port, takes_all) => {
                self.change(port, actions, |filter| filter.set_takes_all(takes_all));
            }
        }
        // There is nothing to choose from before there are ports.
        choose && !self.filters.is_empty()
    }

    /// A client is gone, with all that it asked for.
    pub(crate) fn forget_client(&mut self, slot: SlotIndex, actions: &mut VecDeque<Action>) {
        let turns = self.table.forget(Asker::Client(slot));
        self.carry_out(turns, actions);
        self.is_in_bounds(slot, actions);
    }

    fn report(&mut self, slot: SlotIndex, changes: &[Change], now: Instant, actions: &mut VecDeque<Action>) {
        // It gets every group, and is asked again.
        if self.excesses.is_unheard(slot) {
            return;
        }
        let (turns, excess) = self.table.report(slot, changes);
        self.carry_out(turns, actions);
        if let Some(why) = excess {
            self.exceed(slot, why, now, actions);
        }
    }

    /// Every group is let in for a client from now on, and then its own are forgotten.
    fn exceed(&mut self, slot: SlotIndex, why: Excess, now: Instant, actions: &mut VecDeque<Action>) {
        if self.excesses.enter(slot, why, now) {
            actions.push_back(GroupAction::Exceeds(slot, Some(why)).into());
            self.want_all(actions);
        }
        let turns = self.table.forget(Asker::Client(slot));
        self.carry_out(turns, actions);
    }

    /// A client does not exceed any more, if it did.
    fn is_in_bounds(&mut self, slot: SlotIndex, actions: &mut VecDeque<Action>) {
        if self.excesses.leave(slot) {
            actions.push_back(GroupAction::Exceeds(slot, None).into());
            self.want_all(actions);
        }
    }

    fn change(&mut self, port: PortIndex, actions: &mut VecDeque<Action>, change: impl FnOnce(&mut Filter)) {
        if let Some(filter) = self.filters.get_mut(&port) {
            change(filter);
            if filter.serves() {
                self.settle(actions);
            }
        }
    }

    /// Whether every group is wanted: somebody above wants that, or a client's own groups are not kept.
    #[must_use]
    pub fn wants_all(&self) -> bool {
        self.all_wanted || !self.excesses.is_empty()
    }

    /// The clients for which every group is let in, since theirs are not kept, and why.
    pub fn excesses(&self) -> impl Iterator<Item = (SlotIndex, Excess)> + '_ {
        self.excesses.iter()
    }

    /// Whether all filters that serve take all, whatever is wanted.
    fn filters_open(&self) -> bool {
        self.wants_all() || self.restoring_all
    }

    /// Brings everything in line with whether every group is wanted.
    fn want_all(&mut self, actions: &mut VecDeque<Action>) {
        let (before, wanted) = (self.told_all, self.wants_all());
        self.told_all = wanted;
        // As for a single group: the datapath is the first to take it and the last to give it up.
        if wanted && !before {
            actions.push_back(GroupAction::AdmitAll(true).into());
        }
        self.settle(actions);
        if before && !wanted {
            actions.push_back(GroupAction::AdmitAll(false).into());
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        if self.forget_restored.is_some_and(|at| at <= now) {
            self.forget_restored = None;
            self.restoring_all = false;
            let turns = self.table.forget(Asker::Restored);
            self.carry_out(turns, actions);
            self.settle(actions);
            actions.push_back(GroupAction::ForgetRestored.into());
        }
        for slot in self.excesses.calmed(now) {
            actions.push_back(GroupAction::Exceeds(slot, None).into());
        }
        if self.told_all != self.wants_all() {
            self.want_all(actions);
        }
        if self.excesses.hear(now) {
            actions.push_back(GroupAction::Ask.into());
        }
        if self.report_again.is_some_and(|at| at <= now) {
            self.report_again = None;
            actions.extend(self.port.map(|port| Action::from(GroupAction::Report(port))));
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.forget_restored.into_iter().chain(self.report_again).chain(self.excesses.poll_timeout()).min()
    }

    /// Chooses the multicast port among the active ones, and its successor among all whose link is there, which
    /// begin with the active ones. `preferred` is taken when there is no other reason.
    ///
    /// The order is that of seed 001: the filter of the new port, the switch to it, the reports that make switches
    /// send the groups there; then the filter of the next successor, and last the old ones are emptied.
    pub(crate) fn choose(
        &mut self,
        active: &[PortIndex],
        present: &[PortIndex],
        preferred: Option<PortIndex>,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        let before = self.port;
        let open = self.filters_open();
        self.port = self.best(active, preferred).filter(|port| present.contains(port));
        if self.port != before
            && let Some(port) = self.port
            && let Some(filter) = self.filters.get_mut(&port)
            && !filter.serves()
        {
            filter.set_serves(true);
            if self.table.len() > QUICK {
                filter.open(port, actions);
            }
            filter.settle(port, &self.table, open, actions);
        }
        if self.port != before {
            actions.push_back(Action::SetMulticastPort(self.port));
            if let Some(port) = self.port {
                self.new_peers(port, now, actions);
            }
        }
        let others: Vec<PortIndex> = present.iter().copied().filter(|&port| Some(port) != self.port).collect();
        self.successor = self.fullest(&others, active);
        let serving = [self.port, self.successor];
        for (&port, filter) in &mut self.filters {
            filter.set_serves(serving.contains(&Some(port)));
        }
        self.settle(actions);
    }

    /// The switches behind a port do not know the groups.
    pub(crate) fn new_peers(&mut self, port: PortIndex, now: Instant, actions: &mut VecDeque<Action>) {
        if self.port == Some(port) {
            actions.push_back(GroupAction::Report(port).into());
            actions.push_back(GroupAction::Ask.into());
            self.report_again = Some(now + REPORT_AGAIN);
        }
    }

    /// The port that group-addressed frames are taken from.
    #[must_use]
    pub const fn port(&self) -> Option<PortIndex> {
        self.port
    }

    /// The port that takes over from it.
    #[must_use]
    pub const fn successor(&self) -> Option<PortIndex> {
        self.successor
    }

    /// The ports, in order.
    pub fn ports(&self) -> impl Iterator<Item = GroupPort> + '_ {
        self.filters.iter().map(|(&port, filter)| GroupPort {
            port,
            reception: match filter.serves() {
                true => filter.reception(&self.table, self.filters_open()),
                false => Reception::None,
            },
            held: filter.held(&self.table),
            limit: filter.capacity(),
        })
    }

    /// The groups in the filter of a port.
    pub fn held(&self, port: PortIndex) -> impl Iterator<Item = MacAddr> + '_ {
        self.filters.get(&port).into_iter().flat_map(|filter| filter.groups(&self.table))
    }

    /// Every group that is wanted with one of those who asked, in order of groups: a group comes as often as it was
    /// asked for.
    pub fn entries(&self) -> impl Iterator<Item = (MacAddr, Asker)> + '_ {
        self.table.entries()
    }

    /// What was reported by IGMP or MLD and has to be reported through another port when the multicast port changes.
    pub fn memberships(&self) -> impl Iterator<Item = Membership> + '_ {
        self.table.reported()
    }

    /// The multicast port stays as long as it is active, unless it lacks groups that another one would take. With no
    /// active port the old one stays.
    fn best(&self, active: &[PortIndex], preferred: Option<PortIndex>) -> Option<PortIndex> {
        let Some(best) = active.iter().map(|&port| self.is_short(port)).min() else {
            return self.port;
        };
        let fit = |port: &PortIndex| active.contains(port) && self.is_short(*port) == best;
        let first = active.iter().copied().find(fit);
        self.port.filter(fit).or(self.successor.filter(fit)).or(preferred.filter(fit)).or(first)
    }

    /// The port that would be the best one if it were not for the multicast port.
    fn fullest(&self, others: &[PortIndex], active: &[PortIndex]) -> Option<PortIndex> {
        // One that is ready already is preferred to one that would have to be filled.
        let rank =
            |port: &PortIndex| (!active.contains(port), self.is_short(*port), Some(*port) != self.successor, *port);
        others.iter().copied().min_by_key(rank)
    }

    fn is_short(&self, port: PortIndex) -> bool {
        let filter = self.filters.get(&port);
        filter.is_some_and(|filter| filter.reception(&self.table, self.filters_open()) == Reception::Short)
    }

    /// The datapath takes what is wanted first, and gives up last what is not: what a filter lets through in
    /// between is filtered in software.
    fn carry_out(&mut self, turns: Vec<Turn>, actions: &mut VecDeque<Action>) {
        let (new, gone) = net(turns);
        if new.is_empty() && gone.is_empty() {
            return;
        }
        actions.extend(new.iter().map(|&group| Action::from(GroupAction::Admit(group))));
        for (&port, filter) in &mut self.filters {
            // Out first: it may be full.
            for &group in &gone {
                filter.unwanted(port, group, actions);
            }
            filter.wanted(port, &new, &self.table, actions);
        }
        self.settle(actions);
        actions.extend(gone.into_iter().map(|group| Action::from(GroupAction::Dismiss(group))));
    }

    /// Brings the filters in line with the table and with what the ports are for.
    fn settle(&mut self, actions: &mut VecDeque<Action>) {
        let open = self.filters_open();
        // Those that serve before those that serve no more.
        for serves in [true, false] {
            for (&port, filter) in self.filters.iter_mut().filter(|(_, filter)| filter.serves() == serves) {
                filter.settle(port, &self.table, open, actions);
            }
        }
        let short = self.port.is_some_and(|port| self.is_short(port));
        if short != self.told_short {
            self.told_short = short;
            actions.push_back(GroupAction::FilterShort(short).into());
        }
    }
}

/// What has come and what has gone when all is over: somebody may join and leave a group in one report.
fn net(turns: Vec<Turn>) -> (BTreeSet<MacAddr>, BTreeSet<MacAddr>) {
    let (mut new, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for turn in turns {
        let (one, other, group) = match turn {
            Turn::Wanted(group) => (&mut new, &mut gone, group),
            Turn::Unwanted(group) => (&mut gone, &mut new, group),
        };
        if !other.remove(&group) {
            one.insert(group);
        }
    }
    (new, gone)
}
