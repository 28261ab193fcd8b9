//! The decisions of an aggregation, without I/O and without a clock.
//!
//! An [`Aggregation`] is told what happened and when, and is asked what to do, as in quinn-proto:
//! after every [`handle_event`](Aggregation::handle_event) and
//! [`handle_timeout`](Aggregation::handle_timeout), call [`poll_action`](Aggregation::poll_action)
//! until it returns `None`, carry the actions out in that order, then wait until
//! [`poll_timeout`](Aggregation::poll_timeout) or the next event. The same inputs give the same
//! actions, so a simulator can drive it and a recorded run can be played again.

mod aggregation;
mod announce;
mod clients;
mod health;
mod input;
mod multicast;
mod place;
mod probe;
mod question;
pub mod record;
mod spread;

pub use aggregation::Aggregation;
pub use health::{Health, LinkState, PortView};
pub use input::{Action, Event, Notice};
pub use multicast::{
    AGGREGATION_GROUPS, Asker, CLIENT_GROUPS, Excess, FILTER_GROUPS, GroupAction, GroupEvent, GroupPort, Membership,
    Multicast, Reception,
};
pub use place::{ClientAddress, Placement, PortIndex, SlotIndex};
pub use probe::{Cause, Detection};
pub use question::{Question, QuestionId, Source, Way};
