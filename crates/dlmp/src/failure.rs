//! How a command ends when it does not succeed, and the exit code for each way.

use std::fmt;
use std::io;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command line was not understood; exit code 2.
    Usage(String),
    /// The request was refused or failed; exit code 1.
    Refused(String),
    /// Nobody reads the output any more (`| head`): no error, nothing is left to say.
    Closed,
}

/// The result of a command or a part of it.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A refusal with its reason and the next command to type.
    pub fn refused(reason: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::Refused(format!("{reason}\n  try: {remedy}"))
    }

    /// The exit code of the program.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Refused(_) => 1,
            Self::Closed => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Refused(text) => f.write_str(text),
            Self::Closed => Ok(()),
        }
    }
}

impl From<dlmp_api::Error> for Failure {
    fn from(error: dlmp_api::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<dlmp_api::ldm::Error> for Failure {
    fn from(error: dlmp_api::ldm::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<dlmp_netlink::Error> for Failure {
    fn from(error: dlmp_netlink::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Refused(error.to_string()),
        }
    }
}
