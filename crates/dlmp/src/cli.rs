//! The table of commands: their names, options and who shows which part of it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Args, Subcommand};

/// The whole table, as `dlmp` shows it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Those of `dladm`.
    #[command(flatten)]
    Dladm(Dladm),
    /// Those of `ipadm`.
    #[command(flatten)]
    Ipadm(Ipadm),
    /// Show the traffic of data links (dlstat show-link)
    StatLink(Stat),
    /// Show the traffic of aggregations by port (dlstat show-aggr)
    StatAggr(Stat),
}

/// The part that `dladm` shows.
#[derive(Debug, Subcommand)]
pub enum Dladm {
    /// Make an aggregation of links
    CreateAggr(CreateAggr),
    /// Delete an aggregation; its ports become ordinary links again
    DeleteAggr(DeleteAggr),
    /// Add ports to an aggregation
    AddAggr(AddAggr),
    /// Remove ports from an aggregation
    RemoveAggr(RemoveAggr),
    /// Show aggregations, with -x their ports
    ShowAggr(ShowAggr),
    /// Show data links
    ShowLink(ShowOne),
    /// Show devices
    ShowPhys(ShowOne),
}

/// The part that `ipadm` shows.
#[derive(Debug, Subcommand)]
pub enum Ipadm {
    /// Make an IP interface on a link
    CreateIp(CreateIp),
    /// Delete an IP interface with its addresses
    DeleteIp(DeleteIp),
    /// Give an interface an address
    CreateAddr(CreateAddr),
    /// Take an address off an interface
    DeleteAddr(DeleteAddr),
    /// Show addresses
    ShowAddr(ShowOne),
    /// Show IP interfaces
    ShowIf(ShowOne),
    /// Show IP interfaces with their addresses, as a bare ipadm does
    ShowIp(ShowIp),
}

/// The part that `dlstat` shows, under names of its own.
#[derive(Debug, Subcommand)]
enum Dlstat {
    /// Show the traffic of data links
    ShowLink(Stat),
    /// Show the traffic of aggregations by port
    ShowAggr(Stat),
}

/// The part that `ldm` shows: nothing yet.
#[derive(Debug, Subcommand)]
enum Ldm {}

/// How a table is put out.
#[derive(Debug, Clone, Default, Args)]
pub struct Output {
    /// Parseable: fields with colons between them, no header; needs -o
    #[arg(short = 'p', requires = "fields", conflicts_with = "json")]
    pub parseable: bool,
    /// Fields to show, in this order, or "all"
    #[arg(short = 'o', value_name = "FIELD,...", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// JSON
    #[arg(short = 'j', conflicts_with = "fields")]
    pub json: bool,
}

/// Options of `create-aggr`.
#[derive(Debug, Args)]
pub struct CreateAggr {
    /// Only until the next boot
    #[arg(short = 't')]
    pub temporary: bool,
    /// Accept ports of different speed, or that cannot report their link state
    #[arg(short = 'f')]
    pub force: bool,
    /// Mode: dlmp, which is also the default
    #[arg(short = 'm', value_name = "MODE", default_value = "dlmp")]
    pub mode: String,
    /// MAC address; random when not given
    #[arg(short = 'u', value_name = "ADDRESS")]
    pub mac: Option<String>,
    /// Policy of trunk mode: refused
    #[arg(short = 'P', hide = true)]
    pub policy: Option<String>,
    /// LACP of trunk mode: refused
    #[arg(short = 'L', hide = true)]
    pub lacp: Option<String>,
    /// LACP timer of trunk mode: refused
    #[arg(short = 'T', hide = true)]
    pub timer: Option<String>,
    /// A port; repeat for each
    #[arg(short = 'l', value_name = "LINK", required = true)]
    pub links: Vec<String>,
    /// Name of the aggregation
    pub name: String,
}

/// Options of `delete-aggr`.
#[derive(Debug, Args)]
pub struct DeleteAggr {
    /// Only until the next boot
    #[arg(short = 't')]
    pub temporary: bool,
    /// The aggregation
    pub name: String,
}

