//! Links as the kernel has them: what each is, and which of them are shown.

use dlmp_api::{AGGREGATION_ALIAS, LOWER_ALIAS, PORT_VLAN_ALIAS, VNIC_ALIAS};
use dlmp_netlink::{Link, Netlink};

use crate::failure::{Failure, Result};

/// What a link is, in Solaris' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A network device, whatever its driver.
    Phys,
    /// An aggregation of ours.
    Aggr,
    /// A bridge.
    Bridge,
    /// A VLAN.
    Vlan,
    /// A virtual NIC on another link.
    Vnic,
    /// A bond or team, which Solaris has not.
    Bond,
    /// A link without Ethernet, such as a tunnel.
    Iptun,
}

impl Class {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phys => "phys",
            Self::Aggr => "aggr",
            Self::Bridge => "bridge",
            Self::Vlan => "vlan",
            Self::Vnic => "vnic",
            Self::Bond => "bond",
            Self::Iptun => "iptun",
        }
    }

    /// The class of a link; none for those that are not shown: the loopback, as in Solaris, the
    /// lower end of an aggregation or a VNIC, and what only registers a VLAN with a port's driver.
    pub fn of(link: &Link) -> Option<Self> {
        if link.loopback || alias_starts(link, LOWER_ALIAS) || alias_starts(link, PORT_VLAN_ALIAS) {
            return None;
        }
        if is_aggregation(link) {
            return Some(Self::Aggr);
        }
        if aggregation_below(link).is_some() {
            return Some(Self::Vnic);
        }
        Some(match link.kind.as_deref() {
            Some("bridge") => Self::Bridge,
            Some("vlan") => Self::Vlan,
            Some("macvlan" | "macvtap" | "ipvlan" | "ipvtap") => Self::Vnic,
            Some("bond" | "team") => Self::Bond,
            _ if !link.ethernet => Self::Iptun,
            _ => Self::Phys,
        })
    }
}

/// Whether a link is an aggregation of ours.
pub fn is_aggregation(link: &Link) -> bool {
    alias_starts(link, AGGREGATION_ALIAS)
}

/// The aggregation that a VNIC of ours is over, wherever that is.
pub fn aggregation_below(link: &Link) -> Option<&str> {
    link.alias.as_deref()?.strip_prefix(VNIC_ALIAS).map(str::trim)
}

fn alias_starts(link: &Link, start: &str) -> bool {
    link.alias.as_deref().is_some_and(|alias| alias.starts_with(start))
}

/// All links of the namespace, by index.
///
/// # Errors
/// The kernel's refusal.
pub async fn links() -> Result<Vec<Link>> {
    Ok(Netlink::connect()?.links().await?)
}

/// The links of the namespace that are shown, with their classes: all, or the one that was named.
///
/// # Errors
/// The kernel's refusal, or there is no such link.
pub fn shown<'a>(links: &'a [Link], name: Option<&str>) -> Result<Vec<(&'a Link, Class)>> {
    let shown = links.iter().filter_map(|link| Some((link, Class::of(link)?)));
    let shown: Vec<_> = shown.filter(|(link, _)| name.is_none_or(|name| link.name == name)).collect();
    match name {
        Some(name) if shown.is_empty() => Err(Failure::refused(format!("there is no link {name}"), "dladm show-link")),
        _ => Ok(shown),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An Ethernet link of a kind.
    pub fn link(index: u32, name: &str, kind: Option<&str>, alias: Option<&str>) -> Link {
        Link {
            index,
            name: name.into(),
            mtu: 1500,
            admin_up: true,
            lower_up: true,
            loopback: name == "lo",
            ethernet: true,
            kind: kind.map(Into::into),
            alias: alias.map(Into::into),
            ..Link::default()
        }
    }

    /// A guest's links: two ports, the aggregation with its lower end, and more.
    pub fn links() -> Vec<Link> {
        vec![
            link(1, "lo", None, None),
            link(2, "net0", Some("veth"), None),
            link(3, "net1", None, Some("the second uplink")),
            link(4, "aggr0", Some("veth"), Some("dlmp aggregation")),
            link(5, "veth0", Some("veth"), Some("dlmp lower end of aggr0")),
            link(6, "br0", Some("bridge"), None),
            link(12, "vnic1", Some("veth"), Some("dlmp VNIC over aggr0")),
            link(13, "dlmp1", Some("veth"), Some("dlmp lower end of vnic1")),
            Link { master: Some(6), ..link(7, "tap0", Some("tun"), None) },
            Link { peer_index: Some(3), ..link(8, "net1.5", Some("vlan"), None) },
            Link { peer_index: Some(3), ..link(14, "dlmpv0", Some("vlan"), Some("dlmp VLAN let in by net1")) },
            Link { peer_index: Some(3), ..link(9, "mv0", Some("macvlan"), None) },
            Link { ethernet: false, ..link(10, "wg0", Some("wireguard"), None) },
        ]
    }

    #[test]
    fn the_lower_end_and_the_loopback_are_no_links_to_show() {
        for name in ["veth0", "dlmp1", "lo", "nothing"] {
            assert_eq!(shown(&links(), Some(name)).unwrap_err().exit_code(), 1, "{name}");
        }
    }
}
