//! What must outlive the daemon but not the boot: temporary objects, what ports were like before they became ports,
//! and what a request has begun.

use std::collections::{BTreeMap, BTreeSet};

use dlmp_dhcp::Lease;
use dlmp_wire::MacAddr;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The file.
pub type StateFile = dlmp_daemon::StateFile<State>;

/// Its name below the runtime directory.
pub const FILE: &str = "state.toml";

/// What a link was like before it became a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Index of the link, by which it is found again when it has another name by then; 0: unknown.
    #[serde(default)]
    pub index: u32,
    /// It had a clsact qdisc.
    #[serde(default)]
    pub clsact: bool,
    /// Multicast addresses that somebody had put into its filter.
    #[serde(default)]
    pub groups: BTreeSet<MacAddr>,
}

fn as_it_is() -> bool {
    Before::default().promiscuous
}

impl Default for Before {
    /// What a link is like that nobody asked about: whatever it is now stays.
    fn default() -> Self {
        Self {
            ipv6_disabled: false,
            up: true,
            all_multicast: false,
            vlan_filter: false,
            promiscuous: true,
            index: 0,
            clsact: false,
            groups: BTreeSet::new(),
        }
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
    /// Links that are ports, become ports or have been ports and are not put back yet, by name.
    pub ports: BTreeMap<String, Before>,
    /// Pairs of links, of aggregations and VNICs, that are being made or deleted: name and MAC address. What is noted
    /// here when a daemon starts is finished if the files name it, and else taken away.
    pub unfinished: BTreeMap<String, MacAddr>,
    /// Leases from DHCP by object: the next daemon goes on with them.
    pub leases: BTreeMap<String, Lease>,
}