/// Options of `add-aggr`.
#[derive(Debug, Args)]
pub struct AddAggr {
    /// Only until the next boot
    #[arg(short = 't')]
    pub temporary: bool,
    /// Accept ports of different speed, or that cannot report their link state
    #[arg(short = 'f')]
    pub force: bool,
    /// A port; repeat for each
    #[arg(short = 'l', value_name = "LINK", required = true)]
    pub links: Vec<String>,
    /// The aggregation
    pub name: String,
}

/// Options of `remove-aggr`.
#[derive(Debug, Args)]
pub struct RemoveAggr {
    /// Only until the next boot
    #[arg(short = 't')]
    pub temporary: bool,
    /// A port; repeat for each
    #[arg(short = 'l', value_name = "LINK", required = true)]
    pub links: Vec<String>,
    /// The aggregation
    pub name: String,
}

/// Options of `show-aggr`.
#[derive(Debug, Args)]
pub struct ShowAggr {
    /// Extended: with a row for each port
    #[arg(short = 'x')]
    pub extended: bool,
    /// How to put it out.
    #[command(flatten)]
    pub output: Output,
    /// Only this aggregation
    pub name: Option<String>,
}

/// Options of the commands that show one thing or all.
#[derive(Debug, Args)]
pub struct ShowOne {
    /// How to put it out.
    #[command(flatten)]
    pub output: Output,
    /// Only this one
    pub name: Option<String>,
}

/// Options of the commands that show traffic.
#[derive(Debug, Args)]
pub struct Stat {
    /// Also count what each rule of the datapath did (JSON always does)
    #[arg(short = 'v')]
    pub verbose: bool,
    /// Show the traffic of each interval of this many seconds, until interrupted
    #[arg(short = 'i', value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub interval: Option<u64>,
    /// How to put it out.
    #[command(flatten)]
    pub output: Output,
    /// Only this link
    pub name: Option<String>,
    /// End after this many intervals
    #[arg(requires = "interval")]
    pub count: Option<u64>,
}

/// Options of `create-ip`.
#[derive(Debug, Args)]
pub struct CreateIp {
    /// Only until the next boot
    #[arg(short = 't')]
    pub temporary: bool,
    /// The interface: the name of its link
    pub name: String,
}

/// Options of `show-ip`.
#[derive(Debug, Args)]
pub struct ShowIp {
    /// How to put it out.
    #[command(flatten)]
    pub output: Output,
}

/// Options of `delete-ip`.
#[derive(Debug, Args)]
pub struct DeleteIp {
    /// The interface
    pub name: String,
}

/// Options of `create-addr`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct CreateAddr {
    /// Only until the next boot
    #[arg(short = 't')]
    pub temporary: bool,
    /// Kind of address: static (the default with -a) or dhcp
    #[arg(short = 'T', value_name = "KIND")]
    pub kind: Option<String>,
    /// Keep the address down: shown, but not on the interface (static)
    #[arg(short = 'd')]
    pub down: bool,
    /// The address: [local=]ADDRESS[/PREFIX] (static)
    #[arg(short = 'a', value_name = "ADDRESS")]
    pub address: Option<String>,
    /// How long to wait for a lease: seconds or "forever" (dhcp)
    #[arg(short = 'w', value_name = "SECONDS")]
    pub wait: Option<String>,
    /// Host name to ask for (dhcp)
    #[arg(short = 'h', value_name = "HOSTNAME")]
    pub hostname: Option<String>,
    /// Print help
    #[arg(long = "help", action = clap::ArgAction::Help)]
    pub help: Option<bool>,
    /// Address object INTERFACE/NAME, or an interface: then the name is chosen and printed
    pub object: String,
}

/// Options of `delete-addr`.
#[derive(Debug, Args)]
pub struct DeleteAddr {
    /// Release the lease: tell the DHCP server that the address is free
    #[arg(short = 'r')]
    pub release: bool,
    /// The address object
    pub object: String,
}

/// What was typed.
#[derive(Debug)]
pub struct Invocation {
    /// The name that the program was called by.
    pub called: String,
    /// The name of the command, as typed.
    pub subcommand: String,
    /// The command.
    pub command: Command,
}

