//! What is checked: a setting of managers and of what may happen to them, and every way in which it may happen.

use stateright::{Model, Property};

use crate::kind::Kind;
use crate::world::{Budget, Manager, Message, Stage, World};

/// Managers, and what may happen to them.
#[derive(Clone)]
pub struct Setting {
    /// In the order of their IP addresses.
    pub kinds: Vec<Kind>,
    /// Addresses that they may claim, each manager one at a time: what becomes of one does not depend on another.
    pub addresses: usize,
    /// Claims that each may begin.
    pub claims: u8,
    /// Messages may take until the end of the next tick, rather than of this one.
    pub delay: bool,
    /// What is held is asked for again from the start, rather than from the first split or crash on.
    pub rounds: bool,
    pub budget: Budget,
    pub properties: Vec<Property<Setting>>,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Tick,
    Claim {
        manager: usize,
        mac: usize,
    },
    Due {
        manager: usize,
        mac: usize,
    },
    Arrives(Message),
    /// It will come once more.
    ArrivesTwice(Message),
    IsLost(Message),
    DueAndUsed {
        manager: usize,
        mac: usize,
    },
    Release {
        manager: usize,
        mac: usize,
    },
    AskAgain {
        manager: usize,
        mac: usize,
    },
    Crash(usize),
    Restart(usize),
    Split {
        alone: usize,
    },
    Heal,
}

impl Model for Setting {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let managers = self.kinds.iter().map(|kind| Manager::new(*kind, self.claims)).collect();
        vec![World { managers, air: Vec::new(), alone: None, rounds: self.rounds, budget: self.budget }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        let in_time = self.delay || world.air.is_empty();
        if in_time && world.may_tick() {
            events.push(Event::Tick);
        }
        for (position, message) in world.air.iter().enumerate() {
            if position > 0 && world.air[position - 1] == *message {
                continue;
            }
            events.push(Event::Arrives(*message));
            if world.budget.duplicates > 0 {
                events.push(Event::ArrivesTwice(*message));
            }
            if world.budget.losses > 0 {
                events.push(Event::IsLost(*message));
            }
        }
        for manager in 0..world.managers.len() {
            self.events_of(world, manager, events);
        }
        if world.alone.is_some() {
            events.push(Event::Heal);
        } else if world.budget.splits > 0 {
            // Of two one being alone is the same as the other being so.
            let alone = if self.kinds.len() == 2 { 1 } else { self.kinds.len() };
            events.extend((0..alone).map(|alone| Event::Split { alone }));
        }
    }

    fn next_state(&self, last: &World, event: Event) -> Option<World> {
        let mut world = last.clone();
        match event {
            Event::Tick => world.tick(),
            Event::Claim { manager, mac } => world.claim(manager, mac),
            Event::Due { manager, mac } => world.do_due(manager, mac),
            Event::Arrives(message) => {
                world.remove(message);
                world.hear(message);
            }
            Event::ArrivesTwice(message) => {
                world.budget.duplicates -= 1;
                world.hear(message);
            }
            Event::IsLost(message) => {
                world.budget.losses -= 1;
                world.remove(message);
            }
            Event::DueAndUsed { manager, mac } => {
                world.do_due(manager, mac);
                world.make_used(manager, mac);
            }
            Event::Release { manager, mac } => {
                world.budget.releases -= 1;
                world.release(manager, mac);
            }
            Event::AskAgain { manager, mac } => {
                world.ask_again(manager, mac);
            }
            Event::Crash(manager) => {
                world.budget.crashes -= 1;
                world.crash(manager);
            }
            Event::Restart(manager) => world.restart(manager),
            Event::Split { alone } => {
                world.budget.splits -= 1;
                world.split(alone);
            }
            Event::Heal => world.heal(),
        }
        world.drop_idle_messages();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.properties.clone()
    }
}

impl Setting {
    fn events_of(&self, world: &World, manager: usize, events: &mut Vec<Event>) {
        let Manager { up, claims, book, .. } = &world.managers[manager];
        if !up {
            events.push(Event::Restart(manager));
            return;
        }
        if world.budget.crashes > 0 {
            events.push(Event::Crash(manager));
        }
        let may_claim = *claims > 0 && book.iter().all(|entry| entry.stage == Stage::Foreign);
        for (mac, entry) in book.iter().enumerate().take(self.addresses) {
            if may_claim {
                events.push(Event::Claim { manager, mac });
            }
            if world.is_due(manager, mac) {
                events.push(Event::Due { manager, mac });
                if world.may_be_used(manager, mac) {
                    events.push(Event::DueAndUsed { manager, mac });
                }
            }
            if entry.is_held() && world.budget.releases > 0 {
                events.push(Event::Release { manager, mac });
            }
            if world.is_round_due(manager, mac) {
                events.push(Event::AskAgain { manager, mac });
            }
        }
    }
}
