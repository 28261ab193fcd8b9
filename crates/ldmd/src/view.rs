//! What lists show.

use dlmp_api::ldm::{Domain, MacCollision, Manager, ManagerInterface, Netdev, PRIMARY, Switch, Vnet};
use dlmp_api::{AGGREGATION_ALIAS, RuleCount, SWITCH_ALIAS, VNIC_ALIAS, VnetAlias};
use dlmp_guard::Counter;
use dlmp_netlink::Link;
use dlmp_netlink::ethtool::{Duplex, Settings};
use dlmp_wire::MacAddr;

use crate::build::guest_end;
use crate::config::{DomainConfig, VnetConfig, VnetKey};
use crate::control::Control;
use crate::manager::Report;
use crate::place;

impl Control {
    /// All domains: `primary`, then by name.
    pub fn list_domains(&self) -> Vec<Domain> {
        let primary = (PRIMARY, None);
        let others = self.config.domains.iter().map(|(name, domain)| (name.as_str(), Some(domain)));
        std::iter::once(primary).chain(others).map(|(name, domain)| self.domain(name, domain)).collect()
    }

    fn domain(&self, name: &str, config: Option<&DomainConfig>) -> Domain {
        let machine = self.machines.get(name).map(|machine| machine.state());
        let since = match &machine {
            Some(machine) => machine.since.map(tokio::time::Instant::into_std),
            None => self.places.get(name).map(|place| place.since),
        };
        let state = match config {
            Some(config) if config.stopped => "bound",
            _ if since.is_some() => "active",
            _ => "inactive",
        };
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Domain {
            name: name.into(),
            state: state.into(),
            kind: if config.is_none() {
                "control"
            } else if machine.is_some() {
                "vm"
            } else {
                "namespace"
            }
            .into(),
            place: config.map_or_else(|| "this host".into(), |config| place::text(&config.place)),
            switches: count(self.config.switches.values().filter(|switch| switch.domain == name).count()),
            vnets: count(self.config.vnets.keys().filter(|key| key.domain == name).count()),
            uptime: since.map(|since| since.elapsed().as_secs().cast_signed()),
            problem: match machine {
                Some(machine) => machine.problem.or_else(|| self.problem_within(name)),
                None => self.problems.domains.get(name).cloned().or_else(|| self.problem_within(name)),
            },
        }
    }

    /// All switches, by name.
    pub fn list_switches(&self) -> Vec<Switch> {
        let shown = self.config.switches.iter().map(|(name, switch)| {
            let Settings { speed, duplex } = self.uplink_settings(switch);
            let up = self.carriers.carrier(name).unwrap_or(false) && self.runs(&switch.domain);
            Switch {
                name: name.clone(),
                domain: switch.domain.clone(),
                mac: switch.mac_addr.to_string(),
                netdev: switch.net_dev.clone(),
                id: switch.id.into(),
                physstate: switch.phys_state,
                defaultvlan: switch.default_vlan_id.number().into(),
                pvid: switch.pvid.unwrap_or(switch.default_vlan_id).number().into(),
                vids: switch.vid.iter().map(|vid| vid.number().into()).collect(),
                mtu: switch.mtu.number().into(),
                intervnet: switch.inter_vnet_link.as_str().into(),
                state: up_or_down(up),
                speed: speed.map(i64::from),
                duplex: duplex.as_str().into(),
                problem: self.problem_of_switch(name),
            }
        });
        shown.collect()
    }

    /// All vnets, by domain and number.
    pub fn list_vnets(&self) -> Vec<Vnet> {
        let mut vnets: Vec<Vnet> = self.config.vnets.iter().map(|(key, vnet)| self.vnet(key, vnet)).collect();
        vnets.sort_by(|a, b| (&a.domain, a.id).cmp(&(&b.domain, b.id)));
        vnets
    }

