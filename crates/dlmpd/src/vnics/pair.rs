//! The pair of links that a VNIC is. Its upper end has name and address and may go to any network namespace;
//! its lower end stays here, and by its alias a daemon knows it, also the next one.

use dlmp_api::{Error, LOWER_ALIAS, VNIC_ALIAS};
use dlmp_netlink::{Link, Netlink, NewVeth, ipv6};
use dlmp_wire::MacAddr;

/// The lower end of a VNIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lower {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// The lower end of the VNIC of this name, if it is there.
pub fn find(links: &[Link], vnic: &str) -> Option<Lower> {
    let alias = lower_alias(vnic);
    let link = links.iter().find(|link| link.alias.as_deref() == Some(&alias))?;
    Some(Lower { index: link.index, name: link.name.clone() })
}

/// Makes the pair, both ends down.
///
/// # Errors
/// The kernel's refusal, such as a name that is taken. Nothing is left behind then.
pub async fn make(
    netlink: &Netlink,
    aggregation: &str,
    (name, mac): (&str, MacAddr),
    mtu: u32,
) -> Result<Lower, Error> {
    let failed = |error: dlmp_netlink::Error| Error::failed(error.to_string());
    let (upper, lower) = netlink.create_veth(NewVeth { name, peer: "dlmp%d", mac, mtu }).await.map_err(failed)?;
    let dressed = async {
        netlink.set_alias(upper.index, &format!("{VNIC_ALIAS} {aggregation}")).await?;
        netlink.set_alias(lower.index, &lower_alias(name)).await
    };
    if let Err(error) = dressed.await {
        remove(netlink, lower.index).await;
        return Err(failed(error));
    }
    // Nothing of its own is to leave the lower end.
    if let Err(error) = ipv6::set_disabled(&lower.name, true) {
        tracing::warn!(link = lower.name, %error, "IPv6 stays on");
    }
    Ok(Lower { index: lower.index, name: lower.name })
}

/// Takes a pair away that is not wanted after all; what stays is logged.
pub async fn remove(netlink: &Netlink, lower: u32) {
    if let Err(error) = netlink.delete_link(lower).await {
        tracing::warn!(%error, "the pair of links stays");
    }
}

fn lower_alias(vnic: &str) -> String {
    format!("{LOWER_ALIAS} {vnic}")
}
