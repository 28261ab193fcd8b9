//! What can go wrong, with what was tried.

use std::io;

/// A request that the kernel refused or that could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct Error {
    what: String,
    source: io::Error,
}

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What was tried, and what the system said.
    pub fn new(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { what: what.into(), source: source.into() }
    }

    /// The error number that the kernel answered with, if it did.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// Turns the crate's error into one that says what was tried.
pub(crate) fn explain(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |error| Error::new(what, io_error(error))
}

fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// Accepts one particular refusal as success: the state asked for is there already.
pub(crate) fn tolerate(result: Result<()>, errno: i32) -> Result<()> {
    match result {
        Err(error) if error.errno() == Some(errno) => Ok(()),
        other => other,
    }
}
