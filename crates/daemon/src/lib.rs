//! What both daemons are made of: the files, the control socket and who may change things through it.

pub mod capabilities;
mod config;
mod control_socket;
mod crowd;
mod files;
mod lock;
mod parts;
mod peer;
mod permission;
mod process;
mod server;
mod state;
mod stream;
mod sys;
mod terminal;

pub use config::{ConfigFile, Error as ConfigError};
pub use control_socket::{ControlSocket, Listeners};
pub use crowd::raise_limit_of_files;
pub use parts::in_parts;
pub use permission::{Caller, Denied, HasCaller, may_change};
pub use server::Server;
pub use state::StateFile;
pub use stream::Stream;
pub use sys::run_before_ordinary_threads;
pub use terminal::{complain, outlive_terminal, start_log, tell_of_hang_ups};
