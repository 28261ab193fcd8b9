//! What a manager does about messages.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use dlmp_wire::MacAddr;
use dlmp_wire::manager::{ByteOrder, Lookup, Message, PORT, Refused};

use crate::book::Purpose;
use crate::claim::{AGAIN, Heard, Verdict, judge};
use crate::collision::News;
use crate::input::{Action, Origin, To};
use crate::manager::Manager;

/// For how long a message from our own address may be our own, which came back: multicast does.
const ECHO: Duration = Duration::from_secs(1);
/// Within which time, by chance, a manager introduces itself: hundreds at once would overrun whoever asked.
const INTRODUCTION: Duration = Duration::from_millis(100);
/// Introductions that are due at the same time at most.
const INTRODUCTIONS_MAX: usize = 64;

/// Introductions that are due. One to the group serves all who ask.
#[derive(Debug, Default)]
pub struct Introductions(BTreeMap<(u32, To), (ByteOrder, Instant)>);

impl Introductions {
    /// When the next is due.
    pub fn due(&self) -> Option<Instant> {
        self.0.values().map(|(_, due)| *due).min()
    }

    /// Drops those on interfaces that are gone.
    pub fn keep(&mut self, there: impl Fn(u32) -> bool) {
        self.0.retain(|(interface, _), _| there(*interface));
    }
}

/// What is known of a message beside what it says.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// Index of the interface that it came in by.
    interface: u32,
    /// Our own address there.
    own: Ipv4Addr,
    /// Who sent it. What it says of its sender itself may be a lie.
    sender: Ipv4Addr,
    /// Where an answer to it goes.
    answer_to: To,
    /// How it writes integers.
    order: ByteOrder,
}

impl Manager {
    /// A datagram came in.
    pub fn hear(&mut self, origin: Origin, bytes: &[u8], now: Instant) {
        // One that came by an interface which we have left a moment ago.
        let known = self.interfaces.as_ref().and_then(|interfaces| interfaces.get(&origin.interface));
        let Some(interface) = known else { return };
        let own = interface.address;
        let near = interface.reaches(*origin.from.ip());
        if !near && !self.far {
            self.counters.foreign += 1;
            return;
        }
        let (message, order) = match Message::parse(bytes) {
            Ok(parsed) => parsed,
            Err(refused) => return self.count(refused),
        };
        // Who is on the interface's own network listens to the group; others came through a multicast router, and the way
        // back to them may be longer than our hops.
        let answer_to = if near { To::Group } else { To::Host(origin.from) };
        let sender = *origin.from.ip();
        let arrival = Arrival { interface: origin.interface, own, sender, answer_to, order };
        match message {
            Message::Lookup(lookup) => self.hear_of_address(arrival, Heard::Question, lookup, now),
            Message::Taken(lookup) => self.hear_of_address(arrival, Heard::Taken, lookup, now),
            Message::Discover => {
                self.counters.discoveries += 1;
                self.hear_discovery(arrival, now);
            }
            // Our own comes back.
            Message::Here(_) if sender == own => {}
            Message::Here(manager) => {
                self.counters.managers += 1;
                self.hear_name(sender, manager.host);
            }
        }
    }

    fn count(&mut self, refused: Refused) {
        let counter = match refused {
            Refused::Length => &mut self.counters.length,
            Refused::Magic => &mut self.counters.magic,
            Refused::Version => &mut self.counters.version,
            Refused::Kind => &mut self.counters.kind,
            Refused::Text => &mut self.counters.text,
            Refused::Number => &mut self.counters.number,
        };
        *counter += 1;
    }

    fn hear_of_address(&mut self, arrival: Arrival, heard: Heard, lookup: Lookup, now: Instant) {
        let mac = lookup.mac;
        if self.is_own(arrival.sender) && self.is_echo(mac, heard, now) {
            return;
        }
        match heard {
            Heard::Question => self.counters.questions += 1,
            Heard::Taken => self.counters.taken += 1,
        }
        let other = lookup.source.unwrap_or(arrival.sender);
        match judge(self.book.standing(mac), heard, arrival.own, other) {
            Verdict::Ignore => {}
            Verdict::SayTaken => self.say_taken(mac, arrival, now),
            Verdict::GiveUp => self.give_up(mac, arrival.sender, now),
            Verdict::Contested => self.contested(mac, arrival, now),
        }
    }

