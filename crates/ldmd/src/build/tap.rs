//! The link of a vnet into a virtual machine: a tap, one end of which is a port of the switch's bridge, the other one the
//! emulator's.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use dlmp_api::SWITCH_END_ALIAS;
use dlmp_api::ldm::{Error, PRIMARY};
use dlmp_netlink::{Link, attach_tap, create_tap};

use super::switch::text;
use super::vnet::{Built, END};
use crate::channel::Line;
use crate::config::{SwitchConfig, VnetConfig, VnetKey};
use crate::control::Control;

impl Control {
    /// Makes the tap of a vnet. It is made in `primary`, where it stays while the service domain is not there: the machine
    /// can start all the same.
    ///
    /// # Errors
    /// What is in the way, in words.
    pub(super) async fn make_tap(&mut self, key: &VnetKey, service: &str) -> Result<Link, String> {
        let own = self.place_of(PRIMARY)?;
        let name = own.namespace.enter(|| create_tap(END)).map_err(text)?.map_err(text)?;
        let tap = own.netlink.link(&name).await.map_err(text)?.ok_or("its tap got lost")?;
        let named = async {
            own.netlink.silence(tap.index).await?;
            own.netlink.set_alias(tap.index, &format!("{SWITCH_END_ALIAS} {key}")).await
        };
        if let Err(error) = named.await {
            // Without its alias nobody would know it again.
            let _ = own.netlink.delete_link(tap.index).await;
            return Err(text(error));
        }
        self.built.insert(key.clone(), Built { domain: PRIMARY.into(), index: tap.index, name });
        self.find_end(key, service).await?.ok_or_else(|| "its tap got lost".into())
    }

    /// Tells what is behind a tap: by its own speed and duplex, those of the uplink, and by the channel into the machine.
    ///
    /// # Errors
    /// The kernel's refusal, in words.
    pub(super) fn describe_tap(&self, key: &VnetKey, vnet: &VnetConfig, switch: &SwitchConfig) -> Result<(), String> {
        let (Some(built), place) = (self.built.get(key), self.place_of(&switch.domain)?) else { return Ok(()) };
        let told = place.links.set_settings(&built.name, self.uplink_settings(switch));
        told.map_err(|error| format!("speed and duplex of {}: {error}", built.name))?;
        let text = self.alias(key, vnet, switch).to_string();
        self.channel
            .tell(key, Line { links: Arc::clone(&place.links), index: built.index, mac: switch.mac_addr, text });
        Ok(())
    }

    /// Attaches to the tap of a vnet, for an emulator.
    ///
    /// # Errors
    /// There is no such vnet, it is none of a virtual machine, it is not built, or another emulator has it.
    pub(crate) async fn attach_vnet(&mut self, name: &str, domain: &str) -> Result<OwnedFd, Error> {
        let key = VnetKey::new(domain, name);
        self.known_vnet(&key)?;
        if !self.machines.contains_key(domain) {
            return Err(Error::refused(format!("the domain {domain} is no virtual machine"), "ldm list -l"));
        }
        // Looked at first where it is: an emulator that is attached already must notice nothing.
        let attached = self.attach_where_it_is(&key)?;
        let elsewhere = self.built.get(&key).filter(|built| built.domain != PRIMARY);
        let Some((built, place)) = elsewhere.and_then(|built| Some((built, self.places.get(&built.domain)?))) else {
            return Ok(attached);
        };
        // The descriptor holds the namespace that it was opened in for as long as the emulator runs, and that must not
        // be the service domain's: it could never go. So the tap comes to `primary` for a moment.
        drop(attached);
        self.carriers.forget_end(&key).await;
        let home = self.brought_home(&key, built, place).await.map_err(Error::failed)?;
        self.built.insert(key.clone(), home);
        let attached = self.attach_where_it_is(&key);
        if let Err(problem) = self.build_vnet(&key).await {
            self.problems.vnets.insert(key, problem);
        }
        attached
    }

    fn attach_where_it_is(&self, key: &VnetKey) -> Result<OwnedFd, Error> {
        let show = || format!("ldm list -o network {}", key.domain);
        let place = self.built.get(key).and_then(|built| Some((built, self.places.get(&built.domain)?)));
        let Some((built, place)) = place else {
            let why = self.problems.vnets.get(key).map_or("it was not built", String::as_str);
            return Err(Error::refused(format!("the vnet {} is not there: {why}", key.name), show()));
        };
        let attached = place.namespace.enter(|| attach_tap(&built.name)).and_then(|attached| attached);
        attached.map_err(|error| match error.errno() {
            Some(libc::EBUSY) => {
                Error::refused(format!("another emulator is attached to the vnet {}", key.name), show())
            }
            _ => Error::failed(error.to_string()),
        })
    }
}
