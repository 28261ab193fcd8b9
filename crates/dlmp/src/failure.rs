//! Why a command ends without success, and the exit code that says so.

use std::fmt;
use std::io;

/// Why a command ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// The request was refused, or something failed: exit code 1. The text tells what and why, and
    /// on a line of its own the next command to type.
    Request(String),
    /// The output could not be written: exit code 1, or 0 when its reader simply went away.
    Output(io::Error),
}

impl Failure {
    /// A refusal or failure, with the next command to type.
    pub fn request(reason: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::Request(format!("{reason}\n  try: {remedy}"))
    }

    /// The exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Request(_) | Self::Output(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Request(text) => f.write_str(text),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl From<dlmp_api::Error> for Failure {
    fn from(error: dlmp_api::Error) -> Self {
        Self::Request(error.to_string())
    }
}

impl From<dlmp_netlink::Error> for Failure {
    fn from(error: dlmp_netlink::Error) -> Self {
        Self::Request(error.to_string())
    }
}

impl From<io::Error> for Failure {
    /// Only writing the output is left to `?`: other failures of the system are told with what was
    /// tried.
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
