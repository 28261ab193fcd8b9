//! An aggregation with ports and their filters, in which everything is carried out that the engine wants about groups.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "each test uses its own part, and fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use dlmp_engine::{Action, Aggregation, Event, GroupAction, GroupEvent, LinkState, PortIndex, SlotIndex};
use dlmp_wire::MacAddr;
use dlmp_wire::membership::{Change, Version};

pub const NET0: PortIndex = PortIndex(0);
pub const NET1: PortIndex = PortIndex(1);
pub const NET2: PortIndex = PortIndex(2);
pub const HOST: SlotIndex = SlotIndex::PRIMARY;
pub const GUEST: SlotIndex = SlotIndex(600);

pub fn ip(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(239, 1, 1, number))
}

/// Another group with the same address.
pub fn twin(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(238, 1, 1, number))
}

pub fn mac(number: u8) -> MacAddr {
    MacAddr::group(ip(number))
}

pub fn listed(joined: &[u8], left: &[u8]) -> Event {
    let groups = |numbers: &[u8]| numbers.iter().map(|&number| mac(number)).collect();
    Event::Groups(GroupEvent::Listed { slot: HOST, joined: groups(joined), left: groups(left) })
}

pub fn reported(slot: SlotIndex, group: IpAddr, joined: bool) -> Event {
    let changes = vec![Change { group, version: Version::Current, joined }];
    Event::Groups(GroupEvent::Reported { slot, changes })
}

pub fn restored(port: PortIndex, numbers: &[u8], all: bool) -> Event {
    let groups = numbers.iter().map(|&number| mac(number)).collect();
    Event::Groups(GroupEvent::FilterRestored { port, groups, more: false, all })
}

/// Carries out what the engine wants and has what it has brought about.
pub struct World {
    pub now: Instant,
    pub engine: Aggregation,
    pub multicast_port: Option<PortIndex>,
    pub admitted: BTreeSet<MacAddr>,
    pub all_admitted: bool,
    pub short: bool,
    pub ports: BTreeMap<PortIndex, Filter>,
    pub done: Vec<Action>,
}

#[derive(Default)]
pub struct Filter {
    pub groups: BTreeSet<MacAddr>,
    pub all: bool,
    /// Refuses more.
    pub slots: Option<usize>,
    /// It has refused a group since it was told to take all.
    pub refused: bool,
}

impl World {
    /// Ports that are up, and a host on the first one.
    pub fn new(ports: &[PortIndex]) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            engine: Aggregation::new(now),
            multicast_port: None,
            admitted: BTreeSet::new(),
            all_admitted: false,
            short: false,
            ports: BTreeMap::new(),
            done: Vec::new(),
        };
        for &port in ports {
            world.ports.insert(port, Filter::default());
            world.tell(Event::PortAdded(port));
        }
        world.tell(Event::ClientsAdded(vec![HOST, GUEST]));
        for &port in ports {
            world.tell(Event::Link(port, LinkState::Up));
        }
        world
    }

    pub fn tell(&mut self, event: Event) -> &[Action] {
        self.tell_and_check(event, |_| {})
    }

    /// Tells the engine, and looks at the world after each single action.
    pub fn tell_and_check(&mut self, event: Event, mut check: impl FnMut(&Self)) -> &[Action] {
        self.done.clear();
        if let Event::Link(port, LinkState::Absent) = event {
            let filter = self.ports.get_mut(&port).unwrap();
            *filter = Filter { slots: filter.slots, ..Filter::default() };
        }
        self.engine.handle_event(event, self.now);
        self.carry_out(&mut check);
        &self.done
    }

    pub fn pass(&mut self, time: Duration) -> &[Action] {
        self.done.clear();
        self.now += time;
        self.engine.handle_timeout(self.now);
        self.carry_out(&mut |_| {});
        &self.done
    }

    pub fn carry_out(&mut self, check: &mut impl FnMut(&Self)) {
        while let Some(action) = self.engine.poll_action() {
            self.done.push(action);
            match action {
                Action::SetMulticastPort(port) => self.multicast_port = port,
                Action::Groups(action) => self.group_action(action),
                _ => {}
            }
            check(self);
        }
    }

    pub fn group_action(&mut self, action: GroupAction) {
        match action {
            GroupAction::Admit(group) => assert!(self.admitted.insert(group), "{group} admitted twice"),
            GroupAction::Dismiss(group) => assert!(self.admitted.remove(&group), "{group} was not admitted"),
            GroupAction::AdmitAll(all) => self.all_admitted = all,
            GroupAction::FilterShort(short) => self.short = short,
            GroupAction::Add(port, group) => {
                let filter = self.ports.get_mut(&port).unwrap();
                if filter.slots.is_some_and(|slots| filter.groups.len() >= slots) {
                    filter.refused = true;
                    self.engine.handle_event(Event::Groups(GroupEvent::Refused(port, group)), self.now);
                } else {
                    assert!(filter.groups.insert(group), "{port:?} has {group} already");
                }
            }
            GroupAction::Remove(port, group) => {
                assert!(self.ports.get_mut(&port).unwrap().groups.remove(&group), "{port:?} has no {group}");
            }
            GroupAction::TakeAll(port, all) => {
                let filter = self.ports.get_mut(&port).unwrap();
                filter.refused &= !all;
                filter.all = all || (filter.all && filter.refused);
            }
            GroupAction::ForgetRestored | GroupAction::Report(_) | GroupAction::Ask | GroupAction::Exceeds(..) => {}
        }
    }

    /// Whether a frame for a group comes in.
    pub fn takes(&self, group: MacAddr) -> bool {
        let admitted = self.all_admitted || self.admitted.contains(&group);
        admitted && self.multicast_port.is_some_and(|port| self.lets_through(port, group))
    }

    pub fn lets_through(&self, port: PortIndex, group: MacAddr) -> bool {
        self.ports.get(&port).is_some_and(|filter| filter.all || filter.groups.contains(&group))
    }
}
