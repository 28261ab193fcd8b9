//! The targets: which addresses are asked, and what each has shown.
//!
//! Given targets; without any the next-hop routers; without any the hosts that answered a multicast
//! echo. Never an address of this host, wherever it comes from: it answers whatever happens to the
//! ports. Up to five are active; dead and slow ones are replaced (reference: in.mpathd).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::ports::PortSet;
use super::rtt::Rtt;
use crate::PortIndex;

/// Targets that are asked at a time (in.mpathd: MAX_PROBE_TARGETS).
const ACTIVE: usize = 5;
/// Active targets at least, if need be slow or dead ones; hosts are looked for while fewer answer (in.mpathd:
/// MIN_PROBE_TARGETS).
const AT_LEAST: usize = 3;
/// After this a dead target counts as slow, and a slow one as good (in.mpathd: MIN_RECOVERY_TIME).
const RECOVERY: Duration = Duration::from_secs(60);
/// Questions that a target may leave unanswered in a row while others answer (in.mpathd: NUM_PROBE_FAILS).
const LOSSES: u32 = 5;

/// Where a target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Given,
    Router,
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Unused,
    Slow(Instant),
    Dead(Instant),
}

/// A target.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    pub(crate) class: Class,
    /// The ports through which it has ever answered.
    pub(crate) reached: PortSet,
    /// It has answered an echo. One that answers ARP alone is asked by ARP alone.
    pub(crate) echoes: bool,
    /// It has answered a question for its address from a port that has none itself. Some routers never do: they
    /// take ARP from 0.0.0.0 for forged.
    pub(crate) names: bool,
    /// How often it was asked in turn by echo and by ARP, before it answered an echo.
    turns: u32,
    pub(crate) rtt: Rtt,
    state: State,
    losses: u32,
}

/// After so many turns a target that answers ARP is taken to answer no echo.
const TURNS: u32 = 16;

/// All targets of an aggregation.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// In the order of preference.
    known: Vec<Target>,
    /// As they were named, own addresses included.
    given: Vec<IpAddr>,
    routers: Vec<IpAddr>,
    own: BTreeSet<IpAddr>,
}

impl Targets {
    /// Replaces given targets and routers. What is known of those that stay is kept; hosts found are
    /// forgotten when there is anything better.
    pub(crate) fn set(&mut self, given: &[IpAddr], routers: &[IpAddr], now: Instant) {
        (self.given, self.routers) = (given.to_vec(), routers.to_vec());
        self.choose(now);
    }

    /// Replaces the addresses of this host. One that was a target is none any more, and one that has gone may
    /// become one.
    pub(crate) fn set_own(&mut self, own: &[IpAddr], now: Instant) {
        self.own = own.iter().copied().collect();
        self.choose(now);
    }

    fn choose(&mut self, now: Instant) {
        let foreign = |address: &&IpAddr| !self.own.contains(address);
        let of = |addresses: &[IpAddr], class| -> Vec<(IpAddr, Class)> {
            addresses.iter().filter(foreign).map(|&address| (address, class)).collect()
        };
        let found = self.known.iter().filter(|target| target.class == Class::Host);
        let found: Vec<IpAddr> = found.map(|target| target.address).collect();
        let classes = [of(&self.given, Class::Given), of(&self.routers, Class::Router), of(&found, Class::Host)];
        let wanted = classes.into_iter().find(|class| !class.is_empty()).unwrap_or_default();
        let mut before = std::mem::take(&mut self.known);
        for (address, class) in wanted {
            if self.known.iter().any(|target| target.address == address) {
                continue;
            }
            let target = match before.iter().position(|target| target.address == address) {
                Some(at) => Target { class, ..before.swap_remove(at) },
                None => Target::new(address, class),
            };
            self.known.push(target);
        }
        self.refill(now);
    }

