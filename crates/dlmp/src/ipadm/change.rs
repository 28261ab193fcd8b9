//! IP interfaces and addresses: making and deleting them.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use dlmp_api::client::{Connection, Dlmpd};
use dlmp_api::{Address, NewAddress};
use tokio::time::{Instant, sleep};

use crate::command::Run;
use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};

/// How often a DHCP address is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Create an IP interface on a link
#[derive(Debug, Args)]
pub struct CreateIp {
    /// Not beyond the next boot
    #[arg(short)]
    temporary: bool,
    /// The link
    interface: String,
}

/// Delete an IP interface with all its addresses
#[derive(Debug, Args)]
pub struct DeleteIp {
    /// The interface
    interface: String,
}

/// Create an address on an IP interface
///
/// Given an interface instead of an address object, it prints the name that it chose.
#[derive(Debug, Args)]
// -h is the host name here, as in Solaris.
#[command(disable_help_flag = true)]
pub struct CreateAddr {
    /// Not beyond the next boot
    #[arg(short)]
    temporary: bool,
    /// Where the address comes from; static when -a is given
    #[arg(short = 'T', value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    /// Keep a static address down: known, but not on the interface
    #[arg(short)]
    down: bool,
    /// The static address; the prefix is that of its class, or 64 for IPv6, when absent
    #[arg(short, value_name = "[local=]ADDRESS[/PREFIX]", value_parser = local_address)]
    address: Option<String>,
    /// How long to wait for DHCP: 120 seconds when absent
    #[arg(short, value_name = "SECONDS|forever", value_parser = wait)]
    wait: Option<Wait>,
    /// Host name to ask the DHCP server for
    #[arg(short = 'h', value_name = "HOSTNAME")]
    hostname: Option<String>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Address object, such as aggr0/v4, or an interface
    #[arg(value_name = "ADDROBJ|INTERFACE")]
    object: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Static,
    Dhcp,
    Addrconf,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dhcp => "dhcp",
            Self::Addrconf => "addrconf",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Seconds(u32),
    Forever,
}

/// Delete an address
#[derive(Debug, Args)]
pub struct DeleteAddr {
    /// Release the DHCP lease; without it the address stays ours until the lease ends
    #[arg(short)]
    release: bool,
    /// Address object, such as aggr0/v4
    #[arg(value_name = "ADDROBJ")]
    object: String,
}

impl Run for CreateIp {
    async fn run(self) -> Result<()> {
        answer(daemon::find_or_start().await?.create_interface(&self.interface, self.temporary).await)
    }
}

impl Run for DeleteIp {
    async fn run(self) -> Result<()> {
        answer(daemon::require()?.delete_interface(&self.interface).await)
    }
}

impl Run for DeleteAddr {
    async fn run(self) -> Result<()> {
        answer(daemon::require()?.delete_address(&self.object, self.release).await)
    }
}

impl Run for CreateAddr {
    async fn run(self) -> Result<()> {
        let kind = self.checked_kind()?;
        let given = self.object.clone();
        let mut daemon = daemon::find_or_start().await?;
        let request = NewAddress {
            object: self.object,
            kind: kind.as_str().into(),
            address: self.address,
            hostname: self.hostname,
            down: self.down,
            temporary: self.temporary,
        };
        let object = answer(daemon.create_address(&request).await)?.object;
        if object != given {
            let mut out = std::io::stdout();
            writeln!(out, "{object}").and_then(|()| out.flush())?;
        }
        match kind {
            Kind::Static | Kind::Addrconf => Ok(()),
            Kind::Dhcp => wait_for_lease(&mut daemon, &object, self.wait.unwrap_or(Wait::Seconds(120))).await,
        }
    }
}

