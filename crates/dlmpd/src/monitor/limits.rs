//! How many groups a link can hold in its filter: as many as was set, as its driver is known for, or as was measured.
//!
//! The kernel puts every address into its own list and lets the driver do what it can: some drop the excess without
//! a word.

use std::collections::BTreeMap;

use dlmp_netlink::ethtool::Ethtool;

/// Drivers whose devices hold few groups, and how many.
const KNOWN: [(&str, usize); 5] = [
    // An untrusted virtual function: I40E_VC_MAX_MAC_ADDR_PER_VF in drivers/net/ethernet/intel/i40e/i40e_virtchnl_pf.c
    // is 16 beside its own address and broadcast; ice has the same (ICE_MAX_MACADDR_PER_VF).
    ("iavf", 16),
    ("i40evf", 16),
    // The rest is dropped in silence: ixgbevf_update_mc_addr_list_vf in drivers/net/ethernet/intel/ixgbevf/vf.c.
    ("ixgbevf", 30),
    // e1000_update_mc_addr_list_vf in drivers/net/ethernet/intel/igbvf/vf.c.
    ("igbvf", 30),
    // MAC_TABLE_ENTRIES in QEMU's hw/net/virtio-net.c, for unicast and multicast addresses together.
    ("virtio_net", 64),
];

/// The limits that are set (`mcast-limit`), and those of drivers.
#[derive(Debug, Default)]
pub(super) struct Limits {
    set: BTreeMap<String, usize>,
    measured: BTreeMap<String, usize>,
    /// Opened when it is first needed.
    ethtool: Option<Ethtool>,
}

impl Limits {
    /// Sets the limit of a link, or has that of its driver again.
    pub(super) fn set(&mut self, link: String, limit: Option<usize>) {
        match limit {
            Some(limit) => drop(self.set.insert(link, limit)),
            None => drop(self.set.remove(&link)),
        }
    }

    /// Notes what was measured of a link.
    pub(super) fn note(&mut self, link: &str, measured: Option<usize>) {
        match measured {
            Some(limit) => drop(self.measured.insert(link.to_owned(), limit)),
            None => drop(self.measured.remove(link)),
        }
    }

    /// What was measured of a link.
    pub(super) fn measured(&self, link: &str) -> Option<usize> {
        self.measured.get(link).copied()
    }

    /// The limit of a link that need not be measured.
    pub(super) fn known(&mut self, link: &str) -> Option<usize> {
        self.set.get(link).copied().or_else(|| self.driver_limit(link))
    }

    /// The limit of a link; nothing when none is known.
    pub(super) fn of(&mut self, link: &str) -> Option<usize> {
        self.known(link).or_else(|| self.measured.get(link).copied())
    }

    fn driver_limit(&mut self, link: &str) -> Option<usize> {
        if self.ethtool.is_none() {
            self.ethtool = Ethtool::open().ok();
        }
        let driver = self.ethtool.as_ref()?.driver(link).ok()?;
        KNOWN.iter().find(|(known, _)| *known == driver).map(|&(_, limit)| limit)
    }
}