    /// A host has answered a multicast echo. It counts while there is nothing better, and the first
    /// few are enough; one that was taken for dead lives. Says whether anything is new.
    pub(crate) fn found(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.own.contains(&address) || self.known.iter().any(|target| target.class != Class::Host) {
            return false;
        }
        let dead = |target: &Target| matches!(target.state, State::Dead(_));
        if let Some(known) = self.get_mut(address) {
            let returns = dead(known);
            if returns {
                (known.state, known.losses) = (State::Unused, 0);
                self.refill(now);
            }
            return returns;
        }
        if self.known.iter().filter(|target| !dead(target)).count() >= ACTIVE {
            return false;
        }
        // Found hosts that died make room: nobody asked for them in particular.
        if self.known.len() >= 2 * ACTIVE
            && let Some(at) = self.known.iter().position(dead)
        {
            self.known.remove(at);
        }
        self.known.push(Target::new(address, Class::Host));
        self.refill(now);
        true
    }

    /// Whether multicast echoes may look for hosts: nothing better is known.
    pub(crate) fn may_be_hosts(&self) -> bool {
        self.known.iter().all(|target| target.class == Class::Host)
    }

    /// Whether fewer targets answer than there should be.
    pub(crate) fn are_few(&self) -> bool {
        self.active().filter(|target| !target.reached.is_empty() && target.losses == 0).count() < AT_LEAST
    }

    /// Nobody answers: those that were put aside may by now.
    pub(crate) fn retry(&mut self, now: Instant) {
        for target in &mut self.known {
            if matches!(target.state, State::Dead(_) | State::Slow(_)) {
                (target.state, target.losses) = (State::Unused, 0);
            }
        }
        self.refill(now);
    }

    /// Those that are asked.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Target> {
        self.known.iter().filter(|target| target.state == State::Active)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Target> {
        self.known.iter()
    }

    /// Those whose answers say which ports live.
    ///
    /// A target that only one port ever reached says nothing about the others: the near switch that
    /// answers for itself is one. Only while no target is shared do given ones and routers count with
    /// one port: they were named by somebody.
    pub(crate) fn vouching(&self) -> impl Iterator<Item = &Target> {
        let shared = |target: &&Target| target.reached.len() >= 2;
        let any_shared = self.active().any(|target| shared(&target));
        self.active().filter(move |target| {
            shared(target) || (!any_shared && target.class != Class::Host && !target.reached.is_empty())
        })
    }

    /// An answer through a port.
    pub(crate) fn answered(&mut self, address: IpAddr, port: PortIndex, echo: bool, rtt: Duration) {
        if let Some(target) = self.get_mut(address) {
            target.reached.insert(port);
            target.echoes |= echo;
            target.names |= !echo;
            target.losses = 0;
            target.rtt.sample(rtt);
        }
    }

    /// Questions to a target were lost while others answered. Says whether it is given up.
    pub(crate) fn lost_alone(&mut self, address: IpAddr, questions: u32, now: Instant) -> bool {
        let Some(target) = self.get_mut(address) else { return false };
        target.losses += questions;
        let given_up = target.losses >= LOSSES && target.state == State::Active;
        if given_up {
            target.state = State::Dead(now);
            self.refill(now);
        }
        given_up
    }

    /// Takes slow and dead targets back when their time is over, and puts aside one that is much slower
    /// than the others.
    pub(crate) fn review(&mut self, interval: Duration, now: Instant) {
        for target in &mut self.known {
            match target.state {
                State::Dead(since) if now.saturating_duration_since(since) >= RECOVERY => {
                    target.state = State::Slow(now);
                }
                State::Slow(since) if now.saturating_duration_since(since) >= RECOVERY => {
                    (target.state, target.losses) = (State::Unused, 0);
                }
                _ => {}
            }
        }
        let bound = |target: &Target| target.rtt.bound().unwrap_or_default();
        let fast = self.active().filter(|target| bound(target) < interval / 2).count();
        let slow = self.known.iter_mut().find(|target| target.state == State::Active && bound(target) > interval);
        if let Some(slow) = slow
            && fast >= AT_LEAST
        {
            slow.state = State::Slow(now);
        }
        self.refill(now);
    }

