//! Where addresses come from that are asked for: freed ones, then the pool, then chance.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dlmp_wire::MacAddr;

use crate::book::{Purpose, Source, freed};
use crate::claim;
use crate::input::{Action, Refusal, RequestId};
use crate::limit::Bucket;
use crate::manager::Manager;
use crate::range;

/// How long a request for addresses lasts at most (Logical Domains, "Automatic Assignment Algorithm").
const PATIENCE: Duration = Duration::from_secs(30);
/// Addresses that are kept ready.
const POOL: usize = 4;
/// How many while many are asked for.
const POOL_MAX: usize = 64;
/// By what their number grows when it was too small: at first by little, since most hosts have few guests and what all keep ready
/// is taken from one range. Then by much, since every growth is one more wait for a claim.
const GROWTH: (usize, usize) = (2, 8);
/// For how long nobody may have waited until fewer are kept ready again.
const CALM: Duration = Duration::from_secs(60);
/// Claims that are begun at once, and each second on the long run. Many are begun anew where most of the range is taken, or
/// where somebody denies every one.
const CLAIMS: (u32, u32) = (4096, 200);
/// The same while nobody waits for an address: what is kept ready is not worth a flood of questions.
const IDLE_CLAIMS: (u32, u32) = (POOL_MAX as u32, 1);
/// Sources of denials that are told apart in a refusal.
const DENIERS_MAX: usize = 64;

/// Requests, and what is kept ready for them.
#[derive(Debug)]
pub struct Supply {
    freed: Vec<MacAddr>,
    requests: VecDeque<Request>,
    /// How many addresses are to be kept ready, and until when so many.
    ready: usize,
    calm_at: Option<Instant>,
    grown_at: Option<Instant>,
    claims: Bucket,
    idle_claims: Bucket,
    denied: BTreeMap<Ipv4Addr, u32>,
}

#[derive(Debug)]
struct Request {
    id: RequestId,
    count: usize,
    deadline: Instant,
}

impl Supply {
    pub fn new(freed: &[MacAddr]) -> Self {
        Self {
            freed: usable(freed),
            requests: VecDeque::new(),
            ready: POOL,
            calm_at: None,
            grown_at: None,
            claims: Bucket::new(CLAIMS.0, CLAIMS.1),
            idle_claims: Bucket::new(IDLE_CLAIMS.0, IDLE_CLAIMS.1),
            denied: BTreeMap::new(),
        }
    }

    pub fn set_freed(&mut self, freed: &[MacAddr]) {
        self.freed = usable(freed);
    }

    /// Whether one more claim may be begun.
    fn may_claim(&mut self, now: Instant) -> bool {
        let limit = if self.requests.is_empty() { &mut self.idle_claims } else { &mut self.claims };
        limit.take(now)
    }

    /// When one more may be.
    fn next_claim(&self, now: Instant) -> Instant {
        let limit = if self.requests.is_empty() { &self.idle_claims } else { &self.claims };
        limit.next(now)
    }

    /// Has more kept ready, since somebody has to wait; not again before the last growth has had its effect.
    fn grow(&mut self, now: Instant) {
        self.calm_at = Some(now + CALM);
        let growth = match self.grown_at {
            None => GROWTH.0,
            Some(at) if now < at + 2 * claim::TIME => return,
            Some(_) => GROWTH.1,
        };
        self.ready = (self.ready * growth).min(POOL_MAX);
        self.grown_at = Some(now);
    }

    fn wanted(&self) -> usize {
        self.requests.iter().map(|request| request.count).sum::<usize>() + self.ready
    }
}

/// The addresses of a list that may be given out, each once.
fn usable(freed: &[MacAddr]) -> Vec<MacAddr> {
    let mut seen = BTreeSet::new();
    freed.iter().filter(|mac| range::is_automatic(**mac) && seen.insert(**mac)).copied().collect()
}

impl Manager {
    /// Asks for addresses. The answer is an [`Action::Grant`] or, after 30 seconds, an [`Action::Refuse`].
    pub fn request(&mut self, id: RequestId, count: usize, now: Instant) {
        if count > self.book.pool().len() {
            self.supply.grow(now);
        }
        self.supply.requests.push_back(Request { id, count, deadline: now + PATIENCE });
        self.settle(now);
    }

    /// Takes addresses back that were handed out, and were not used. Those that are used meanwhile stay.
    pub fn give_back(&mut self, addresses: &[MacAddr], now: Instant) {
        for mac in addresses {
            if let Some(entry) = self.book.get(*mac).copied().filter(|entry| entry.purpose == Purpose::Lent) {
                let was_freed = self.supply.freed.contains(mac);
                let source = if was_freed { Source::Freed } else { Source::Chosen };
                self.book.set(*mac, Purpose::Pooled(source), entry.due);
            }
        }
        self.settle(now);
    }

