//! The daemon of this network namespace: finding it, and saying what to do when it is not there.

use std::io::ErrorKind;
use std::time::Duration;

use dlmp_api::client::{self, Connection, Dlmpd};
use dlmp_api::socket;
use dlmp_netlink::Link;
use tokio::time::{Instant, sleep};

use crate::failure::{Failure, Result};
use crate::link::{self, Class};
use crate::start;

/// How long a daemon may take until it answers; it restores what its configuration holds first.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for.
pub const LOOK: Duration = Duration::from_millis(10);

/// The daemon, if one serves this namespace.
///
/// # Errors
/// Its socket cannot be used, such as when somebody other than root serves it.
pub fn find() -> Result<Option<Connection>> {
    match client::connect(socket::DLMPD) {
        Ok(connection) => Ok(Some(connection)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(Failure::Refused(format!("cannot reach dlmpd: {error}"))),
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
    while let Some(mut connection) = find()? {
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
        refuse_orphans(&link::links().await?)?;
    }
    Ok(found)
}

/// Refuses when one of the links is an aggregation: for when no daemon answers.
///
/// # Errors
/// There is an aggregation, so a daemon is missing.
pub fn refuse_orphans(links: &[Link]) -> Result<()> {
    match links.iter().find(|link| link::is_aggregation(link)) {
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

/// The daemon's answer, or why there is none.
///
/// # Errors
/// The daemon refused, or the connection broke.
pub fn answer<T>(reply: zlink::Result<std::result::Result<T, dlmp_api::Error>>) -> Result<T> {
    match reply {
        Ok(answer) => Ok(answer?),
        Err(error) => Err(Failure::refused(
            format!("dlmpd did not answer: {error}"),
            "dladm show-aggr (to see what was done), and the daemon's log",
        )),
    }
}
