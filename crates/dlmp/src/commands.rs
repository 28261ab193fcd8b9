//! The one flat table of commands, and which part of it each name of the program shows.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;

use clap::{ArgMatches, Args, Command};

use crate::failure::Failure;
use crate::{address, aggr, ip, link, stat};

/// A command: its options, and what it does.
pub trait Run: Args {
    /// Carries the command out; what it shows goes to `out`.
    ///
    /// # Errors
    /// Why it ends without success.
    async fn run(self, out: &mut dyn Write) -> Result<(), Failure>;
}

/// A name that the program is called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// Everything.
    Dlmp,
    /// Data links.
    Dladm,
    /// Their traffic.
    Dlstat,
    /// IP interfaces and addresses.
    Ipadm,
    /// Domains and virtual networks.
    Ldm,
}

/// One row of the table.
struct Entry {
    /// The name that shows it, beside `dlmp`.
    of: Name,
    /// What it is called there.
    name: &'static str,
    /// What `dlmp` calls it, where another row has the name already.
    flat: &'static str,
    options: fn(Command) -> Command,
    run: for<'a> fn(&ArgMatches, &'a mut dyn Write) -> Running<'a>,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

const TABLE: &[Entry] = &[
    entry::<aggr::Create>(Name::Dladm, "create-aggr"),
    entry::<aggr::Delete>(Name::Dladm, "delete-aggr"),
    entry::<aggr::Add>(Name::Dladm, "add-aggr"),
    entry::<aggr::Remove>(Name::Dladm, "remove-aggr"),
    entry::<aggr::Show>(Name::Dladm, "show-aggr"),
    entry::<link::Show>(Name::Dladm, "show-link"),
    entry::<link::ShowPhysical>(Name::Dladm, "show-phys"),
    entry::<stat::ShowLink>(Name::Dlstat, "show-link").flat("show-link-stats"),
    entry::<stat::ShowAggr>(Name::Dlstat, "show-aggr").flat("show-aggr-stats"),
    entry::<ip::Create>(Name::Ipadm, "create-ip"),
    entry::<ip::Delete>(Name::Ipadm, "delete-ip"),
    entry::<ip::Show>(Name::Ipadm, "show-if"),
    entry::<address::Create>(Name::Ipadm, "create-addr"),
    entry::<address::Delete>(Name::Ipadm, "delete-addr"),
    entry::<address::Show>(Name::Ipadm, "show-addr"),
];

const fn entry<C: Run + 'static>(of: Name, name: &'static str) -> Entry {
    Entry { of, name, flat: name, options: C::augment_args, run: start::<C> }
}

impl Entry {
    const fn flat(mut self, name: &'static str) -> Self {
        self.flat = name;
        self
    }
}

impl Name {
    /// The name in the first argument of the process; `dlmp` if it is none of ours.
    pub fn called(argument: &OsStr) -> Self {
        let called = Path::new(argument).file_name();
        [Self::Dladm, Self::Dlstat, Self::Ipadm, Self::Ldm]
            .into_iter()
            .find(|name| called == Some(OsStr::new(name.as_str())))
            .unwrap_or(Self::Dlmp)
    }

    /// As typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dlmp => "dlmp",
            Self::Dladm => "dladm",
            Self::Dlstat => "dlstat",
            Self::Ipadm => "ipadm",
            Self::Ldm => "ldm",
        }
    }

    const fn about(self) -> &'static str {
        match self {
            Self::Dlmp => "Datalink multipathing: links that stay up when a NIC, cable or switch dies",
            Self::Dladm => "Administer data links; without a command: show-link",
            Self::Dlstat => "Show the traffic of data links; without a command: show-link",
            Self::Ipadm => "Administer IP interfaces and addresses; without a command: show them all",
            Self::Ldm => "Administer domains and their virtual networks",
        }
    }
}

/// The commands that a name shows, as that name calls them.
fn of(name: Name) -> impl Iterator<Item = (&'static str, &'static Entry)> {
    TABLE.iter().filter_map(move |entry| match name {
        Name::Dlmp => Some((entry.flat, entry)),
        _ if entry.of == name => Some((entry.name, entry)),
        _ => None,
    })
}

/// Parses the arguments and carries the command out.
///
/// # Errors
/// Why it ends without success.
pub fn run(name: Name, arguments: &[OsString], out: &mut dyn Write) -> Result<(), Failure> {
    if name == Name::Ldm {
        return Err(Failure::Usage("there are no commands for domains and virtual networks yet".into()));
    }
    let matches = match parser(name).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        // Help and version are no failures and go to standard output.
        Err(answer) if !answer.use_stderr() => return Ok(write!(out, "{answer}")?),
        Err(error) => return Err(Failure::Usage(explain(&error))),
    };
    let command: Running<'_> = match (name, matches.subcommand()) {
        (_, Some((given, options))) => {
            let known = of(name).find(|(known, _)| *known == given);
            let (_, entry) = known.ok_or_else(|| Failure::Usage(format!("there is no command {given}")))?;
            (entry.run)(options, out)
        }
        (Name::Dlstat, None) => Box::pin(stat::ShowLink::default().run(out)),
        (Name::Ipadm, None) => Box::pin(ip::overview(out)),
        (_, None) => Box::pin(link::Show::default().run(out)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Request(format!("cannot wait for events: {error}")))?;
    runtime.block_on(command)
}

/// What error messages of a command line start with: the program, and the command if it is known.
pub fn prefix(name: Name, arguments: &[OsString]) -> String {
    let given = arguments.first().and_then(|first| first.to_str());
    match of(name).find(|(known, _)| Some(*known) == given) {
        Some((known, _)) => format!("{}: {known}", name.as_str()),
        None => name.as_str().into(),
    }
}

fn parser(name: Name) -> Command {
    let commands = of(name).map(|(known, entry)| (entry.options)(Command::new(known)));
    Command::new(name.as_str())
        .about(name.about())
        .version(env!("CARGO_PKG_VERSION"))
        .no_binary_name(true)
        .disable_help_subcommand(true)
        .subcommand_required(name == Name::Dlmp)
        .subcommands(commands)
}

fn start<'a, C: Run + 'static>(matches: &ArgMatches, out: &'a mut dyn Write) -> Running<'a> {
    let command = C::from_arg_matches(matches).map_err(|error| Failure::Usage(explain(&error)));
    Box::pin(async move { command?.run(out).await })
}

/// The parser's message without its own prefix.
fn explain(error: &clap::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("error: ").unwrap_or(&text).trim_end().into()
}
