//! The link of a vnet: a pair of veth ends, one in the guest, one a port of the switch's bridge. For a virtual machine it is
//! a tap ([`super::tap`]), which is the switch end and has no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use dlmp_api::SWITCH_END_ALIAS;
use dlmp_api::ldm::PRIMARY;
use dlmp_netlink::ethtool::{Duplex, Settings};
use dlmp_netlink::{Link, NewVeth};
use dlmp_wire::MacAddr;

use super::is_bridge;
use super::switch::text;
use crate::carrier::{End, GuestEnd};
use crate::config::{Config, SwitchConfig, VnetConfig, VnetKey};
use crate::control::Control;
use crate::place::Place;
use crate::property::InterVnet;

/// Names of switch ends: the kernel puts a free number in.
pub(super) const END: &str = "ldm%d";

/// The switch end of a vnet, as it was built or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The domain that it is in: the service domain, or `primary` while that is gone.
    pub domain: String,
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

impl Control {
    /// Makes the link of a vnet, or brings it in line.
    ///
    /// # Errors
    /// What is in the way, in words. What was made stays: [`unbuild_vnet`](Self::unbuild_vnet) removes it.
    pub(crate) async fn build_vnet(&mut self, key: &VnetKey) -> Result<(), String> {
        let (vnet, switch) = self.configured(key)?;
        let end = match self.find_end(key, &switch.domain).await? {
            Some(end) => end,
            None if self.machines.contains_key(&key.domain) => self.make_tap(key, &switch.domain).await?,
            None => self.make_pair(key, &vnet, &switch).await?,
        };
        let built = Built { domain: switch.domain.clone(), index: end.index, name: end.name.clone() };
        // First the guard: nothing passes unguarded, and what it refuses has changed nothing yet.
        let guarded = self.build_guard(key, &vnet, &built).await;
        self.built.insert(key.clone(), built);
        guarded?;
        self.connect(key, &vnet, &switch, &end).await?;
        self.build_guest_end(key, &vnet, &switch).await?;
        self.problems.vnets.remove(key);
        self.show_link(key).await;
        Ok(())
    }

    /// Takes the link of a vnet away; what stays is logged.
    pub(crate) async fn unbuild_vnet(&mut self, key: &VnetKey) {
        self.carriers.forget_end(key).await;
        self.problems.vnets.remove(key);
        self.guards.remove(key);
        if let Some(machine) = self.machines.get(&key.domain) {
            machine.forget(&key.name);
            self.channel.forget(key);
        }
        let Some(built) = self.built.remove(key) else { return };
        let Some(place) = self.places.get(&built.domain) else { return };
        if let Err(error) = place.netlink.delete_link(built.index).await
            && error.errno() != Some(libc::ENODEV)
        {
            tracing::warn!(vnet = %key, %error, "the link of the vnet stays");
        }
    }

    /// Has the state of a vnet shown by its link: down while its switch is not there, or one of the domains is stopped.
    pub(crate) async fn show_link(&self, key: &VnetKey) {
        let (Some(built), Some(vnet)) = (self.built.get(key), self.config.vnets.get(key)) else { return };
        let switch = self.config.switches.get(&vnet.switch);
        let running = switch.is_some_and(|switch| self.runs(&switch.domain)) && self.runs(&key.domain);
        let guest = match self.machines.get(&key.domain) {
            Some(machine) => Some(GuestEnd::Card(Arc::clone(machine))),
            None => self.places.get(&key.domain).map(|place| GuestEnd::Link(place.links.clone(), guest_end(vnet))),
        };
        let end = End { name: built.name.clone(), phys_state: vnet.phys_state, running, guest };
        if switch.is_some() {
            self.carriers.end(&vnet.switch, key, end).await;
        } else if let Some(place) = self.places.get(&built.domain) {
            self.carriers.forget_end(key).await;
            self.take_down(key, place, &built.name);
        }
    }

    /// Whether a vnet's link is to be up.
    pub(super) fn is_to_be_up(&self, key: &VnetKey) -> bool {
        let Ok((vnet, switch)) = self.configured(key) else { return false };
        let carrier = self.carriers.carrier(&vnet.switch).unwrap_or(false);
        self.runs(&switch.domain) && self.runs(&key.domain) && (carrier || !vnet.phys_state)
    }

    /// Has the states of all vnets shown that a domain has or serves.
    pub(crate) async fn show_links_of(&self, domain: &str) {
        let concerned = self.config.vnets.iter().filter(|(key, vnet)| {
            let switch = self.config.switches.get(&vnet.switch);
            key.domain == domain || switch.is_some_and(|switch| switch.domain == domain)
        });
        for (key, _) in concerned {
            self.show_link(key).await;
        }
    }

