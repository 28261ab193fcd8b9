//! A deterministic network that drives the engine: switches that learn, links that lose and delay,
//! hosts that answer, and one host under test whose engine and datapath model are the real ones.
//!
//! Everything comes from a seed, and time is the simulator's own: a run is repeated exactly. After
//! every step the promises of the design are checked ([`World::run`]); a broken one panics with the
//! seed. Frames are real bytes, so the rules and the formats are exercised too.
//!
//! [`managers`] does the same for managers that share MAC addresses.

mod guest;
mod host;
mod link;
pub mod managers;
mod promise;
mod switch;
mod world;

pub use guest::Setup;
pub use host::Behaviour;
pub use link::{Direction, LinkId};
pub use world::{Clock, HostId, SwitchId, World};
