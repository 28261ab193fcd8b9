//! The pair of links that an aggregation or a VNIC is. Its upper end has name and address, and that of a VNIC may go to
//! any network namespace; its lower end stays here, and by its alias a daemon knows the pair, also the next one.
//!
//! A daemon that dies between the steps of making a pair leaves it half made: the links are there in one step, the aliases
//! come after. So a pair is also known by what it was made with: its name, its MAC address, and a lower end that nobody
//! else has marked.

use dlmp_api::{AGGREGATION_ALIAS, LOWER_ALIAS, VNIC_ALIAS};
use dlmp_netlink::{Link, Netlink, NewVeth, Result, ipv6};
use dlmp_wire::MacAddr;

/// What the kernel puts a number in for the name of a lower end.
const LOWER_NAME: &str = "dlmp%d";

/// The lower end of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lower {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

impl From<&Link> for Lower {
    fn from(link: &Link) -> Self {
        Self { index: link.index, name: link.name.clone() }
    }
}

/// What is on a pair.
#[derive(Debug, Clone, Copy)]
pub enum Use<'a> {
    /// The link of an aggregation.
    Aggregation,
    /// A VNIC over this aggregation.
    Vnic(&'a str),
}

impl Use<'_> {
    fn alias(self) -> String {
        match self {
            Self::Aggregation => AGGREGATION_ALIAS.into(),
            Self::Vnic(over) => format!("{VNIC_ALIAS} {over}"),
        }
    }
}

/// The lower end of the pair of this name and address, if it is there, also if it is only half made.
pub fn find(links: &[Link], name: &str, mac: MacAddr) -> Option<Lower> {
    marked(links, name).or_else(|| half_made(links, name, mac)).map(Lower::from)
}

/// The lower end that is marked as this pair's.
pub fn marked<'a>(links: &'a [Link], name: &str) -> Option<&'a Link> {
    let alias = lower_alias(name);
    links.iter().find(|link| link.alias.as_deref() == Some(&alias))
}

/// The name of the pair that a link is the lower end of.
pub fn lower_of(link: &Link) -> Option<&str> {
    link.alias.as_deref()?.strip_prefix(LOWER_ALIAS)?.strip_prefix(' ')
}

fn half_made<'a>(links: &'a [Link], name: &str, mac: MacAddr) -> Option<&'a Link> {
    let upper = links.iter().find(|link| link.name == name && link.mac == Some(mac))?;
    let ours = |alias: &str| alias == AGGREGATION_ALIAS || alias.starts_with(VNIC_ALIAS);
    if upper.kind.as_deref() != Some("veth") || !upper.alias.as_deref().is_none_or(ours) {
        return None;
    }
    let prefix = LOWER_NAME.trim_end_matches("%d");
    links
        .iter()
        .find(|link| Some(link.index) == upper.peer_index && link.name.starts_with(prefix) && link.alias.is_none())
}

/// Makes a pair, both ends down.
///
/// # Errors
/// The kernel's refusal, such as a name that is taken. Nothing is left behind then.
pub async fn make(netlink: &Netlink, (name, mac): (&str, MacAddr), of: Use<'_>, mtu: u32) -> Result<(Link, Lower)> {
    let (upper, lower) = netlink.create_veth(NewVeth { name, peer: LOWER_NAME, mac, mtu }).await?;
    let lower = Lower::from(&lower);
    if let Err(error) = dress(netlink, Some(&upper), &lower, name, of).await {
        remove(netlink, lower.index).await;
        return Err(error);
    }
    Ok((upper, lower))
}

/// Gives both ends, the upper one if it is here, what a daemon knows them by, and keeps the lower one quiet.
///
/// # Errors
/// The kernel's refusal.
pub async fn dress(netlink: &Netlink, upper: Option<&Link>, lower: &Lower, name: &str, of: Use<'_>) -> Result<()> {
    if let Some(upper) = upper {
        netlink.set_alias(upper.index, &of.alias()).await?;
    }
    netlink.set_alias(lower.index, &lower_alias(name)).await?;
    // Nothing of its own is to leave the lower end and come out of the aggregation.
    if let Err(error) = ipv6::set_disabled(&lower.name, true) {
        tracing::warn!(link = lower.name, %error, "IPv6 stays on");
    }
    Ok(())
}

/// Takes a pair away that is not wanted after all; what stays is logged.
pub async fn remove(netlink: &Netlink, lower: u32) {
    if let Err(error) = netlink.delete_link(lower).await {
        tracing::warn!(%error, "the pair of links stays");
    }
}

fn lower_alias(name: &str) -> String {
    format!("{LOWER_ALIAS} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 1]);

    /// A pair with these aliases; the lower end has this name.
    fn pair(upper: Option<&str>, lower: Option<&str>, lower_name: &str) -> Vec<Link> {
        let link = |index: u32, name: &str, alias: Option<&str>| Link {
            index,
            name: name.into(),
            mac: Some(MAC),
            kind: Some("veth".into()),
            peer_index: Some(11 - index),
            alias: alias.map(Into::into),
            ..Link::default()
        };
        vec![link(5, "aggr0", upper), link(6, lower_name, lower)]
    }

    #[test]
    fn a_pair_is_found_after_each_step_of_its_making() {
        for (upper, lower) in [
            (None, None),
            (Some("dlmp aggregation"), None),
            (Some("dlmp VNIC over aggr9"), None),
            (Some("dlmp aggregation"), Some("dlmp lower end of aggr0")),
            // Somebody wrote over the upper one.
            (Some("uplink"), Some("dlmp lower end of aggr0")),
        ] {
            let found = find(&pair(upper, lower, "dlmp3"), "aggr0", MAC);
            assert_eq!(found, Some(Lower { index: 6, name: "dlmp3".into() }), "{upper:?} {lower:?}");
        }
    }

    #[test]
    fn what_somebody_else_made_is_not_taken_for_ours() {
        assert_eq!(find(&pair(None, None, "veth1"), "aggr0", MAC), None);
        assert_eq!(find(&pair(Some("mine"), None, "dlmp3"), "aggr0", MAC), None);
        assert_eq!(find(&pair(None, Some("mine"), "dlmp3"), "aggr0", MAC), None);
        assert_eq!(find(&pair(None, None, "dlmp3"), "aggr0", MacAddr([2, 8, 0x20, 0, 0, 2])), None);
        assert_eq!(find(&pair(None, Some("dlmp lower end of aggr1"), "dlmp3"), "aggr0", MAC), None);
    }
}
