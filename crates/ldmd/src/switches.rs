//! Requests about virtual switches.

use std::collections::BTreeSet;

use dlmp_api::SWITCH_ALIAS;
use dlmp_api::ldm::{Error, NewSwitch, PRIMARY, Setting};
use dlmp_netlink::{Address, Link};
use dlmp_wire::MacAddr;

use crate::config::{SwitchConfig, VnetKey};
use crate::control::{Blocked, Control, check_name, shortened};
use crate::property::{Taken, set_switch};

/// The longest name of a switch: its bridge is named like it.
const NAME_MAX: usize = 15;

impl Control {
    /// Adds a virtual switch, with these automatic addresses.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn add_switch(&mut self, request: &NewSwitch, claimed: &[MacAddr]) -> Result<(), Blocked> {
        let NewSwitch { name, domain, settings } = request;
        check_name("virtual switch", name, NAME_MAX)?;
        if self.config.switches.contains_key(name) {
            return Err(Error::refused(format!("the virtual switch {name} exists already"), "ldm list-services").into());
        }
        self.known_domain(domain)?;
        let place = self.place(domain)?;
        // The bridge of a switch that is configured no more may be there still: it is taken up.
        let taken = place.netlink.link(name).await.map_err(failed)?;
        if taken.is_some_and(|link| link.alias.as_deref() != Some(SWITCH_ALIAS)) {
            return Err(Error::refused(
                format!("the name {name} is taken by another link of the domain {domain}"),
                "another name",
            )
            .into());
        }
        let mut taken = Taken::of(&self.config, claimed);
        let ids: BTreeSet<u32> =
            self.config.switches.values().filter(|switch| switch.domain == *domain).map(|switch| switch.id).collect();
        let id = (0..).find(|id| !ids.contains(id)).unwrap_or_default();
        let mut switch = SwitchConfig::new(domain, id);
        set_switch(name, &mut switch, &mut taken, settings)?;
        self.check_switch(name, &switch).await?;
        taken.enough()?;
        let uplink = self.uplink(&switch).await;
        let done = match self.build_switch(name, &switch).await {
            Ok(()) => self.commit(|config| drop(config.switches.insert(name.clone(), switch.clone()))),
            Err(error) => Err(Error::failed(error)),
        };
        if let Err(error) = done {
            self.unbuild_switch(name, &switch).await;
            self.put_back(&switch.domain, uplink).await;
            return Err(error.into());
        }
        self.follow(&switch.domain);
        // Those that were left behind when a switch of this name was removed by force.
        self.build_vnets(|vnet| vnet.switch == *name).await;
        Ok(())
    }

    /// Sets properties of a virtual switch, with these automatic addresses.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn set_switch(&mut self, name: &str, settings: &[Setting], claimed: &[MacAddr]) -> Result<(), Blocked> {
        let before = self.known_switch(name)?.clone();
        let mut after = before.clone();
        let mut taken = Taken::of(&self.config, claimed);
        set_switch(name, &mut after, &mut taken, settings)?;
        self.check_switch(name, &after).await?;
        self.place(&after.domain)?;
        taken.enough()?;
        let uplinks = [self.uplink(&before).await, self.uplink(&after).await];
        let done = match self.rebuild_switch(name, &before, &after).await {
            Ok(()) => self.commit(|config| drop(config.switches.insert(name.into(), after.clone()))),
            Err(error) => Err(Error::failed(error)),
        };
        if let Err(error) = done {
            // What has been done is undone; where that fails too the switch's problem says so.
            if let Err(problem) = self.rebuild_switch(name, &after, &before).await {
                self.problems.switches.insert(name.into(), problem);
            }
            for uplink in uplinks {
                self.put_back(&before.domain, uplink).await;
            }
            return Err(error.into());
        }
        self.build_vnets(|vnet| vnet.switch == name).await;
        if before.mtu != after.mtu {
            for key in self.vnets_of(name) {
                if let Err(problem) = self.set_guest_end(&key).await {
                    self.problems.vnets.insert(key, problem);
                }
            }
        }
        Ok(())
    }

    /// Removes a virtual switch. With `force` also one with vnets, whose links then are down until there is a switch of
    /// that name again.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn remove_switch(&mut self, name: &str, force: bool) -> Result<(), Error> {
        let switch = self.known_switch(name)?.clone();
        let vnets: Vec<VnetKey> = self.vnets_of(name);
        if let (Some(key), false) = (vnets.first(), force) {
            return Err(Error::refused(
                format!("the vnet {} of {} is connected to the virtual switch {name}", key.name, key.domain),
                format!("ldm rm-vnet {} {}", key.name, key.domain),
            ));
        }
        self.commit(|config| drop(config.switches.remove(name)))?;
        for key in vnets {
            self.show_link(&key).await;
            self.problems.vnets.insert(key, format!("the virtual switch {name} was removed"));
        }
        self.unbuild_switch(name, &switch).await;
        self.problems.switches.remove(name);
        Ok(())
    }

    /// The switch of this name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn known_switch(&self, name: &str) -> Result<&SwitchConfig, Error> {
        (self.config.switches.get(name)).ok_or_else(|| {
            Error::refused(format!("there is no virtual switch {}", shortened(name)), "ldm list-services")
        })
    }

    /// The vnets that are connected to a switch.
    pub(crate) fn vnets_of(&self, switch: &str) -> Vec<VnetKey> {
        let connected = self.config.vnets.iter().filter(|(_, vnet)| vnet.switch == switch);
        connected.map(|(key, _)| key.clone()).collect()
    }

    /// Refuses what a switch cannot be, before anything is touched.
    async fn check_switch(&self, name: &str, switch: &SwitchConfig) -> Result<(), Error> {
        let other = self
            .config
            .switches
            .iter()
            .find(|(other, theirs)| *other != name && theirs.domain == switch.domain && theirs.id == switch.id);
        if let Some((other, _)) = other {
            return Err(Error::refused(format!("the virtual switch {other} has the number {}", switch.id), ""));
        }
        let Some(net_dev) = &switch.net_dev else { return Ok(()) };
        let other = self.config.switches.iter().find(|(other, theirs)| {
            *other != name && theirs.domain == switch.domain && theirs.net_dev.as_ref() == Some(net_dev)
        });
        if let Some((other, _)) = other {
            return Err(Error::refused(
                format!("{net_dev} is the net-dev of the virtual switch {other}"),
                format!("ldm set-vsw net-dev= {other}"),
            ));
        }
        let place = self.place(&switch.domain)?;
        let (links, addresses) = (place.netlink.links().await, place.netlink.addresses().await);
        check_uplink(&switch.domain, name, net_dev, &links.map_err(failed)?, &addresses.map_err(failed)?)
    }
}

