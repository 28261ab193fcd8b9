//! The one command of dlmp, called `dlmp` or by the names that Solaris users know.

mod address;
mod aggr;
mod commands;
mod daemon;
mod failure;
mod inventory;
mod ip;
mod link;
mod objects;
mod output;
mod stat;
mod sys;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use commands::Name;
use failure::Failure;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = Name::called(&arguments.next().unwrap_or_default());
    let arguments: Vec<OsString> = arguments.map(with_hyphen).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    let result = commands::run(name, &arguments, &mut out);
    // What was found out is shown also when something else failed.
    let flushed = out.flush().map_err(Failure::Output);
    match result.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.code();
            if code != 0 {
                // Nothing is left to do when standard error is closed.
                let _ = writeln!(io::stderr(), "{}: {failure}", commands::prefix(name, &arguments));
            }
            ExitCode::from(code)
        }
    }
}

/// Takes a leading en dash for the hyphen that a word processor made it from.
fn with_hyphen(argument: OsString) -> OsString {
    match argument.to_str().and_then(|text| text.strip_prefix('\u{2013}')) {
        Some(rest) => format!("-{rest}").into(),
        None => argument,
    }
}
