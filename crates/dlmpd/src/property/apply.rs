//! Requests about properties: checked against what is there, kept in the files, handed to the monitor as
//! a plan with every name resolved.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use dlmp_api::{Error, LinkProperty, PropertyRequest};
use tokio::sync::mpsc;

use super::names::{Names, Resolved};
use super::{PROBE_IP, ProbeIp, Properties, Source, Target, check};
use crate::config::AddressConfig;
use crate::control::Control;
use crate::object::split;
use crate::plan::{ProbePlan, SourceMatch};

/// The network of link-local addresses (RFC 4291, 2.5.6).
const LINK_LOCAL: Source = Source::Network(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 64);

/// What host names resolve to, and the plans that the monitor has.
pub struct Plans {
    names: Names,
    sent: BTreeMap<String, Sent>,
}

/// What the monitor has for one aggregation.
struct Sent {
    plan: ProbePlan,
    /// `probe-ip` with every name resolved.
    effective: ProbeIp,
}

impl Plans {
    /// Without any; names that are resolved go to `resolved`, together with [`Control::resolved`].
    pub const fn new(resolved: mpsc::UnboundedSender<Resolved>) -> Self {
        Self { names: Names::new(resolved), sent: BTreeMap::new() }
    }

    /// Forgets the plan of an aggregation that runs no more.
    pub fn forget(&mut self, aggregation: &str) {
        self.sent.remove(aggregation);
    }
}

impl Control {
    /// The properties of all aggregations and ports.
    ///
    /// # Errors
    /// The monitor does not answer.
    pub async fn list_properties(&self) -> Result<Vec<LinkProperty>, Error> {
        let mut all = Vec::new();
        for (name, (config, _)) in self.stores.aggregations() {
            for mut row in config.properties.list(&name) {
                if row.property == PROBE_IP {
                    let sent = self.plans.sent.get(&name);
                    row.effective = sent.map(|sent| sent.effective.to_string()).filter(|text| !text.is_empty());
                }
                all.push(row);
            }
        }
        all.extend(self.list_port_properties().await?);
        Ok(all)
    }

