//! Addresses of ours that somebody else uses too.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dlmp_wire::MacAddr;

use crate::claim::{SUSPICION, confirms};

/// How long a collision is reported that nobody confirms any more: three rounds of questions.
const MEMORY: Duration = Duration::from_secs(90);

/// An address of ours that somebody else uses too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collision {
    /// The address.
    pub mac: MacAddr,
    /// Who says so.
    pub with: Ipv4Addr,
    /// The name of that host, once it is known.
    pub host: Option<String>,
}

#[derive(Debug)]
struct Case {
    with: Ipv4Addr,
    first: Instant,
    last: Instant,
    confirmed: bool,
}

/// What hearing "taken" for an address of ours means.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing new.
    None,
    /// Perhaps a collision: to be asked again.
    Suspected,
    /// A collision.
    Confirmed,
}

/// All of them, with the names of the hosts.
#[derive(Debug, Default)]
pub struct Collisions {
    cases: BTreeMap<MacAddr, Case>,
    names: BTreeMap<Ipv4Addr, String>,
}

impl Collisions {
    /// Somebody says that an address of ours is taken.
    pub fn heard(&mut self, mac: MacAddr, with: Ipv4Addr, now: Instant) -> News {
        let Some(case) = self.cases.get_mut(&mac) else {
            self.cases.insert(mac, Case { with, first: now, last: now, confirmed: false });
            return News::Suspected;
        };
        // Of several that only claim it, one after the other, each gives it up.
        if !case.confirmed && case.with != with {
            return News::None;
        }
        case.last = now;
        let news = !case.confirmed && confirms(now.saturating_duration_since(case.first));
        case.confirmed |= news;
        // The first one is named as long as it goes on: several would take turns.
        if news { News::Confirmed } else { News::None }
    }

    /// Whether an address is under suspicion.
    pub fn is_suspected(&self, mac: MacAddr) -> bool {
        self.cases.get(&mac).is_some_and(|case| !case.confirmed)
    }

    /// Forgets about an address that is ours no more, or whose case is too old. Whether it was reported.
    pub fn forget(&mut self, mac: MacAddr) -> bool {
        let case = self.cases.remove(&mac);
        let with: Vec<Ipv4Addr> = self.cases.values().map(|case| case.with).collect();
        self.names.retain(|address, _| with.contains(address));
        case.is_some_and(|case| case.confirmed)
    }

    /// Whether nobody has confirmed it for too long.
    pub fn is_stale(&self, mac: MacAddr, now: Instant) -> bool {
        self.cases.get(&mac).is_some_and(|case| {
            let patience = if case.confirmed { MEMORY } else { SUSPICION };
            now >= case.last + patience
        })
    }

    /// Whether the name of a host would say something, and is not known.
    pub fn wants_name(&self, address: Ipv4Addr) -> bool {
        !self.names.contains_key(&address) && self.cases.values().any(|case| case.with == address)
    }

    /// The name of a host. Whether anybody wanted to know it.
    pub fn name(&mut self, address: Ipv4Addr, host: &str) -> bool {
        let wanted = self.wants_name(address);
        if wanted {
            self.names.insert(address, host.to_owned());
        }
        wanted
    }

    /// One that is confirmed.
    pub fn get(&self, mac: MacAddr) -> Option<Collision> {
        let case = self.cases.get(&mac).filter(|case| case.confirmed)?;
        Some(Collision { mac, with: case.with, host: self.names.get(&case.with).cloned() })
    }

    /// All that are confirmed.
    pub fn all(&self) -> impl Iterator<Item = Collision> {
        self.cases.keys().filter_map(|mac| self.get(*mac))
    }
}
