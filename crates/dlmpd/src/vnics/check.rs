//! What is refused of VNICs before anything is touched, with the reason and the next command to type.

use dlmp_api::Error;
use dlmp_datapath::MAX_VNICS;
use dlmp_netlink::{Address, Link};
use dlmp_wire::MacAddr;

use crate::pair::Lower;
use crate::property::VlanId;
use crate::stores::Stores;
use crate::validate::is_vnic;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFile, VnicConfig};
    use crate::state::StateFile;

    fn link(index: u32, name: &str, mac: &str, alias: Option<&str>) -> Link {
        Link {
            index,
            name: name.into(),
            mac: Some(mac.parse().unwrap()),
            mtu: 1500,
            admin_up: true,
            lower_up: true,
            ethernet: true,
            alias: alias.map(Into::into),
            ..Link::default()
        }
    }

    /// A port, the aggregation, a VNIC of VLAN 7 that is here, and its lower end.
    fn links() -> Vec<Link> {
        vec![
            link(2, "net0", "2:8:20:0:0:50", None),
            link(4, "aggr0", "2:8:20:0:0:1", Some("dlmp aggregation")),
            Link { peer_index: Some(6), ..link(5, "eth0", "2:8:20:0:0:2", Some("dlmp VNIC over aggr0")) },
            link(6, "dlmp1", "2:8:20:0:0:99", Some("dlmp lower end of vnic1")),
        ]
    }

    fn stores() -> (tempfile::TempDir, Stores) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dlmpd.toml");
        let text = "[aggregations.aggr0]\nmac = \"2:8:20:0:0:1\"\nports = [\"net0\"]\n\n\
                    [vnics.vnic1]\nlink = \"aggr0\"\nmac = \"2:8:20:0:0:2\"\nvlan = 7\n";
        std::fs::write(&path, text).unwrap();
        let stores =
            Stores::new(ConfigFile::open(&path).unwrap(), StateFile::open(folder.path(), 1, "state.toml").unwrap());
        (folder, stores)
    }

    /// Asserts that it is refused with all these words.
    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, Error>, words: &[&str]) {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn a_vnic_is_over_an_aggregation_of_ours() {
        let (_folder, mut stores) = stores();
        let over = |stores: &Stores, over: &str, temporary| aggregation(stores, &links(), over, "vnic2", temporary);
        assert_eq!(over(&stores, "aggr0", false), Ok(()));
        refused(over(&stores, "aggr7", false), &["there is no aggregation aggr7", "dladm show-aggr"]);
        refused(over(&stores, "net0", false), &["net0 is no aggregation"]);

        let config = stores.aggregations()["aggr0"].0.clone();
        let kept = stores.commit(|_, state| drop(state.temporary.aggregations.insert("aggr1".into(), config)));
        kept.unwrap();
        refused(over(&stores, "aggr1", false), &["after the next boot", "dladm create-vnic -t -l aggr1 vnic2"]);
        assert_eq!(over(&stores, "aggr1", true), Ok(()));
    }

    #[test]
    fn an_aggregation_has_at_most_256_vnics() {
        let (_folder, mut stores) = stores();
        let vnic = |last: u8| VnicConfig {
            link: "aggr0".into(),
            mac: MacAddr([2, 8, 0x20, 1, 0, last]),
            random_mac: false,
            vlan: VlanId::default(),
        };
        let mut add = |from: u8, to: u8| {
            let added = stores.commit(|kept, _| {
                kept.vnics.extend((from..=to).map(|at| (format!("v{at}"), vnic(at))));
            });
            added.unwrap();
            aggregation(&stores, &links(), "aggr0", "more", false)
        };
        assert_eq!(add(1, 254), Ok(()));
        refused(add(255, 255), &["256 VNICs", "dladm show-vnic -l aggr0"]);
    }

    #[test]
    fn a_vlan_is_0_to_4094() {
        assert_eq!(vlan(0).map(VlanId::number), Ok(0));
        assert_eq!(vlan(4094).map(VlanId::number), Ok(4094));
        for id in [-1, 4095, 65536, i64::MAX] {
            refused(vlan(id), &["0 to 4094", &id.to_string()]);
        }
    }

    #[test]
    fn nobody_else_has_the_address_but_a_vnic_in_another_vlan() {
        let (_folder, stores) = stores();
        let check = |mac: &str, id: i64| free_mac(&stores, &links(), mac.parse().unwrap(), vlan(id).unwrap());
        assert_eq!(check("2:8:20:0:0:3", 7), Ok(()));
        assert_eq!(check("2:8:20:0:0:2", 8), Ok(()));
        refused(check("2:8:20:0:0:2", 7), &["the VNIC vnic1 has the address 02:08:20:00:00:02"]);
        refused(check("2:8:20:0:0:1", 8), &["the aggregation aggr0 has the address"]);
        refused(check("2:8:20:0:0:50", 0), &["the link net0 has the address"]);
    }

    #[test]
    fn a_vnic_with_an_address_is_known_by_its_lower_end_and_one_that_is_elsewhere_has_none() {
        let address = |kernel_made| Address {
            index: 5,
            address: "10.7.0.1".parse().unwrap(),
            prefix_len: 24,
            link_local: false,
            kernel_made,
            tentative: false,
            duplicate: false,
        };
        let lower = |index| Lower { index, name: "dlmp1".into() };
        let check = |addresses: &[Address], at| no_address(&links(), addresses, "vnic1", &lower(at));
        refused(check(&[address(false)], 6), &["vnic1 has the address", "ip address delete 10.7.0.1/24 dev eth0"]);
        assert_eq!(check(&[address(true)], 6), Ok(()));
        assert_eq!(check(&[address(false)], 8), Ok(()));
    }
}
