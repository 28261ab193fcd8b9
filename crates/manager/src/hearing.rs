//! What a manager does about messages.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use dlmp_wire::MacAddr;
use dlmp_wire::manager::{ByteOrder, Lookup, Message, PORT, Refused};

use crate::book::Purpose;
use crate::claim::{AGAIN, Heard, Verdict, judge};
use crate::collision::News;
use crate::input::{Action, Interface, Origin, To};
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

impl Manager {
    /// A datagram came in.
    pub fn hear(&mut self, origin: Origin, bytes: &[u8], now: Instant) {
        // One that came by an interface which we have left a moment ago.
        let Some(interface) = self.interface(origin.interface) else { return };
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
        match message {
            Message::Lookup(lookup) => {
                self.hear_of_address(origin, own, Heard::Question, lookup, order, now);
            }
            Message::Taken(lookup) => {
                self.hear_of_address(origin, own, Heard::Taken, lookup, order, now);
            }
            Message::Discover => {
                self.counters.discoveries += 1;
                self.hear_discovery(origin, order, now);
            }
            // Our own comes back.
            Message::Here(_) if *origin.from.ip() == own => {}
            Message::Here(manager) => {
                self.counters.managers += 1;
                self.hear_name(*origin.from.ip(), manager.host);
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

    fn hear_of_address(
        &mut self,
        origin: Origin,
        own: Ipv4Addr,
        heard: Heard,
        lookup: Lookup,
        order: ByteOrder,
        now: Instant,
    ) {
        let mac = lookup.mac;
        let other = lookup.source.unwrap_or(*origin.from.ip());
        if self.is_own(*origin.from.ip()) && self.is_echo(mac, heard, now) {
            return;
        }
        // Who is to blame: what a message says of its sender may be a lie.
        let sender = *origin.from.ip();
        match heard {
            Heard::Question => self.counters.questions += 1,
            Heard::Taken => self.counters.taken += 1,
        }
        match judge(self.book.standing(mac), heard, own, other) {
            Verdict::Ignore => {}
            Verdict::SayTaken => self.say_taken(mac, origin, own, order, now),
            Verdict::GiveUp => self.give_up(mac, sender, now),
            Verdict::Contested => self.contested(mac, sender, origin, own, order, now),
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

    fn say_taken(&mut self, mac: MacAddr, origin: Origin, own: Ipv4Addr, order: ByteOrder, now: Instant) {
        if !self.may_answer(*origin.from.ip(), now) {
            return;
        }
        self.book.said(mac, now);
        let to = self.answer_to(origin);
        let message = Message::Taken(Lookup { mac, source: Some(own) });
        self.actions.push_back(Action::Send { interface: origin.interface, to, message, order });
    }

    /// Somebody says that an address is taken which we have.
    fn contested(
        &mut self,
        mac: MacAddr,
        other: Ipv4Addr,
        origin: Origin,
        own: Ipv4Addr,
        order: ByteOrder,
        now: Instant,
    ) {
        if let Some(Purpose::Pooled(_)) = self.book.get(mac).map(|entry| entry.purpose) {
            return self.give_up(mac, other, now);
        }
        match self.collisions.heard(mac, other, now) {
            News::None => {
                // It did not hear us say so, or is one more that claims it. Two that both use it do not take turns.
                let said = self.book.get(mac).and_then(|entry| entry.said);
                if self.collisions.is_suspected(mac) && said.is_none_or(|said| said + AGAIN / 2 <= now) {
                    self.say_taken(mac, origin, own, order, now);
                }
            }
            News::Suspected => {
                // The other one learns of it, too, and one that only claims it or keeps it ready gives it up.
                self.say_taken(mac, origin, own, order, now);
                self.book.set_due(mac, now + AGAIN);
            }
            News::Confirmed => {
                self.actions.extend(self.collisions.get(mac).map(Action::Collides));
                if self.collisions.wants_name(other) {
                    let to = To::Host(SocketAddrV4::new(other, PORT));
                    let (interface, message) = (origin.interface, Message::Discover);
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

    fn hear_discovery(&mut self, origin: Origin, order: ByteOrder, now: Instant) {
        let key = (origin.interface, self.answer_to(origin));
        let full = self.introductions.0.len() >= INTRODUCTIONS_MAX;
        if self.introductions.0.contains_key(&key) {
            return;
        }
        if full {
            self.counters.limited += 1;
            return;
        }
        if self.may_answer(*origin.from.ip(), now) {
            let due = now + self.random_time(INTRODUCTION);
            self.introductions.0.insert(key, (order, due));
        }
    }

    /// Sends the introductions that are due.
    pub(crate) fn introduce_due(&mut self, now: Instant) {
        let due = self.introductions.0.extract_if(.., |_, (_, due)| *due <= now);
        for ((interface, to), (order, _)) in due {
            self.actions.push_back(Action::Introduce { interface, to, order });
        }
    }

    /// Who is on the interface's own network listens to the group; others came through a multicast router, and the way back
    /// to them may be longer than our hops.
    fn answer_to(&self, origin: Origin) -> To {
        if self.interface(origin.interface).is_some_and(|interface| interface.reaches(*origin.from.ip())) {
            To::Group
        } else {
            To::Host(origin.from)
        }
    }

    /// Whether an address is one of this host's: what is sent by one interface may come back by another.
    fn is_own(&self, address: Ipv4Addr) -> bool {
        let networks = self.interfaces.iter().flatten().flat_map(|(_, interface)| &interface.networks);
        networks.into_iter().any(|(own, _)| *own == address)
    }

    fn interface(&self, index: u32) -> Option<&Interface> {
        self.interfaces.as_ref()?.get(&index)
    }

    fn may_answer(&mut self, source: Ipv4Addr, now: Instant) -> bool {
        let near = self.interfaces.iter().flatten().any(|(_, interface)| interface.reaches(source));
        let may = self.answers.allow(source, near, now);
        *(if may { &mut self.counters.answers } else { &mut self.counters.limited }) += 1;
        may
    }
}
