//! Lending a source. While all ports have failed, the one that looks for a target has to ask by echo where a router
//! answers nothing else, and no source may sit on it. Then a client that has one sits there for a moment, and
//! loses nothing by it: the port that it comes from is dead as well.

use std::time::{Duration, Instant};

use super::Aggregation;
use crate::probe::Probing;
use crate::{Action, LinkState, Notice, PortIndex, SlotIndex};

/// A client that got something within this time is not lent: its port may be well, and the target dead.
const QUIET: Duration = Duration::from_secs(1);

/// A client that sits on another port than its own for a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loan {
    slot: SlotIndex,
    home: PortIndex,
    to: PortIndex,
}

impl Loan {
    /// The client that is lent.
    pub(super) const fn slot(&self) -> SlotIndex {
        self.slot
    }
}

impl Aggregation {
    /// Somebody's frame for a client came in through a port.
    pub(super) fn received(&mut self, port: PortIndex, now: Instant) {
        if let Some(port) = self.ports.get_mut(&port) {
            port.received = Some(now);
        }
    }

    /// Brings the loan in line with what probing wants. Says whether a client sits elsewhere now.
    pub(super) fn settle_loan(&mut self, now: Instant) -> bool {
        let wanted = self.probing.as_ref().and_then(Probing::borrower);
        if self.loan.is_some_and(|loan| Some(loan.to) == wanted) {
            return false;
        }
        let ended = self.loan.take();
        if let Some(loan) = ended {
            self.give_back(loan);
        }
        self.loan = wanted.and_then(|port| self.loan_to(port, now));
        if let Some(loan) = self.loan {
            self.clients.lend(loan.slot, loan.to);
        }
        ended.is_some() || self.loan.is_some()
    }

    /// Ends a loan: the client goes back, unless it is the other port alone that has a path.
    fn give_back(&mut self, loan: Loan) {
        let Loan { slot, home, to } = loan;
        if self.clients.port(slot) != Some(to) {
            return;
        }
        if self.is_active(to) && !self.is_active(home) {
            self.actions.push_back(Action::Notify(Notice::Moved { slot, from: Some(home), to }));
        } else if self.ports.contains_key(&home) {
            self.clients.lend(slot, home);
        }
    }

    /// The client to lend to a port, none if it has a source of its own.
    fn loan_to(&self, to: PortIndex, now: Instant) -> Option<Loan> {
        let probing = self.probing.as_ref()?;
        let quiet = |port: PortIndex| {
            let up = self.ports.get(&port).filter(|port| port.link == LinkState::Up);
            up.and_then(|port| port.received).is_none_or(|at| now.saturating_duration_since(at) >= QUIET)
        };
        let useful = self.sources.iter().filter(|source| probing.can_echo_from(source));
        let seated: Vec<(SlotIndex, PortIndex)> =
            useful.filter_map(|source| Some((source.slot, self.clients.port(source.slot)?))).collect();
        if seated.iter().any(|&(_, port)| port == to) {
            return None;
        }
        seated.into_iter().find(|&(_, home)| quiet(home)).map(|(slot, home)| Loan { slot, home, to })
    }
}