    /// Shows what is behind a switch now by its bridge, and tells the guests.
    pub(crate) async fn describe(&mut self, switch: &str) {
        let Some(config) = self.config.switches.get(switch) else { return };
        if let Err(error) = self.show_switch(switch, config).await {
            tracing::warn!(switch, error, "the switch does not show the state of its uplink");
        }
        self.described.insert(switch.into(), self.uplink_settings(config));
        for key in self.vnets_of(switch) {
            if let Ok((vnet, switch)) = self.configured(&key)
                && let Err(error) = self.build_guest_end(&key, &vnet, &switch).await
            {
                tracing::warn!(vnet = %key, error, "the guest is not told about its link");
            }
        }
    }

    /// Finds the switch ends that an earlier daemon made, and removes those of vnets that do not exist. They are in the service
    /// domain, or in `primary` if they were saved from it; what guests call their links means nothing.
    pub(crate) async fn find_ends(&mut self) {
        let mut found = BTreeMap::new();
        let serves = |domain: &str| self.config.switches.values().any(|switch| switch.domain == domain);
        for (domain, place) in self.places.iter().filter(|(domain, _)| *domain == PRIMARY || serves(domain)) {
            let links = match place.netlink.links().await {
                Ok(links) => links,
                Err(error) => {
                    tracing::error!(domain, %error, "cannot look for the links of vnets");
                    continue;
                }
            };
            for link in links {
                let Some(key) = key_of(&link) else { continue };
                let vnet = self.config.vnets.get(&key);
                let switch = vnet.and_then(|vnet| self.config.switches.get(&vnet.switch));
                let serving = switch.is_some_and(|switch| switch.domain == *domain);
                if vnet.is_some() && (serving || domain == PRIMARY) && !found.contains_key(&key) {
                    found.insert(key, Built { domain: domain.clone(), index: link.index, name: link.name });
                } else if self.config == Config::default() {
                    tracing::warn!(vnet = %key, link = link.name, "nothing is configured: is this the right file? The link stays");
                } else {
                    tracing::warn!(vnet = %key, link = link.name, domain, "the link of a vnet that does not exist is removed");
                    if let Err(error) = place.netlink.delete_link(link.index).await {
                        tracing::warn!(vnet = %key, %error, "it stays");
                    }
                }
            }
        }
        self.built = found;
    }

    /// Saves the switch ends of a switch's vnets from a domain that is going away.
    pub(super) async fn save_ends(&mut self, switch: &str, domain: &str, place: &Place) {
        for key in self.vnets_of(switch) {
            self.carriers.forget_end(&key).await;
            let Some(built) = self.built.get(&key).filter(|built| built.domain == domain).cloned() else { continue };
            if key.domain == domain {
                self.take_down(&key, place, &built.name);
                continue;
            }
            match self.brought_home(&key, &built, place).await {
                Ok(saved) => {
                    self.built.insert(key.clone(), saved);
                    self.problems.vnets.insert(key, format!("the domain {domain} of its switch is gone"));
                }
                Err(error) => tracing::warn!(vnet = %key, error, "the link goes with the domain"),
            }
        }
    }

    /// Takes a switch end down and brings it to `primary`.
    pub(super) async fn brought_home(&self, key: &VnetKey, built: &Built, from: &Place) -> Result<Built, String> {
        self.take_down(key, from, &built.name);
        let link = move_end(key, built.index, from, self.place_of(PRIMARY)?).await?;
        Ok(Built { domain: PRIMARY.into(), index: link.index, name: link.name })
    }

    pub(super) fn configured(&self, key: &VnetKey) -> Result<(VnetConfig, SwitchConfig), String> {
        let vnet = self.config.vnets.get(key).ok_or("the vnet does not exist")?;
        let switch = (self.config.switches.get(&vnet.switch))
            .ok_or_else(|| format!("the virtual switch {} does not exist", vnet.switch))?;
        Ok((vnet.clone(), switch.clone()))
    }

    /// The switch end, brought back into the service domain if it was saved from it.
    pub(super) async fn find_end(&self, key: &VnetKey, domain: &str) -> Result<Option<Link>, String> {
        let Some(built) = self.built.get(key) else { return Ok(None) };
        let Some(place) = self.places.get(&built.domain) else { return Ok(None) };
        let link = place.netlink.link_by_index(built.index).await.map_err(text)?;
        match link.filter(|link| key_of(link).as_ref() == Some(key)) {
            Some(link) if built.domain == domain => Ok(Some(link)),
            Some(link) => move_end(key, link.index, place, self.place_of(domain)?).await.map(Some),
            None => Ok(None),
        }
    }

