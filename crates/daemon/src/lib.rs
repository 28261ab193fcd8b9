//! What both daemons are made of: the files, the control socket and who may change things through it.

pub mod capabilities;
mod config;
mod control_socket;
mod files;
mod lock;
mod parts;
mod permission;
mod process;
mod server;
mod state;
mod sys;

pub use config::{ConfigFile, Error as ConfigError};
pub use control_socket::{ControlSocket, control_socket};
pub use parts::in_parts;
pub use permission::{Denied, may_change};
pub use server::Server;
pub use state::StateFile;
pub use sys::run_before_ordinary_threads;

use tracing_subscriber::EnvFilter;

/// Starts the log: to standard error, by default from `info` on (`RUST_LOG`).
pub fn start_log() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,zlink_core=error")))
        .init();
}