    /// Changes properties of an aggregation or a port; without changes all are reset. `names` are those of hosts in the
    /// new values.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn change_properties(&mut self, request: PropertyRequest, names: Vec<Resolved>) -> Result<(), Error> {
        let name = &request.link;
        let Ok((config, _)) = self.stores.known(name) else {
            return self.change_port_properties(&request).await;
        };
        let mut properties = config.properties;
        properties.change(name, &request.changes)?;
        names.into_iter().for_each(|resolved| self.plans.names.insert(resolved));
        if let Some(probe_ip) = &properties.probe_ip {
            let (links, addresses) = self.look().await?;
            let interfaces = self.interfaces_of(name);
            check::sources(&interfaces, probe_ip, |object| self.objects().contains_key(object))?;
            check::targets(&interfaces, &self.effective(probe_ip).await?, &links, &addresses)?;
        }
        let before = self.stores.kept();
        self.stores.commit_change(name, request.temporary, |config| {
            // A value that is acceptable for one is for the other.
            let _ = config.properties.change(name, &request.changes);
        })?;
        let limited = self.monitor.set_learn_limit(name, properties.learn_limit()).await;
        let done = match limited {
            Ok(()) => self.send_plan(name, &properties).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            self.stores.put_back(before)?;
            return Err(error);
        }
        Ok(())
    }

    /// Hands the monitor the plan of an aggregation, if it is another one than it has.
    ///
    /// # Errors
    /// The monitor could not follow it.
    pub(crate) async fn send_plan(&mut self, name: &str, properties: &Properties) -> Result<(), Error> {
        let Some(probe_ip) = &properties.probe_ip else {
            if self.plans.sent.contains_key(name) {
                self.monitor.set_probing(name, None).await?;
                self.plans.sent.remove(name);
            }
            return Ok(());
        };
        let effective = self.effective(probe_ip).await?;
        let plan = plan(&effective, properties);
        if self.plans.sent.get(name).map(|sent| &sent.plan) != Some(&plan) {
            self.monitor.set_probing(name, Some(plan.clone())).await?;
        }
        self.plans.sent.insert(name.to_owned(), Sent { plan, effective });
        Ok(())
    }

    /// Address objects or names may have other addresses now.
    pub(crate) async fn refresh_plans(&mut self) {
        for (name, (config, _)) in self.stores.aggregations() {
            if self.plans.sent.contains_key(&name)
                && let Err(error) = self.send_plan(&name, &config.properties).await
            {
                tracing::error!(aggregation = name, %error, "the plan of probing could not be changed");
            }
        }
    }

    /// A host name was resolved.
    pub async fn resolved(&mut self, resolved: Resolved) {
        self.plans.names.insert(resolved);
        self.refresh_plans().await;
    }

    /// The list with the present addresses of host names and address objects in their place. An entry is left
    /// out while its source or its target has none: with half of it, others would be asked than were named.
    async fn effective(&mut self, probe_ip: &ProbeIp) -> Result<ProbeIp, Error> {
        let mut effective = Vec::new();
        for (source, target) in probe_ip.entries() {
            let sources = match source {
                Source::Host(name) => self.plans.names.addresses(name).into_iter().map(Source::Address).collect(),
                Source::Object(object) => self.object_as_source(object).await?.into_iter().collect(),
                other => vec![other.clone()],
            };
            let targets = match target {
                Target::Host(name) => self.plans.names.addresses(name).into_iter().map(Target::Address).collect(),
                other => vec![other.clone()],
            };
            for source in sources {
                effective.extend(targets.iter().map(|target| (source.clone(), target.clone())));
            }
        }
        Ok(effective.into_iter().collect())
    }

    /// The aggregation and the VNICs over it, whose addresses can be sources.
    fn interfaces_of(&self, aggregation: &str) -> Vec<String> {
        let vnics = self.stores.vnics().into_iter().filter(|(_, (config, _))| config.link == aggregation);
        std::iter::once(aggregation.to_owned()).chain(vnics.map(|(name, _)| name)).collect()
    }

    /// The present address of an object.
    async fn object_as_source(&self, object: &str) -> Result<Option<Source>, Error> {
        if let Some((AddressConfig::Addrconf {}, _)) = self.objects().get(object) {
            // Of what the kernel makes only the link-local address is probed, and it comes when it comes.
            return Ok(Some(LINK_LOCAL));
        }
        let objects = self.list_addresses().await?;
        let address = objects.iter().find(|shown| shown.object == object).and_then(|shown| shown.address.as_deref());
        Ok(address.and_then(|address| split(address).ok()).map(|(address, _)| Source::Address(address)))
    }
}

fn plan(effective: &ProbeIp, properties: &Properties) -> ProbePlan {
    let (mut sources, mut targets) = (Vec::new(), Vec::new());
    for (source, target) in effective.entries() {
        let source = match source {
            Source::Any => SourceMatch::Any,
            Source::Address(address) => SourceMatch::Address(*address),
            Source::Network(address, prefix) => SourceMatch::Network(*address, *prefix),
            Source::Interface(name) => SourceMatch::Interface(name.clone()),
            // Not left in an effective list.
            Source::Object(_) | Source::Host(_) => continue,
        };
        if !sources.contains(&source) {
            sources.push(source);
        }
        if let Target::Address(target) = target
            && !targets.contains(target)
        {
            targets.push(*target);
        }
    }
    ProbePlan { sources, targets, vlan: properties.vlan(), fdt: properties.fdt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_each_source_and_each_target_once() {
        let list: ProbeIp = "10.0.0.1+10.0.0.9,10.0.0.1+10.0.0.8,[aggr0]+10.0.0.9,fe80::/64+".parse().unwrap();
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let made = plan(&list, &Properties::default());
        assert_eq!(made.targets, [ip("10.0.0.9"), ip("10.0.0.8")]);
        assert_eq!(
            made.sources,
            [
                SourceMatch::Address(ip("10.0.0.1")),
                SourceMatch::Interface("aggr0".into()),
                SourceMatch::Network(ip("fe80::"), 64)
            ]
        );
    }
}
