//! How managers of virtual networks find each other and never give out a MAC address twice: the decisions, without I/O and
//! without a clock.
//!
//! A [`Manager`] is told what happened and when, and is asked what to do: after every call that takes `now`, call
//! [`poll_action`](Manager::poll_action) until it returns `None`, carry the actions out in that order, then wait until
//! [`poll_timeout`](Manager::poll_timeout) or the next message. Messages that have arrived are handed over before the
//! time is: an answer that waits in a socket must not be overtaken by the end of the wait for it.
//!
//! `docs/protocol.md`, "Managers", states the protocol and what it promises; [`claim`] has its rules as pure functions, which
//! the model checker runs too.

mod book;
pub mod claim;
mod collision;
mod hearing;
mod input;
mod limit;
mod manager;
pub mod range;
mod supply;

pub use collision::Collision;
pub use input::{Action, Interface, Origin, Refusal, RequestId, To};
pub use manager::{Counters, Manager, Start};
