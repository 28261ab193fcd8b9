//! The site: time, datagrams on their way, faults, and the questions that tests ask of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use dlmp_manager::{Action, Collision, Interface, Manager, Origin, Refusal, RequestId, Start, To};
use dlmp_wire::MacAddr;
use dlmp_wire::manager::{self as wire, Buffer, ByteOrder, LEN, Message, PORT};

use super::member::{Member, MemberId};
use super::original::Original;
use super::party::{Forger, INTERFACE, Kind};
use super::queue::{Entry, Event, Queue};

/// The address of the first member, in a network of 2^24.
const FIRST: u32 = 0x0a00_0001;
const PREFIX: u8 = 8;

/// What the segments do to each datagram, for each receiver by itself.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    /// It takes up to this, at random; so datagrams overtake each other.
    pub delay: Duration,
    /// The share that is lost.
    pub loss: f64,
    /// The share that comes twice.
    pub doubled: f64,
}

/// Datagrams that were sent. One to the group counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Is the address taken?
    pub questions: u64,
    /// It is.
    pub taken: u64,
    /// Who is there, and who it is.
    pub others: u64,
}

impl Sent {
    /// All of them.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.questions + self.taken + self.others
    }
}

/// What became of a request for addresses.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Who asked.
    pub member: MemberId,
    /// How long it took.
    pub took: Duration,
    /// Why there are none, if there are none.
    pub refusal: Option<Refusal>,
}

/// Segments, and the managers on them.
pub struct Site {
    wire: Wire,
    random: fastrand::Rng,
    begin: Instant,
    now: Duration,
    members: Vec<Member>,
    forgers: Vec<MemberId>,
    queue: Queue,
    requests: u64,
    /// Who has asked about an address or used it. The others need not hear of it.
    concerned: HashMap<MacAddr, Vec<MemberId>>,
    sent: Sent,
    outcomes: Vec<Outcome>,
}

impl Site {
    /// An empty one.
    #[must_use]
    pub fn new(wire: Wire, seed: u64) -> Self {
        Self {
            wire,
            random: fastrand::Rng::with_seed(seed),
            begin: Instant::now(),
            now: Duration::ZERO,
            members: Vec::new(),
            forgers: Vec::new(),
            queue: Queue::default(),
            requests: 0,
            concerned: HashMap::new(),
            sent: Sent::default(),
            outcomes: Vec::new(),
        }
    }

    /// Adds a member that is down. Addresses ascend: of two members the one that was added first has the lower one.
    pub fn add(&mut self, kind: Kind) -> MemberId {
        let member = MemberId(self.members.len());
        self.forgers.extend((kind == Kind::Forger).then_some(member));
        let address = Ipv4Addr::from(FIRST + member.0 as u32);
        self.members.push(Member::new(kind, address));
        member
    }

    /// The address of a member.
    #[must_use]
    pub fn address(&self, member: MemberId) -> Ipv4Addr {
        self.members[member.0].address
    }

    /// Moves a member to a segment. All begin on segment 0.
    pub fn place(&mut self, member: MemberId, segment: usize) {
        self.members[member.0].segment = segment;
    }

    /// The addresses of a member's devices, and those that it freed, while it is down.
    pub fn remember(&mut self, member: MemberId, used: BTreeSet<MacAddr>, freed: Vec<MacAddr>) {
        let this = &mut self.members[member.0];
        (this.used, this.freed) = (used, freed);
    }

    /// Starts a member with what it remembers.
    pub fn start(&mut self, member: MemberId) {
        let now = self.clock();
        let seed = self.random.u64(..);
        let this = &mut self.members[member.0];
        let (address, used, freed) = (this.address, this.used.clone(), this.freed.clone());
        for mac in &used {
            note(&mut self.concerned, *mac, member);
        }
        this.party = Some(match this.kind {
            Kind::Ours => {
                let mut manager = Manager::new(Start { used, freed, seed, ..Start::default() }, now);
                manager.set_interfaces(
                    [(INTERFACE, Interface { address, networks: vec![(address, PREFIX)] })].into(),
                    now,
                );
                Box::new(manager)
            }
            Kind::Original => Box::new(Original::new(address, used, &freed, seed)),
            Kind::Forger => Box::new(Forger { address, actions: VecDeque::new() }),
        });
        self.serve(member);
    }

