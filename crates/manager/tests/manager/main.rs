//! One manager, to which the test plays all others: what it says, what it hands out, and what it bears.

mod answers;
mod anything;
mod collisions;
mod supply;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use dlmp_manager::claim;
use dlmp_manager::range::{AUTOMATIC, automatic};
use dlmp_manager::{Action, Collision, Interface, Manager, Origin, Refusal, RequestId, Start, To};
use dlmp_wire::MacAddr;
use dlmp_wire::manager::{Buffer, ByteOrder, LEN, Lookup, Manager as Name, Message, PORT};

const LINK: u32 = 3;
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const NEIGHBOUR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), PORT);
const FAR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 4000);
const SECOND: Duration = Duration::from_secs(1);

/// A manager, and the time that it lives in.
struct Host {
    manager: Manager,
    now: Instant,
}

impl Host {
    fn new(start: Start) -> Self {
        let now = Instant::now();
        let mut manager = Manager::new(start, now);
        let interface = Interface { address: OWN, networks: vec![(OWN, 24)] };
        manager.set_interfaces(BTreeMap::from([(LINK, interface)]), now);
        Self { manager, now }
    }

    /// One with a device that has this address, and which has asked its first questions.
    fn using(mac: MacAddr) -> Self {
        let mut host = Self::new(Start { used: BTreeSet::from([mac]), ..Start::default() });
        host.actions();
        host
    }

    fn hear(&mut self, from: SocketAddrV4, message: Message<'_>, order: ByteOrder) -> Vec<Action> {
        self.hear_bytes(from, &bytes(message, order))
    }

    fn hear_bytes(&mut self, from: SocketAddrV4, bytes: &[u8]) -> Vec<Action> {
        self.manager.hear(Origin { interface: LINK, from }, bytes, self.now);
        self.actions()
    }

    /// "Taken", from a neighbour.
    fn deny(&mut self, mac: MacAddr) -> Vec<Action> {
        let taken = Message::Taken(Lookup { mac, source: Some(*NEIGHBOUR.ip()) });
        self.hear(NEIGHBOUR, taken, ByteOrder::Big)
    }

    fn request(&mut self, number: u64, count: usize) -> Vec<Action> {
        self.manager.request(RequestId(number), count, self.now);
        self.actions()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.manager.poll_action()).collect()
    }

    /// Lets time pass; `react` is told each action at its time.
    fn pass(&mut self, time: Duration, mut react: impl FnMut(&mut Self, &Action)) {
        let end = self.now + time;
        loop {
            for action in self.actions() {
                react(self, &action);
            }
            match self.manager.poll_timeout(self.now).filter(|due| *due <= end) {
                Some(due) => self.now = due.max(self.now),
                None => break,
            }
            self.manager.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// What it does while time passes and nobody says anything.
    fn watch(&mut self, time: Duration) -> Vec<Action> {
        let mut seen = Vec::new();
        self.pass(time, |_, action| seen.push(action.clone()));
        seen
    }
}

fn bytes(message: Message<'_>, order: ByteOrder) -> Buffer {
    let mut buffer = [0; LEN];
    message.emit(order, &mut buffer);
    buffer
}

fn question(mac: MacAddr, source: SocketAddrV4) -> Message<'static> {
    Message::Lookup(Lookup { mac, source: Some(*source.ip()) })
}

fn says_taken(mac: MacAddr, to: To, order: ByteOrder) -> Action {
    let message = Message::Taken(Lookup { mac, source: Some(OWN) });
    Action::Send { interface: LINK, to, message, order }
}

/// The address that an action asks about.
fn asked(action: &Action) -> Option<MacAddr> {
    match action {
        Action::Send { message: Message::Lookup(lookup), .. } => Some(lookup.mac),
        _ => None,
    }
}

fn granted(actions: &[Action]) -> Vec<MacAddr> {
    let granted = actions.iter().filter_map(|action| match action {
        Action::Grant { addresses, .. } => Some(addresses.clone()),
        _ => None,
    });
    granted.flatten().collect()
}