impl Invocation {
    /// Reads the words of a command line. A leading en dash counts as a hyphen: published transcripts
    /// have it where a word processor put it.
    ///
    /// # Errors
    /// They are no command; clap's error ends the program with exit code 2 (0 for help).
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut words = words.into_iter().map(hyphenate);
        let program = words.next().unwrap_or_else(|| "dlmp".into());
        let called = Path::new(&program).file_name().and_then(OsStr::to_str).unwrap_or("dlmp").to_owned();
        let mut words: Vec<OsString> = words.collect();
        let bare = match called.as_str() {
            "dladm" | "dlstat" => "show-link",
            "ipadm" => "show-ip",
            _ => "",
        };
        if words.is_empty() && !bare.is_empty() {
            words.push(bare.into());
        }
        let (subcommand, command) = match called.as_str() {
            "dladm" => {
                let (typed, command) = read::<Dladm>("dladm", "Administers data links and their aggregations", words)?;
                (typed, Command::Dladm(command))
            }
            "ipadm" => {
                let (typed, command) = read::<Ipadm>("ipadm", "Administers IP interfaces and addresses", words)?;
                (typed, Command::Ipadm(command))
            }
            "dlstat" => match read("dlstat", "Shows the traffic of data links", words)? {
                (typed, Dlstat::ShowLink(stat)) => (typed, Command::StatLink(stat)),
                (typed, Dlstat::ShowAggr(stat)) => (typed, Command::StatAggr(stat)),
            },
            "ldm" => {
                let about = "Administers virtual networks; none of its commands exists yet";
                match read::<Ldm>("ldm", about, words)?.1 {}
            }
            _ => read::<Command>("dlmp", "Datalink multipathing: several links become one that stays up", words)?,
        };
        Ok(Self { called, subcommand, command })
    }
}

/// Reads words as one of the commands of `C`; also returns the command's name as typed.
fn read<C: Subcommand>(
    name: &'static str,
    about: &'static str,
    words: Vec<OsString>,
) -> Result<(String, C), clap::Error> {
    let parser = clap::Command::new(name)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .no_binary_name(true)
        .subcommand_required(true)
        .arg_required_else_help(true);
    let mut parser = C::augment_subcommands(parser);
    let matches = parser.try_get_matches_from_mut(words)?;
    let command = C::from_arg_matches(&matches).map_err(|error| error.format(&mut parser))?;
    Ok((matches.subcommand_name().unwrap_or_default().to_owned(), command))
}

fn hyphenate(word: OsString) -> OsString {
    match word.to_str().and_then(|text| text.strip_prefix('\u{2013}')) {
        Some(rest) => format!("-{rest}").into(),
        None => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, clap::Error> {
        Invocation::parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_lines_of_the_published_transcript_are_commands_word_for_word() {
        for line in [
            "dladm show-phys",
            "dladm create-aggr -m dlmp -l net0 -l net1 aggr0",
            "ipadm create-ip aggr0",
            "ipadm create-addr \u{2013}T dhcp aggr0/v4",
            "dladm show-aggr aggr0",
            "dladm show-aggr \u{2013}x",
            "ipadm",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn every_name_shows_its_own_part_and_dlmp_the_whole() {
        assert!(parse("dladm create-ip aggr0").is_err());
        assert!(parse("ipadm show-aggr").is_err());
        assert!(parse("dlmp create-ip aggr0").is_ok());
        assert!(matches!(parse("/usr/bin/dlstat show-aggr").unwrap().command, Command::StatAggr(_)));
        assert!(matches!(parse("dlmp show-aggr").unwrap().command, Command::Dladm(Dladm::ShowAggr(_))));
        assert!(matches!(parse("dlmp stat-aggr").unwrap().command, Command::StatAggr(_)));
        assert!(parse("ldm list").is_err());
    }

    #[test]
    fn words_that_are_no_command_end_with_usage() {
        for line in [
            "dladm nonsense",
            "dladm create-aggr",
            "dladm create-aggr aggr0",
            "dladm create-aggr -l",
            "dladm show-aggr -p",
            "dladm show-aggr -j -o link",
            "dladm show-aggr a b",
            "dlstat show-link -i 0",
            "dlstat show-link -i soon",
            "ipadm create-addr",
            "ipadm delete-ip",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
