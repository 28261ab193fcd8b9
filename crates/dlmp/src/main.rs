//! `dlmp`: the one command. Called by the name `dladm`, `dlstat`, `ipadm` or `ldm` it shows that
//! name's part of the same table of commands.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 not understood.

mod cell;
mod command;
mod daemon;
mod discover;
mod dladm;
mod dlstat;
mod failure;
mod ipadm;
mod ldm;
mod links;
mod monitor;
mod names;
mod output;
mod sys;
mod table;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use failure::Failure;
use table::Program;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().map(hyphenated);
    let called = arguments.next().unwrap_or_default();
    let program = Program::called(&Path::new(&called).file_name().unwrap_or_default().to_string_lossy());
    let arguments: Vec<OsString> = arguments.collect();
    match table::run(program, &arguments) {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(failure) => {
            // With nobody reading standard error either, the exit code says what is left to say.
            let _ = writeln!(std::io::stderr(), "{}: {failure}", table::prefix(program, &arguments));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Documents print options with an en dash where a hyphen is meant: a leading one is taken as such.
fn hyphenated(argument: OsString) -> OsString {
    match argument.to_str().and_then(|text| text.strip_prefix('\u{2013}')) {
        Some(rest) => format!("-{rest}").into(),
        None => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_en_dash_is_a_hyphen() {
        assert_eq!(hyphenated("\u{2013}T".into()), "-T");
        assert_eq!(hyphenated("\u{2013}nS".into()), "-nS");
    }

    #[test]
    fn any_other_dash_is_left_alone() {
        for text in ["-T", "aggr\u{2013}0", "\u{2014}T", ""] {
            assert_eq!(hyphenated(text.into()), text);
        }
    }
}