    fn vnet(&self, key: &VnetKey, vnet: &VnetConfig) -> Vnet {
        let switch = self.config.switches.get(&vnet.switch);
        let Settings { speed, duplex } =
            switch.map_or(Settings { speed: None, duplex: Duplex::Unknown }, |switch| self.uplink_settings(switch));
        let default_vlan = switch.map(|switch| switch.default_vlan_id).unwrap_or_default();
        let guard = self.guards.get(key);
        let in_use = guard.and_then(|guard| guard.in_use().ok());
        let counters = guard.and_then(|guard| guard.counters().ok()).map(|counters| {
            let count = |&(counter, name): &(Counter, &str)| RuleCount {
                name: name.into(),
                count: counters.get(counter).cast_signed(),
            };
            Counter::ALL.iter().map(count).filter(|rule| rule.count > 0).collect()
        });
        let mtu = vnet.mtu.or(switch.map(|switch| switch.mtu)).unwrap_or_default();
        Vnet {
            name: key.name.clone(),
            domain: key.domain.clone(),
            switch: vnet.switch.clone(),
            service: switch.map_or_else(String::new, |switch| switch.domain.clone()),
            mac: vnet.mac_addr.to_string(),
            alternates: vnet.alt_mac_addrs.iter().map(ToString::to_string).collect(),
            pvid: vnet.pvid.unwrap_or(default_vlan).number().into(),
            vids: vnet.vid.iter().map(|vid| vid.number().into()).collect(),
            id: vnet.id.into(),
            physstate: vnet.phys_state,
            mtu: mtu.number().into(),
            maxbw: vnet.maxbw.map(u64::cast_signed),
            custom: vnet.custom,
            maxmacs: vnet.max_mac_addrs.number().into(),
            maxvlans: vnet.max_vlans.number().into(),
            priority: vnet.priority.map(|priority| priority.as_str().into()),
            cos: vnet.cos.map(i64::from),
            protection: vnet.protection.iter().map(|protection| protection.as_str().into()).collect(),
            allowedips: vnet.allowed_ips.iter().map(ToString::to_string).collect(),
            state: up_or_down(self.is_up(key)),
            speed: speed.map(i64::from),
            duplex: duplex.as_str().into(),
            macs: in_use.map_or(0, |in_use| in_use.macs.cast_signed()),
            vlans: in_use.map_or(0, |in_use| in_use.vlans.cast_signed()),
            counters: counters.unwrap_or_default(),
            problem: self.problem_of(key),
        }
    }

    /// The daemon among other managers.
    pub fn manager(&self, report: &Report) -> Manager {
        let config = &self.config.manager;
        let texts = |addresses: &[MacAddr]| addresses.iter().map(ToString::to_string).collect();
        let interfaces = report
            .interfaces
            .iter()
            .map(|(name, interface)| ManagerInterface { name: name.clone(), address: interface.address.to_string() });
        let collisions = self.collisions.values().map(|collision| MacCollision {
            mac: collision.mac.to_string(),
            manager: collision.with.to_string(),
            host: collision.host.clone(),
        });
        let counters = report.counters.by_name().into_iter();
        Manager {
            interfaces: interfaces.collect(),
            hops: u32::from(config.hops).into(),
            port: u16::from(config.port).into(),
            ready: texts(&report.pool),
            freed: texts(&config.freed),
            collisions: collisions.collect(),
            counters: counters
                .map(|(name, count)| RuleCount { name: name.into(), count: count.cast_signed() })
                .collect(),
        }
    }

    /// The first problem of a switch or a vnet of a domain.
    fn problem_within(&self, domain: &str) -> Option<String> {
        let switches = self.config.switches.iter().filter(|(_, switch)| switch.domain == domain);
        let of_switch = |name: &String| Some(format!("the switch {name}: {}", self.problem_of_switch(name)?));
        let vnets = self.config.vnets.keys().filter(|key| key.domain == domain);
        let of_vnet = |key: &VnetKey| Some(format!("the vnet {}: {}", key.name, self.problem_of(key)?));
        switches.map(|(name, _)| name).find_map(of_switch).or_else(|| vnets.into_iter().find_map(of_vnet))
    }

    fn problem_of_switch(&self, name: &str) -> Option<String> {
        let collision = || self.collision(std::iter::once(self.config.switches.get(name)?.mac_addr));
        self.problems.switches.get(name).cloned().or_else(collision)
    }

    fn problem_of(&self, key: &VnetKey) -> Option<String> {
        let refused = || {
            let why = self.machines.get(&key.domain)?.state().refused.remove(&key.name)?;
            Some(format!("the emulator does not show its link state: {why}; its netdev has the id {}", key.name))
        };
        let collision = || self.collision(self.config.vnets.get(key)?.addresses());
        self.problems.vnets.get(key).cloned().or_else(refused).or_else(collision)
    }

    /// Whether the guest sees a carrier, which its own end being down does not hide.
    fn is_up(&self, key: &VnetKey) -> bool {
        let Some(built) = self.built.get(key) else { return false };
        let up = self.places.get(&built.domain).and_then(|place| place.links.is_up(&built.name).ok());
        up.unwrap_or(false)
    }

