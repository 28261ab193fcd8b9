//! `ipadm create-addr`, `delete-addr` and `show-addr`.

use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use dlmp_api::NewAddress;
use dlmp_api::client::{Connection, Dlmpd};
use tokio::time::{Instant, sleep};

use crate::commands::Run;
use crate::daemon::{self, answer};
use crate::failure::Failure;
use crate::objects::{self, Object};
use crate::output::{Cell, Column, Format, Printer};

/// How long to wait for a lease unless told otherwise, as in Solaris.
const WAIT: Wait = Wait::Seconds(120);
/// How often to look whether it is there.
const LEASE_POLL: Duration = Duration::from_millis(50);

/// Create an address, fixed or from a DHCP server
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Create {
    /// Temporary: do not keep it beyond the next boot
    #[arg(short)]
    temporary: bool,
    /// Type; static is the default when -a is given
    #[arg(short = 'T', value_name = "type")]
    kind: Option<Kind>,
    /// Static: down, which is kept but not on the interface
    #[arg(short)]
    down: bool,
    /// Static: the address; without prefix length that of its class, or 64 for IPv6
    #[arg(short, value_name = "[local=]address[/length]")]
    address: Option<String>,
    /// DHCP: how long to wait for a lease [default: 120]
    #[arg(short, value_name = "seconds|forever")]
    wait: Option<Wait>,
    /// DHCP: the host name to ask for
    #[arg(short = 'h', value_name = "hostname")]
    hostname: Option<String>,
    /// Name of the object (aggr0/v4), or an interface (aggr0): then a name is chosen and printed
    #[arg(value_name = "addrobj|interface")]
    object: String,
    // The short form is taken by the host name, as in Solaris.
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Static,
    Dhcp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Seconds(u32),
    Forever,
}

impl FromStr for Wait {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        text.parse().map(Self::Seconds).map_err(|_| "a number of seconds, or forever")
    }
}

impl Run for Create {
    async fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        let wait = self.wait.unwrap_or(WAIT);
        let chosen = !self.object.contains('/');
        let request = self.request()?;
        let mut daemon = daemon::started().await?;
        let object = answer(daemon.create_address(&request).await)?.object;
        if chosen {
            writeln!(out, "{object}")?;
        }
        if request.kind == "dhcp" {
            leased(&mut daemon, &object, wait).await?;
        }
        Ok(())
    }
}

impl Create {
    fn request(self) -> Result<NewAddress, Failure> {
        let usage = |text: &str| Err(Failure::Usage(text.into()));
        let kind = match (self.kind, &self.address) {
            (Some(kind), _) => kind,
            (None, Some(_)) => Kind::Static,
            (None, None) => return usage("either -a with a static address or -T dhcp is needed"),
        };
        let address = match (kind, self.address.as_deref()) {
            (Kind::Static, Some(text)) => Some(local(text)?),
            (Kind::Static, None) => return usage("-T static needs the address: -a address[/length]"),
            (Kind::Dhcp, None) => None,
            (Kind::Dhcp, Some(_)) => return usage("-a gives a static address: it cannot be used with -T dhcp"),
        };
        match kind {
            Kind::Static if self.wait.is_some() || self.hostname.is_some() => {
                return usage("-w and -h belong to -T dhcp");
            }
            Kind::Dhcp if self.down => return usage("-d belongs to -T static"),
            Kind::Static | Kind::Dhcp => {}
        }
        Ok(NewAddress {
            object: self.object,
            kind: match kind {
                Kind::Static => "static".into(),
                Kind::Dhcp => "dhcp".into(),
            },
            address,
            hostname: self.hostname,
            down: self.down,
            temporary: self.temporary,
        })
    }
}

/// The address of this end. Links with a remote end (tunnels) are none of ours.
fn local(text: &str) -> Result<String, Failure> {
    if text.split(',').any(|part| part.starts_with("remote=")) {
        return Err(Failure::Usage("-a remote=: addresses of point-to-point links are not made here".into()));
    }
    Ok(text.strip_prefix("local=").unwrap_or(text).into())
}

/// Waits until DHCP has given the object an address.
async fn leased(daemon: &mut Connection, object: &str, wait: Wait) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let addresses = answer(daemon.list_addresses().await)?.addresses;
        let Some(address) = addresses.into_iter().find(|address| address.object == object) else {
            return Err(Failure::Request(format!("{object} was deleted while it waited for a lease")));
        };
        if address.state == "ok" {
            return Ok(());
        }
        if let Wait::Seconds(seconds) = wait
            && start.elapsed() >= Duration::from_secs(seconds.into())
        {
            let problem = address.problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
            return Err(Failure::request(
                format!("no lease for {object} in {seconds} s{problem}; the client goes on asking in the background"),
                format!("ipadm show-addr {object}"),
            ));
        }
        sleep(LEASE_POLL).await;
    }
}

/// Delete an address
#[derive(Debug, Args)]
pub struct Delete {
    /// Release: tell the DHCP server that the address is free
    #[arg(short)]
    release: bool,
    /// Name of the object
    #[arg(value_name = "addrobj")]
    object: String,
}

impl Run for Delete {
    async fn run(self, _: &mut dyn Write) -> Result<(), Failure> {
        answer(daemon::running()?.delete_address(&self.object, self.release).await)
    }
}

/// Show addresses
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    format: Format,
    /// Only this object, or those of this interface
    #[arg(value_name = "addrobj|interface")]
    name: Option<String>,
}

const ADDRESS: &[Column<Object>] = &[
    Column::new("ADDROBJ", 16, |object| Cell::text(&object.name)),
    Column::new("TYPE", 9, |object| Cell::text(&object.kind)),
    Column::new("STATE", 12, |object| Cell::text(&object.state)),
    Column::new("ADDR", 4, |object| Cell::optional(object.address.as_ref())),
    Column::extra("LEASE", 7, |object| object.lease.map_or_else(Cell::absent, Cell::number)),
    Column::extra("PROBLEM", 7, |object| Cell::optional(object.problem.as_ref())),
    Column::extra("TEMPORARY", 9, |object| Cell::yes_no(object.temporary)),
];

impl Run for Show {
    async fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.format, ADDRESS)?;
        let (interfaces, complete) = objects::read().await?;
        let Some(name) = &self.name else {
            let all: Vec<Object> = interfaces.into_iter().flat_map(|interface| interface.objects).collect();
            printer.print(&all, out)?;
            return complete;
        };
        let (interface, object) = name.split_once('/').unwrap_or((name, ""));
        let found = interfaces.into_iter().find(|found| found.name == interface);
        let mut objects = found.map(|found| found.objects);
        if let Some(objects) = objects.as_mut().filter(|_| !object.is_empty()) {
            objects.retain(|one| one.name == *name);
        }
        match objects {
            Some(objects) if object.is_empty() || !objects.is_empty() => {
                printer.print(&objects, out)?;
                complete
            }
            _ => complete.and(Err(Failure::request(
                format!("there is no address object or IP interface {name}"),
                "ipadm show-addr",
            ))),
        }
    }
}
