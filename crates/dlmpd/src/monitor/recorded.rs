//! The engine of an aggregation, with everything that goes in and comes out written down if that is wanted
//! (`--record`).

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Instant;

use dlmp_engine::record::{Line, What};
use dlmp_engine::{Action, Aggregation, Event};

/// A file that recordings go to; all aggregations share it.
pub type Recording = Option<Rc<RefCell<File>>>;

/// An engine that is recorded.
pub struct Recorded {
    engine: Aggregation,
    aggregation: String,
    epoch: Instant,
    to: Recording,
}

impl Recorded {
    /// A new engine for an aggregation; times are counted from `epoch`.
    pub fn new(aggregation: &str, epoch: Instant, to: Recording) -> Self {
        Self { engine: Aggregation::new(epoch), aggregation: aggregation.to_owned(), epoch, to }
    }

    /// As [`Aggregation::handle_event`].
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        self.write(|at| What::Event(at, event.clone()), now);
        self.engine.handle_event(event, now);
    }

    /// As [`Aggregation::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.write(What::Timeout, now);
        self.engine.handle_timeout(now);
    }

    /// As [`Aggregation::poll_action`].
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.engine.poll_action()?;
        self.write(|_| What::Action(action), self.epoch);
        Some(action)
    }

    fn write(&mut self, what: impl FnOnce(std::time::Duration) -> What, now: Instant) {
        let Some(file) = &self.to else { return };
        let what = what(now.saturating_duration_since(self.epoch));
        let line = Line { aggregation: self.aggregation.clone(), what };
        let written = serde_json::to_string(&line)
            .map_err(std::io::Error::from)
            .and_then(|text| file.borrow_mut().write_all(format!("{text}\n").as_bytes()));
        if let Err(error) = written {
            tracing::error!(%error, "the recording ends here");
            self.to = None;
        }
    }
}

/// What an engine tells without changing is not recorded.
impl Deref for Recorded {
    type Target = Aggregation;

    fn deref(&self) -> &Aggregation {
        &self.engine
    }
}
