//! Brings the kernel in line with what is configured. Every step looks first and does only what is missing, so that the same
//! steps make things, take them over after a restart and repair them.

mod guard;
mod guest;
mod mtu;
mod switch;
mod tap;
mod vlan;
mod vnet;

use dlmp_api::ldm::PRIMARY;
use dlmp_netlink::{Link, LinkEvent, Namespace};

use crate::carrier::Uplink;
use crate::config::{self, SwitchConfig, VnetConfig, VnetKey};
use crate::control::Control;
use crate::place::Place;

pub use guard::{AGEING, CALM};
pub use vnet::{Built, guest_end};

impl Control {
    /// Builds everything that the file names. What cannot be built is logged, stays configured and is shown as a problem.
    pub async fn restore(&mut self) {
        let domains: Vec<String> = self.config.domains.keys().cloned().collect();
        for domain in domains {
            self.make_again(&domain).await;
            self.open_domain(&domain);
        }
        self.find_ends().await;
        let places: Vec<String> = self.places.keys().cloned().collect();
        for domain in places {
            self.build_switches_of(&domain).await;
        }
        self.build_vnets(|_| true).await;
    }

    /// A domain has come: its switches and vnets are built.
    pub async fn domain_came(&mut self, domain: &str) {
        if !self.open_domain(domain) {
            return;
        }
        tracing::info!(domain, "the domain is there");
        self.build_switches_of(domain).await;
        self.build_vnets(|_| true).await;
    }

    /// A domain has gone. The switch ends of others' vnets are saved from it, so that their guests see a link that
    /// is down and not one that vanishes; then it is let go of.
    pub async fn domain_went(&mut self, domain: &str, why: &str) {
        let Some(place) = self.places.remove(domain) else { return };
        tracing::info!(domain, why, "the domain is gone");
        if let Some(follower) = self.followers.remove(domain) {
            follower.abort();
        }
        self.problems.domains.insert(domain.into(), why.into());
        let switches = self.config.switches.iter().filter(|(_, switch)| switch.domain == domain);
        let switches: Vec<String> = switches.map(|(name, _)| name.clone()).collect();
        for switch in &switches {
            self.save_ends(switch, domain, &place).await;
            self.carriers.forget_switch(switch).await;
            self.problems.switches.insert(switch.clone(), format!("the domain {domain} is gone: {why}"));
        }
        // What was in it goes with it.
        let gone = |key: &VnetKey, built: &Built| key.domain == domain || built.domain == domain;
        let gone: Vec<VnetKey> =
            self.built.iter().filter(|(key, built)| gone(key, built)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.carriers.forget_end(&key).await;
            if let Some(built) = self.built.remove(&key)
                && let Some(service) = self.places.get(&built.domain)
                && !self.machines.contains_key(&key.domain)
                && let Err(error) = service.netlink.delete_link(built.index).await
            {
                // A process that still is in the guest's namespace keeps that, and its links, in the kernel.
                tracing::warn!(vnet = %key, %error, "its link stays as long as the namespace does");
            }
            self.problems.vnets.insert(key, format!("the domain {domain} is gone: {why}"));
        }
    }

    /// Something happened to a link of a service domain.
    pub async fn link_seen(&mut self, domain: &str, event: LinkEvent) {
        match event {
            LinkEvent::Changed(link) => {
                let Some((name, switch)) = self.switch_over(domain, &link.name) else {
                    return self.end_seen(domain, &link).await;
                };
                let (name, settings) = (name.clone(), self.uplink_settings(switch));
                if !self.is_port_of(domain, &link, &name).await || self.problems.switches.contains_key(&name) {
                    self.build_known_switch(&name).await;
                }
                // Another speed, say, without a change of the carrier, of which the guests would be told anyway.
                if self.described.get(&name) != Some(&settings) {
                    self.describe(&name).await;
                }
            }
            LinkEvent::Removed { index, name } => {
                if let Some((switch, _)) = self.switch_over(domain, &name) {
                    let switch = switch.clone();
                    self.problems.switches.insert(switch, format!("its uplink {name} is not there"));
                }
                if self.config.switches.get(&name).is_some_and(|switch| switch.domain == domain) {
                    tracing::warn!(domain, switch = name, "the switch's bridge was removed");
                    self.build_known_switch(&name).await;
                    self.build_vnets(|vnet| vnet.switch == name).await;
                }
                let end = self.built.iter().find(|(_, built)| built.domain == domain && built.index == index);
                if let Some((key, _)) = end {
                    let key = key.clone();
                    // A tap is away for a moment when an emulator attaches to it.
                    if matches!(self.find_end(&key, domain).await, Ok(Some(_))) {
                        return;
                    }
                    tracing::warn!(vnet = %key, "the link of the vnet was removed");
                    self.built.remove(&key);
                    self.build_known_vnet(&key).await;
                }
            }
            LinkEvent::NewPeers(_) => {}
            LinkEvent::Overrun => {
                self.find_ends().await;
                self.build_switches_of(domain).await;
                self.build_vnets(|_| true).await;
            }
        }
    }

    /// The switch whose uplink is this link of a service domain.
    fn switch_over(&self, domain: &str, link: &str) -> Option<(&String, &SwitchConfig)> {
        let is_over = |switch: &SwitchConfig| switch.domain == domain && switch.net_dev.as_deref() == Some(link);
        self.config.switches.iter().find(|(_, switch)| is_over(switch))
    }