    /// Forgets which targets a port has reached: its link was away and may lead elsewhere now.
    pub(crate) fn forget_port(&mut self, port: PortIndex) {
        for target in &mut self.known {
            target.reached.remove(port);
        }
    }

    /// Whether the next question to a target, by a port that can, is an echo. Which it answers shows while it is
    /// asked both ways in turn: until it answers, and a few times more when only ports without a source have
    /// reached it yet.
    pub(crate) fn choose_echo(&mut self, address: IpAddr) -> bool {
        let Some(target) = self.get_mut(address) else { return false };
        if target.echoes {
            return true;
        }
        target.turns = target.turns.wrapping_add(1);
        target.turns % 2 == 1 && (target.reached.is_empty() || target.turns < TURNS)
    }

    /// Whether silence of a target to a question says anything: it has answered one that was asked in this way.
    pub(crate) fn tells(&self, address: IpAddr, echo: bool) -> bool {
        self.get(address).is_some_and(|target| if echo { target.echoes } else { target.names })
    }

    pub(crate) fn get(&self, address: IpAddr) -> Option<&Target> {
        self.known.iter().find(|target| target.address == address)
    }

    fn get_mut(&mut self, address: IpAddr) -> Option<&mut Target> {
        self.known.iter_mut().find(|target| target.address == address)
    }

    /// Makes unused targets active while there is room; if nothing is left, slow and then dead ones.
    fn refill(&mut self, now: Instant) {
        let mut active = self.active().count();
        for target in &mut self.known {
            if active < ACTIVE && target.state == State::Unused {
                target.state = State::Active;
                active += 1;
            }
        }
        if active > 0 {
            return;
        }
        let since = |state: State| match state {
            State::Slow(since) => (0, since),
            State::Dead(since) => (1, since),
            State::Active | State::Unused => (2, now),
        };
        let mut order: Vec<usize> = (0..self.known.len()).collect();
        order.sort_by_key(|&at| since(self.known[at].state));
        for at in order.into_iter().take(AT_LEAST) {
            (self.known[at].state, self.known[at].losses) = (State::Active, 0);
        }
    }
}

impl Target {
    /// Whether an echo is all that it is known to answer.
    pub(crate) const fn wants_echo(&self) -> bool {
        self.echoes && !self.names
    }

