//! The table of commands, and running the one that was typed.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

use crate::command::Run;
use crate::dladm::{aggr, link, multicast, property, vnic};
use crate::failure::{Failure, Result};
use crate::ipadm::{change, show};
use crate::ldm::{attach, domain, list, manager, netdev, switch, vnet};
use crate::{discover, dlstat, monitor};

/// The names that the program is called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Every command.
    Dlmp,
    /// Links and aggregations.
    Dladm,
    /// Traffic counters.
    Dlstat,
    /// IP interfaces and addresses.
    Ipadm,
    /// Virtual networks.
    Ldm,
}

struct Entry {
    program: Program,
    /// As typed behind the program's own name.
    name: &'static str,
    /// As typed behind `dlmp`. It differs where two programs use one name.
    flat: &'static str,
    /// Its other names.
    aliases: &'static [&'static str],
    arguments: fn(Command) -> Command,
    run: fn(&ArgMatches) -> Result<()>,
}

const TABLE: [Entry; 41] = [
    Entry::new::<aggr::Create>(Program::Dladm, "create-aggr"),
    Entry::new::<aggr::Delete>(Program::Dladm, "delete-aggr"),
    Entry::new::<aggr::Add>(Program::Dladm, "add-aggr"),
    Entry::new::<aggr::Remove>(Program::Dladm, "remove-aggr"),
    Entry::new::<aggr::Modify>(Program::Dladm, "modify-aggr"),
    Entry::new::<aggr::Show>(Program::Dladm, "show-aggr"),
    Entry::new::<vnic::Create>(Program::Dladm, "create-vnic"),
    Entry::new::<vnic::Delete>(Program::Dladm, "delete-vnic"),
    Entry::new::<vnic::Show>(Program::Dladm, "show-vnic"),
    Entry::new::<multicast::Show>(Program::Dladm, "show-mcast"),
    Entry::new::<property::Set>(Program::Dladm, "set-linkprop"),
    Entry::new::<property::Reset>(Program::Dladm, "reset-linkprop"),
    Entry::new::<property::Show>(Program::Dladm, "show-linkprop"),
    Entry::new::<link::ShowLink>(Program::Dladm, "show-link"),
    Entry::new::<link::ShowPhys>(Program::Dladm, "show-phys"),
    Entry::new::<dlstat::link::ShowLink>(Program::Dlstat, "show-link").flat("stat-link"),
    Entry::new::<dlstat::aggr::ShowAggr>(Program::Dlstat, "show-aggr").flat("stat-aggr"),
    Entry::new::<change::CreateIp>(Program::Ipadm, "create-ip"),
    Entry::new::<change::DeleteIp>(Program::Ipadm, "delete-ip"),
    Entry::new::<change::CreateAddr>(Program::Ipadm, "create-addr"),
    Entry::new::<change::DeleteAddr>(Program::Ipadm, "delete-addr"),
    Entry::new::<show::ShowAddr>(Program::Ipadm, "show-addr"),
    Entry::new::<show::ShowIf>(Program::Ipadm, "show-if"),
    Entry::new::<show::ShowAll>(Program::Ipadm, "show-ip"),
    Entry::new::<domain::Add>(Program::Ldm, "add-domain").aliases(&["add-dom"]),
    Entry::new::<domain::Remove>(Program::Ldm, "remove-domain").aliases(&["remove-dom", "rm-domain", "rm-dom"]),
    Entry::new::<domain::Stop>(Program::Ldm, "stop-domain").aliases(&["stop-dom", "stop"]),
    Entry::new::<domain::Start>(Program::Ldm, "start-domain").aliases(&["start-dom", "start"]),
    Entry::new::<list::List>(Program::Ldm, "list-domain").aliases(&["list-dom", "ls-domain", "ls-dom", "list", "ls"]),
    Entry::new::<switch::Add>(Program::Ldm, "add-vsw").aliases(&["add-vswitch"]),
    Entry::new::<switch::Set>(Program::Ldm, "set-vsw").aliases(&["set-vswitch"]),
    Entry::new::<switch::Remove>(Program::Ldm, "rm-vsw").aliases(&["remove-vsw", "rm-vswitch", "remove-vswitch"]),
    Entry::new::<switch::List>(Program::Ldm, "list-services").aliases(&["ls-services"]),
    Entry::new::<vnet::Add>(Program::Ldm, "add-vnet"),
    Entry::new::<vnet::Set>(Program::Ldm, "set-vnet"),
    Entry::new::<vnet::Remove>(Program::Ldm, "rm-vnet").aliases(&["remove-vnet"]),
    Entry::new::<attach::Attach>(Program::Ldm, "attach-vnet"),
    Entry::new::<netdev::List>(Program::Ldm, "list-netdev").aliases(&["ls-netdev"]),
    Entry::new::<manager::List>(Program::Ldm, "list-manager"),
    Entry::new::<monitor::Monitor>(Program::Dlmp, "monitor"),
    Entry::new::<discover::Discover>(Program::Dlmp, "discover"),
];

