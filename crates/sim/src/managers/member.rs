//! A member of a site: what it is, what it remembers, and what it waits for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use dlmp_manager::{Collision, RequestId};
use dlmp_wire::MacAddr;

use super::party::{Kind, Party};

/// Names a member of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId(pub(super) usize);

/// A member of a site, and what it has.
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) address: Ipv4Addr,
    /// Members of the same segment hear each other.
    pub(super) segment: usize,
    /// Both survive a crash.
    pub(super) used: BTreeSet<MacAddr>,
    pub(super) freed: Vec<MacAddr>,
    /// Absent while it is down.
    pub(super) party: Option<Box<dyn Party>>,
    /// How often it went down: what was meant for it before is nothing to it now.
    pub(super) life: u32,
    /// When it is woken next.
    pub(super) wake: Option<Duration>,
    /// How many addresses are asked for next, each time when the request before is done.
    pub(super) plans: VecDeque<usize>,
    pub(super) request: Option<(RequestId, Duration)>,
    pub(super) reports: BTreeMap<MacAddr, Collision>,
    /// Whom it told that an address is taken: they may want to know its name.
    pub(super) told: BTreeSet<MemberId>,
}

impl Member {
    /// One that is down.
    pub(super) fn new(kind: Kind, address: Ipv4Addr) -> Self {
        Self {
            kind,
            address,
            segment: 0,
            used: BTreeSet::new(),
            freed: Vec::new(),
            party: None,
            life: 0,
            wake: None,
            plans: VecDeque::new(),
            request: None,
            reports: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }
}
