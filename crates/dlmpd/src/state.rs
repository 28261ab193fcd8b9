//! What must outlive the daemon but not the boot: temporary objects, and what ports were like before
//! they became ports.

use std::collections::{BTreeMap, BTreeSet};

use dlmp_dhcp::Lease;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The file.
pub type StateFile = dlmp_daemon::StateFile<State>;

/// Its name below the runtime directory.
pub const FILE: &str = "state.toml";

/// What a link was like before it became a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// IPv6 was switched off already.
    pub ipv6_disabled: bool,
    /// It was up.
    pub up: bool,
    /// It received all multicast.
    #[serde(default)]
    pub all_multicast: bool,
    /// Its card dropped VLANs that nobody had registered (`rx-vlan-filter`).
    #[serde(default)]
    pub vlan_filter: bool,
    /// It was promiscuous, as an administrator said (`IFF_PROMISC`).
    #[serde(default = "as_it_is")]
    pub promiscuous: bool,
}

const fn as_it_is() -> bool {
    Before::UNKNOWN.promiscuous
}

impl Before {
    /// What a link is like that nobody asked about: whatever it is now stays.
    const UNKNOWN: Self =
        Self { ipv6_disabled: false, up: true, all_multicast: false, vlan_filter: false, promiscuous: true };
}

impl Default for Before {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Objects made with `-t`.
    pub temporary: Config,
    /// Aggregations of the configuration that were deleted with `-t`.
    pub absent: BTreeSet<String>,
    /// VNICs of the configuration that were deleted with `-t`.
    pub absent_vnics: BTreeSet<String>,
    /// Links that are ports now, by name.
    pub ports: BTreeMap<String, Before>,
    /// Leases from DHCP by object: the next daemon goes on with them.
    pub leases: BTreeMap<String, Lease>,
}
