//! What is going to happen, in the order of time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use dlmp_wire::manager::Buffer;

use super::member::MemberId;

/// What happens to a member.
pub(super) enum Event {
    /// A datagram comes.
    Arrival { from: Ipv4Addr, bytes: Rc<Buffer> },
    /// It asked to be woken.
    Wake,
}

/// An event to come.
pub(super) struct Entry {
    pub(super) at: Duration,
    pub(super) member: MemberId,
    /// The life of the member that it is meant for.
    pub(super) life: u32,
    pub(super) event: Event,
    number: u64,
}

/// All events to come.
#[derive(Default)]
pub(super) struct Queue {
    entries: BinaryHeap<Reverse<Entry>>,
    pushed: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Duration, member: MemberId, life: u32, event: Event) {
        self.entries.push(Reverse(Entry { at, member, life, event, number: self.pushed }));
        self.pushed += 1;
    }

    /// The first one, if it is not later than `end`.
    pub(super) fn pop(&mut self, end: Duration) -> Option<Entry> {
        let first = self.entries.peek_mut().filter(|first| first.0.at <= end)?;
        Some(PeekMut::pop(first).0)
    }
}

impl Entry {
    /// A manager hears the datagrams that have come before it is told what time it is.
    const fn order(&self) -> (Duration, bool, u64) {
        (self.at, matches!(self.event, Event::Wake), self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}
