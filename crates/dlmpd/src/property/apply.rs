//! Requests about properties: checked against what is there, kept in the files, handed to the monitor as
//! a plan with every name resolved.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use dlmp_api::{Error, LinkProperty, PropertyRequest};
use dlmp_engine::{SlotIndex, Source as Near};
use tokio::sync::mpsc;

use super::{ProbeIp, Properties, Source, Target};
use crate::control::Control;
use crate::object::split;
use crate::plan::{ProbePlan, SourceMatch};

/// How long until a name that was not resolved is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// What host names resolve to, and the plans that the monitor has.
pub struct Plans {
    /// Absent: being resolved.
    names: BTreeMap<String, Option<Vec<IpAddr>>>,
    sent: BTreeMap<String, ProbePlan>,
    resolved: mpsc::UnboundedSender<(String, Vec<IpAddr>)>,
}

impl Plans {
    /// Without any; names that are resolved go to `resolved`, together with [`Control::resolved`].
    pub const fn new(resolved: mpsc::UnboundedSender<(String, Vec<IpAddr>)>) -> Self {
        Self { names: BTreeMap::new(), sent: BTreeMap::new(), resolved }
    }

    /// Forgets the plan of an aggregation that runs no more.
    pub fn forget(&mut self, aggregation: &str) {
        self.sent.remove(aggregation);
    }

    /// What a name resolves to, as far as that is known; has it resolved otherwise.
    fn addresses(&mut self, name: &str) -> Vec<IpAddr> {
        if let Some(known) = self.names.get(name) {
            return known.clone().unwrap_or_default();
        }
        self.names.insert(name.to_owned(), None);
        let (name, resolved) = (name.to_owned(), self.resolved.clone());
        // A task of its own: name servers may not answer, and may not be reachable yet.
        tokio::task::spawn_local(async move {
            loop {
                let found = tokio::net::lookup_host((name.as_str(), 0)).await;
                match found.map(|found| found.map(|address| address.ip()).collect()) {
                    Ok(found) => {
                        let _ = resolved.send((name, found));
                        return;
                    }
                    Err(error) => tracing::warn!(name, %error, "the name in probe-ip does not resolve; trying again"),
                }
                tokio::time::sleep(AGAIN).await;
                if resolved.is_closed() {
                    return;
                }
            }
        });
        Vec::new()
    }
}

impl Control {
    /// The properties of all aggregations.
    pub fn list_properties(&self) -> Vec<LinkProperty> {
        self.aggregations().iter().flat_map(|(name, (config, _))| config.properties.list(name)).collect()
    }

