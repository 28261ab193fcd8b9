//! Requests: checked, carried out by the monitor, kept in the files, undone when any of that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dlmp_api::{Aggregation, Error, NewAggregation, PortChange};
use dlmp_netlink::ethtool::{Ethtool, Settings, VLAN_FILTER};
use dlmp_netlink::{Address, Link, Netlink, ipv6};
use dlmp_wire::MacAddr;
use tokio::sync::Notify;

use crate::addresses::Addresses;
use crate::config::AggregationConfig;
use crate::monitor::{Monitor, Spec};
use crate::property::{Plans, Properties};
use crate::state::Before;
use crate::stores::Stores;
use crate::validate::{self, Ground};
use crate::vnet;
use crate::vnics::Lowers;

/// First three octets of the addresses that we make: those of Solaris VNICs, locally administered.
const MAC_PREFIX: [u8; 3] = [0x02, 0x08, 0x20];

/// Everything that requests change.
pub struct Control {
    pub(crate) netlink: Netlink,
    pub(crate) ethtool: Ethtool,
    pub(crate) monitor: Monitor,
    pub(crate) addresses: Addresses,
    pub(crate) plans: Plans,
    pub(crate) stores: Stores,
    pub(crate) lowers: Lowers,
    /// Told when the last object went and the daemon is not needed any more.
    idle: Arc<Notify>,
}

/// What lives beside the files.
pub struct Live {
    /// Addresses and DHCP clients.
    pub addresses: Addresses,
    /// Plans of probing.
    pub plans: Plans,
}

impl Control {
    /// Puts the parts together; nothing is started yet.
    ///
    /// # Errors
    /// Those of making sockets.
    pub fn new(monitor: Monitor, stores: Stores, live: Live, idle: Arc<Notify>) -> std::io::Result<Self> {
        Ok(Self {
            netlink: Netlink::connect()?,
            ethtool: Ethtool::open()?,
            monitor,
            addresses: live.addresses,
            plans: live.plans,
            stores,
            lowers: Lowers::new(),
            idle,
        })
    }

    /// Starts everything that the files name. What cannot be started is logged and stays configured.
    pub async fn restore(&mut self) {
        self.find_vnics().await;
        self.send_limits().await;
        for (name, (config, _)) in self.stores.aggregations() {
            for port in &config.ports {
                self.note_before(port).await;
            }
            self.stores.save_state();
            if let Err(error) = self.monitor.start_aggregation(self.spec(&name, &config)).await {
                tracing::error!(aggregation = name, %error, "the aggregation could not be started");
            }
        }
        self.restore_vnics().await;
        self.restore_addresses().await;
        for (name, (config, _)) in self.stores.aggregations() {
            if let Err(error) = self.send_plan(&name, &config.properties).await {
                tracing::error!(aggregation = name, %error, "the aggregation cannot be probed");
            }
        }
    }

    /// Path of the configuration file, for displays.
    pub fn config_path(&self) -> String {
        self.stores.config_path()
    }

    /// All aggregations.
    ///
    /// # Errors
    /// The monitor has ended.
    pub async fn list(&self) -> Result<Vec<Aggregation>, Error> {
        let configured = self.stores.aggregations();
        let mut all = self.monitor.list().await?;
        for aggregation in &mut all {
            aggregation.temporary = configured.get(&aggregation.name).is_some_and(|(_, temporary)| *temporary);
            for port in &mut aggregation.ports {
                if port.state != "absent"
                    && let Ok(Some(link)) = self.netlink.link(&port.name).await
                    && let Some(Settings { speed, duplex }) = vnet::settings(&link, &self.ethtool)
                {
                    port.speed = speed.map(i64::from);
                    port.duplex = duplex.as_str().into();
                }
            }
            // The speed of one port: a client never has more.
            let shown = (aggregation.ports.iter())
                .filter(|port| port.state == "up")
                .chain(&aggregation.ports)
                .find(|port| port.speed.is_some());
            if let Some(port) = shown {
                (aggregation.speed, aggregation.duplex) = (port.speed, port.duplex.clone());
            }
        }
        Ok(all)
    }

