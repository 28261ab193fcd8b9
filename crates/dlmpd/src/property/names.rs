//! Host names in `probe-ip` and the addresses that they have. Name servers may not answer, so nobody who holds
//! the control waits for one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use dlmp_api::{Error, PropertyRequest};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{PROBE_IP, ProbeIp};

/// How long somebody who sets a property waits for name servers.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long until a name that was not resolved is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// A host name and its addresses.
pub type Resolved = (String, Vec<IpAddr>);

/// What names resolve to, as far as that is known.
pub struct Names {
    /// Absent: being resolved.
    known: BTreeMap<String, Option<Vec<IpAddr>>>,
    resolved: mpsc::UnboundedSender<Resolved>,
}

impl Names {
    /// Without any; those that are resolved in the background go to `resolved`.
    pub const fn new(resolved: mpsc::UnboundedSender<Resolved>) -> Self {
        Self { known: BTreeMap::new(), resolved }
    }

    /// Takes note of the addresses of a name.
    pub fn insert(&mut self, (name, addresses): Resolved) {
        self.known.insert(name, Some(addresses));
    }

    /// The addresses of a name, none while they are not known: it is then resolved in the background.
    pub fn addresses(&mut self, name: &str) -> Vec<IpAddr> {
        if let Some(known) = self.known.get(name) {
            return known.clone().unwrap_or_default();
        }
        self.known.insert(name.to_owned(), None);
        tokio::task::spawn_local(resolve_at_last(name.to_owned(), self.resolved.clone()));
        Vec::new()
    }
}

/// Resolves a name however long that takes, such as until the network is there after a boot.
async fn resolve_at_last(name: String, resolved: mpsc::UnboundedSender<Resolved>) {
    let mut told = false;
    while !resolved.is_closed() {
        match look_up(name.clone()).await {
            Ok(found) => {
                // Nobody listens only while the daemon ends.
                let _ = resolved.send(found);
                return;
            }
            Err(error) if !told => {
                tracing::warn!("{error}; trying again every {} s", AGAIN.as_secs());
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The addresses of all host names that a request has in `probe-ip`.
///
/// # Errors
/// One of them does not resolve, or not in time.
pub async fn resolve(request: &PropertyRequest) -> Result<Vec<Resolved>, Error> {
    let values = request.changes.iter().filter(|change| change.property == PROBE_IP);
    // A list that cannot be read is refused by whoever reads it next.
    let lists: Vec<ProbeIp> = values.filter_map(|change| change.value.as_deref()?.parse().ok()).collect();
    let names: BTreeSet<&str> = lists.iter().flat_map(ProbeIp::hosts).collect();
    let remedy = names.iter().map(|name| format!("getent hosts {name}")).collect::<Vec<_>>().join("; ");
    let refused = |reason: String| Error::refused(format!("{PROBE_IP}: {reason}"), remedy.as_str());

    let mut asked: JoinSet<_> = names.iter().map(|name| look_up((*name).to_owned())).collect();
    let all = async {
        let mut all = Vec::new();
        while let Some(found) = asked.join_next().await {
            all.push(found.map_err(|error| refused(error.to_string()))?.map_err(refused)?);
        }
        Ok(all)
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .unwrap_or_else(|_| Err(refused(format!("the name server does not answer for {} s", PATIENCE.as_secs()))))
}

async fn look_up(name: String) -> Result<Resolved, String> {
    let found = tokio::net::lookup_host((name.as_str(), 0)).await;
    let addresses = found.map(|found| found.map(|address| address.ip()).collect::<BTreeSet<_>>());
    match addresses {
        Ok(addresses) => Ok((name, addresses.into_iter().collect())),
        Err(error) => Err(format!("the name {name} does not resolve: {error}")),
    }
}
