//! How a command fails: what it says, and its exit code.

use std::io;
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The words of the command are wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The request was refused or failed: exit code 1.
    #[error("{0}")]
    Refused(String),
    /// The daemon's answer: exit code 1.
    #[error(transparent)]
    Daemon(#[from] dlmp_api::Error),
    /// The kernel's answer: exit code 1.
    #[error(transparent)]
    Kernel(#[from] dlmp_netlink::Error),
    /// The connection to the daemon broke: exit code 1.
    #[error("the connection to dlmpd failed: {0}")]
    Connection(#[from] zlink::Error),
    /// Output could not be written: exit code 1.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// 2 for usage, 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}