impl Program {
    /// The program of this name; every other name is `dlmp`.
    pub fn called(name: &str) -> Self {
        match name {
            "dladm" => Self::Dladm,
            "dlstat" => Self::Dlstat,
            "ipadm" => Self::Ipadm,
            "ldm" => Self::Ldm,
            _ => Self::Dlmp,
        }
    }

    const fn name(self) -> &'static str {
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
            Self::Dlmp => "Datalink multipathing for Linux",
            Self::Dladm => "Links and aggregations (without a command: show-link)",
            Self::Dlstat => "Traffic of links and aggregations (without a command: show-link)",
            Self::Ipadm => "IP interfaces and addresses (without a command: show-ip)",
            Self::Ldm => "Virtual networks",
        }
    }

    /// What the bare name means, as in Solaris.
    const fn bare(self) -> Option<&'static str> {
        match self {
            Self::Dladm | Self::Dlstat => Some("show-link"),
            Self::Ipadm => Some("show-ip"),
            Self::Dlmp | Self::Ldm => None,
        }
    }

    /// The other names of an entry. Those that do not name their object (`ldm list`) say too little behind `dlmp`.
    fn aliases(self, entry: &Entry) -> impl Iterator<Item = &'static str> {
        entry.aliases.iter().copied().filter(move |alias| self == entry.program || alias.contains('-'))
    }

    /// Its part of the table, each entry with its name there.
    fn entries(self) -> impl Iterator<Item = (&'static str, &'static Entry)> {
        TABLE
            .iter()
            .filter(move |entry| self == Self::Dlmp || self == entry.program)
            .map(move |entry| (if self == Self::Dlmp { entry.flat } else { entry.name }, entry))
    }
}

impl Entry {
    const fn new<R: Run>(program: Program, name: &'static str) -> Self {
        Self { program, name, flat: name, aliases: &[], arguments: R::augment_args, run: run_one::<R> }
    }

    const fn flat(mut self, flat: &'static str) -> Self {
        self.flat = flat;
        self
    }

    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }
}

/// Runs what was typed behind the program's name.
///
/// # Errors
/// The command line is not understood, or the command failed.
pub fn run(program: Program, arguments: &[OsString]) -> Result<()> {
    let typed = match program.bare() {
        Some(bare) if arguments.is_empty() => vec![bare.into()],
        _ => arguments.to_vec(),
    };
    let matches = match parser(program).try_get_matches_from(std::iter::once(program.name().into()).chain(typed)) {
        Ok(matches) => matches,
        // Help and version, which go to standard output, are "errors" here too.
        Err(error) if !error.use_stderr() => return Ok(error.print()?),
        Err(error) => return Err(usage(&error)),
    };
    let Some((typed, matches)) = matches.subcommand() else {
        return Err(Failure::Usage(format!("which command? See: {} --help", program.name())));
    };
    match program.entries().find(|(name, _)| *name == typed) {
        Some((_, entry)) => (entry.run)(matches),
        None => Err(Failure::Usage(format!("no command {typed}"))),
    }
}

/// What an error message starts with: the program's name, and the command's if it is one.
pub fn prefix(program: Program, arguments: &[OsString]) -> String {
    let typed = arguments.first().and_then(|first| first.to_str()).unwrap_or_default();
    let is_typed = |(name, entry): (&str, &Entry)| name == typed || program.aliases(entry).any(|alias| alias == typed);
    match program.entries().any(is_typed) {
        true => format!("{}: {typed}", program.name()),
        false => program.name().into(),
    }
}

fn parser(program: Program) -> Command {
    Command::new(program.name())
        .version(env!("CARGO_PKG_VERSION"))
        .about(program.about())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(program.entries().map(|(name, entry)| {
            (entry.arguments)(Command::new(name)).visible_aliases(program.aliases(entry).collect::<Vec<_>>())
        }))
}

fn run_one<R: Run>(matches: &ArgMatches) -> Result<()> {
    let command = R::from_arg_matches(matches).map_err(|error| usage(&error))?;
    // One thread: a command asks, waits and prints.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command.run())
}