    /// Gives up an address that was claimed, since somebody else has it.
    pub(crate) fn give_up(&mut self, mac: MacAddr, to: Ipv4Addr, now: Instant) {
        let was = self.book.remove(mac).map(|entry| entry.purpose);
        if let Some(Purpose::Claimed(Source::Chosen, _)) = was {
            // The more of the range is taken, the less of it is kept unused.
            self.supply.ready = (self.supply.ready - 1).max(POOL);
        }
        let known = self.supply.freed.len();
        self.supply.freed.retain(|freed| *freed != mac);
        if self.supply.freed.len() != known {
            self.actions.push_back(Action::Forget(mac));
        }
        if self.supply.denied.len() < DENIERS_MAX || self.supply.denied.contains_key(&to) {
            *self.supply.denied.entry(to).or_default() += 1;
        }
        self.settle(now);
    }

    /// Serves requests, and claims as many addresses as are wanted.
    pub(crate) fn settle(&mut self, now: Instant) {
        if self.supply.calm_at.is_some_and(|calm_at| calm_at <= now) {
            (self.supply.ready, self.supply.calm_at, self.supply.grown_at) = (POOL, None, None);
        }
        if self.interfaces.is_some() {
            self.claim_freed(now);
            self.claim_chosen(now);
        }
        self.grant();
        self.refuse(now);
        self.let_go();
    }

    /// When something of this is due.
    pub(crate) fn supply_due(&self, now: Instant) -> Option<Instant> {
        let deadline = self.supply.requests.iter().map(|request| request.deadline).min();
        let claims = self.is_short().then(|| self.supply.next_claim(now));
        [deadline, claims, self.supply.calm_at].into_iter().flatten().min()
    }

    fn is_short(&self) -> bool {
        self.interfaces.is_some() && self.book.claims().len() + self.book.pool().len() < self.supply.wanted()
    }

    fn claim_freed(&mut self, now: Instant) {
        let there = freed(self.book.claims()) + freed(self.book.pool());
        let missing = self.supply.wanted().saturating_sub(there);
        let unknown = self.supply.freed.iter().filter(|mac| self.book.get(**mac).is_none());
        let next: Vec<MacAddr> = unknown.take(missing).copied().collect();
        for mac in next {
            self.claim(mac, Source::Freed, now);
        }
    }

    /// Requests are served in the order in which they came, but none waits behind one that asks for more than there are. While
    /// a freed address is asked for, they wait for it.
    fn grant(&mut self) {
        let waiting = freed(self.book.claims()) > 0;
        let mut requests = std::mem::take(&mut self.supply.requests);
        requests.retain(|request| {
            let there = if waiting { freed(self.book.pool()) } else { self.book.pool().len() };
            if there < request.count {
                return true;
            }
            let addresses = self.take_from_pool(request.count);
            self.actions.push_back(Action::Grant { request: request.id, addresses });
            false
        });
        self.supply.requests = requests;
        if self.supply.requests.is_empty() {
            self.supply.denied.clear();
        }
    }

    /// Lends so many addresses: freed ones in the order of their list, then others by chance. The lowest would be chosen by
    /// managers that are apart, too.
    fn take_from_pool(&mut self, count: usize) -> Vec<MacAddr> {
        let pool: Vec<MacAddr> = self.book.pool().iter().map(|(_, mac)| *mac).collect();
        let freed = self.supply.freed.iter().filter(|mac| pool.contains(mac));
        let mut others: Vec<&MacAddr> = pool.iter().filter(|mac| !self.supply.freed.contains(mac)).collect();
        self.random.shuffle(&mut others);
        let addresses: Vec<MacAddr> = freed.chain(others).take(count).copied().collect();
        for mac in &addresses {
            if let Some(due) = self.book.get(*mac).map(|entry| entry.due) {
                self.book.set(*mac, Purpose::Lent, due);
            }
        }
        addresses
    }

    fn refuse(&mut self, now: Instant) {
        while let Some(request) = self.supply.requests.pop_front_if(|request| request.deadline <= now) {
            let refusal = Refusal { denied: self.supply.denied.clone() };
            self.actions.push_back(Action::Refuse { request: request.id, refusal });
        }
    }

    fn claim_chosen(&mut self, now: Instant) {
        // Where nearly all is ours already there is nothing to find.
        let mut attempts = 4 * self.supply.wanted();
        while attempts > 0 && self.is_short() && self.supply.may_claim(now) {
            let mac = range::automatic(self.random.u32(..range::AUTOMATIC));
            if self.book.get(mac).is_none() {
                self.claim(mac, Source::Chosen, now);
            }
            attempts -= 1;
        }
    }

    /// What is more than wanted is nobody's again; of those that were not freed but chosen, as long as there are any.
    fn let_go(&mut self) {
        let (wanted, freed) = (self.supply.wanted(), freed(self.book.pool()));
        if self.book.pool().len() <= wanted {
            return;
        }
        let mut chosen: Vec<MacAddr> = self.book.pool().iter().skip(freed).map(|(_, mac)| *mac).collect();
        self.random.shuffle(&mut chosen);
        while self.book.pool().len() > wanted
            && let Some(mac) = chosen.pop().or_else(|| self.book.pool().last().map(|(_, mac)| *mac))
        {
            self.book.remove(mac);
        }
    }
}