    /// Whether a message from our own address is what we sent ourselves a moment ago.
    fn is_echo(&self, mac: MacAddr, heard: Heard, now: Instant) -> bool {
        let Some(entry) = self.book.get(mac) else { return false };
        let sent = match heard {
            Heard::Question => entry.asked,
            Heard::Taken => entry.said,
        };
        sent.is_some_and(|sent| now < sent + ECHO)
    }

    fn say_taken(&mut self, mac: MacAddr, arrival: Arrival, now: Instant) {
        let Arrival { interface, own, sender, answer_to: to, order } = arrival;
        if !self.may_answer(sender, now) {
            return;
        }
        self.book.said(mac, now);
        let message = Message::Taken(Lookup { mac, source: Some(own) });
        self.actions.push_back(Action::Send { interface, to, message, order });
    }

    /// Somebody says that an address is taken which we have.
    fn contested(&mut self, mac: MacAddr, arrival: Arrival, now: Instant) {
        let other = arrival.sender;
        if let Some(Purpose::Pooled(_)) = self.book.get(mac).map(|entry| entry.purpose) {
            return self.give_up(mac, other, now);
        }
        match self.collisions.heard(mac, other, now) {
            News::None => {
                // It did not hear us say so, or is one more that claims it. Two that both use it do not take turns.
                let said = self.book.get(mac).and_then(|entry| entry.said);
                if self.collisions.is_suspected(mac) && said.is_none_or(|said| said + AGAIN / 2 <= now) {
                    self.say_taken(mac, arrival, now);
                }
            }
            News::Suspected => {
                // The other one learns of it, too, and one that only claims it or keeps it ready gives it up.
                self.say_taken(mac, arrival, now);
                self.book.set_due(mac, now + AGAIN);
            }
            News::Confirmed => {
                self.actions.extend(self.collisions.get(mac).map(Action::Collides));
                if self.collisions.wants_name(other) {
                    let to = To::Host(SocketAddrV4::new(other, PORT));
                    let (interface, message) = (arrival.interface, Message::Discover);
                    self.actions.push_back(Action::Send { interface, to, message, order: ByteOrder::Big });
                }
            }
        }
    }

    fn hear_name(&mut self, address: Ipv4Addr, host: &str) {
        if self.collisions.name(address, host) {
            let named: Vec<_> = self.collisions.all().filter(|collision| collision.with == address).collect();
            self.actions.extend(named.into_iter().map(Action::Collides));
        }
    }

    fn hear_discovery(&mut self, arrival: Arrival, now: Instant) {
        let key = (arrival.interface, arrival.answer_to);
        if self.introductions.0.contains_key(&key) {
            return;
        }
        if self.introductions.0.len() >= INTRODUCTIONS_MAX {
            self.counters.limited += 1;
            return;
        }
        if self.may_answer(arrival.sender, now) {
            let due = now + self.random_time(INTRODUCTION);
            self.introductions.0.insert(key, (arrival.order, due));
        }
    }

    /// Sends the introductions that are due.
    pub(crate) fn introduce_due(&mut self, now: Instant) {
        let due = self.introductions.0.extract_if(.., |_, (_, due)| *due <= now);
        for ((interface, to), (order, _)) in due {
            self.actions.push_back(Action::Introduce { interface, to, order });
        }
    }

    /// Whether an address is one of this host's: what is sent by one interface may come back by another.
    fn is_own(&self, address: Ipv4Addr) -> bool {
        let networks = self.interfaces.iter().flatten().flat_map(|(_, interface)| &interface.networks);
        networks.into_iter().any(|(own, _)| *own == address)
    }

    fn may_answer(&mut self, source: Ipv4Addr, now: Instant) -> bool {
        let near = self.interfaces.iter().flatten().any(|(_, interface)| interface.reaches(source));
        let may = self.answers.allow(source, near, now);
        *(if may { &mut self.counters.answers } else { &mut self.counters.limited }) += 1;
        may
    }
}
