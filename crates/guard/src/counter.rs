//! The counters: their names and one row of them.

use crate::abi;

/// Why the guard dropped a frame. The order is that of `enum guard_counter` in `bpf/guard.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Counter {
    /// No whole Ethernet header, or not the rest of a tag.
    Short = abi::GUARD_SHORT,
    /// Control: it forges what the switch tells guests.
    Control = abi::GUARD_CONTROL,
    /// Control: for 01:80:c2:00:00:00 to :0f (STP, LLDP, PAUSE).
    LinkLocal = abi::GUARD_LINK_LOCAL,
    /// Control: for another address that switches speak to each other by (PVST+, CDP, GVRP).
    SwitchProtocol = abi::GUARD_SWITCH_PROTOCOL,
    /// Control: from a group, or from nobody.
    SourceInvalid = abi::GUARD_SOURCE_INVALID,
    /// Address: from a MAC address that is not the guest's.
    MacForeign = abi::GUARD_MAC_FOREIGN,
    /// Address: from one more MAC address than the guest may have.
    MacOverflow = abi::GUARD_MAC_OVERFLOW,
    /// VLAN: in VLAN 4095.
    VlanInvalid = abi::GUARD_VLAN_INVALID,
    /// VLAN: an 802.1ad tag, or a second tag.
    VlanStacked = abi::GUARD_VLAN_STACKED,
    /// VLAN: in a VLAN that is not the guest's.
    VlanForeign = abi::GUARD_VLAN_FOREIGN,
    /// VLAN: in one more VLAN than the guest may have.
    VlanOverflow = abi::GUARD_VLAN_OVERFLOW,
    /// Protection, restricted: neither IPv4 nor IPv6 nor ARP.
    Protocol = abi::GUARD_PROTOCOL,
    /// Protection, ip-nospoof: from an IP address that is not the guest's.
    IpSpoofed = abi::GUARD_IP_SPOOFED,
    /// Protection, dhcp-nospoof: for another MAC address, or as a server.
    DhcpSpoofed = abi::GUARD_DHCP_SPOOFED,
    /// Report-rate: too many reports of group membership.
    ReportRate = abi::GUARD_REPORT_RATE,
    /// Bandwidth: sent by the guest beyond the limit of its bandwidth.
    MaxbwSent = abi::GUARD_MAXBW_SENT,
    /// Bandwidth: for the guest, beyond that limit.
    MaxbwReceived = abi::GUARD_MAXBW_RECEIVED,
}

impl Counter {
    /// All counters with their names in displays, in the order of the ABI.
    pub const ALL: [(Self, &'static str); abi::GUARD_COUNTERS as usize] = [
        (Self::Short, "guard-short"),
        (Self::Control, "guard-control"),
        (Self::LinkLocal, "guard-link-local"),
        (Self::SwitchProtocol, "guard-switch-protocol"),
        (Self::SourceInvalid, "guard-source-invalid"),
        (Self::MacForeign, "guard-mac-foreign"),
        (Self::MacOverflow, "guard-mac-overflow"),
        (Self::VlanInvalid, "guard-vlan-invalid"),
        (Self::VlanStacked, "guard-vlan-stacked"),
        (Self::VlanForeign, "guard-vlan-foreign"),
        (Self::VlanOverflow, "guard-vlan-overflow"),
        (Self::Protocol, "guard-protocol"),
        (Self::IpSpoofed, "guard-ip-spoofed"),
        (Self::DhcpSpoofed, "guard-dhcp-spoofed"),
        (Self::ReportRate, "guard-report-rate"),
        (Self::MaxbwSent, "guard-maxbw-sent"),
        (Self::MaxbwReceived, "guard-maxbw-received"),
    ];
}

/// How many frames were dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters(pub(crate) [u64; Counter::ALL.len()]);

impl Counters {
    /// The value of one counter.
    #[must_use]
    pub const fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// All dropped frames.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
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