    /// The network devices of a domain, or of all. Of a virtual machine these are its vnets: nobody sees into it.
    pub async fn list_netdevs(&self, domain: Option<&str>) -> Vec<Netdev> {
        let mut netdevs = Vec::new();
        for (name, place) in self.places.iter().filter(|(name, _)| domain.is_none_or(|domain| domain == *name)) {
            let links = place.netlink.links().await.unwrap_or_else(|error| {
                tracing::error!(domain = name, %error, "the links of the domain cannot be listed");
                Vec::new()
            });
            let shown = links.iter().filter(|link| link.ethernet && !is_internal(link));
            netdevs.extend(shown.map(|link| self.netdev(name, link, &links)));
        }
        let of_machine =
            |key: &VnetKey| self.machines.contains_key(&key.domain) && domain.is_none_or(|domain| domain == key.domain);
        let mut cards: Vec<_> = self.config.vnets.iter().filter(|(key, _)| of_machine(key)).collect();
        cards.sort_by_key(|(key, vnet)| (&key.domain, vnet.id));
        netdevs.extend(cards.into_iter().map(|(key, vnet)| self.card(key, vnet)));
        // In order by domain; sorting keeps that of the devices of one.
        netdevs.sort_by(|a, b| a.domain.cmp(&b.domain));
        netdevs
    }

    /// A network device of a virtual machine.
    fn card(&self, key: &VnetKey, vnet: &VnetConfig) -> Netdev {
        let shown = self.vnet(key, vnet);
        Netdev {
            domain: key.domain.clone(),
            name: guest_end(vnet),
            class: "VNET".into(),
            media: "ETHER".into(),
            state: shown.state,
            speed: shown.speed,
            over: vec![format!("vnet{}", vnet.id)],
            location: Some(format!("{}/{}", vnet.switch, key.name)),
            mac: Some(shown.mac),
            mtu: shown.mtu,
        }
    }

    fn netdev(&self, domain: &str, link: &Link, links: &[Link]) -> Netdev {
        let place = self.places.get(domain);
        let settings = place.and_then(|place| place.links.settings(&link.name).ok());
        let mut netdev = Netdev {
            domain: domain.into(),
            name: link.name.clone(),
            class: class(link).into(),
            media: "ETHER".into(),
            state: up_or_down(link.lower_up),
            speed: settings.and_then(|settings| settings.speed).map(i64::from),
            over: vec![link.name.clone()],
            location: None,
            mac: link.mac.map(|mac| mac.to_string()),
            mtu: link.mtu.into(),
        };
        let ports = links.iter().filter(|port| port.master == Some(link.index));
        let vnet = self.config.vnets.iter().find(|(key, vnet)| {
            let alias = link.alias.as_deref().and_then(|alias| alias.parse::<VnetAlias>().ok());
            // Whatever the guest calls it now.
            key.domain == domain && alias.is_some_and(|alias| alias.vnet == key.name && alias.switch == vnet.switch)
        });
        if let Some((key, vnet)) = vnet {
            let switch = self.config.switches.get(&vnet.switch);
            netdev.class = "VNET".into();
            netdev.speed = switch.and_then(|switch| self.uplink_settings(switch).speed).map(i64::from);
            netdev.over = vec![format!("vnet{}", vnet.id)];
            netdev.location = Some(format!("{}/{}", vnet.switch, key.name));
        } else if let Some(switch) = self.config.switches.get(&link.name).filter(|_| netdev.class == "VSW") {
            netdev.speed = self.uplink_settings(switch).speed.map(i64::from);
            netdev.class = if switch.net_dev.is_some() { "VSW" } else { "ESTUB" }.into();
            netdev.over = switch.net_dev.iter().cloned().collect();
        } else {
            match netdev.class.as_str() {
                "BRIDGE" => netdev.over = ports.map(|port| port.name.clone()).collect(),
                // Its ports are known to its own dlmpd alone.
                "AGGR" => netdev.over.clear(),
                "VNIC" => {
                    let over = link.alias.as_deref().and_then(|alias| alias.strip_prefix(VNIC_ALIAS));
                    netdev.over = over.map(|over| over.trim().to_owned()).into_iter().collect();
                }
                _ => {}
            }
        }
        netdev
    }
}

/// What a link is, as far as it shows.
fn class(link: &Link) -> &'static str {
    let alias = link.alias.as_deref().unwrap_or_default();
    match link.kind.as_deref() {
        None => "PHYS",
        Some("bridge") if alias == SWITCH_ALIAS => "VSW",
        Some("bridge") => "BRIDGE",
        Some("vlan") => "VLAN",
        Some(_) if alias == AGGREGATION_ALIAS => "AGGR",
        Some(_) if alias.starts_with(VNIC_ALIAS) => "VNIC",
        Some(_) if alias.parse::<VnetAlias>().is_ok() => "VNET",
        Some(_) => "VIRT",
    }
}

/// Ends of pairs whose other end is what people know, and what only registers a VLAN.
fn is_internal(link: &Link) -> bool {
    let starts = [dlmp_api::LOWER_ALIAS, dlmp_api::PORT_VLAN_ALIAS, dlmp_api::SWITCH_END_ALIAS];
    link.alias.as_deref().is_some_and(|alias| starts.iter().any(|start| alias.starts_with(start)))
}

fn up_or_down(up: bool) -> String {
    if up { "up" } else { "down" }.into()
}
