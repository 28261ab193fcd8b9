//! The counters: their names and one row of them.

use crate::abi;

/// What a frame was counted as. The order is that of `enum dlmp_counter` in `bpf/dlmp.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Counter {
    /// Packets delivered to the aggregation.
    RxPackets = abi::DLMP_RX_PACKETS,
    /// Bytes delivered to the aggregation.
    RxBytes = abi::DLMP_RX_BYTES,
    /// Packets sent.
    TxPackets = abi::DLMP_TX_PACKETS,
    /// Bytes sent.
    TxBytes = abi::DLMP_TX_BYTES,
    /// Reflection: our own source on a port that is not its own.
    RxReflection = abi::DLMP_RX_REFLECTION,
    /// Reflection: our own source on its own port: somebody else has the address.
    RxOwnAddress = abi::DLMP_RX_OWN_ADDRESS,
    /// Reflection: a learned client announced itself from elsewhere, and was let go.
    RxReleased = abi::DLMP_RX_RELEASED,
    /// Group: group-addressed, not on the multicast port.
    RxGroupOtherPort = abi::DLMP_RX_GROUP_OTHER_PORT,
    /// Group: group-addressed and wanted, taken from the multicast port.
    RxGroup = abi::DLMP_RX_GROUP,
    /// Group: group-addressed, on the multicast port, and nobody here wants it.
    RxGroupUnwanted = abi::DLMP_RX_GROUP_UNWANTED,
    /// Group: wanted, on another port, while the multicast port's own filter is short of groups.
    RxGroupNoFilter = abi::DLMP_RX_GROUP_NO_FILTER,
    /// Own-port: unicast on another port, taken since the move is fresh.
    RxFreshMove = abi::DLMP_RX_FRESH_MOVE,
    /// Own-port: unicast on another port, dropped.
    RxStalePort = abi::DLMP_RX_STALE_PORT,
    /// Nobody: unicast for nobody here.
    RxNobody = abi::DLMP_RX_NOBODY,
    /// Link-local: left to the port (LLDP, STP, LACP).
    RxLinkLocal = abi::DLMP_RX_LINK_LOCAL,
    /// No whole Ethernet header.
    RxShort = abi::DLMP_RX_SHORT,
    /// A priority tag before another tag.
    RxVlanStacked = abi::DLMP_RX_VLAN_STACKED,
    /// Transitive probe of another port, answered.
    RxProbeRequest = abi::DLMP_RX_PROBE_REQUEST,
    /// Answer to a transitive probe, noted.
    RxProbeResponse = abi::DLMP_RX_PROBE_RESPONSE,
    /// Begins like a transitive probe and goes on otherwise.
    RxProbeMalformed = abi::DLMP_RX_PROBE_MALFORMED,
    /// A transitive probe that was not made with our key.
    RxProbeForged = abi::DLMP_RX_PROBE_FORGED,
    /// A transitive probe that is not between these ports, or is in another VLAN.
    RxProbeStray = abi::DLMP_RX_PROBE_STRAY,
    /// A transitive probe that is too old, or came already.
    RxProbeStale = abi::DLMP_RX_PROBE_STALE,
    /// ARP reply or neighbour advertisement for the port itself, left to the daemon.
    RxProbeAnswer = abi::DLMP_RX_PROBE_ANSWER,
    /// Sent through the slot's backup.
    TxBackup = abi::DLMP_TX_BACKUP,
    /// Group: IGMP or MLD report sent through the multicast port.
    TxReport = abi::DLMP_TX_REPORT,
    /// Group: IGMP or MLD report given to the daemon, which sends it.
    TxReportHeld = abi::DLMP_TX_REPORT_HELD,
    /// Missed the program on the aggregation's link, and was taken at the link's lower end.
    TxLower = abi::DLMP_TX_LOWER,
    /// Group: IGMP or MLD report past what the daemon reads of its link, sent at once.
    TxReportUnread = abi::DLMP_TX_REPORT_UNREAD,
    /// Local: delivered to another client of the aggregation.
    TxLocal = abi::DLMP_TX_LOCAL,
    /// Local: for a client behind the link that it came from.
    TxSameLink = abi::DLMP_TX_SAME_LINK,
    /// The first frame of a client, which was learned by it.
    TxLearned = abi::DLMP_TX_LEARNED,
    /// A new source, and no room to learn it.
    TxClientsFull = abi::DLMP_TX_CLIENTS_FULL,
    /// The source cannot be a client of the link that it came from.
    TxUnknownSource = abi::DLMP_TX_UNKNOWN_SOURCE,
    /// Of a guest, or a spanning tree, to where switches listen.
    TxSwitchProtocol = abi::DLMP_TX_SWITCH_PROTOCOL,
    /// The slot has no port.
    TxNoPort = abi::DLMP_TX_NO_PORT,
    /// No whole Ethernet header.
    TxShort = abi::DLMP_TX_SHORT,
    /// The ring of events was full.
    EventLost = abi::DLMP_EVENT_LOST,
}

