//! What there is at one moment: managers, the messages between them, and what may still go wrong.

use std::net::Ipv4Addr;

use dlmp_manager::claim::BETWEEN;
use dlmp_manager::claim::{AGAIN, Heard, SUSPICION, Standing, Verdict, confirms};

use crate::kind::{Due, Kind, Progress, ticks};

/// How many addresses there are.
pub const ADDRESSES: usize = 2;

/// How often each thing may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    /// Messages that are lost, counted for each of who should hear them.
    pub losses: u8,
    /// Messages that come twice.
    pub duplicates: u8,
    pub crashes: u8,
    pub splits: u8,
    /// Devices that are removed.
    pub releases: u8,
}

/// A message on its way to one manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Message {
    pub heard: Heard,
    pub mac: usize,
    pub from: usize,
    pub to: usize,
    /// It was sent in the tick before this one, and arrives before anything else happens there by time.
    pub old: bool,
}

/// What an address is to a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Foreign,
    Claimed(Progress),
    /// Claimed, and kept for later. Forgotten in a crash.
    Pooled,
    /// A device has it, over a crash too.
    Used(Case),
}

/// What is known of a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Case {
    None,
    /// Ticks since "taken" was heard first.
    Suspected(u8),
    Known,
}

/// An address in the book of a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    pub stage: Stage,
    /// This tick's work is to be done.
    due: bool,
    /// It is to be asked for again, some time.
    round: bool,
    /// A bit for each manager that must not have the address too: it began to claim it before this one did, and the two were never
    /// apart during this one's claim.
    pub excluded: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Manager {
    pub kind: Kind,
    pub up: bool,
    /// Claims that it may still begin.
    pub claims: u8,
    pub book: [Entry; ADDRESSES],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub managers: Vec<Manager>,
    /// In order, so that worlds that differ by nothing else are the same.
    pub air: Vec<Message>,
    /// Who does not hear the others, nor they it.
    pub alone: Option<usize>,
    /// What is held is asked for again: once after a claim, and once after all hear each other again. Without end in truth; but
    /// one more time brings nothing that this one does not.
    pub rounds: bool,
    pub budget: Budget,
}

impl Stage {
    fn standing(self) -> Standing {
        match self {
            Self::Foreign => Standing::Foreign,
            Self::Claimed(_) => Standing::Claimed,
            Self::Pooled | Self::Used(_) => Standing::Held,
        }
    }

    fn waits(self) -> bool {
        matches!(self, Self::Claimed(_) | Self::Used(Case::Suspected(_)))
    }
}

impl Entry {
    const FOREIGN: Self = Self { stage: Stage::Foreign, due: false, round: false, excluded: 0 };

    pub fn is_held(&self) -> bool {
        self.stage.standing() == Standing::Held
    }
}

impl Manager {
    pub fn new(kind: Kind, claims: u8) -> Self {
        Self { kind, up: true, claims, book: [Entry::FOREIGN; ADDRESSES] }
    }
}

/// The rule for two claims goes by the managers' addresses: they are in the order of their numbers.
fn address(manager: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, manager as u8 + 1)
}

impl World {
    fn together(&self, one: usize, other: usize) -> bool {
        self.managers[one].up
            && self.managers[other].up
            && self.alone.is_none_or(|alone| (alone == one) == (alone == other))
    }

    fn all_together(&self) -> bool {
        self.alone.is_none() && self.managers.iter().all(|manager| manager.up)
    }

    /// All that time brings is over, unless something new begins.
    pub fn is_settled(&self) -> bool {
        let settled = |entry: &Entry| !entry.stage.waits() && !entry.round;
        self.air.is_empty()
            && self.all_together()
            && self.managers.iter().all(|manager| manager.book.iter().all(settled))
    }

    /// Whether there is anything that a tick brings forward, and all of this one is done.
    pub fn may_tick(&self) -> bool {
        let entries = || self.managers.iter().flat_map(|manager| &manager.book);
        !entries().any(|entry| entry.due)
            && !self.air.iter().any(|message| message.old)
            && (!self.air.is_empty() || entries().any(|entry| entry.stage.waits()))
    }

    pub fn tick(&mut self) {
        for entry in self.managers.iter_mut().flat_map(|manager| &mut manager.book) {
            entry.due = entry.stage.waits();
            if let Stage::Used(Case::Suspected(since)) = &mut entry.stage {
                *since += 1;
            }
        }
        for message in &mut self.air {
            message.old = true;
        }
    }

    /// Whether a manager does what time makes due: not before it has heard what has arrived by then.
    pub fn is_due(&self, manager: usize, mac: usize) -> bool {
        self.managers[manager].book[mac].due && !self.air.iter().any(|message| message.old && message.to == manager)
    }

    /// Whether it ends a claim, and a device may wait for the address.
    pub fn may_be_used(&self, manager: usize, mac: usize) -> bool {
        let Manager { kind, book, .. } = &self.managers[manager];
        matches!(book[mac].stage, Stage::Claimed(progress) if *kind == Kind::Ours && matches!(progress.step(), Due::Hold))
    }

    pub fn do_due(&mut self, manager: usize, mac: usize) {
        let entry = &mut self.managers[manager].book[mac];
        entry.due = false;
        match entry.stage {
            Stage::Claimed(progress) => self.step(manager, mac, progress),
            Stage::Used(Case::Suspected(since)) => {
                if since >= ticks(SUSPICION) {
                    entry.stage = Stage::Used(Case::None);
                }
                if since > 0 && since.is_multiple_of(ticks(AGAIN)) {
                    self.send(Heard::Question, manager, mac);
                }
            }
            Stage::Foreign | Stage::Pooled | Stage::Used(_) => {}
        }
    }

