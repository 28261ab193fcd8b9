//! Clearing ports' filters of what an earlier daemon left in them, which can be hundreds of thousands of groups: a bit at a
//! time, so that neither the kernel's locks nor the other chores wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dlmp_netlink::{MulticastFilter, MulticastReader};
use dlmp_wire::MacAddr;

/// So many groups are taken out at a time, which takes a millisecond or two.
const BIT: usize = 512;
/// That takes at most this part of the time.
const SHARE: u32 = 10;
/// The least time between two.
const PAUSE: Duration = Duration::from_millis(5);

/// The ports that are being cleared.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    links: BTreeMap<u32, Sweep>,
    next: Option<Instant>,
}

/// A port that is being cleared.
#[derive(Debug, Default)]
struct Sweep {
    /// Groups that this daemon has put there since, or wants there.
    ours: BTreeSet<MacAddr>,
    /// So many at the beginning of its list stay.
    passed: usize,
}

impl Sweeps {
    /// Begins to clear a port.
    pub(super) fn begin(&mut self, link: u32) {
        self.links.insert(link, Sweep::default());
        self.next = Some(Instant::now());
    }

    /// When to go on.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Whether what is in the filter of a port may be an earlier daemon's.
    pub(super) fn is_under_way(&self, link: u32) -> bool {
        self.links.contains_key(&link)
    }

    /// Notes what is written to a port meanwhile.
    pub(super) fn note(&mut self, link: u32, changes: &BTreeMap<MacAddr, bool>) {
        let Some(sweep) = self.links.get_mut(&link) else { return };
        for (&group, &wanted) in changes {
            if wanted {
                sweep.ours.insert(group);
            } else {
                sweep.ours.remove(&group);
            }
        }
    }

    /// Takes some more out of each.
    pub(super) fn go_on(&mut self, filter: &mut MulticastFilter) {
        let began = Instant::now();
        self.links.retain(|&link, sweep| match sweep.go_on(link, filter) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                tracing::warn!(%error, link, "groups of an earlier daemon stay in the port's filter");
                false
            }
        });
        self.next = (!self.links.is_empty()).then(|| Instant::now() + PAUSE.max(began.elapsed() * SHARE));
    }
}

impl Sweep {
    /// Says whether there may be more.
    fn go_on(&mut self, link: u32, filter: &mut MulticastFilter) -> std::io::Result<bool> {
        let list = MulticastReader::open()?.read(link, self.passed + BIT)?;
        let others: Vec<MacAddr> = list.groups.into_iter().filter(|group| !self.ours.contains(group)).collect();
        let taken = filter.take_out_added(link, &others).map_err(std::io::Error::other)?;
        if taken == 0 {
            self.passed += BIT;
        }
        Ok(list.more || taken > 0)
    }
}
