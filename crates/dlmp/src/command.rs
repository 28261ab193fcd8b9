//! What a command is: the arguments that it takes, and what it does with them.

use std::future::Future;

use clap::Args;

use crate::failure::Result;

/// A command: what it is to be given and what it does. Its help is its documentation comment.
pub trait Run: Args {
    /// Carries the command out.
    fn run(self) -> impl Future<Output = Result<()>>;
}
