//! What is refused of VNICs before anything is touched, with the reason and the next command to type.

use dlmp_api::Error;
use dlmp_netlink::{Address, Link};
use dlmp_wire::MacAddr;

use super::Lower;
use crate::property::VlanId;
use crate::stores::Stores;
use crate::validate::is_vnic;

/// How many VNICs an aggregation can have: the datapath's place for them (`bpf/dlmp.h`).
const MAX_VNICS: usize = 256;

/// Checks the link that a VNIC is to be over.
///
/// # Errors
/// It is no aggregation of ours, a temporary one, or has as many VNICs as it can have.
pub fn aggregation(stores: &Stores, links: &[Link], over: &str, vnic: &str, temporary: bool) -> Result<(), Error> {
    let Some((_, is_temporary)) = stores.aggregations().remove(over) else {
        return Err(match links.iter().any(|link| link.name == over) {
            true => Error::refused(
                format!("{over} is no aggregation of dlmpd, and a VNIC is made over one"),
                "dladm show-aggr",
            ),
            false => Error::refused(format!("there is no aggregation {over}"), "dladm show-aggr"),
        });
    };
    if is_temporary && !temporary {
        return Err(Error::refused(
            format!("{over} is gone after the next boot, so a VNIC over it cannot stay"),
            format!("dladm create-vnic -t -l {over} {vnic}"),
        ));
    }
    if stores.vnics().values().filter(|(config, _)| config.link == over).count() >= MAX_VNICS {
        return Err(Error::refused(
            format!("{over} has {MAX_VNICS} VNICs, as many as an aggregation can have"),
            format!("dladm show-vnic -l {over}"),
        ));
    }
    Ok(())
}

/// Checks a VLAN id.
///
/// # Errors
/// It is not one.
pub fn vlan(vlan: i64) -> Result<VlanId, Error> {
    let id = u16::try_from(vlan).ok().and_then(|id| VlanId::try_from(id).ok());
    id.ok_or_else(|| Error::refused(format!("-v {vlan}: a VLAN id is a number from 0 to 4094, 0 for untagged"), ""))
}

/// Checks that nobody here has an address in this VLAN. Two VNICs may share one in different VLANs.
///
/// # Errors
/// Who has it.
pub fn free_mac(stores: &Stores, links: &[Link], mac: MacAddr, vlan: VlanId) -> Result<(), Error> {
    let vnics = stores.vnics();
    let vnic = vnics.iter().find(|(_, (config, _))| config.mac == mac && config.vlan == vlan);
    let aggregations = stores.aggregations();
    let aggregation = aggregations.iter().find(|(_, (config, _))| config.mac == mac);
    let link = links.iter().filter(|link| !is_vnic(link)).find(|link| link.mac == Some(mac));
    let (owner, remedy) = match (vnic, aggregation, link) {
        (Some((name, _)), _, _) => (format!("the VNIC {name}"), "dladm show-vnic"),
        (_, Some((name, _)), _) => (format!("the aggregation {name}"), "dladm show-aggr -x"),
        (_, _, Some(link)) => (format!("the link {}", link.name), "ip link"),
        (None, None, None) => return Ok(()),
    };
    Err(Error::refused(format!("{owner} has the address {mac} already"), remedy))
}

/// Refuses when somebody gave an address to a VNIC in this namespace.
///
/// # Errors
/// Which address it has.
pub fn no_address(links: &[Link], addresses: &[Address], vnic: &str, lower: &Lower) -> Result<(), Error> {
    // A peer in another namespace has no index here.
    let Some(upper) = links.iter().find(|link| link.peer_index == Some(lower.index)) else { return Ok(()) };
    match addresses.iter().find(|address| address.index == upper.index && !address.kernel_made) {
        Some(address) => {
            let text = format!("{}/{}", address.address, address.prefix_len);
            Err(Error::refused(
                format!("the VNIC {vnic} has the address {text}"),
                format!("ip address delete {text} dev {}", upper.name),
            ))
        }
        None => Ok(()),
    }
}
