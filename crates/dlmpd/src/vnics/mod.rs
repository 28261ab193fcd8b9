//! Requests about VNICs: checked, carried out, kept in the files, undone when any of that fails.
//!
//! The slow part, the links themselves, is done here, on the service's thread; the monitor only connects
//! their lower ends to the datapath.

mod check;
mod keep;

use std::collections::BTreeMap;

use dlmp_api::{Error, NewVnic, Vnic};
use dlmp_netlink::{Address, Link};

use crate::config::VnicConfig;
use crate::control::{Control, random_mac};
use crate::pair::{self, Lower};
use crate::validate;

/// The lower ends of the VNICs that are there, by the VNICs' names.
pub type Lowers = BTreeMap<String, Lower>;

impl Control {
    /// All VNICs.
    ///
    /// # Errors
    /// The monitor has ended.
    pub async fn list_vnics(&self) -> Result<Vec<Vnic>, Error> {
        let aggregations = self.list().await?;
        let shown = self.stores.vnics().into_iter().map(|(name, (config, temporary))| {
            let aggregation = aggregations.iter().find(|aggregation| aggregation.name == config.link);
            let state = match aggregation.filter(|_| self.lowers.contains_key(&name)) {
                Some(aggregation) => aggregation.state.clone(),
                None => "absent".into(),
            };
            Vnic {
                name,
                speed: aggregation.and_then(|aggregation| aggregation.speed),
                link: config.link,
                mac: config.mac.to_string(),
                mackind: if config.random_mac { "random" } else { "fixed" }.into(),
                vlan: config.vlan.number().into(),
                state,
                temporary,
            }
        });
        Ok(shown.collect())
    }

    /// Makes a VNIC.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn create_vnic(&mut self, request: NewVnic) -> Result<(), Error> {
        let NewVnic { name, link, mac, vlan, temporary } = request;
        let (links, addresses) = self.look().await?;
        check::aggregation(&self.stores, &links, &link, &name, temporary)?;
        self.not_a_vnic(&name)?;
        self.no_orphan(&links, &name)?;
        self.no_orphan_vnic(&links, &name)?;
        validate::name(&self.ground(&links, &addresses), &name)?;
        self.not_an_aggregation(&name)?;
        let vlan = check::vlan(vlan)?;
        let random_mac_wanted = mac.is_none();
        let mac = match mac {
            Some(text) => {
                let mac = validate::mac(&text)?;
                check::free_mac(&self.stores, &links, mac, vlan)?;
                mac
            }
            None => random_mac(|mac| check::free_mac(&self.stores, &links, mac, vlan).is_ok())?,
        };

        let config = VnicConfig { link, mac, random_mac: random_mac_wanted, vlan };
        self.begin(Some((&name, mac)), &[]).await?;
        let mut done = self.make_vnic(&name, &config).await;
        if done.is_ok() {
            let kept = self.stores.commit(|kept, state| {
                if temporary {
                    state.temporary.vnics.insert(name.clone(), config.clone());
                } else {
                    state.absent_vnics.remove(&name);
                    kept.vnics.insert(name.clone(), config.clone());
                }
            });
            if kept.is_err() {
                done = self.unmake_vnic(&name, &config).await.and(kept);
            }
        }
        self.settle().await;
        done
    }

    /// Removes a VNIC, in whatever namespace its link is.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn delete_vnic(&mut self, name: &str, temporary: bool) -> Result<(), Error> {
        let (links, addresses) = self.look().await?;
        let Some((config, _)) = self.stores.vnics().remove(name) else {
            return self.delete_orphan_vnic(&links, &addresses, name).await;
        };
        if self.addresses.has_interface(name) {
            return Err(Error::refused(
                format!("the IP interface {name} is on the VNIC {name}"),
                format!("ipadm delete-ip {name}"),
            ));
        }
        if let Some(lower) = self.lowers.get(name) {
            check::no_address(&links, &addresses, name, lower)?;
        }
        // First the files: a file that cannot be written must leave the VNIC at work.
        self.stores.commit(|kept, state| {
            state.unfinished.insert(name.to_owned(), config.mac);
            state.temporary.vnics.remove(name);
            if temporary && kept.vnics.contains_key(name) {
                state.absent_vnics.insert(name.to_owned());
            } else {
                kept.vnics.remove(name);
                state.absent_vnics.remove(name);
            }
        })?;
        if let Err(error) = self.unmake_vnic(name, &config).await {
            tracing::warn!(vnic = name, %error, "what stays of it is looked for");
        }
        self.settle().await;
        self.is_gone(name)
    }

    /// Removes a VNIC that is there and in no file.
    async fn delete_orphan_vnic(&mut self, links: &[Link], addresses: &[Address], name: &str) -> Result<(), Error> {
        let lower = pair::marked(links, name).filter(|_| self.orphan_vnics(links).any(|orphan| orphan == name));
        let Some(lower) = lower else {
            return Err(Error::refused(format!("there is no VNIC {name}"), "dladm show-vnic"));
        };
        let upper = links.iter().find(|link| link.peer_index == Some(lower.index));
        let mac = upper.and_then(|upper| upper.mac).unwrap_or_default();
        check::no_address(links, addresses, name, &Lower { index: lower.index, name: lower.name.clone() })?;
        self.begin(Some((name, mac)), &[]).await?;
        self.settle().await;
        self.is_gone(name)
    }

    /// Refuses a name that belongs to a VNIC, though its link may be in another namespace.
    pub(crate) fn not_a_vnic(&self, name: &str) -> Result<(), Error> {
        match self.stores.vnics().get(name) {
            Some((config, _)) => Err(Error::refused(
                format!("the VNIC {name} over {} exists already, perhaps in another network namespace", config.link),
                format!("dladm show-vnic {name}"),
            )),
            None => Ok(()),
        }
    }

    /// Refuses when a VNIC is over the aggregation.
    pub(crate) fn no_vnic_over(&self, aggregation: &str) -> Result<(), Error> {
        match self.stores.vnics().into_iter().find(|(_, (config, _))| config.link == aggregation) {
            Some((vnic, _)) => Err(Error::refused(
                format!("the VNIC {vnic} is over the aggregation {aggregation}"),
                format!("dladm delete-vnic {vnic}"),
            )),
            None => Ok(()),
        }
    }
}