impl CreateAddr {
    /// Refuses options that do not go together.
    fn checked_kind(&self) -> Result<Kind> {
        let kind = match (self.kind, &self.address) {
            (Some(kind), _) => kind,
            (None, Some(_)) => Kind::Static,
            (None, None) => return usage("either -T dhcp, -T addrconf or -a ADDRESS is needed"),
        };
        match kind {
            Kind::Static if self.address.is_none() => usage("-T static needs -a ADDRESS"),
            Kind::Static if self.wait.is_some() => usage("-w goes with -T dhcp: a static address is there at once"),
            Kind::Static if self.hostname.is_some() => usage("-h goes with -T dhcp: it is for the DHCP server"),
            Kind::Dhcp if self.address.is_some() => usage("-a goes with -T static: DHCP brings the address"),
            Kind::Dhcp if self.down => usage("-d goes with -T static: DHCP brings the address up"),
            Kind::Addrconf if self.address.is_some() => usage("-a goes with -T static: the kernel makes the addresses"),
            Kind::Addrconf if self.wait.is_some() || self.hostname.is_some() => {
                usage("-w and -h go with -T dhcp: the kernel makes the addresses")
            }
            Kind::Addrconf if self.down => usage("-d goes with -T static: the kernel brings its addresses up"),
            kind => Ok(kind),
        }
    }
}

fn usage<T>(text: &str) -> Result<T> {
    Err(Failure::Usage(text.into()))
}

/// Waits until the DHCP client has brought an address.
async fn wait_for_lease(daemon: &mut Connection, object: &str, wait: Wait) -> Result<()> {
    let started = Instant::now();
    loop {
        let addresses = answer(daemon.list_addresses().await)?.addresses;
        let Some(address) = addresses.iter().find(|address| address.object == object) else {
            return Err(Failure::refused(format!("{object} was deleted while it waited for DHCP"), "ipadm show-addr"));
        };
        if address.state == "ok" {
            return Ok(());
        }
        if let Wait::Seconds(seconds) = wait
            && started.elapsed() >= Duration::from_secs(seconds.into())
        {
            return Err(no_lease(address, seconds));
        }
        sleep(LOOK).await;
    }
}

fn no_lease(address: &Address, seconds: u32) -> Failure {
    let object = &address.object;
    let problem = address.problem.as_ref().map(|problem| format!(" ({problem})")).unwrap_or_default();
    Failure::refused(
        format!("{object} has no address after {seconds} s{problem}; its DHCP client goes on asking in the background"),
        format!("ipadm show-addr {object}, or to give up: ipadm delete-addr {object}"),
    )
}

/// Reads `[local=]address[/prefix]`.
fn local_address(text: &str) -> std::result::Result<String, String> {
    if text.starts_with("remote=") {
        return Err("point-to-point addresses are for tunnels, which ipadm does not make here".into());
    }
    let text = text.strip_prefix("local=").unwrap_or(text);
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| format!("{address:?} is not an IP address"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    if let Some(prefix) = prefix
        && !prefix.parse().is_ok_and(|bits: u8| bits <= longest)
    {
        return Err(format!("{prefix:?} is not a prefix length: 0 to {longest}"));
    }
    Ok(text.into())
}

/// Reads a number of seconds, or `forever`.
fn wait(text: &str) -> std::result::Result<Wait, String> {
    match text {
        "forever" => Ok(Wait::Forever),
        _ => text.parse().map(Wait::Seconds).map_err(|_| "a whole number of seconds, or forever".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_address_is_read_with_and_without_its_word() {
        for (text, read) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/24", "192.0.2.1/24"),
            ("local=192.0.2.1/32", "192.0.2.1/32"),
            ("local=2001:db8::1/128", "2001:db8::1/128"),
        ] {
            assert_eq!(local_address(text), Ok(read.to_owned()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_address() {
        for text in ["", "local=", "192.0.2.1/33", "2001:db8::1/129", "192.0.2.1/", "192.0.2.1/a", "host", "remote=::1"]
        {
            assert!(local_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn waiting_takes_seconds_or_forever() {
        assert_eq!(wait("0"), Ok(Wait::Seconds(0)));
        assert_eq!(wait("forever"), Ok(Wait::Forever));
        for text in ["", "-1", "1.5", "soon", "4294967296"] {
            assert!(wait(text).is_err(), "{text}");
        }
    }
}
