//! The questions to targets that are open: sent, and neither answered nor lost yet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::{PortIndex, Question, QuestionId, Way};

/// Why a question was asked, and so what its loss means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The slow watch over a port that is well: a loss makes it suspect.
    Watch,
    /// All else: an answer counts, a loss says nothing by itself.
    Other,
}

/// A question that has been asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) port: PortIndex,
    pub(crate) target: IpAddr,
    pub(crate) echo: bool,
    pub(crate) purpose: Purpose,
    pub(crate) sent: Instant,
    patience: Duration,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    last: u32,
    open: BTreeMap<QuestionId, Open>,
}

impl Questions {
    /// Opens a question; it counts as lost after `patience`.
    pub(crate) fn open(
        &mut self,
        port: PortIndex,
        target: IpAddr,
        way: Way,
        purpose: Purpose,
        now: Instant,
        patience: Duration,
    ) -> Question {
        self.last = self.last.wrapping_add(1);
        let id = QuestionId(self.last);
        let echo = way.is_echo();
        self.open.insert(id, Open { port, target, echo, purpose, sent: now, patience });
        Question { id, port, target, way }
    }

    /// Closes a question that was answered, or could not be sent.
    pub(crate) fn close(&mut self, id: QuestionId) -> Option<Open> {
        self.open.remove(&id)
    }

    /// Closes and returns those that are lost at `now`.
    pub(crate) fn lost(&mut self, now: Instant) -> Vec<Open> {
        let lost = |open: &Open| now.saturating_duration_since(open.sent) >= open.patience;
        self.open.extract_if(.., |_, open| lost(open)).map(|(_, open)| open).collect()
    }

    /// Forgets the questions of a port: their loss would say nothing about it.
    pub(crate) fn forget(&mut self, port: PortIndex) {
        self.open.retain(|_, open| open.port != port);
    }
}
