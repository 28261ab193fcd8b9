//! The links of the namespace as the commands show them, read from the kernel: they need no daemon.

use dlmp_api::{AGGREGATION_ALIAS, LOWER_ALIAS};
use dlmp_netlink::ethtool::Ethtool;
use dlmp_netlink::{Link, Netlink};

use crate::failure::Failure;

/// All links without the lower ends of aggregations, which are nobody's business.
pub struct Inventory {
    links: Vec<Link>,
}

impl Inventory {
    /// Reads the links.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn read(netlink: &Netlink) -> Result<Self, Failure> {
        Ok(Self::of(netlink.links().await?))
    }

    /// What is shown of these links.
    pub fn of(mut links: Vec<Link>) -> Self {
        links.retain(|link| !alias(link).starts_with(LOWER_ALIAS));
        Self { links }
    }

    /// Every link, the loopback too.
    pub fn all(&self) -> &[Link] {
        &self.links
    }

    /// The data links: every one but the loopback, which is none in Solaris.
    pub fn data_links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(|link| !link.loopback)
    }

    /// The name of an aggregation, if there is one.
    pub fn aggregation(&self) -> Option<&str> {
        self.links.iter().find(|link| is_aggregation(link)).map(|link| link.name.as_str())
    }

    /// The links under this one that the kernel knows of. It does not know the ports of an
    /// aggregation.
    pub fn under(&self, link: &Link) -> Vec<String> {
        let names = |test: &dyn Fn(&Link) -> bool| {
            self.links.iter().filter(|other| test(other)).map(|other| other.name.clone()).collect()
        };
        match class(link) {
            "bridge" | "bond" | "team" => names(&|other| other.master == Some(link.index)),
            "vlan" | "vnic" => names(&|other| Some(other.index) == link.peer_index),
            _ => Vec::new(),
        }
    }
}

/// Whether a link is an aggregation of ours.
pub fn is_aggregation(link: &Link) -> bool {
    alias(link).starts_with(AGGREGATION_ALIAS)
}

/// The class of a link in the words of Solaris. What has none there is `phys`, as it is used like a
/// NIC (veth, tap); the kernel's own aggregations keep their names, since `show-aggr` has only ours.
pub fn class(link: &Link) -> &'static str {
    match link.kind.as_deref() {
        _ if is_aggregation(link) => "aggr",
        Some("bridge" | "openvswitch") => "bridge",
        Some("vlan") => "vlan",
        Some("macvlan" | "macvtap" | "ipvlan" | "ipvtap") => "vnic",
        Some("bond") => "bond",
        Some("team") => "team",
        Some(_) if !link.ethernet => "iptun",
        _ => "phys",
    }
}

/// `up`, `down`, or `unknown` where the driver cannot tell.
///
/// Asks the device, since what netlink says can be a second old.
pub fn state(link: &Link, ethtool: &Ethtool) -> &'static str {
    if !link.admin_up {
        return "down";
    }
    match ethtool.carrier(&link.name) {
        Ok(Some(true)) => "up",
        Ok(Some(false)) => "down",
        Ok(None) | Err(_) => "unknown",
    }
}

fn alias(link: &Link) -> &str {
    link.alias.as_deref().unwrap_or_default()
}