    async fn make_pair(&self, key: &VnetKey, vnet: &VnetConfig, switch: &SwitchConfig) -> Result<Link, String> {
        let (service, guest) = (self.place_of(&switch.domain)?, self.place_of(&key.domain)?);
        super::guest::remove_orphan(key, guest).await?;
        let name = guest_end(vnet);
        let new = NewVeth { name: &name, peer: END, mac: vnet.mac_addr, mtu: mtu(vnet, switch) };
        let pair = guest.netlink.create_veth_into(new, &service.namespace, &service.netlink).await;
        let (guest_link, end) = pair.map_err(text)?;
        if let Err(error) = service.netlink.set_alias(end.index, &format!("{SWITCH_END_ALIAS} {key}")).await {
            // Without its alias nobody would know it again.
            let _ = guest.netlink.delete_link(guest_link.index).await;
            return Err(text(error));
        }
        Ok(end)
    }

    /// Makes the switch end a port of the bridge, with what the vnet says about it.
    async fn connect(&self, key: &VnetKey, vnet: &VnetConfig, switch: &SwitchConfig, end: &Link) -> Result<(), String> {
        let is_machine = self.machines.contains_key(&key.domain);
        let netlink = &self.place_of(&switch.domain)?.netlink;
        let bridge = netlink.link(&vnet.switch).await.map_err(text)?.filter(is_bridge);
        let bridge = bridge.ok_or_else(|| format!("the bridge of the virtual switch {} is not there", vnet.switch))?;
        if end.mtu != mtu(vnet, switch) {
            netlink.set_mtu(end.index, mtu(vnet, switch)).await.map_err(text)?;
        }
        if end.master != Some(bridge.index) {
            netlink.set_master(end.index, Some(bridge.index)).await.map_err(text)?;
        }
        netlink.set_isolated(end.index, switch.inter_vnet_link == InterVnet::Off).await.map_err(text)?;
        if !is_machine {
            // Whatever others send from, the switch knows where these are. A machine's go with it when it migrates.
            for mac in vnet.addresses() {
                netlink.hold_address(end.index, mac).await.map_err(text)?;
            }
        }
        let uplink = match &switch.net_dev {
            Some(net_dev) => netlink.link(net_dev).await.map_err(text)?,
            None => None,
        };
        self.build_vlans(&vnet.switch, switch, &bridge, uplink.as_ref(), Some((vnet, end.index))).await
    }

    /// The switch need not know any more where these addresses are.
    pub(crate) async fn release_addresses(&self, key: &VnetKey, addresses: &[MacAddr]) {
        let Some(built) = self.built.get(key) else { return };
        let Some(place) = self.places.get(&built.domain) else { return };
        for mac in addresses {
            if let Err(error) = place.netlink.release_address(built.index, *mac).await {
                tracing::warn!(vnet = %key, %error, "an address is held that is not the vnet's any more");
            }
        }
    }

    /// Speed and duplex of a switch's uplink.
    pub(crate) fn uplink_settings(&self, switch: &SwitchConfig) -> Settings {
        let asked = switch.net_dev.as_ref().zip(self.places.get(&switch.domain));
        let settings = asked.and_then(|(net_dev, place)| place.links.settings(net_dev).ok());
        settings.unwrap_or(Settings { speed: None, duplex: Duplex::Unknown })
    }

    /// Takes the link of a vnet down that does not follow its switch any more.
    fn take_down(&self, key: &VnetKey, place: &Place, name: &str) {
        if let Some(machine) = self.machines.get(&key.domain) {
            machine.show(&key.name, false);
            self.channel.forget(key);
        }
        if let Err(error) = place.links.set_up(name, false) {
            tracing::warn!(link = name, %error, "the link stays up");
        }
        // Asked for the carrier the kernel tells of the change at once.
        let _ = place.links.carrier(name);
    }

    pub(super) fn place_of(&self, domain: &str) -> Result<&Place, String> {
        self.places.get(domain).ok_or_else(|| format!("the domain {domain} is not there"))
    }
}

/// Name of the guest's end in a namespace.
pub fn guest_end(vnet: &VnetConfig) -> String {
    format!("net{}", vnet.id)
}

pub(super) fn mtu(vnet: &VnetConfig, switch: &SwitchConfig) -> u32 {
    vnet.mtu.unwrap_or(switch.mtu).number().into()
}

/// Moves a switch end to another namespace, where its index and name may be others.
async fn move_end(key: &VnetKey, index: u32, from: &Place, to: &Place) -> Result<Link, String> {
    from.netlink.move_link(index, &to.namespace, END).await.map_err(text)?;
    let links = to.netlink.links().await.map_err(text)?;
    let moved = links.into_iter().find(|link| key_of(link).as_ref() == Some(key)).ok_or("its link got lost")?;
    to.netlink.silence(moved.index).await.map_err(text)?;
    Ok(moved)
}

/// The vnet that a link is the switch end of.
fn key_of(link: &Link) -> Option<VnetKey> {
    let key = link.alias.as_deref()?.strip_prefix(SWITCH_END_ALIAS)?.trim_start();
    VnetKey::try_from(key.to_owned()).ok()
}
