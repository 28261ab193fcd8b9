//! The daemons of this network namespace: finding them, and saying what to do when one is not there. Where only "the
//! daemon" is said it is `dlmpd`.

mod start;
pub mod stream;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use dlmp_api::client::{self, Connection, Dlmpd};
use dlmp_api::socket::{self, Place};
use dlmp_netlink::{Link, namespace};
use futures_util::{Stream, StreamExt, pin_mut};
use tokio::time::{Instant, sleep};

use crate::failure::{Failure, Result};
use crate::links::{self, Class};

/// How long a daemon may take until it answers; it restores what its configuration holds first.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for.
pub const LOOK: Duration = Duration::from_millis(10);

/// Why a daemon did not carry out a request, which also tells the daemons apart.
pub trait Refusal: Into<Failure> {
    /// The daemon's name.
    const DAEMON: &'static str;
    /// A command that shows what was done, for when the daemon cannot say so any more.
    const SHOW: &'static str;
}

impl Refusal for dlmp_api::Error {
    const DAEMON: &'static str = "dlmpd";
    const SHOW: &'static str = "dladm show-aggr";
}

impl Refusal for dlmp_api::ldm::Error {
    const DAEMON: &'static str = "ldmd";
    const SHOW: &'static str = "ldm list -l";
}

/// The daemon, if one serves this namespace.
///
/// # Errors
/// Its socket cannot be used, such as when somebody other than root serves it.
pub fn find() -> Result<Option<Connection>> {
    connect::<dlmp_api::Error>(socket::DLMPD)
}

/// The manager of this host's virtual networks, `ldmd`. It is a service of the host, so no command starts it.
///
/// # Errors
/// As [`find`], and when there is none.
pub fn ldmd() -> Result<Connection> {
    connect::<dlmp_api::ldm::Error>(socket::LDMD)?.ok_or_else(|| {
        Failure::refused(
            "ldmd is not running in this network namespace, and only it knows a host's virtual networks",
            "ldmd &",
        )
    })
}

/// Where daemons keep what lasts until the next boot, also their control sockets.
///
/// # Errors
/// The current directory, from which it is told, is gone.
pub fn runtime_dir() -> Result<PathBuf> {
    let directory = std::env::var_os("DLMP_RUNTIME_DIR").map_or_else(|| socket::RUNTIME_DIR.into(), PathBuf::from);
    Ok(std::path::absolute(directory)?)
}

fn connect<E: Refusal>(name: &'static str) -> Result<Option<Connection>> {
    let cookie = namespace::cookie()
        .map_err(|error| Failure::Refused(format!("cannot tell which network namespace this is: {error}")))?;
    match client::connect(&Place::new(name, &runtime_dir()?, cookie)) {
        Ok(connection) => Ok(Some(connection)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Failure::refused(
            format!("cannot reach {daemon}: {error}", daemon = E::DAEMON),
            format!(
                "sudo: root reaches {daemon} whoever has its name; {daemon} & where it does not run",
                daemon = E::DAEMON
            ),
        )),
        Err(error) => Err(Failure::Refused(format!("cannot reach {}: {error}", E::DAEMON))),
    }
}

/// The daemon, if one of these links is an aggregation. The kernel tells all about other links, so
/// they are shown whatever may be wrong with the daemon.
///
/// # Errors
/// As [`find`].
pub fn find_for(shown: &[(&Link, Class)]) -> Result<Option<Connection>> {
    match shown.iter().any(|(_, class)| *class == Class::Aggr) {
        true => find(),
        false => Ok(None),
    }
}

/// The daemon, which must be there because the command changes what it keeps.
///
/// # Errors
/// As [`find`], and when there is none.
pub fn require() -> Result<Connection> {
    find()?.ok_or_else(|| {
        Failure::refused("dlmpd is not running in this network namespace, and only it can change this", "dlmpd &")
    })
}

/// The daemon, started when there is none.
///
/// # Errors
/// As [`find`], and when it cannot be started.
pub async fn find_or_start() -> Result<Connection> {
    let deadline = Instant::now() + PATIENCE;
    // Whoever else has the daemon's name does not keep root from starting the daemon.
    let found = || find().or_else(|failure| if nix::unistd::geteuid().is_root() { Ok(None) } else { Err(failure) });
    while let Some(mut connection) = found()? {
        // A daemon that has nothing left to do and is about to end still listens, but answers no more.
        match connection.get_info().await {
            Err(_) if Instant::now() < deadline => sleep(LOOK).await,
            reply => return answer(reply).map(|_| connection),
        }
    }
    start::start().await
}

/// The daemon, to show what it knows. Absent when there is none and nothing that it would know of.
///
/// # Errors
/// As [`find`], and when there is no daemon though an aggregation is there.
pub async fn find_to_show() -> Result<Option<Connection>> {
    let found = find()?;
    if found.is_none() {
        refuse_orphans(&links::links().await?)?;
    }
    Ok(found)
}

/// Refuses when one of the links is an aggregation: for when no daemon answers.
///
/// # Errors
/// There is an aggregation, so a daemon is missing.
pub fn refuse_orphans(links: &[Link]) -> Result<()> {
    match links.iter().find(|link| links::is_aggregation(link)) {
        Some(link) => Err(Failure::refused(
            format!(
                "dlmpd is not running in this network namespace, though the aggregation {} is there; \
                 its datapath keeps forwarding, but nobody watches its ports",
                link.name
            ),
            "dlmpd &",
        )),
        None => Ok(()),
    }
}

/// A daemon's answer, or why there is none.
///
/// # Errors
/// The daemon refused, or the connection broke.
pub fn answer<T, E: Refusal>(reply: zlink::Result<std::result::Result<T, E>>) -> Result<T> {
    reply.map_err(|error| silence::<E>(&error))?.map_err(Into::into)
}

/// A daemon's list that comes as several replies with some entries each.
///
/// # Errors
/// As [`answer`].
pub async fn list<R, T, E: Refusal>(
    replies: zlink::Result<impl Stream<Item = zlink::Result<std::result::Result<R, E>>>>,
    entries: impl Fn(R) -> Vec<T>,
) -> Result<Vec<T>> {
    let replies = replies.map_err(|error| silence::<E>(&error))?;
    pin_mut!(replies);
    let mut all = Vec::new();
    while let Some(reply) = replies.next().await {
        all.extend(entries(answer(reply)?));
    }
    Ok(all)
}

/// Those of the aggregation that was named, or all.
///
/// # Errors
/// None has that name.
pub fn only<T>(mut all: Vec<T>, name: Option<&str>, name_of: impl Fn(&T) -> &str) -> Result<Vec<T>> {
    if let Some(name) = name {
        all.retain(|one| name_of(one) == name);
        if all.is_empty() {
            return Err(Failure::refused(format!("there is no aggregation {name}"), "dladm show-aggr"));
        }
    }
    Ok(all)
}

fn silence<E: Refusal>(error: &zlink::Error) -> Failure {
    Failure::refused(
        format!("{} did not answer: {error}", E::DAEMON),
        format!("{} (to see what was done), and the daemon's log", E::SHOW),
    )
}