    fn new(address: IpAddr, class: Class) -> Self {
        Self {
            address,
            class,
            reached: PortSet::EMPTY,
            echoes: false,
            names: false,
            turns: 0,
            rtt: Rtt::default(),
            state: State::Unused,
            losses: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_answered_arp_first_is_asked_by_echo_until_that_seems_hopeless() {
        let mut targets = Targets::default();
        targets.set(&[ip(1), ip(2)], &[], Instant::now());
        for target in [ip(1), ip(2)] {
            targets.answered(target, PortIndex(1), false, Duration::from_millis(1));
        }
        let asked: Vec<bool> = (0..40).map(|_| targets.choose_echo(ip(1))).collect();
        assert_eq!(asked.iter().filter(|echo| **echo).count(), 8);
        assert!(!asked[TURNS as usize..].contains(&true));
        assert!(targets.choose_echo(ip(2)));
        targets.answered(ip(2), PortIndex(0), true, Duration::from_millis(1));
        assert!((0..40).all(|_| targets.choose_echo(ip(2))));
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn ips(of: &[u8]) -> Vec<IpAddr> {
        of.iter().copied().map(ip).collect()
    }

    fn active(targets: &Targets) -> Vec<IpAddr> {
        targets.active().map(|target| target.address).collect()
    }

    #[test]
    fn given_targets_displace_routers_and_routers_displace_hosts() {
        let now = Instant::now();
        let mut targets = Targets::default();
        targets.found(ip(9), now);
        assert_eq!(active(&targets), [ip(9)]);
        assert!(targets.may_be_hosts() && targets.are_few());
        targets.set(&[], &ips(&[1]), now);
        assert_eq!(active(&targets), [ip(1)]);
        targets.found(ip(9), now);
        targets.set(&ips(&[5, 6, 5]), &ips(&[1]), now);
        assert_eq!(active(&targets), ips(&[5, 6]));
        assert!(!targets.may_be_hosts());
    }

    #[test]
    fn no_address_of_this_host_is_a_target_wherever_it_comes_from_and_whenever_it_appears() {
        let now = Instant::now();
        let mut targets = Targets::default();
        targets.set_own(&ips(&[1, 2]), now);
        targets.set(&ips(&[1, 5]), &ips(&[2, 6]), now);
        assert_eq!(active(&targets), ips(&[5]));
        // The address comes to this host later: what comes next takes its place.
        targets.set_own(&ips(&[1, 2, 5]), now);
        assert_eq!(active(&targets), ips(&[6]));
        targets.set_own(&ips(&[1, 2, 5, 6]), now);
        assert_eq!(active(&targets), ips(&[]));
        assert!(!targets.found(ip(2), now) && targets.found(ip(9), now) && targets.found(ip(8), now));
        targets.set_own(&ips(&[1, 2, 5, 6, 9]), now);
        assert_eq!(active(&targets), ips(&[8]));
        // It has left this host again.
        targets.set_own(&ips(&[1, 2]), now);
        assert_eq!(active(&targets), ips(&[5]));
    }

    #[test]
    fn a_found_host_that_was_given_up_and_answers_again_is_taken_back() {
        let now = Instant::now();
        let mut targets = Targets::default();
        for host in [7, 8] {
            targets.found(ip(host), now);
            targets.answered(ip(host), PortIndex(0), true, Duration::ZERO);
        }
        assert!(targets.are_few(), "three are wanted");
        assert!(targets.lost_alone(ip(7), LOSSES, now));
        assert_eq!(active(&targets), ips(&[8]));
        assert!(!targets.found(ip(8), now), "nothing new");
        assert!(targets.found(ip(7), now));
        assert_eq!(active(&targets), ips(&[7, 8]));
    }

    #[test]
    fn five_are_active_and_a_dead_one_is_replaced_and_comes_back_last() {
        let now = Instant::now();
        let mut targets = Targets::default();
        targets.set(&[], &ips(&[1, 2, 3, 4, 5, 6]), now);
        assert_eq!(active(&targets), ips(&[1, 2, 3, 4, 5]));
        targets.lost_alone(ip(2), 4, now);
        assert_eq!(active(&targets).len(), 5);
        targets.lost_alone(ip(2), 1, now);
        assert_eq!(active(&targets), ips(&[1, 3, 4, 5, 6]));
        targets.lost_alone(ip(3), 5, now);
        let later = now + 2 * RECOVERY;
        targets.review(Duration::from_secs(1), now + RECOVERY);
        targets.review(Duration::from_secs(1), later);
        assert_eq!(active(&targets).len(), 5);
    }

    #[test]
    fn with_every_target_dead_they_are_asked_all_the_same() {
        let now = Instant::now();
        let mut targets = Targets::default();
        targets.set(&ips(&[1]), &[], now);
        targets.lost_alone(ip(1), 5, now);
        assert_eq!(active(&targets), ips(&[1]));
    }

    #[test]
    fn a_target_that_one_port_reached_vouches_for_nothing_beside_a_shared_one() {
        let now = Instant::now();
        let mut targets = Targets::default();
        targets.set(&ips(&[1, 2]), &[], now);
        let vouching = |targets: &Targets| targets.vouching().map(|target| target.address).collect::<Vec<_>>();
        assert_eq!(vouching(&targets), ips(&[]));
        targets.answered(ip(1), PortIndex(0), true, Duration::ZERO);
        assert_eq!(vouching(&targets), ips(&[1]));
        targets.answered(ip(2), PortIndex(0), true, Duration::ZERO);
        targets.answered(ip(2), PortIndex(1), true, Duration::ZERO);
        assert_eq!(vouching(&targets), ips(&[2]));
        let mut hosts = Targets::default();
        hosts.found(ip(3), now);
        hosts.answered(ip(3), PortIndex(0), true, Duration::ZERO);
        assert_eq!(vouching(&hosts), ips(&[]));
    }
}