/// The parser's message without the word in front, for which ours stands.
fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::Usage(format!("which command?\n\n{}", text.trim_end()));
    }
    Failure::Usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAMS: [Program; 5] = [Program::Dlmp, Program::Dladm, Program::Dlstat, Program::Ipadm, Program::Ldm];

    /// The command that a line is understood as, without running it.
    fn understood(line: &str) -> std::result::Result<String, clap::Error> {
        let mut words = line.split_whitespace();
        let program = Program::called(words.next().unwrap());
        let matches = parser(program).try_get_matches_from(std::iter::once(program.name()).chain(words))?;
        Ok(matches.subcommand_name().unwrap().to_owned())
    }

    #[test]
    fn the_table_is_sound_under_every_name() {
        for program in PROGRAMS {
            parser(program).debug_assert();
            if let Some(bare) = program.bare() {
                assert!(program.entries().any(|(name, _)| name == bare), "{program:?}");
            }
        }
    }

    #[test]
    fn the_lines_of_the_published_transcript_are_understood() {
        for (line, command) in [
            ("dladm show-phys net0", "show-phys"),
            ("dladm create-aggr -m dlmp -l net0 -l net1 aggr0", "create-aggr"),
            ("ipadm create-ip aggr0", "create-ip"),
            ("ipadm create-addr -T dhcp aggr0/v4", "create-addr"),
            ("ipadm create-addr -T addrconf aggr0/v6", "create-addr"),
            ("dladm show-aggr aggr0", "show-aggr"),
            ("dladm show-aggr -x", "show-aggr"),
            ("dladm show-aggr -nS", "show-aggr"),
            ("dlstat show-aggr -n -P t,i aggr1", "show-aggr"),
            ("dladm set-linkprop -p probe-fdt=15 aggr1", "set-linkprop"),
            ("ldm list-netdev ldg6", "list-netdev"),
            ("ldm list -o network ldg6", "list-domain"),
            ("dlmp monitor", "monitor"),
        ] {
            assert_eq!(understood(line).unwrap(), command, "{line}");
        }
    }

    #[test]
    fn commands_of_ldm_have_the_other_names_of_the_manual() {
        for (line, command) in [
            ("ldm add-dom --netns web ldg1", "add-domain"),
            ("ldm rm-domain ldg1", "remove-domain"),
            ("ldm stop ldg1", "stop-domain"),
            ("ldm start ldg1", "start-domain"),
            ("ldm ls -l -p ldg1", "list-domain"),
            ("ldm list-domain -o net -p ldg1", "list-domain"),
            ("dlmp list-dom -j", "list-domain"),
            ("ldm add-vswitch -q net-dev=net0 mtu=9000 vsw0 primary", "add-vsw"),
            ("ldm set-vswitch -q net-dev= vsw0", "set-vsw"),
            ("ldm remove-vsw -f vsw0", "rm-vsw"),
            ("ldm add-vnet linkprop=phys-state custom=enable vnet0 vsw0 ldg1", "add-vnet"),
            ("ldm set-vnet vid=2,3 vnet0 ldg1", "set-vnet"),
            ("dlmp remove-vnet vnet0 ldg1", "rm-vnet"),
            // As QEMU types it.
            ("ldm attach-vnet vnet0 ldg1 --use-vnet --fd=4 --br=br0", "attach-vnet"),
            ("ldm ls-services -p", "list-services"),
            ("ldm list-netdev -l -p ldg1", "list-netdev"),
            ("ldm ls-netdev -l -o name,mtu", "list-netdev"),
        ] {
            assert_eq!(understood(line).unwrap(), command, "{line}");
        }
        for line in ["dlmp list", "dlmp stop ldg1", "dladm list-domain"] {
            assert!(understood(line).is_err(), "{line}");
        }
    }

    #[test]
    fn commands_of_dlmp_alone_are_understood() {
        for (line, command) in [
            ("dlmp monitor -j aggr0", "monitor"),
            ("dlmp discover", "discover"),
            ("dlmp discover -j -t 60 -i net0 -i net1 --hops 32", "discover"),
        ] {
            assert_eq!(understood(line).unwrap(), command, "{line}");
        }
    }

    #[test]
    fn an_error_is_told_with_the_command_as_it_was_typed() {
        let told = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            prefix(Program::called(words[0].to_str().unwrap()), &words[1..])
        };
        assert_eq!(told("ldm ls -p"), "ldm: ls");
        assert_eq!(told("dlmp remove-vnet v d"), "dlmp: remove-vnet");
        assert_eq!(told("dlmp ls"), "dlmp");
    }

    #[test]
    fn every_name_has_its_own_part_and_dlmp_the_whole() {
        assert!(understood("dladm create-ip aggr0").is_err());
        assert!(understood("ipadm show-aggr").is_err());
        assert!(understood("dlstat create-aggr -l net0 aggr0").is_err());
        assert_eq!(understood("dlstat show-aggr -v").unwrap(), "show-aggr");
        assert_eq!(understood("dlmp stat-aggr -v").unwrap(), "stat-aggr");
        assert_eq!(Program::Dlmp.entries().count(), TABLE.len());
    }

    #[test]
    fn what_is_not_understood_is_a_usage_error() {
        for line in [
            "dladm nonsense",
            "dladm --nonsense",
            "dladm create-aggr",
            "dladm create-aggr aggr0",
            "dladm create-aggr -l",
            "dladm create-aggr -m lacp -l net0 aggr0",
            "dladm create-aggr -u 1:2:3 -l net0 aggr0",
            "dladm create-aggr -l net0 aggr0 aggr1",
            "dladm delete-aggr",
            "dladm add-aggr aggr0",
            "dladm remove-aggr -f -l net0 aggr0",
            "dladm show-aggr -p",
            "dladm show-aggr -p -j -o link",
            "dladm show-aggr a b",
            "dladm show-aggr -n",
            "dladm show-aggr -x -S",
            "dladm modify-aggr",
            "dladm set-linkprop aggr0",
            "dladm set-linkprop -p probe-fdt=1",
            "dladm show-linkprop -c",
            "dladm show-mcast a b",
            "dladm show-mcast -p",
            "dladm monitor",
            "dlstat show-aggr -P x",
            "dlstat show-link -i 0",
            "dlstat show-link -i soon",
            "dlstat show-link a b c",
            "ipadm create-ip",
            "ipadm create-addr",
            "ipadm create-addr -a nonsense aggr0",
            "ipadm create-addr -T dhcp -w soon aggr0",
            "ipadm delete-addr",
            "ldm",
            "ldm add-domain",
            "ldm add-domain --netns a --pid 1 ldg1",
            "ldm add-domain --pid 0 ldg1",
            "ldm add-domain --vm ldg1",
            "ldm add-vsw",
            "ldm set-vsw",
            "ldm rm-vsw a b",
            "ldm add-vnet",
            "ldm rm-vnet vnet0",
            "ldm list -o console",
            "ldm list -l -o network",
            "ldm list -p -j",
            "ldm list a b",
            "ldm list-services primary",
            "ldm list-netdev -p -o name",
            "ldm discover",
            "dlmp discover net0",
            "dlmp discover -t 0",
            "dlmp discover -t 61",
            "dlmp discover --hops 0",
            "dlmp discover --hops 33",
            "dlmp",
        ] {
            let error = understood(line).unwrap_err();
            assert!(error.use_stderr(), "{line}");
            assert_eq!(usage(&error).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn options_that_do_not_go_together_are_refused_before_anything_is_asked() {
        for (line, exit_code) in [
            ("create-addr aggr0", 2),
            ("create-addr -T static aggr0", 2),
            ("create-addr -T dhcp -a 192.0.2.1 aggr0", 2),
            ("create-addr -T dhcp -d aggr0", 2),
            ("create-addr -T addrconf -a fe80::1 aggr0", 2),
            ("create-addr -T addrconf -w 5 aggr0", 2),
            ("create-addr -T addrconf -d aggr0", 2),
            ("create-addr -a 192.0.2.1 -w 5 aggr0", 2),
            ("create-addr -a 192.0.2.1 -h host aggr0", 2),
            ("create-aggr -m trunk -l net0 aggr0", 1),
            ("create-aggr -P L4 -l net0 aggr0", 1),
            ("create-aggr -L active -l net0 aggr0", 1),
            ("create-aggr -T short -l net0 aggr0", 1),
            ("modify-aggr -m trunk aggr0", 1),
            ("modify-aggr -P L4 aggr0", 1),
            ("set-linkprop -p probe-ip aggr0", 2),
            ("add-vsw net-dev=net0 vsw0", 2),
            ("add-vsw net-dev vsw0 primary", 2),
            ("set-vsw vsw0", 2),
            ("set-vsw mtu=1500 mtu=9000 vsw0", 2),
            ("add-vnet custom=enable vnet0 vsw0", 2),
            ("add-vnet vnet0 vsw0 ldg1 custom=enable", 2),
            ("set-vnet vnet0 ldg1", 2),
            ("list-netdev -o colour", 2),
            ("discover -o colour", 2),
        ] {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            assert_eq!(run(Program::Dlmp, &words).unwrap_err().exit_code(), exit_code, "{line}");
        }
    }
}