    /// A manager begins to claim an address.
    pub fn claim(&mut self, manager: usize, mac: usize) {
        let others = 0..self.managers.len();
        let earlier =
            others.filter(|&other| other != manager && self.managers[other].book[mac].stage != Stage::Foreign);
        let excluded = earlier.filter(|&other| self.together(manager, other)).map(|other| 1 << other).sum();
        let progress = self.managers[manager].kind.claim();
        self.managers[manager].claims -= 1;
        self.managers[manager].book[mac].excluded = excluded;
        self.step(manager, mac, progress);
    }

    fn step(&mut self, manager: usize, mac: usize, progress: Progress) {
        let kind = self.managers[manager].kind;
        let round = self.rounds && self.all_together();
        let entry = &mut self.managers[manager].book[mac];
        match progress.step() {
            Due::Ask(progress) => {
                entry.stage = Stage::Claimed(progress);
                self.send(Heard::Question, manager, mac);
            }
            Due::Wait(progress) => entry.stage = Stage::Claimed(progress),
            Due::Hold if kind == Kind::Ours => (entry.stage, entry.round) = (Stage::Pooled, round),
            Due::Hold => entry.stage = Stage::Used(Case::None),
        }
    }

    /// A device gets an address that has just been claimed. One that gets it later, out of the pool, is no other case: in the
    /// pool nothing becomes of an address but that it is given up.
    pub fn make_used(&mut self, manager: usize, mac: usize) {
        self.managers[manager].book[mac].stage = Stage::Used(Case::None);
    }

    /// An address is nobody's again as far as this manager is concerned.
    pub fn release(&mut self, manager: usize, mac: usize) {
        self.managers[manager].book[mac] = Entry::FOREIGN;
        for other in &mut self.managers {
            other.book[mac].excluded &= !(1 << manager);
        }
    }

    /// Asks again for what is held.
    pub fn ask_again(&mut self, manager: usize, mac: usize) {
        self.managers[manager].book[mac].round = false;
        self.send(Heard::Question, manager, mac);
    }

    pub fn is_round_due(&self, manager: usize, mac: usize) -> bool {
        self.all_together() && self.managers[manager].book[mac].round
    }

    pub fn crash(&mut self, manager: usize) {
        self.rounds = true;
        self.managers[manager].up = false;
        self.air.retain(|message| message.to != manager);
        for mac in 0..self.managers[manager].book.len() {
            let entry = &mut self.managers[manager].book[mac];
            (entry.due, entry.round) = (false, false);
            match entry.stage {
                Stage::Used(_) => entry.stage = Stage::Used(Case::None),
                _ => self.release(manager, mac),
            }
        }
        self.forget_exclusions();
    }

    pub fn restart(&mut self, manager: usize) {
        self.managers[manager].up = true;
        self.begin_round();
    }

    pub fn split(&mut self, alone: usize) {
        self.rounds = true;
        self.alone = Some(alone);
        self.air.retain(|message| (message.from == alone) == (message.to == alone));
        self.forget_exclusions();
    }

    pub fn heal(&mut self) {
        self.alone = None;
        self.begin_round();
    }

    /// All hear each other again, and ask again for what they hold, at the latest when the next round is over.
    fn begin_round(&mut self) {
        if self.all_together() {
            for manager in self.managers.iter_mut().filter(|manager| manager.kind == Kind::Ours) {
                for entry in &mut manager.book {
                    entry.round = entry.is_held();
                }
            }
        }
    }

    /// Who is apart from the others in the middle of a claim is promised nothing about them.
    fn forget_exclusions(&mut self) {
        for one in 0..self.managers.len() {
            for other in 0..self.managers.len() {
                if !self.together(one, other) {
                    let claims = self.managers[one].book.iter_mut();
                    for entry in claims.filter(|entry| matches!(entry.stage, Stage::Claimed(_))) {
                        entry.excluded &= !(1 << other);
                    }
                }
            }
        }
    }

    pub fn hear(&mut self, message: Message) {
        let Message { heard, mac, from, to, .. } = message;
        let manager = &mut self.managers[to];
        let entry = &mut manager.book[mac];
        match manager.kind.judge(entry.stage.standing(), heard, address(to), address(from)) {
            Verdict::Ignore => {}
            Verdict::SayTaken => self.send(Heard::Taken, to, mac),
            Verdict::GiveUp => self.release(to, mac),
            Verdict::Contested => match &mut entry.stage {
                Stage::Used(case @ Case::None) => {
                    *case = Case::Suspected(0);
                    self.send(Heard::Taken, to, mac);
                }
                Stage::Used(Case::Suspected(since)) => {
                    if confirms(BETWEEN * u32::from(*since)) {
                        entry.stage = Stage::Used(Case::Known);
                    }
                }
                Stage::Used(Case::Known) => {}
                Stage::Foreign | Stage::Claimed(_) | Stage::Pooled => self.release(to, mac),
            },
        }
    }

    pub fn remove(&mut self, message: Message) {
        if let Some(position) = self.air.iter().position(|other| *other == message) {
            self.air.remove(position);
        }
    }

    /// Drops what means nothing to who will hear it, now and later.
    pub fn drop_idle_messages(&mut self) {
        let Self { managers, air, .. } = self;
        air.retain(|message| {
            let to = &managers[message.to];
            to.claims > 0 || to.book[message.mac].stage != Stage::Foreign
        });
    }

    fn send(&mut self, heard: Heard, from: usize, mac: usize) {
        for to in 0..self.managers.len() {
            if to != from && self.together(from, to) {
                self.air.push(Message { heard, mac, from, to, old: false });
            }
        }
        self.air.sort_by_key(|message| (message.to, message.from, message.mac, message.heard as u8, message.old));
    }
}
