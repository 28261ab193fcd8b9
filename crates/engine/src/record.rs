//! What goes into an engine and comes out of it, written down line by line, and playing it again: a
//! recorded bug becomes a test.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{Action, Aggregation, Event};

/// A line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The aggregation.
    pub aggregation: String,
    /// What went in or came out.
    #[serde(flatten)]
    pub what: What,
}

/// What went into an engine or came out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// An event, at this time since the epoch that the engine was made with.
    Event(Duration, Event),
    /// A call of [`Aggregation::handle_timeout`] at this time.
    Timeout(Duration),
    /// An action that was taken out.
    Action(Action),
}

/// Plays the lines of one aggregation again, from its first event on. Returns how many there were.
///
/// # Errors
/// The engine wants something else than was recorded: the number of the line from 1, what was recorded
/// and what is wanted now.
pub fn replay(lines: impl IntoIterator<Item = What>) -> Result<usize, (usize, Action, Option<Action>)> {
    let epoch = Instant::now();
    let mut engine = Aggregation::new(epoch);
    let mut count = 0;
    for line in lines {
        count += 1;
        match line {
            What::Event(at, event) => engine.handle_event(event, epoch + at),
            What::Timeout(at) => engine.handle_timeout(epoch + at),
            What::Action(recorded) => {
                let wanted = engine.poll_action();
                if wanted != Some(recorded) {
                    return Err((count, recorded, wanted));
                }
            }
        }
    }
    Ok(count)
}
