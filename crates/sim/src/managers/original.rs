//! An original manager as the Logical Domains guides describe it ("Automatic Assignment Algorithm", "Duplicate MAC Address
//! Detection"): it asks once for one address, waits a second, and answers for the addresses that it has.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dlmp_manager::{Action, Origin, Refusal, RequestId, To, range};
use dlmp_wire::MacAddr;
use dlmp_wire::manager::{ByteOrder, Lookup, Message};

use super::party::{INTERFACE, Party};

/// What is waited for an answer.
const WAIT: Duration = Duration::from_secs(1);
/// What is spent on one address at most.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Original {
    address: Ipv4Addr,
    random: fastrand::Rng,
    used: BTreeSet<MacAddr>,
    freed: VecDeque<MacAddr>,
    requests: VecDeque<(RequestId, usize)>,
    /// Found for the first request.
    found: Vec<MacAddr>,
    search: Option<Search>,
    actions: VecDeque<Action>,
}

/// The search for one address.
struct Search {
    candidate: MacAddr,
    free_at: Instant,
    deadline: Instant,
}

impl Original {
    pub(super) fn new(address: Ipv4Addr, used: BTreeSet<MacAddr>, freed: &[MacAddr], seed: u64) -> Self {
        Self {
            address,
            random: fastrand::Rng::with_seed(seed),
            used,
            freed: freed.iter().copied().collect(),
            requests: VecDeque::new(),
            found: Vec::new(),
            search: None,
            actions: VecDeque::new(),
        }
    }

    fn has(&self, mac: MacAddr) -> bool {
        self.used.contains(&mac) || self.found.contains(&mac)
    }

    fn try_another(&mut self, deadline: Instant, now: Instant) {
        let candidate = self.freed.pop_front().unwrap_or_else(|| range::automatic(self.random.u32(..range::AUTOMATIC)));
        self.search = Some(Search { candidate, free_at: now + WAIT, deadline });
        self.send(Message::Lookup(Lookup { mac: candidate, source: Some(self.address) }));
    }

    fn send(&mut self, message: Message<'static>) {
        let (interface, to, order) = (INTERFACE, To::Group, ByteOrder::Big);
        self.actions.push_back(Action::Send { interface, to, message, order });
    }

    fn serve(&mut self, now: Instant) {
        while self.search.is_none()
            && let Some((request, count)) = self.requests.front().copied()
        {
            if self.found.len() < count {
                return self.try_another(now + PATIENCE, now);
            }
            self.requests.pop_front();
            let addresses = mem::take(&mut self.found);
            self.used.extend(&addresses);
            self.actions.push_back(Action::Grant { request, addresses });
        }
    }
}

impl Party for Original {
    fn hear(&mut self, origin: Origin, bytes: &[u8], now: Instant) {
        let is_own = *origin.from.ip() == self.address;
        match Message::parse(bytes) {
            Ok((Message::Lookup(Lookup { mac, .. }), _)) if !is_own && self.has(mac) => {
                self.send(Message::Taken(Lookup { mac, source: Some(self.address) }));
            }
            Ok((Message::Taken(Lookup { mac, .. }), _)) if !is_own => {
                if let Some(deadline) =
                    self.search.take_if(|search| search.candidate == mac).map(|search| search.deadline)
                {
                    self.try_another(deadline, now);
                }
            }
            _ => {}
        }
    }

    fn request(&mut self, id: RequestId, count: usize, now: Instant) {
        self.requests.push_back((id, count));
        self.serve(now);
    }

    fn follow(&mut self, used: &BTreeSet<MacAddr>, freed: &[MacAddr], _: Instant) {
        self.used.clone_from(used);
        self.freed = freed.iter().copied().collect();
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(search) = self.search.take_if(|search| search.free_at.min(search.deadline) <= now) {
            if search.free_at <= now && !self.has(search.candidate) {
                self.found.push(search.candidate);
            } else if search.deadline > now {
                return self.try_another(search.deadline, now);
            } else if let Some((request, _)) = self.requests.pop_front() {
                self.found.clear();
                self.actions.push_back(Action::Refuse { request, refusal: Refusal::default() });
            }
            self.serve(now);
        }
    }

    fn poll_timeout(&self, _: Instant) -> Option<Instant> {
        self.search.as_ref().map(|search| search.free_at.min(search.deadline))
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}