    /// Something about a switch end has changed: what somebody did to it by hand is undone.
    async fn end_seen(&mut self, domain: &str, link: &Link) {
        let built = self.built.iter().find(|(_, built)| built.domain == domain && built.index == link.index);
        let Some((key, built)) = built else { return };
        let (key, renamed) = (key.clone(), built.name != link.name);
        let Some(switch) = self.config.vnets.get(&key).map(|vnet| vnet.switch.clone()) else { return };
        if !self.config.switches.contains_key(&switch) {
            return;
        }
        if renamed || !self.is_port_of(domain, link, &switch).await {
            self.build_known_vnet(&key).await;
        } else if link.admin_up != self.is_to_be_up(&key) {
            self.show_link(&key).await;
        }
    }

    /// Whether a link is a port of a switch's bridge.
    async fn is_port_of(&self, domain: &str, link: &Link, switch: &str) -> bool {
        let Some(place) = self.places.get(domain) else { return false };
        let bridge = place.netlink.link(switch).await.ok().flatten();
        bridge.is_some_and(|bridge| link.master == Some(bridge.index))
    }

    /// Builds the vnets for which `wanted` is true.
    pub(crate) async fn build_vnets(&mut self, wanted: impl Fn(&VnetConfig) -> bool) {
        let keys = self.config.vnets.iter().filter(|(_, vnet)| wanted(vnet)).map(|(key, _)| key.clone());
        for key in keys.collect::<Vec<_>>() {
            self.build_known_vnet(&key).await;
        }
    }

    async fn build_known_vnet(&mut self, key: &VnetKey) {
        if let Err(problem) = self.build_vnet(key).await
            && self.problems.vnets.get(key) != Some(&problem)
        {
            tracing::warn!(vnet = %key, problem, "the vnet is not there");
            self.problems.vnets.insert(key.clone(), problem);
        }
    }

    async fn build_switches_of(&mut self, domain: &str) {
        let names = self.config.switches.iter().filter(|(_, switch)| switch.domain == domain);
        for name in names.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.build_known_switch(&name).await;
            self.follow(domain);
        }
    }

    async fn build_known_switch(&mut self, name: &str) {
        let Some(switch) = self.config.switches.get(name).cloned() else { return };
        match self.build_switch(name, &switch).await {
            Ok(()) => match self.uplink(&switch).await {
                None if switch.net_dev.is_some() => {
                    let problem = format!("its uplink {} is not there", switch.net_dev.unwrap_or_default());
                    self.problems.switches.insert(name.into(), problem);
                }
                _ => drop(self.problems.switches.remove(name)),
            },
            Err(problem) => {
                // Whatever its uplink is part of now, the switch is not connected by it.
                if let Some(place) = self.places.get(&switch.domain) {
                    self.carriers.switch(name, place.links.clone(), Uplink::Gone).await;
                }
                if self.problems.switches.get(name) != Some(&problem) {
                    tracing::warn!(switch = name, problem, "the switch is not as it should be");
                    self.problems.switches.insert(name.into(), problem);
                }
            }
        }
    }

    /// A namespace that was made for a domain is gone after a boot: it is made again.
    async fn make_again(&mut self, domain: &str) {
        let Some(config::Place::Namespace(named)) = self.config.domains.get(domain).map(|domain| &domain.place) else {
            return;
        };
        if !named.made {
            return;
        }
        let name = named.name.clone();
        match Namespace::make_named(&name).await {
            Ok(made) => {
                if let Err(error) = self.keep_cookie(domain, made.cookie().ok()) {
                    tracing::warn!(domain, %error, "the namespace will not be removed with the domain");
                }
            }
            Err(error) if error.errno() == Some(libc::EEXIST) => {}
            Err(error) => tracing::error!(domain, %error, "the network namespace of the domain cannot be made"),
        }
    }

    /// Opens the namespace of a domain, if it is there.
    fn open_domain(&mut self, domain: &str) -> bool {
        let Some(known) = self.config.domains.get(domain) else { return domain == PRIMARY };
        if let config::Place::Vm(socket) = &known.place {
            let machine = self.machines.entry(domain.into());
            machine.or_insert_with(|| self.emulators.follow(socket.clone()));
            return true;
        }
        match Place::open(&known.place, self.state.cookies.get(domain).copied()) {
            Ok(place) => {
                self.places.insert(domain.into(), place);
                self.problems.domains.remove(domain);
                true
            }
            Err(problem) => {
                self.problems.domains.insert(domain.into(), problem);
                false
            }
        }
    }

    /// Follows the links of a service domain.
    pub(crate) fn follow(&mut self, domain: &str) {
        let Some(place) = self.places.get(domain).filter(|_| !self.followers.contains_key(domain)) else { return };
        let mut events = match place.namespace.enter(dlmp_netlink::LinkEvents::open) {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return tracing::error!(domain, %error, "the links of the domain are not followed"),
            Err(error) => return tracing::error!(domain, %error, "the links of the domain are not followed"),
        };
        let (seen, name) = (self.seen.clone(), domain.to_owned());
        let task = tokio::task::spawn_local(async move {
            loop {
                let event = events.next().await;
                if seen.send((name.clone(), event)).is_err() {
                    return;
                }
            }
        });
        self.followers.insert(domain.into(), task.abort_handle());
    }
}

/// Whether a link is a bridge.
fn is_bridge(link: &Link) -> bool {
    link.kind.as_deref() == Some("bridge")
}
