//! The guest's end of a vnet's link, and what the guest is told about it.

use dlmp_api::VnetAlias;
use dlmp_netlink::Link;
use dlmp_netlink::ethtool::{Duplex, Settings};

use super::switch::text;
use super::vnet::mtu;
use crate::config::{SwitchConfig, VnetConfig, VnetKey};
use crate::control::Control;
use crate::place::Place;

impl Control {
    /// Tells the guest what is behind its link, and brings a new link up. Its address and MTU are what it was made with: later
    /// they are the guest's to change, which the guard and the switch hold to their limits.
    ///
    /// # Errors
    /// The kernel's refusal, in words.
    pub(super) async fn build_guest_end(
        &self,
        key: &VnetKey,
        vnet: &VnetConfig,
        switch: &SwitchConfig,
    ) -> Result<(), String> {
        if self.machines.contains_key(&key.domain) {
            return self.describe_tap(key, vnet, switch);
        }
        let Some(link) = self.find_guest_end(key).await? else { return Ok(()) };
        let (netlink, alias) = (&self.place_of(&key.domain)?.netlink, self.alias(key, vnet, switch).to_string());
        if link.alias.as_deref() != Some(&alias) {
            netlink.set_alias(link.index, &alias).await.map_err(text)?;
        }
        if !link.admin_up && link.alias.is_none() {
            netlink.set_up(link.index, true).await.map_err(text)?;
        }
        Ok(())
    }

    /// Gives the guest's end the address and the MTU that the vnet is set to.
    ///
    /// # Errors
    /// The kernel's refusal, in words.
    pub(crate) async fn set_guest_end(&self, key: &VnetKey) -> Result<(), String> {
        if self.machines.contains_key(&key.domain) {
            return Ok(());
        }
        let ((vnet, switch), Some(link)) = (self.configured(key)?, self.find_guest_end(key).await?) else {
            return Ok(());
        };
        let netlink = &self.place_of(&key.domain)?.netlink;
        if link.mac != Some(vnet.mac_addr) {
            netlink.set_mac(link.index, vnet.mac_addr).await.map_err(text)?;
        }
        if link.mtu != mtu(&vnet, &switch) {
            netlink.set_mtu(link.index, mtu(&vnet, &switch)).await.map_err(text)?;
        }
        Ok(())
    }

    /// The other end of a vnet's pair, whatever the guest calls it; absent when the guest has taken it elsewhere.
    async fn find_guest_end(&self, key: &VnetKey) -> Result<Option<Link>, String> {
        let Some(built) = self.built.get(key) else { return Ok(None) };
        let (service, guest) = (self.place_of(&built.domain)?, self.place_of(&key.domain)?);
        let Some(index) = service.netlink.peer_index(built.index).await.map_err(text)? else { return Ok(None) };
        let Some(link) = guest.netlink.link_by_index(index).await.map_err(text)? else { return Ok(None) };
        // In another namespace the number means another link, whose other end is another one, too.
        let back = guest.netlink.peer_index(link.index).await.map_err(text)?;
        Ok((link.kind.as_deref() == Some("veth") && back == Some(built.index)).then_some(link))
    }

    /// What a guest is told of its link.
    pub(super) fn alias(&self, key: &VnetKey, vnet: &VnetConfig, switch: &SwitchConfig) -> VnetAlias {
        let Settings { speed, duplex } = self.uplink_settings(switch);
        VnetAlias {
            vnet: key.name.clone(),
            switch: vnet.switch.clone(),
            net_dev: switch.net_dev.clone(),
            speed,
            duplex: (duplex != Duplex::Unknown).then(|| duplex.as_str().to_owned()),
            phys_state: vnet.phys_state,
            custom: vnet.custom,
        }
    }
}

/// Removes the guest's end of a vnet whose switch end is nowhere: in a namespace that cannot be reached any more, such as
/// that of `primary` before it was rebooted. Who is told by its alias; a guest that writes it elsewhere loses that link.
pub(super) async fn remove_orphan(key: &VnetKey, guest: &Place) -> Result<(), String> {
    let is_it = |alias: &str| alias.parse::<VnetAlias>().is_ok_and(|alias| alias.vnet == key.name);
    for link in guest.netlink.links().await.map_err(text)? {
        if link.kind.as_deref() == Some("veth") && link.alias.as_deref().is_some_and(is_it) {
            tracing::warn!(vnet = %key, link = link.name, "a link without its switch end is removed");
            guest.netlink.delete_link(link.index).await.map_err(text)?;
        }
    }
    Ok(())
}