impl Counter {
    /// All counters with their names in displays, in the order of the ABI.
    pub const ALL: [(Self, &'static str); abi::DLMP_COUNTERS as usize] = [
        (Self::RxPackets, "rx-packets"),
        (Self::RxBytes, "rx-bytes"),
        (Self::TxPackets, "tx-packets"),
        (Self::TxBytes, "tx-bytes"),
        (Self::RxReflection, "rx-reflection"),
        (Self::RxOwnAddress, "rx-own-address"),
        (Self::RxReleased, "rx-released"),
        (Self::RxGroupOtherPort, "rx-group-other-port"),
        (Self::RxGroup, "rx-group"),
        (Self::RxGroupUnwanted, "rx-group-unwanted"),
        (Self::RxGroupNoFilter, "rx-group-no-filter"),
        (Self::RxFreshMove, "rx-fresh-move"),
        (Self::RxStalePort, "rx-stale-port"),
        (Self::RxNobody, "rx-nobody"),
        (Self::RxLinkLocal, "rx-link-local"),
        (Self::RxShort, "rx-short"),
        (Self::RxVlanStacked, "rx-vlan-stacked"),
        (Self::RxProbeRequest, "rx-probe-request"),
        (Self::RxProbeResponse, "rx-probe-response"),
        (Self::RxProbeMalformed, "rx-probe-malformed"),
        (Self::RxProbeForged, "rx-probe-forged"),
        (Self::RxProbeStray, "rx-probe-stray"),
        (Self::RxProbeStale, "rx-probe-stale"),
        (Self::RxProbeAnswer, "rx-probe-answer"),
        (Self::TxBackup, "tx-backup"),
        (Self::TxReport, "tx-report"),
        (Self::TxReportHeld, "tx-report-held"),
        (Self::TxLower, "tx-lower"),
        (Self::TxReportUnread, "tx-report-unread"),
        (Self::TxLocal, "tx-local"),
        (Self::TxSameLink, "tx-same-link"),
        (Self::TxLearned, "tx-learned"),
        (Self::TxClientsFull, "tx-clients-full"),
        (Self::TxUnknownSource, "tx-unknown-source"),
        (Self::TxSwitchProtocol, "tx-switch-protocol"),
        (Self::TxNoPort, "tx-no-port"),
        (Self::TxShort, "tx-short"),
        (Self::EventLost, "event-lost"),
    ];

    /// The counters of rules, without those of traffic.
    pub fn rules() -> impl Iterator<Item = (Self, &'static str)> {
        Self::ALL.into_iter().skip(4)
    }
}

/// One row: the counts of one port, or of the aggregation itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters(pub(crate) [u64; Counter::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; _])
    }
}

impl Counters {
    /// The value of one counter.
    pub const fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Adds another row to this one.
    pub fn add(&mut self, other: &Self) {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum = sum.wrapping_add(value);
        }
    }

    /// Subtracts an earlier state of the same row.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        for (value, before) in difference.0.iter_mut().zip(earlier.0) {
            *value = value.wrapping_sub(before);
        }
        difference
    }

    pub(crate) fn bump(&mut self, counter: Counter, by: u64) {
        self.0[counter as usize] += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_the_abi() {
        for (position, (counter, _)) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, position);
        }
    }
}
