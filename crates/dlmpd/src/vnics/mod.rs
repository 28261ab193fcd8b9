//! Requests about VNICs: checked, carried out, kept in the files, undone when any of that fails.
//!
//! The slow part, the links themselves, is done here, on the service's thread; the monitor only connects
//! their lower ends to the datapath.

mod check;
mod keep;
mod pair;

use std::collections::BTreeMap;

use dlmp_api::{Error, NewVnic, Vnic};

use crate::config::VnicConfig;
use crate::control::{Control, random_mac};
use crate::validate;
pub use pair::Lower;

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
        self.make_vnic(&name, &config).await?;
        let kept = self.stores.commit(|kept, state| {
            if temporary {
                state.temporary.vnics.insert(name.clone(), config.clone());
            } else {
                state.absent_vnics.remove(&name);
                kept.vnics.insert(name.clone(), config.clone());
            }
        });
        if let Err(error) = kept {
            self.unmake_vnic(&name, &config).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Removes a VNIC, in whatever namespace its link is.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn delete_vnic(&mut self, name: &str, temporary: bool) -> Result<(), Error> {
        let Some((config, _)) = self.stores.vnics().remove(name) else {
            return Err(Error::refused(format!("there is no VNIC {name}"), "dladm show-vnic"));
        };
        if self.addresses.has_interface(name) {
            return Err(Error::refused(
                format!("the IP interface {name} is on the VNIC {name}"),
                format!("ipadm delete-ip {name}"),
            ));
        }
        let (links, addresses) = self.look().await?;
        if let Some(lower) = self.lowers.get(name) {
            check::no_address(&links, &addresses, name, lower)?;
        }
        // First the files: a file that cannot be written must leave the VNIC at work.
        self.stores.commit(|kept, state| {
            state.temporary.vnics.remove(name);
            if temporary && kept.vnics.contains_key(name) {
                state.absent_vnics.insert(name.to_owned());
            } else {
                kept.vnics.remove(name);
                state.absent_vnics.remove(name);
            }
        })?;
        self.unmake_vnic(name, &config).await
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
