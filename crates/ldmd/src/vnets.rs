//! Requests about virtual network devices.

use std::collections::BTreeSet;

use dlmp_api::ldm::{Error, NewVnet, Setting};
use dlmp_wire::MacAddr;

use crate::config::{VnetConfig, VnetKey};
use crate::control::{Blocked, Control, check_name, shortened};
use crate::property::{Taken, set_vnet};
use crate::switches::failed;

/// The longest name of a vnet, so that the alias of its link has room for it.
const NAME_MAX: usize = 31;
/// Vnets of a guest at most (`ldm`(1M)).
const VNETS_MAX: usize = 999;

impl Control {
    /// Adds a virtual network device to a domain, with these automatic addresses.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn add_vnet(&mut self, request: &NewVnet, claimed: &[MacAddr]) -> Result<(), Blocked> {
        let NewVnet { name, switch, domain, settings } = request;
        check_name("vnet", name, NAME_MAX)?;
        self.known_domain(domain)?;
        let key = VnetKey::new(domain, name);
        if self.config.vnets.contains_key(&key) {
            return Err(Error::refused(
                format!("the domain {domain} has a vnet {name} already"),
                format!("ldm list -o network {domain}"),
            )
            .into());
        }
        let ids: BTreeSet<u32> = self.numbers_of(domain, &key);
        if ids.len() >= VNETS_MAX {
            return Err(
                Error::refused(format!("the domain {domain} has {VNETS_MAX} vnets, as many as it can"), "").into()
            );
        }
        let mut taken = Taken::of(&self.config, claimed);
        let id = (0..).find(|id| !ids.contains(id)).unwrap_or_default();
        let mut vnet = VnetConfig::new(switch, id);
        set_vnet(&key, &mut vnet, &mut taken, settings)?;
        self.check_vnet(&key, &vnet)?;
        self.check_name_of_link(&key, &vnet).await?;
        taken.enough()?;
        self.config.vnets.insert(key.clone(), vnet.clone());
        let built = self.build_vnet(&key).await;
        self.config.vnets.remove(&key);
        if let Err(error) = built {
            self.unbuild_vnet(&key).await;
            return Err(Error::failed(error).into());
        }
        let kept = self.commit(|config| drop(config.vnets.insert(key.clone(), vnet)));
        if let Err(error) = kept {
            self.unbuild_vnet(&key).await;
            return Err(error.into());
        }
        Ok(())
    }

    /// Sets properties of a vnet, with these automatic addresses.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn set_vnet(
        &mut self,
        name: &str,
        domain: &str,
        settings: &[Setting],
        claimed: &[MacAddr],
    ) -> Result<(), Blocked> {
        let key = VnetKey::new(domain, name);
        let before = self.known_vnet(&key)?.clone();
        let mut after = before.clone();
        let mut taken = Taken::of(&self.config, claimed);
        set_vnet(&key, &mut after, &mut taken, settings)?;
        self.check_vnet(&key, &after)?;
        // Where its ends are and what they are called decides whether the pair can stay. A tap stays always: an
        // emulator is attached to it.
        let service = |vnet: &VnetConfig| self.config.switches.get(&vnet.switch).map(|switch| switch.domain.clone());
        let pair = !self.machines.contains_key(domain);
        let anew = pair && (before.id != after.id || service(&before) != service(&after));
        if anew && before.id != after.id {
            self.check_name_of_link(&key, &after).await?;
        }
        taken.enough()?;
        if anew {
            self.unbuild_vnet(&key).await;
        }
        self.config.vnets.insert(key.clone(), after.clone());
        let mut built = self.build_vnet(&key).await;
        if built.is_ok() && (before.mac_addr, before.mtu) != (after.mac_addr, after.mtu) {
            built = self.set_guest_end(&key).await;
        }
        let gone: Vec<_> = before.addresses().filter(|mac| !after.addresses().any(|kept| kept == *mac)).collect();
        self.config.vnets.insert(key.clone(), before.clone());
        let kept = match built {
            Ok(()) => self.commit(|config| drop(config.vnets.insert(key.clone(), after))),
            Err(error) => Err(Error::failed(error)),
        };
        if kept.is_err() {
            if anew {
                self.unbuild_vnet(&key).await;
            }
            let back = match self.build_vnet(&key).await {
                Ok(()) => self.set_guest_end(&key).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = back {
                self.problems.vnets.insert(key, problem);
            }
        } else {
            self.release_addresses(&key, &gone).await;
        }
        Ok(kept?)
    }

    /// Removes a vnet from its domain.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn remove_vnet(&mut self, name: &str, domain: &str) -> Result<(), Error> {
        let key = VnetKey::new(domain, name);
        self.known_vnet(&key)?;
        self.commit(|config| drop(config.vnets.remove(&key)))?;
        self.unbuild_vnet(&key).await;
        self.problems.vnets.remove(&key);
        Ok(())
    }

    /// The vnet of this name in its domain.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn known_vnet(&self, key: &VnetKey) -> Result<&VnetConfig, Error> {
        self.known_domain(&key.domain)?;
        self.config.vnets.get(key).ok_or_else(|| {
            Error::refused(
                format!("the domain {} has no vnet {}", key.domain, shortened(&key.name)),
                format!("ldm list -o network {}", key.domain),
            )
        })
    }

    /// Device numbers of a domain's other vnets.
    fn numbers_of(&self, domain: &str, but: &VnetKey) -> BTreeSet<u32> {
        let others = self.config.vnets.iter().filter(|(key, _)| key.domain == domain && *key != but);
        others.map(|(_, vnet)| vnet.id).collect()
    }

    /// Refuses what a vnet cannot be, before anything is touched.
    fn check_vnet(&self, key: &VnetKey, vnet: &VnetConfig) -> Result<(), Error> {
        let switch = self.known_switch(&vnet.switch)?;
        self.place(&switch.domain)?;
        if self.numbers_of(&key.domain, key).contains(&vnet.id) {
            return Err(Error::refused(
                format!("another vnet of {} has the number {}", key.domain, vnet.id),
                format!("ldm list -o network {}", key.domain),
            ));
        }
        let mtu = vnet.mtu.unwrap_or(switch.mtu);
        if mtu.number() > switch.mtu.number() {
            return Err(Error::refused(
                format!(
                    "the MTU of the switch {} is {}: larger frames than that do not pass it",
                    vnet.switch,
                    switch.mtu.number()
                ),
                format!("ldm set-vsw mtu={} {}", mtu.number(), vnet.switch),
            ));
        }
        Ok(())
    }

    /// Refuses a vnet whose link's name is taken in the guest.
    async fn check_name_of_link(&self, key: &VnetKey, vnet: &VnetConfig) -> Result<(), Error> {
        if self.machines.contains_key(&key.domain) {
            return Ok(());
        }
        let name = format!("net{}", vnet.id);
        match self.place(&key.domain)?.netlink.link(&name).await.map_err(failed)? {
            Some(_) => Err(Error::refused(
                format!("the domain {} has a link {name} already, which is no vnet", key.domain),
                format!("ldm add-vnet id=NUMBER ... {} {} {}", key.name, vnet.switch, key.domain),
            )),
            None => Ok(()),
        }
    }
}