    /// Makes an aggregation.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn create_aggregation(&mut self, request: NewAggregation) -> Result<(), Error> {
        let (links, addresses) = self.look().await?;
        let ground = self.ground(&links, &addresses);
        validate::name(&ground, &request.name)?;
        self.not_an_aggregation(&request.name)?;
        self.not_a_vnic(&request.name)?;
        let mac = match &request.mac {
            Some(text) => validate::mac(text)?,
            None => random_mac(|mac| !links.iter().any(|link| link.mac == Some(mac)))?,
        };
        self.not_in_an_aggregation(&request.ports)?;
        validate::ports(&ground, &request.name, &request.ports, &[], request.force)?;

        let config = AggregationConfig { mac, ports: request.ports, properties: Properties::default() };
        for port in &config.ports {
            self.note_before(port).await;
        }
        self.stores.save_state();
        self.monitor.start_aggregation(self.spec(&request.name, &config)).await?;
        let name = request.name.clone();
        let kept = self.stores.commit(|kept, state| {
            state.absent.remove(&name);
            let place = if request.temporary { &mut state.temporary } else { kept };
            place.aggregations.insert(name, config);
        });
        if let Err(error) = kept {
            let before = self.stores.state.ports.clone();
            let _ = self.monitor.stop_aggregation(&request.name, before).await;
            self.idle_if_empty();
            return Err(error);
        }
        Ok(())
    }

    /// Removes an aggregation.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn delete_aggregation(&mut self, name: &str, temporary: bool) -> Result<(), Error> {
        let (config, _) = self.stores.known(name)?;
        self.no_vnic_over(name)?;
        if self.addresses.has_interface(name) {
            return Err(Error::refused(
                format!("the IP interface {name} is on the aggregation {name}"),
                format!("ipadm delete-ip {name}"),
            ));
        }
        let (links, addresses) = self.look().await?;
        if let Some(link) = links.iter().find(|link| link.name == name) {
            let address = (addresses.iter()).find(|address| address.index == link.index && !address.kernel_made);
            if let Some(address) = address {
                let text = format!("{}/{}", address.address, address.prefix_len);
                return Err(Error::refused(
                    format!("the aggregation {name} has the address {text}"),
                    format!("ip address delete {text} dev {name}"),
                ));
            }
        }
        let before = self.before(&config.ports);
        // First the files: a file that cannot be written must leave the aggregation at work.
        self.stores.commit(|kept, state| {
            state.temporary.aggregations.remove(name);
            if temporary && kept.aggregations.contains_key(name) {
                state.absent.insert(name.to_owned());
            } else {
                kept.aggregations.remove(name);
                // Those that were deleted until the next boot have nothing to come back to.
                kept.vnics.retain(|_, vnic| vnic.link != name);
            }
            for port in &config.ports {
                state.ports.remove(port);
            }
        })?;
        let stopped = self.monitor.stop_aggregation(name, before).await;
        self.plans.forget(name);
        self.idle_if_empty();
        stopped
    }

    /// Adds ports to an aggregation.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn add_ports(&mut self, request: PortChange) -> Result<(), Error> {
        let (config, _) = self.stores.known(&request.aggregation)?;
        let (links, addresses) = self.look().await?;
        self.not_in_an_aggregation(&request.ports)?;
        let ground = self.ground(&links, &addresses);
        validate::ports(&ground, &request.aggregation, &request.ports, &config.ports, request.force)?;
        for port in &request.ports {
            self.note_before(port).await;
        }
        self.stores.save_state();
        self.monitor.add_ports(&request.aggregation, self.before(&request.ports)).await?;
        let added = self.stores.commit_change(&request.aggregation, request.temporary, |config| {
            let new = request.ports.iter().filter(|port| !config.ports.contains(port)).cloned();
            config.ports.extend(new.collect::<Vec<_>>());
        });
        if let Err(error) = added {
            let before = self.before(&request.ports);
            let _ = self.monitor.remove_ports(&request.aggregation, before).await;
            return Err(error);
        }
        Ok(())
    }

    /// Takes ports out of an aggregation.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn remove_ports(&mut self, request: PortChange) -> Result<(), Error> {
        let name = &request.aggregation;
        let (mut config, _) = self.stores.known(name)?;
        let mut seen = BTreeSet::new();
        for port in &request.ports {
            if !seen.insert(port) {
                return Err(Error::refused(format!("the port {port} is named twice"), ""));
            }
            if !config.ports.contains(port) {
                return Err(Error::refused(
                    format!("{port} is no port of {name}"),
                    format!("dladm show-aggr -x {name}"),
                ));
            }
        }
        config.ports.retain(|port| !request.ports.contains(port));
        if config.ports.is_empty() {
            return Err(Error::refused(
                format!("an aggregation needs at least one port, and these are all of {name}"),
                format!("dladm delete-aggr {name}"),
            ));
        }
        let kept = self.stores.config.aggregations.get(name).filter(|_| !request.temporary);
        if kept.is_some_and(|kept| kept.ports.iter().all(|port| request.ports.contains(port))) {
            return Err(Error::refused(
                format!("these are all ports of {name} that are there beyond the next boot; others were added with -t"),
                format!("dladm remove-aggr -t -l {} {name}", request.ports.join(" -l ")),
            ));
        }
        let before = self.before(&request.ports);
        self.stores.commit_change(name, request.temporary, |config| {
            config.ports.retain(|port| !request.ports.contains(port));
        })?;
        self.monitor.remove_ports(name, before).await?;
        for port in &request.ports {
            self.stores.state.ports.remove(port);
        }
        self.stores.save_state();
        Ok(())
    }

    /// Lets the daemon end when nothing is left that needs it.
    pub(crate) fn idle_if_empty(&self) {
        if self.is_empty() {
            self.idle.notify_one();
        }
    }

    /// Whether nothing needs the daemon.
    pub fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    pub(crate) async fn look(&self) -> Result<(Vec<Link>, Vec<Address>), Error> {
        let failed = |error: dlmp_netlink::Error| Error::failed(error.to_string());
        Ok((self.netlink.links().await.map_err(failed)?, self.netlink.addresses().await.map_err(failed)?))
    }

    pub(crate) fn ground<'a>(&'a self, links: &'a [Link], addresses: &'a [Address]) -> Ground<'a> {
        Ground { links, addresses, ethtool: &self.ethtool }
    }

    /// Refuses the name of an aggregation that is configured, also of one that does not run.
    pub(crate) fn not_an_aggregation(&self, name: &str) -> Result<(), Error> {
        if self.stores.aggregations().contains_key(name) {
            return Err(Error::refused(
                format!(
                    "the aggregation {name} is configured already, though it does not run; the log of dlmpd says why"
                ),
                format!("dladm delete-aggr {name}"),
            ));
        }
        Ok(())
    }

    fn not_in_an_aggregation(&self, ports: &[String]) -> Result<(), Error> {
        for (name, (config, _)) in self.stores.aggregations() {
            if let Some(port) = ports.iter().find(|port| config.ports.contains(port)) {
                return Err(Error::refused(
                    format!("{port} is a port of the aggregation {name} already"),
                    format!("dladm remove-aggr -l {port} {name}"),
                ));
            }
        }
        Ok(())
    }

    fn spec(&self, name: &str, config: &AggregationConfig) -> Spec {
        Spec {
            name: name.to_owned(),
            mac: config.mac,
            ports: config.ports.clone(),
            before: self.before(&config.ports),
            vnics: self.vnic_specs(name),
            learn_limit: config.properties.learn_limit(),
        }
    }

    fn before(&self, ports: &[String]) -> BTreeMap<String, Before> {
        (ports.iter())
            .map(|port| (port.clone(), self.stores.state.ports.get(port).copied().unwrap_or_default()))
            .collect()
    }

    /// Notes what a link is like before it becomes a port, unless that was noted already.
    async fn note_before(&mut self, port: &str) {
        if self.stores.state.ports.contains_key(port) {
            return;
        }
        let Ok(Some(link)) = self.netlink.link(port).await else {
            return;
        };
        let before = Before {
            ipv6_disabled: ipv6::disabled(port).ok().flatten().unwrap_or(false),
            up: link.admin_up,
            all_multicast: link.all_multicast,
            vlan_filter: self.ethtool.feature(port, VLAN_FILTER).is_ok_and(|feature| feature.on),
            promiscuous: link.promiscuous_flag,
        };
        self.stores.state.ports.insert(port.to_owned(), before);
    }
}

/// A locally administered address that is free.
pub(crate) fn random_mac(is_free: impl Fn(MacAddr) -> bool) -> Result<MacAddr, Error> {
    loop {
        let mut tail = [0; 3];
        getrandom::fill(&mut tail)
            .map_err(|error| Error::failed(format!("no random numbers for an address: {error}")))?;
        let [a, b, c] = MAC_PREFIX;
        let mac = MacAddr([a, b, c, tail[0], tail[1], tail[2]]);
        if is_free(mac) {
            return Ok(mac);
        }
    }
}
