//! A cheap look at each port's carrier every few milliseconds.
//!
//! The kernel sends carrier events at most about once a second (net/core/link_watch.c), so the loss
//! of a second port can come a second late. ETHTOOL_GLINK tells the truth now. It takes the kernel's
//! RTNL lock, which others can hold for long, so it runs in a thread that nobody waits for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dlmp_netlink::ethtool::Ethtool;
use tokio::sync::mpsc::UnboundedSender;

/// How often each port is looked at, as long as there are not too many.
const PERIOD: Duration = Duration::from_millis(4);
/// Looks a second in quiet times: what many ports may cost.
const LOOKS: u32 = 8000;
/// The kernel holds events back for a second after the last one, so after a loss every port is looked
/// at each [`PERIOD`] for longer than that.
const HURRY: Duration = Duration::from_secs(2);

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
pub struct Watched(Arc<Mutex<Links>>);

#[derive(Debug, Default)]
struct Links {
    ports: BTreeMap<u32, Port>,
    hurry_until: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Port {
    name: String,
    believed: bool,
}

impl Watched {
    /// Watches a link, or takes note of what the monitor believes of it now.
    pub fn believe(&self, ifindex: u32, name: &str, believed: bool) {
        let port = Port { name: name.to_owned(), believed };
        let mut links = self.lock();
        let before = links.ports.insert(ifindex, port);
        if !believed && before.is_some_and(|before| before.believed) {
            links.hurry_until = Some(Instant::now() + HURRY);
        }
    }

    /// Stops watching a link.
    pub fn forget(&self, ifindex: u32) {
        let mut links = self.lock();
        links.ports.remove(&ifindex);
        links.hurry_until = Some(Instant::now() + HURRY);
    }

    /// The ports, and how long to wait before they are looked at again.
    fn to_look_at(&self) -> (Vec<(u32, Port)>, Duration) {
        let links = self.lock();
        let ports: Vec<(u32, Port)> = links.ports.iter().map(|(&index, port)| (index, port.clone())).collect();
        let count = u32::try_from(ports.len()).unwrap_or(u32::MAX);
        let period = PERIOD.max(Duration::from_secs(1) / LOOKS * count);
        (ports, period)
    }

    fn is_hurried(&self) -> bool {
        self.lock().hurry_until.is_some_and(|until| Instant::now() < until)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Links> {
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
            let (ports, period) = watched.to_look_at();
            for (ifindex, port) in ports {
                let Ok(Some(carrier)) = ethtool.carrier(&port.name) else {
                    continue;
                };
                if carrier != port.believed && seen.send(Seen { ifindex, carrier }).is_err() {
                    return;
                }
            }
            // In short steps, so that a loss in between is followed up at once.
            let next = Instant::now() + period;
            while Instant::now() < next && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(PERIOD);
                if watched.is_hurried() {
                    break;
                }
            }
        }
    })?;
    Ok(())
}
