//! The addresses that switches speak to each other by. A switch shuts a port, or believes what is said, when a guest
//! speaks there. The same table is in `bpf/switch_protocol.h`.

use crate::MacAddr;

/// From the first to the last address of a range; whether spanning trees speak there.
type Range = (u64, u64, bool);

/// Sources: IEEE 802.1Q (reserved addresses, MRP and CFM groups), IEEE 802.1D-2004 (all LANs bridge management), RFC 6325, 7.2
/// (TRILL); those of vendors are in the list of well-known addresses of Wireshark (wka).
const RANGES: [Range; 22] = [
    // STP, LACP, 802.1X, LLDP: never forwarded by a bridge.
    (0x0180_c200_0000, 0x0180_c200_0000, true),
    (0x0180_c200_0001, 0x0180_c200_0007, false),
    (0x0180_c200_0008, 0x0180_c200_0008, true),
    (0x0180_c200_0009, 0x0180_c200_000f, false),
    // Bridge management.
    (0x0180_c200_0010, 0x0180_c200_0010, false),
    // GVRP, MVRP, MMRP; CFM; TRILL.
    (0x0180_c200_0020, 0x0180_c200_002f, false),
    (0x0180_c200_0030, 0x0180_c200_003f, false),
    (0x0180_c200_0040, 0x0180_c200_004f, false),
    // Cisco: ISL; CDP, VTP, DTP, PAgP, UDLD; PVST+; UplinkFast and VLAN bridge; tunnelled protocols; CGMP.
    (0x0100_0c00_0000, 0x0100_0c00_00ff, false),
    (0x0300_0c00_0000, 0x0300_0c00_00ff, false),
    (0x0c00_0c00_0000, 0x0c00_0c00_00ff, false),
    (0x0100_0ccc_cc00, 0x0100_0ccc_cccc, false),
    (0x0100_0ccc_cccd, 0x0100_0ccc_cccd, true),
    (0x0100_0ccc_ccce, 0x0100_0ccc_ccff, false),
    (0x0100_0ccd_cd00, 0x0100_0ccd_cdcc, false),
    (0x0100_0ccd_cdcd, 0x0100_0ccd_cdce, true),
    (0x0100_0ccd_cdcf, 0x0100_0ccd_cdff, false),
    (0x0100_0cdd_dddd, 0x0100_0cdd_dddd, false),
    // Extreme: EDP, EEP, ESRP, EAPS.
    (0x00e0_2b00_0000, 0x00e0_2b00_0008, false),
    // Foundry: FDP.
    (0x01e0_52cc_cccc, 0x01e0_52cc_cccc, false),
    // Nortel: SONMP.
    (0x0100_8100_0100, 0x0100_8100_0101, false),
    // Cabletron: spanning trees.
    (0x0100_1d00_0005, 0x0100_1d00_0006, true),
];

impl MacAddr {
    /// Whether switches speak to each other by it, of whatever vendor.
    #[must_use]
    pub fn is_switch_protocol(self) -> bool {
        self.range().is_some()
    }

    /// Whether bridges send there what their spanning trees say, unless they were given another group.
    #[must_use]
    pub fn is_spanning_tree(self) -> bool {
        self.range().is_some_and(|&(_, _, spanning_tree)| spanning_tree)
    }

    fn range(self) -> Option<&'static Range> {
        let [a, b, c, d, e, f] = self.0;
        let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        RANGES.iter().find(|(first, last, _)| (*first..=*last).contains(&number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(text: &str) -> MacAddr {
        text.parse().unwrap()
    }

    #[test]
    fn whole_families_are_switches_and_neighbours_are_not() {
        for text in
            ["1:80:c2:0:0:0", "1:80:c2:0:0:e", "1:80:c2:0:0:21", "1:0:c:cc:cc:cc", "1:0:c:cd:cd:d0", "0:e0:2b:0:0:4"]
        {
            assert!(mac(text).is_switch_protocol(), "{text}");
        }
        // IS-IS, PTP, IPv4 and IPv6 groups, and hosts of the same vendors.
        for text in
            ["1:80:c2:0:0:14", "1:80:c2:0:0:50", "1:1b:19:0:0:0", "1:0:5e:0:0:fb", "33:33:0:0:0:1", "0:e0:2b:0:1:4"]
        {
            assert!(!mac(text).is_switch_protocol(), "{text}");
        }
        for text in ["1:80:c2:0:0:0", "1:80:c2:0:0:8", "1:0:c:cc:cc:cd"] {
            assert!(mac(text).is_spanning_tree(), "{text}");
        }
        for text in ["1:80:c2:0:0:e", "1:0:c:cc:cc:cc", "ff:ff:ff:ff:ff:ff"] {
            assert!(!mac(text).is_spanning_tree(), "{text}");
        }
    }

    #[test]
    fn ranges_are_in_order_and_apart() {
        for (first, last, _) in RANGES {
            assert!(first <= last);
            assert_eq!(RANGES.iter().filter(|(from, to, _)| *from <= last && first <= *to).count(), 1, "{first:x}");
        }
    }
}
