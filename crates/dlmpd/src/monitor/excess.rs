//! Clients whose groups are not kept, since they are too many or come too fast: finding the fast ones, and telling people
//! of all of them. What becomes of them is the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dlmp_datapath::{Above, SlotIndex};
use dlmp_engine::{AGGREGATION_GROUPS, Asker, CLIENT_GROUPS, Excess, GroupEvent};

use super::running::Running;

/// The engine is told of those who go on too fast as often as this.
const AGAIN: Duration = Duration::from_secs(1);
/// At most one client is named in the log in so long.
const LOGGED: Duration = Duration::from_secs(10);
/// So many of them are named in displays.
const SHOWN: usize = 8;

/// What was said of such clients.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// To the engine, of what is above that is too fast.
    fast: BTreeMap<Above, Instant>,
    /// When one was last named in the log, and how many were not since.
    logged: Option<Instant>,
    unnamed: usize,
    /// Those that were named.
    named: BTreeSet<SlotIndex>,
}

impl Running {
    /// Tells the engine who reports faster than is read. Says whether there is anybody: then lists that can be seen tell more
    /// than reports.
    pub(super) fn find_too_fast(&mut self, now: Instant) -> bool {
        let fast = match self.bpf.too_fast() {
            Ok(fast) => fast,
            Err(error) => {
                tracing::error!(aggregation = self.name, %error, "cannot see who reports too fast");
                return false;
            }
        };
        for above in &fast {
            if self.groups.told.fast.get(above).is_some_and(|&last| now < last + AGAIN) {
                continue;
            }
            self.groups.told.fast.insert(*above, now);
            let slots = self.unlisted_behind(*above);
            if !slots.is_empty() {
                self.tell_groups(GroupEvent::TooFast(slots), now);
                self.act();
            }
        }
        !fast.is_empty()
    }

    /// The clients behind a link whose groups are known from their reports alone. The list of the aggregation's own link has
    /// those of all on it but the guests of a bridge.
    fn unlisted_behind(&self, above: Above) -> Vec<SlotIndex> {
        let learned = self.learned_above(above);
        match above {
            Above::Link if self.is_bridged() => learned.collect(),
            Above::Link => Vec::new(),
            Above::Vnic(index) => learned.chain([index.slot()]).collect(),
        }
    }

    /// Tells people that every group is let in for a client, or no longer.
    pub(super) fn tell_excess(&mut self, slot: SlotIndex, why: Option<Excess>) {
        let name = self.asker_name(Asker::Client(slot));
        let Some(why) = why else {
            if self.groups.told.named.remove(&slot) {
                tracing::info!(
                    aggregation = self.name,
                    client = name,
                    "the groups that the client wants are known again"
                );
            }
            return;
        };
        let (now, told) = (Instant::now(), &mut self.groups.told);
        if told.logged.is_some_and(|last| now < last + LOGGED) {
            told.unnamed += 1;
            return;
        }
        let others = std::mem::take(&mut told.unnamed);
        told.logged = Some(now);
        told.named.insert(slot);
        let reason = format!("{}: every group is let in for it", in_words(&name, why));
        tracing::warn!(aggregation = self.name, client = name, others, "{reason}");
        self.publish(None, "groups", reason);
    }

    /// Why every group is let in, as far as clients are the reason, for displays.
    pub(super) fn excess_reasons(&self) -> Vec<String> {
        let mut excesses = self.engine.multicast().excesses();
        let mut reasons: Vec<String> = (excesses.by_ref().take(SHOWN))
            .map(|(slot, why)| in_words(&self.asker_name(Asker::Client(slot)), why))
            .collect();
        let others = excesses.count();
        if others > 0 {
            reasons.push(format!("so it is for {others} others"));
        }
        reasons
    }
}

fn in_words(client: &str, why: Excess) -> String {
    match why {
        Excess::Client => format!("{client} reports more groups than are kept of a client ({CLIENT_GROUPS})"),
        Excess::Aggregation => {
            format!(
                "{client} reports more groups when as many are kept as may be of all clients ({AGGREGATION_GROUPS})"
            )
        }
        Excess::Rate => format!("{client} reports groups faster than is read"),
    }
}
