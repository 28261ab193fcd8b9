//! How much the daemon is given to read of reports (the group rule): a bucket for each link, and one for all.

use std::collections::BTreeMap;
use std::time::Duration;

use dlmp_wire::ethernet::{Frame, ethertype};

use crate::{Above, REPORT, REPORT_BURST, REPORT_BYTE};

/// Until when what was held is paid for: by link, and of all links.
#[derive(Debug, Clone, Default)]
pub(super) struct Reporting(BTreeMap<Option<Above>, Duration>);

impl Reporting {
    /// Whether there is time left to read a report, which takes it.
    pub(super) fn may_be_read(&mut self, from: Above, bytes: &[u8], now: Duration) -> bool {
        let cost = REPORT + REPORT_BYTE * u32::try_from(message_length(bytes)).unwrap_or(u32::MAX);
        self.afford(Some(from), cost, now) && self.afford(None, cost / 2, now)
    }

    pub(super) fn exhaust(&mut self, above: Option<Above>, now: Duration) {
        self.0.insert(above, now + Duration::from_secs(3600));
    }

    fn afford(&mut self, whose: Option<Above>, cost: Duration, now: Duration) -> bool {
        let full = now.saturating_sub(REPORT_BURST);
        let paid = self.0.entry(whose).or_insert(full);
        if *paid > now {
            return false;
        }
        *paid = full.max(*paid) + cost;
        true
    }
}

/// How long the IGMP or MLD message of a report is, with what follows it in the frame.
fn message_length(bytes: &[u8]) -> usize {
    let Ok(frame) = Frame::parse(bytes) else { return 0 };
    let packet = frame.payload();
    let head = match frame.ethertype() {
        ethertype::IPV4 => usize::from(packet.first().map_or(0, |first| first & 0x0f)) * 4,
        _ => 40 + (usize::from(packet.get(41).copied().unwrap_or(0)) + 1) * 8,
    };
    packet.len().saturating_sub(head)
}
