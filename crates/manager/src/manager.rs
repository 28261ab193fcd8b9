//! A manager: its addresses, its interfaces, and what time makes due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use dlmp_wire::MacAddr;
use dlmp_wire::manager::{ByteOrder, Lookup, Message};

use crate::book::{Book, Purpose, Source};
use crate::claim::{AGAIN, BETWEEN, Claim, Step};
use crate::collision::{Collision, Collisions};
use crate::hearing::Introductions;
use crate::input::{Action, Interface, To};
use crate::limit::Answers;
use crate::supply::Supply;

/// How often each address is asked about again, so that a duplicate that arose while managers did not hear each other is
/// found within a minute: two rounds and the confirmation, of which both sides begin one.
pub(crate) const ROUND: Duration = Duration::from_secs(28);
/// Time between two addresses when all are asked about at the start.
const AT_START: Duration = Duration::from_millis(5);

/// What a manager starts with.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Addresses of its devices.
    pub used: BTreeSet<MacAddr>,
    /// Freed addresses, the one to be used next first.
    pub freed: Vec<MacAddr>,
    /// Ask for all addresses at once, rather than within a round (`mac-collision-check`).
    pub check: bool,
    /// Managers may be behind multicast routers. Else what comes from other networks than the interface's own is not heard:
    /// it could come from anywhere.
    pub far: bool,
    /// Seed of random choices.
    pub seed: u64,
}

/// What was heard and said since the start, in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Questions for addresses.
    pub questions: u64,
    /// "Taken", heard.
    pub taken: u64,
    /// Questions for managers.
    pub discoveries: u64,
    /// Managers, heard.
    pub managers: u64,
    /// Dropped: from another network.
    pub foreign: u64,
    /// Dropped: of another length.
    pub length: u64,
    /// Dropped: another magic number.
    pub magic: u64,
    /// Dropped: another version.
    pub version: u64,
    /// Dropped: no kind that there is.
    pub kind: u64,
    /// Dropped: a text without an end, or none.
    pub text: u64,
    /// Dropped: a number out of its range.
    pub number: u64,
    /// Answers, sent.
    pub answers: u64,
    /// Answers that the limit of rate held back.
    pub limited: u64,
    /// Questions, sent.
    pub asked: u64,
}

impl Counters {
    /// All of them with their names.
    pub const fn by_name(&self) -> [(&'static str, u64); 14] {
        [
            ("asked", self.asked),
            ("questions", self.questions),
            ("taken", self.taken),
            ("discoveries", self.discoveries),
            ("managers", self.managers),
            ("answers", self.answers),
            ("answers-limited", self.limited),
            ("bad-source", self.foreign),
            ("bad-length", self.length),
            ("bad-magic", self.magic),
            ("bad-version", self.version),
            ("bad-kind", self.kind),
            ("bad-text", self.text),
            ("bad-number", self.number),
        ]
    }
}

/// A manager of virtual networks among others.
#[derive(Debug)]
pub struct Manager {
    /// Absent until they are known: what is asked before then nobody hears.
    pub(crate) interfaces: Option<BTreeMap<u32, Interface>>,
    pub(crate) far: bool,
    pub(crate) book: Book,
    pub(crate) supply: Supply,
    pub(crate) collisions: Collisions,
    pub(crate) introductions: Introductions,
    pub(crate) answers: Answers,
    pub(crate) counters: Counters,
    pub(crate) random: fastrand::Rng,
    pub(crate) actions: VecDeque<Action>,
}

impl Manager {
    /// A manager that defends the addresses of its devices, and fills its pool, as soon as it knows its interfaces.
    pub fn new(start: Start, now: Instant) -> Self {
        let mut manager = Self {
            interfaces: None,
            far: start.far,
            book: Book::default(),
            supply: Supply::new(&start.freed),
            collisions: Collisions::default(),
            introductions: Introductions::default(),
            answers: Answers::new(),
            counters: Counters::default(),
            random: fastrand::Rng::with_seed(start.seed),
            actions: VecDeque::new(),
        };
        let mut due = now;
        for mac in start.used {
            // All hosts of a building may start at the same time.
            due = if start.check { due + AT_START } else { now + manager.random_time(ROUND) };
            manager.book.set(mac, Purpose::Used, due);
        }
        manager
    }

