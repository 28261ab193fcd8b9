//! The targets: which addresses are asked, and what each has shown.
//!
//! Given targets; without any the next-hop routers; without any the hosts that answered a multicast
//! echo. Up to five are active; dead and slow ones are replaced (reference: in.mpathd).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::ports::PortSet;
use super::rtt::Rtt;
use crate::PortIndex;

/// Targets that are asked at a time (in.mpathd: MAX_PROBE_TARGETS).
const ACTIVE: usize = 5;
/// Active targets at least, if need be slow or dead ones (in.mpathd: MIN_PROBE_TARGETS).
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
    /// How often it was asked in turn by echo and by ARP, before it answered an echo.
    turns: u32,
    pub(crate) rtt: Rtt,
    state: State,
    losses: u32,
}

/// After so many turns a target that answers ARP is taken to answer no echo.
const TURNS: u32 = 16;

/// All targets of an aggregation, in the order of preference.
#[derive(Debug, Default)]
pub(crate) struct Targets(Vec<Target>);

impl Targets {
    /// Replaces given targets and routers. What is known of those that stay is kept; hosts found are
    /// forgotten when there is anything better.
    pub(crate) fn set(&mut self, given: &[IpAddr], routers: &[IpAddr], now: Instant) {
        let wanted: Vec<(IpAddr, Class)> = if !given.is_empty() {
            given.iter().map(|&address| (address, Class::Given)).collect()
        } else if !routers.is_empty() {
            routers.iter().map(|&address| (address, Class::Router)).collect()
        } else {
            let found = self.0.iter().filter(|target| target.class == Class::Host);
            found.map(|target| (target.address, Class::Host)).collect()
        };
        let mut known = std::mem::take(&mut self.0);
        for (address, class) in wanted {
            if self.0.iter().any(|target| target.address == address) {
                continue;
            }
            let target = match known.iter().position(|target| target.address == address) {
                Some(at) => Target { class, ..known.swap_remove(at) },
                None => Target::new(address, class),
            };
            self.0.push(target);
        }
        self.refill(now);
    }

    /// A host has answered a multicast echo. It counts while there is nothing better, and the first
    /// few are enough.
    pub(crate) fn found(&mut self, address: IpAddr, now: Instant) {
        let better = self.0.iter().any(|target| target.class != Class::Host);
        let dead = |target: &Target| matches!(target.state, State::Dead(_));
        let alive = self.0.iter().filter(|target| !dead(target)).count();
        if better || alive >= ACTIVE || self.0.iter().any(|target| target.address == address) {
            return;
        }
        // Found hosts that died make room: nobody asked for them in particular.
        if self.0.len() >= 2 * ACTIVE
            && let Some(at) = self.0.iter().position(dead)
        {
            self.0.remove(at);
        }
        self.0.push(Target::new(address, Class::Host));
        self.refill(now);
    }

    /// Whether multicast echoes should look for hosts: nothing better is known, and few of them.
    pub(crate) fn want_hosts(&self) -> bool {
        let active = self.0.iter().filter(|target| target.state == State::Active);
        self.0.iter().all(|target| target.class == Class::Host) && active.count() < 2
    }

    /// Those that are asked.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Target> {
        self.0.iter().filter(|target| target.state == State::Active)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Target> {
        self.0.iter()
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
            target.losses = 0;
            target.rtt.sample(rtt);
        }
    }

    /// Questions to a target were lost while others answered.
    pub(crate) fn lost_alone(&mut self, address: IpAddr, questions: u32, now: Instant) {
        if let Some(target) = self.get_mut(address) {
            target.losses += questions;
            if target.losses >= LOSSES && target.state == State::Active {
                target.state = State::Dead(now);
                self.refill(now);
            }
        }
    }

    /// Takes slow and dead targets back when their time is over, and puts aside one that is much slower
    /// than the others.
    pub(crate) fn review(&mut self, interval: Duration, now: Instant) {
        for target in &mut self.0 {
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
        let slow = self.0.iter_mut().find(|target| target.state == State::Active && bound(target) > interval);
        if let Some(slow) = slow
            && fast >= AT_LEAST
        {
            slow.state = State::Slow(now);
        }
        self.refill(now);
    }

    /// Forgets which targets a port has reached: its link was away and may lead elsewhere now.
    pub(crate) fn forget_port(&mut self, port: PortIndex) {
        for target in &mut self.0 {
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

    pub(crate) fn get(&self, address: IpAddr) -> Option<&Target> {
        self.0.iter().find(|target| target.address == address)
    }

    fn get_mut(&mut self, address: IpAddr) -> Option<&mut Target> {
        self.0.iter_mut().find(|target| target.address == address)
    }

    /// Makes unused targets active while there is room; if nothing is left, slow and then dead ones.
    fn refill(&mut self, now: Instant) {
        let mut active = self.active().count();
        for target in &mut self.0 {
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
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|&at| since(self.0[at].state));
        for at in order.into_iter().take(AT_LEAST) {
            (self.0[at].state, self.0[at].losses) = (State::Active, 0);
        }
    }
}

impl Target {
    fn new(address: IpAddr, class: Class) -> Self {
        Self {
            address,
            class,
            reached: PortSet::EMPTY,
            echoes: false,
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
        assert!(targets.want_hosts());
        targets.set(&[], &ips(&[1]), now);
        assert_eq!(active(&targets), [ip(1)]);
        targets.found(ip(9), now);
        targets.set(&ips(&[5, 6, 5]), &ips(&[1]), now);
        assert_eq!(active(&targets), ips(&[5, 6]));
        assert!(!targets.want_hosts());
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