    /// Stops a member in the middle of whatever it does. What it asked for is forgotten.
    pub fn crash(&mut self, member: MemberId) {
        let this = &mut self.members[member.0];
        (this.party, this.wake, this.request) = (None, None, None);
        this.life += 1;
        this.plans.clear();
        this.reports.clear();
    }

    /// Whether a member is up.
    #[must_use]
    pub fn is_up(&self, member: MemberId) -> bool {
        self.members[member.0].party.is_some()
    }

    /// A member that is up asks for so many addresses, and when it has them for the next.
    pub fn ask(&mut self, member: MemberId, counts: &[usize]) {
        self.members[member.0].plans.extend(counts);
        self.ask_next(member);
        self.serve(member);
    }

    /// A member that is up removes the devices that it has, which frees their addresses.
    pub fn remove_devices(&mut self, member: MemberId) {
        let this = &mut self.members[member.0];
        this.freed.extend(mem::take(&mut this.used));
        self.follow(member);
        self.serve(member);
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Lets time pass up to a moment, counted from the beginning.
    pub fn run_until(&mut self, end: Duration) {
        while let Some(entry) = self.queue.pop(end) {
            self.now = entry.at;
            self.happen(entry);
        }
        self.now = self.now.max(end);
    }

    /// How much time has passed.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// What was sent so far.
    #[must_use]
    pub const fn sent(&self) -> Sent {
        self.sent
    }

    /// What became of requests so far.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The addresses of a member's devices.
    #[must_use]
    pub fn used(&self, member: MemberId) -> &BTreeSet<MacAddr> {
        &self.members[member.0].used
    }

    /// Addresses that several members use, each with these members. Those that are down count too.
    #[must_use]
    pub fn duplicates(&self) -> BTreeMap<MacAddr, Vec<MemberId>> {
        let mut users: BTreeMap<MacAddr, Vec<MemberId>> = BTreeMap::new();
        for (index, member) in self.members.iter().enumerate() {
            for mac in &member.used {
                users.entry(*mac).or_default().push(MemberId(index));
            }
        }
        users.retain(|_, users| users.len() > 1);
        users
    }

    /// The collisions that a member reports.
    #[must_use]
    pub fn reports(&self, member: MemberId) -> &BTreeMap<MacAddr, Collision> {
        &self.members[member.0].reports
    }

    fn clock(&self) -> Instant {
        self.begin + self.now
    }

    fn happen(&mut self, entry: Entry) {
        let now = self.clock();
        let this = &mut self.members[entry.member.0];
        let Some(party) = this.party.as_mut().filter(|_| this.life == entry.life) else { return };
        match entry.event {
            Event::Arrival { from, bytes } => {
                let from = SocketAddrV4::new(from, PORT);
                party.hear(Origin { interface: INTERFACE, from }, bytes.as_slice(), now);
            }
            // It was woken earlier in between, and told when to be woken next.
            Event::Wake if this.wake != Some(self.now) => return,
            Event::Wake => {
                this.wake = None;
                party.handle_timeout(now);
            }
        }
        self.serve(entry.member);
    }

    /// Does what a member wants, and notes when to wake it.
    fn serve(&mut self, member: MemberId) {
        while let Some(action) = self.members[member.0].party.as_mut().and_then(|party| party.poll_action()) {
            self.carry_out(member, action);
        }
        let clock = self.clock();
        let this = &mut self.members[member.0];
        let wake = this.party.as_ref().and_then(|party| party.poll_timeout(clock));
        let wake = wake.map(|at| at.saturating_duration_since(self.begin).max(self.now));
        if this.wake != wake {
            this.wake = wake;
            if let Some(at) = wake {
                self.push(at, member, Event::Wake);
            }
        }
    }

    fn carry_out(&mut self, member: MemberId, action: Action) {
        let this = &mut self.members[member.0];
        match action {
            Action::Send { to, message, order, .. } => self.send(member, to, &message, order),
            Action::Introduce { to, order, .. } => {
                let (address, host) = (this.address, format!("host-{}", member.0));
                let manager = wire::Manager { version: "1", host: &host, address, port: 6482 };
                self.send(member, to, &Message::Here(manager), order);
            }
            Action::Grant { addresses, .. } => {
                this.freed.retain(|mac| !addresses.contains(mac));
                this.used.extend(addresses);
                self.follow(member);
                self.done(member, None);
            }
            Action::Refuse { refusal, .. } => self.done(member, Some(refusal)),
            Action::Forget(mac) => this.freed.retain(|freed| *freed != mac),
            Action::Collides(collision) => drop(this.reports.insert(collision.mac, collision)),
            Action::Over(mac) => drop(this.reports.remove(&mac)),
        }
    }

    fn follow(&mut self, member: MemberId) {
        let now = self.clock();
        let this = &mut self.members[member.0];
        if let Some(party) = &mut this.party {
            party.follow(&this.used, &this.freed, now);
        }
    }

    fn done(&mut self, member: MemberId, refusal: Option<Refusal>) {
        if let Some((_, asked)) = self.members[member.0].request.take() {
            self.outcomes.push(Outcome { member, took: self.now - asked, refusal });
        }
        self.ask_next(member);
    }

    fn ask_next(&mut self, member: MemberId) {
        let now = self.clock();
        let this = &mut self.members[member.0];
        if this.request.is_none()
            && let Some(party) = &mut this.party
            && let Some(count) = this.plans.pop_front()
        {
            let id = RequestId(self.requests);
            self.requests += 1;
            this.request = Some((id, self.now));
            party.request(id, count, now);
        }
    }

    fn send(&mut self, from: MemberId, to: To, message: &Message<'_>, order: ByteOrder) {
        let mut bytes: Buffer = [0; LEN];
        message.emit(order, &mut bytes);
        let bytes = Rc::new(bytes);
        match message {
            Message::Lookup(lookup) => {
                self.sent.questions += 1;
                note(&mut self.concerned, lookup.mac, from);
            }
            Message::Taken(_) => self.sent.taken += 1,
            Message::Discover | Message::Here(_) => self.sent.others += 1,
        }
        let receivers = self.receivers(from, to, message);
        if let Message::Taken(_) = message {
            self.members[from.0].told.extend(&receivers);
        }
        for receiver in receivers {
            self.deliver(from, receiver, &bytes);
        }
    }

    /// Who is to hear a message: those to whom it means something.
    fn receivers(&self, from: MemberId, to: To, message: &Message<'_>) -> Vec<MemberId> {
        let all = || (0..self.members.len()).map(MemberId);
        match (to, message) {
            (To::Host(host), _) => {
                let index = u32::from(*host.ip()).wrapping_sub(FIRST) as usize;
                all().nth(index).into_iter().collect()
            }
            (To::Group, Message::Lookup(lookup) | Message::Taken(lookup)) => {
                let concerned = self.concerned.get(&lookup.mac).into_iter().flatten().copied();
                concerned.chain(self.forgers.iter().copied()).collect()
            }
            (To::Group, Message::Here(_)) => self.members[from.0].told.iter().copied().collect(),
            (To::Group, Message::Discover) => all().collect(),
        }
    }

    fn deliver(&mut self, from: MemberId, to: MemberId, bytes: &Rc<Buffer>) {
        let (sender, receiver) = (&self.members[from.0], &self.members[to.0]);
        if sender.segment != receiver.segment || receiver.party.is_none() {
            return;
        }
        let address = sender.address;
        if from == to {
            return self.push(self.now, to, Event::Arrival { from: address, bytes: Rc::clone(bytes) });
        }
        let copies = 1 + usize::from(self.random.f64() < self.wire.doubled);
        for _ in 0..copies {
            if self.random.f64() >= self.wire.loss {
                let at = self.now + self.wire.delay.mul_f64(self.random.f64());
                self.push(at, to, Event::Arrival { from: address, bytes: Rc::clone(bytes) });
            }
        }
    }

    fn push(&mut self, at: Duration, member: MemberId, event: Event) {
        self.queue.push(at, member, self.members[member.0].life, event);
    }
}

fn note(concerned: &mut HashMap<MacAddr, Vec<MemberId>>, mac: MacAddr, member: MemberId) {
    let members = concerned.entry(mac).or_default();
    if !members.contains(&member) {
        members.push(member);
    }
}
