//! Managers of virtual networks on segments of Ethernet that lose, delay and duplicate datagrams: the real
//! [`dlmp_manager::Manager`]s, original ones to compare with, and a forger.
//!
//! Everything comes from a seed, and time is the simulator's own. A manager decides in no time; datagrams are real bytes. One to the
//! group comes to its sender too, as multicast does.
//!
//! With thousands of managers not each datagram can be handed to each. One about a MAC address goes only to those that have
//! asked about that address or use it, the name of a manager only to those that it told "taken": to all others it means nothing, and
//! changes nothing in them but counters. The test `what_is_foreign_to_a_manager_changes_nothing_in_it` shows that this holds.

mod member;
mod original;
mod party;
mod queue;
mod scenario;
mod site;

pub use member::MemberId;
pub use party::Kind;
pub use scenario::{
    Allocation, Crowd, Denied, Joined, Rate, allocate, denied, join, power_returns, request_among_others,
};
pub use site::{Outcome, Sent, Site, Wire};