    /// Changes properties of an aggregation.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn change_properties(&mut self, request: PropertyRequest) -> Result<(), Error> {
        let name = &request.link;
        let (mut config, _) = self.known(name)?;
        let before = config.clone();
        config.properties.change(name, &request.changes)?;
        if let Some(probe_ip) = &config.properties.probe_ip {
            self.check_targets(name, probe_ip).await?;
        }
        self.commit_config(name, config.clone(), request.temporary)?;
        if let Err(error) = self.send_plan(name, &config.properties).await {
            self.commit_config(name, before, request.temporary)?;
            return Err(error);
        }
        Ok(())
    }

    /// Hands the monitor the plan of an aggregation, if it is another one than it has.
    ///
    /// # Errors
    /// The monitor could not follow it.
    pub(crate) async fn send_plan(&mut self, name: &str, properties: &Properties) -> Result<(), Error> {
        let plan = match &properties.probe_ip {
            Some(probe_ip) => Some(self.plan(probe_ip, properties).await?),
            None => None,
        };
        if self.plans.sent.get(name) == plan.as_ref() {
            return Ok(());
        }
        self.monitor.set_probing(name, plan.clone()).await?;
        match plan {
            Some(plan) => self.plans.sent.insert(name.to_owned(), plan),
            None => self.plans.sent.remove(name),
        };
        Ok(())
    }

    /// Address objects or names may have other addresses now.
    pub(crate) async fn refresh_plans(&mut self) {
        for (name, (config, _)) in self.aggregations() {
            if self.plans.sent.contains_key(&name)
                && let Err(error) = self.send_plan(&name, &config.properties).await
            {
                tracing::error!(aggregation = name, %error, "the plan of probing could not be changed");
            }
        }
    }

    /// A host name was resolved.
    pub async fn resolved(&mut self, name: String, addresses: Vec<IpAddr>) {
        self.plans.names.insert(name, Some(addresses));
        self.refresh_plans().await;
    }

    async fn plan(&mut self, probe_ip: &ProbeIp, properties: &Properties) -> Result<ProbePlan, Error> {
        let objects = self.list_addresses().await?;
        let mut plan =
            ProbePlan { sources: Vec::new(), targets: Vec::new(), vlan: properties.vlan(), fdt: properties.fdt() };
        for source in probe_ip.sources() {
            match source {
                Source::Any => plan.sources.push(SourceMatch::Any),
                Source::Address(address) => plan.sources.push(SourceMatch::Address(*address)),
                Source::Network(address, prefix) => plan.sources.push(SourceMatch::Network(*address, *prefix)),
                Source::Interface(name) => plan.sources.push(SourceMatch::Interface(name.clone())),
                Source::Object(object) => {
                    let address =
                        objects.iter().find(|shown| shown.object == *object).and_then(|shown| shown.address.as_deref());
                    if let Some((address, _)) = address.and_then(|address| split(address).ok()) {
                        plan.sources.push(SourceMatch::Address(address));
                    }
                }
                Source::Host(name) => {
                    plan.sources.extend(self.plans.addresses(name).into_iter().map(SourceMatch::Address));
                }
            }
        }
        for target in probe_ip.targets() {
            let addresses = match target {
                Target::Any => Vec::new(),
                Target::Address(address) => vec![*address],
                Target::Host(name) => self.plans.addresses(name),
            };
            for address in addresses {
                if !plan.targets.contains(&address) {
                    plan.targets.push(address);
                }
            }
        }
        Ok(plan)
    }

    /// Refuses targets that can never answer: our own addresses, and IPv4 ones off the aggregation's
    /// networks, as far as it has any.
    async fn check_targets(&self, name: &str, probe_ip: &ProbeIp) -> Result<(), Error> {
        let (links, addresses) = self.look().await?;
        let link = links.iter().find(|link| link.name == name).map(|link| link.index);
        let networks: Vec<Near> = (addresses.iter())
            .filter(|address| Some(address.index) == link && address.address.is_ipv4())
            .map(|own| Near { address: own.address, prefix: own.prefix_len, slot: SlotIndex::PRIMARY })
            .collect();
        for target in probe_ip.targets() {
            let Target::Address(target) = target else { continue };
            if let Some(own) = addresses.iter().find(|own| own.address == *target) {
                let on = links.iter().find(|link| link.index == own.index).map_or("a link", |link| &link.name);
                return Err(Error::refused(
                    format!("the target {target} is our own address, on {on}: it would answer whatever happens"),
                    "ip route (for the address of a router)",
                ));
            }
            if target.is_ipv4() && !networks.is_empty() && !networks.iter().any(|network| network.is_near(*target)) {
                let shown: Vec<String> = networks.iter().map(network_text).collect();
                return Err(Error::refused(
                    format!("the target {target} is on no network of {name}, which has {}", shown.join(", ")),
                    format!("ipadm show-addr {name}"),
                ));
            }
        }
        Ok(())
    }
}

fn network_text(network: &Near) -> String {
    match network.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(network.prefix)).unwrap_or(0);
            format!("{}/{}", Ipv4Addr::from_bits(address.to_bits() & mask), network.prefix)
        }
        IpAddr::V6(address) => format!("{address}/{}", network.prefix),
    }
}