    /// The interfaces that it has now, by their index; there may be none.
    pub fn set_interfaces(&mut self, interfaces: BTreeMap<u32, Interface>, now: Instant) {
        self.introductions.keep(|index| interfaces.contains_key(&index));
        let known = |index| self.interfaces.as_ref().is_some_and(|known| known.contains_key(index));
        let one_is_new = !interfaces.keys().all(known);
        self.interfaces = Some(interfaces);
        if one_is_new {
            // Nobody there was asked for what waits to be used.
            let unused: Vec<_> = self.book.pool().iter().chain(self.book.claims()).copied().collect();
            for (source, mac) in unused {
                self.claim(mac, source, now);
            }
        }
        self.settle(now);
    }

    /// The addresses of its devices and the freed ones changed.
    ///
    /// An address that was not handed out is one that was chosen by hand: it is asked for at once, to report a collision, but
    /// nobody waits for that.
    pub fn follow(&mut self, used: &BTreeSet<MacAddr>, freed: &[MacAddr], now: Instant) {
        let gone: Vec<MacAddr> = self.book.used().filter(|mac| !used.contains(mac)).collect();
        for mac in gone {
            self.book.remove(mac);
            self.forget_collision(mac);
        }
        for mac in used {
            match self.book.get(*mac).map(|entry| (entry.purpose, entry.due)) {
                Some((Purpose::Used, _)) => {}
                Some((Purpose::Lent | Purpose::Pooled(_), due)) => self.book.set(*mac, Purpose::Used, due),
                Some((Purpose::Claimed(..), _)) | None => self.book.set(*mac, Purpose::Used, now),
            }
        }
        self.supply.set_freed(freed);
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(mac) = self.book.next_due(now).filter(|_| self.interfaces.is_some()) {
            self.address_due(mac, now);
        }
        self.introduce_due(now);
        self.settle(now);
    }

    /// When something is due next.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let address = self.book.due().filter(|_| self.interfaces.is_some());
        [address, self.introductions.due(), self.supply_due(now)].into_iter().flatten().min()
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What was heard and said.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Addresses that others use too.
    pub fn collisions(&self) -> impl Iterator<Item = Collision> {
        self.collisions.all()
    }

    /// Addresses that are claimed and wait to be used.
    pub fn pool(&self) -> impl Iterator<Item = MacAddr> {
        self.book.pool().iter().map(|(_, mac)| *mac)
    }

    /// Begins to ask for an address.
    pub(crate) fn claim(&mut self, mac: MacAddr, source: Source, now: Instant) {
        self.book.set(mac, Purpose::Claimed(source, Claim::default()), now);
        self.address_due(mac, now);
    }

    fn address_due(&mut self, mac: MacAddr, now: Instant) {
        let Some(entry) = self.book.get(mac).copied() else { return };
        match entry.purpose {
            // Overslept: others may have claimed it meanwhile, and heard no objection of ours.
            Purpose::Claimed(source, _) if now >= entry.due + BETWEEN => self.claim(mac, source, now),
            Purpose::Claimed(source, claim) => match claim.step() {
                Step::Ask(claim) => {
                    self.book.set(mac, Purpose::Claimed(source, claim), now + BETWEEN);
                    self.ask(mac, now);
                }
                Step::Wait(claim) => self.book.set(mac, Purpose::Claimed(source, claim), now + BETWEEN),
                Step::Hold => self.book.set(mac, Purpose::Pooled(source), now + ROUND),
            },
            Purpose::Pooled(_) | Purpose::Lent | Purpose::Used => {
                if self.collisions.is_stale(mac, now) {
                    self.forget_collision(mac);
                }
                let suspected = self.collisions.is_suspected(mac);
                self.book.set_due(mac, now + if suspected { AGAIN } else { ROUND });
                self.ask(mac, now);
            }
        }
    }

    /// Asks on all interfaces whether somebody has an address.
    fn ask(&mut self, mac: MacAddr, now: Instant) {
        self.book.asked(mac, now);
        for (index, interface) in self.interfaces.iter().flatten() {
            let message = Message::Lookup(Lookup { mac, source: Some(interface.address) });
            self.counters.asked += 1;
            self.actions.push_back(Action::Send { interface: *index, to: To::Group, message, order: ByteOrder::Big });
        }
    }

    pub(crate) fn forget_collision(&mut self, mac: MacAddr) {
        if self.collisions.forget(mac) {
            self.actions.push_back(Action::Over(mac));
        }
    }

    /// Up to a time, by chance.
    pub(crate) fn random_time(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.f64())
    }
}
