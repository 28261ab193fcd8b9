//! Keeps the links of VNICs in being: makes them, takes over those of an earlier daemon, and makes anew those
//! that vanish, as they do with the network namespace that they are in.

use dlmp_api::Error;

use crate::config::VnicConfig;
use crate::control::Control;
use crate::monitor::VnicSpec;
use crate::pair::{self, Use};

impl Control {
    /// Finds the VNICs of an earlier daemon, before their aggregations are started with them.
    pub(crate) async fn find_vnics(&mut self) {
        let links = match self.netlink.links().await {
            Ok(links) => links,
            Err(error) => return tracing::error!(%error, "cannot look for the links of VNICs"),
        };
        for (name, (config, _)) in self.stores.vnics() {
            let Some(lower) = pair::find(&links, &name, config.mac) else { continue };
            if pair::marked(&links, &name).is_none() {
                let upper = links.iter().find(|link| link.peer_index == Some(lower.index));
                let dressed = pair::dress(&self.netlink, upper, &lower, &name, Use::Vnic(&config.link)).await;
                if let Err(error) = dressed {
                    tracing::error!(vnic = name, %error, "its links stay half made");
                }
            }
            self.lowers.insert(name, lower);
        }
    }

    /// The VNICs over an aggregation whose links are there, to start it with.
    pub(crate) fn vnic_specs(&self, aggregation: &str) -> Vec<VnicSpec> {
        (self.stores.vnics().into_iter())
            .filter(|(_, (config, _))| config.link == aggregation)
            .filter_map(|(name, (config, _))| {
                let lower = self.lowers.get(&name)?.clone();
                Some(VnicSpec { name, mac: config.mac, vlan: config.vlan.number(), lower })
            })
            .collect()
    }

    /// Makes the links of every VNIC that has none; what cannot be made is logged and stays configured.
    pub(crate) async fn restore_vnics(&mut self) {
        for name in self.stores.vnics().into_keys() {
            self.make_again(&name).await;
        }
    }

    /// A link is gone. With a VNIC's lower end the whole VNIC is; and a name may be free again.
    pub async fn vnic_gone(&mut self, index: u32, name: &str) {
        let gone = self.lowers.iter().find(|(_, lower)| lower.index == index).map(|(vnic, _)| vnic.clone());
        let Some(vnic) = gone else { return self.make_again(name).await };
        tracing::warn!(vnic, "somebody deleted the link, or the network namespace that it was in: making it anew");
        self.lowers.remove(&vnic);
        if let Some((config, _)) = self.stores.vnics().get(&vnic)
            && let Err(error) = self.monitor.remove_vnic(&config.link, &vnic).await
        {
            tracing::error!(vnic, %error, "what is left of the VNIC stays");
        }
        self.make_again(&vnic).await;
    }

    /// Events of links were lost: looks which VNICs are still there.
    pub(crate) async fn look_at_vnics(&mut self) {
        let links = match self.netlink.links().await {
            Ok(links) => links,
            Err(error) => return tracing::error!(%error, "cannot look for the links of VNICs"),
        };
        let is_there = |index: u32| links.iter().any(|link| link.index == index);
        let gone: Vec<(u32, String)> = (self.lowers.values())
            .filter(|lower| !is_there(lower.index))
            .map(|lower| (lower.index, lower.name.clone()))
            .collect();
        for (index, name) in gone {
            self.vnic_gone(index, &name).await;
        }
        self.restore_vnics().await;
    }

    /// Makes the links of a configured VNIC if it has none.
    async fn make_again(&mut self, name: &str) {
        if self.lowers.contains_key(name) {
            return;
        }
        if let Some((config, _)) = self.stores.vnics().get(name)
            && let Err(error) = self.make_vnic(name, config).await
        {
            tracing::error!(vnic = name, %error, "the VNIC is absent");
        }
    }

    /// Makes the links of a VNIC and connects them.
    ///
    /// # Errors
    /// What failed; everything that had been done is undone.
    pub(super) async fn make_vnic(&mut self, name: &str, config: &VnicConfig) -> Result<(), Error> {
        let running = self.monitor.list().await?;
        let aggregation = running.iter().find(|aggregation| aggregation.name == config.link);
        let Some(mtu) = aggregation.and_then(|aggregation| u32::try_from(aggregation.mtu).ok()) else {
            return Err(Error::failed(format!(
                "the aggregation {} does not run; the log of dlmpd says why",
                config.link
            )));
        };
        let made = pair::make(&self.netlink, (name, config.mac), Use::Vnic(&config.link), mtu).await;
        let (_, lower) = made.map_err(|error| Error::failed(error.to_string()))?;
        let vlan = config.vlan.number();
        let spec = VnicSpec { name: name.to_owned(), mac: config.mac, vlan, lower: lower.clone() };
        if let Err(error) = self.monitor.add_vnic(&config.link, spec).await {
            pair::remove(&self.netlink, lower.index).await;
            return Err(error);
        }
        self.lowers.insert(name.to_owned(), lower);
        Ok(())
    }

    /// Disconnects a VNIC and deletes its links.
    ///
    /// # Errors
    /// They could not be deleted.
    pub(super) async fn unmake_vnic(&mut self, name: &str, config: &VnicConfig) -> Result<(), Error> {
        let Some(lower) = self.lowers.remove(name) else { return Ok(()) };
        let disconnected = self.monitor.remove_vnic(&config.link, name).await;
        self.netlink.delete_link(lower.index).await.map_err(|error| Error::failed(error.to_string()))?;
        disconnected
    }
}