/// Refuses a link that cannot be the uplink of a switch.
fn check_uplink(domain: &str, switch: &str, name: &str, links: &[Link], addresses: &[Address]) -> Result<(), Error> {
    let list = || match domain {
        PRIMARY => "dladm show-phys".to_owned(),
        _ => format!("ldm list-netdev {domain}"),
    };
    let Some(link) = links.iter().find(|link| link.name == name) else {
        return Err(Error::refused(format!("the domain {domain} has no link {name}"), list()));
    };
    if link.loopback || !link.ethernet || link.mac.is_none() {
        return Err(Error::refused(format!("{name} is not an Ethernet link: no switch can be over it"), list()));
    }
    if link.kind.as_deref() == Some("bridge") {
        return Err(Error::refused(format!("{name} is a bridge itself: no switch can be over it"), list()));
    }
    if link.alias.as_deref().is_some_and(|alias| alias.starts_with(dlmp_api::SWITCH_END_ALIAS)) {
        return Err(Error::refused(format!("{name} is the switch end of a vnet: no switch can be over it"), list()));
    }
    if let Some(master) = link.master {
        let master = links.iter().find(|link| link.index == master);
        if master.is_none_or(|master| master.name != switch) {
            let (kind, master) = (link.master_kind.as_deref().unwrap_or("link"), master.map_or("?", |link| &link.name));
            return Err(Error::refused(
                format!("{name} is a port of the {kind} {master}"),
                format!("ip link set {name} nomaster"),
            ));
        }
    }
    // A link that is up always has a link-local address of the kernel's; that one is no reason.
    let address = addresses.iter().find(|address| address.index == link.index && !address.kernel_made);
    if let Some(address) = address {
        let text = format!("{}/{}", address.address, address.prefix_len);
        return Err(Error::refused(
            format!("{name} has the address {text}: under a switch it would not answer for it; put it on the switch"),
            format!("ip address delete {text} dev {name}, and later: ip address add {text} dev {switch}"),
        ));
    }
    Ok(())
}

pub(crate) fn failed(error: dlmp_netlink::Error) -> Error {
    Error::failed(error.to_string())
}
