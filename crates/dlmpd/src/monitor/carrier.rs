//! A cheap look at each port's carrier every few milliseconds.
//!
//! The kernel sends carrier events at most about once a second (net/core/link_watch.c), so the loss
//! of a second port can come a second late. ETHTOOL_GLINK tells the truth now. It takes the kernel's
//! RTNL lock, which others can hold for long, so it runs in a thread that nobody waits for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dlmp_netlink::ethtool::Ethtool;
use tokio::sync::mpsc::UnboundedSender;

/// How often each port is looked at.
const PERIOD: Duration = Duration::from_millis(4);

/// What was seen: the carrier of the link of this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Index of the link.
    pub ifindex: u32,
    /// It has a carrier.
    pub carrier: bool,
}

/// The links that are looked at, with the state that the monitor believes in.
#[derive(Debug, Clone, Default)]
pub struct Watched(Arc<Mutex<BTreeMap<u32, Port>>>);

#[derive(Debug, Clone)]
struct Port {
    name: String,
    believed: bool,
}

impl Watched {
    /// Watches a link, or takes note of what the monitor believes of it now.
    pub fn believe(&self, ifindex: u32, name: &str, believed: bool) {
        let port = Port { name: name.to_owned(), believed };
        self.lock().insert(ifindex, port);
    }

    /// Stops watching a link.
    pub fn forget(&self, ifindex: u32) {
        self.lock().remove(&ifindex);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Port>> {
        // A panic elsewhere leaves the map whole: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread. It tells whenever a carrier is not what the monitor believes, every time that
/// it looks, until the monitor agrees or is gone.
///
/// # Errors
/// Those of socket(2) and of making a thread.
pub fn watch(watched: Watched, seen: UnboundedSender<Seen>, stop: Arc<AtomicBool>) -> std::io::Result<()> {
    let ethtool = Ethtool::open()?;
    std::thread::Builder::new().name("carrier".into()).spawn(move || {
        super::prefer_this_thread();
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(PERIOD);
            let ports: Vec<(u32, Port)> = watched.lock().iter().map(|(&i, port)| (i, port.clone())).collect();
            for (ifindex, port) in ports {
                let Ok(Some(carrier)) = ethtool.carrier(&port.name) else {
                    continue;
                };
                if carrier != port.believed && seen.send(Seen { ifindex, carrier }).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(())
}
