//! Requests: checked, carried out by the monitor, kept in the files, undone when any of that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use dlmp_api::{Aggregation, Error, NewAggregation, PortChange};
use dlmp_netlink::ethtool::{Ethtool, Settings, VLAN_FILTER};
use dlmp_netlink::{Address, Link, MulticastReader, Netlink, ipv6};
use dlmp_wire::MacAddr;
use tokio::sync::Notify;

use crate::addresses::Addresses;
use crate::config::AggregationConfig;
use crate::foreign::Foreign;
use crate::monitor::{Monitor, Spec};
use crate::property::{Plans, Properties};
use crate::state::Before;
use crate::stores::Stores;
use crate::unfinished;
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
    /// What others have put on ports.
    pub(crate) foreign: Foreign,
    /// This namespace's directory on the bpffs, if there is one.
    pub(crate) pins: Option<PathBuf>,
    /// Told when the last object went and the daemon is not needed any more.
    idle: Arc<Notify>,
}

/// What lives beside the files.
pub struct Live {
    /// Addresses and DHCP clients.
    pub addresses: Addresses,
    /// Plans of probing.
    pub plans: Plans,
    /// This namespace's directory on the bpffs, if there is one.
    pub pins: Option<PathBuf>,
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
            foreign: Foreign::default(),
            pins: live.pins,
            idle,
        })
    }

    /// Starts everything that the files name. What cannot be started is logged and stays configured.
    pub async fn restore(&mut self) {
        self.find_vnics().await;
        self.send_limits().await;
        self.tell_ipv6_of_ports().await;
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
        // Not before the aggregations run: a port that was being taken out carries their traffic until they do.
        self.settle_at_start().await;
        // What is on a port is in the way of our own addresses and routes.
        self.tidy_ports().await;
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
            aggregation.problems.extend(self.foreign.problems(&aggregation.name).map(str::to_owned));
            for port in &mut aggregation.ports {
                if self.foreign.problem_of(&port.name).is_some() {
                    port.reason.push_str("; others put addresses on it (show-aggr)");
                }
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
        self.no_orphan(&links, &request.name)?;
        validate::name(&ground, &request.name)?;
        self.not_an_aggregation(&request.name)?;
        self.not_a_vnic(&request.name)?;
        self.no_orphan_vnic(&links, &request.name)?;
        let mac = match &request.mac {
            Some(text) => validate::mac(text)?,
            None => random_mac(|mac| !links.iter().any(|link| link.mac == Some(mac)))?,
        };
        self.not_in_an_aggregation(&request.ports)?;
        validate::ports(&ground, &request.name, &request.ports, &[], request.force)?;

        let config = AggregationConfig { mac, ports: request.ports, properties: Properties::default() };
        let name = request.name.clone();
        self.begin(Some((&name, mac)), &config.ports).await?;
        let spec = self.spec(&name, &config);
        let mut done = self.monitor.start_aggregation(spec).await;
        if done.is_ok() {
            let kept = self.stores.commit(|kept, state| {
                state.absent.remove(&name);
                let place = if request.temporary { &mut state.temporary } else { kept };
                place.aggregations.insert(name, config);
            });
            if kept.is_err() {
                let before = self.stores.state.ports.clone();
                let _ = self.monitor.stop_aggregation(&request.name, before).await;
                self.idle_if_empty();
                done = kept;
            }
        }
        self.settle().await;
        done
    }

    /// Removes an aggregation.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn delete_aggregation(&mut self, name: &str, temporary: bool) -> Result<(), Error> {
        let (links, addresses) = self.look().await?;
        let orphan = self.orphan(&links, name);
        let (mac, ports) = match orphan {
            Some(orphan) => (orphan.mac.unwrap_or_default(), self.ports_of_orphan(&links, orphan).await?),
            None => {
                let (config, _) = self.stores.known(name)?;
                (config.mac, self.before(&config.ports))
            }
        };
        self.no_vnic_over(name)?;
        if self.addresses.has_interface(name) {
            return Err(Error::refused(
                format!("the IP interface {name} is on the aggregation {name}"),
                format!("ipadm delete-ip {name}"),
            ));
        }
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
        // First the files: a file that cannot be written must leave the aggregation at work.
        self.stores.commit(|kept, state| {
            state.unfinished.insert(name.to_owned(), mac);
            state.ports.extend(ports.clone());
            state.temporary.aggregations.remove(name);
            if temporary && kept.aggregations.contains_key(name) {
                state.absent.insert(name.to_owned());
            } else {
                kept.aggregations.remove(name);
                // Those that were deleted until the next boot have nothing to come back to.
                kept.vnics.retain(|_, vnic| vnic.link != name);
            }
        })?;
        if let Err(error) = self.monitor.stop_aggregation(name, ports).await {
            tracing::warn!(aggregation = name, %error, "what stays of it is looked for");
        }
        self.plans.forget(name);
        self.settle().await;
        self.idle_if_empty();
        self.is_gone(name)
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
        self.begin(None, &request.ports).await?;
        let before = self.before(&request.ports);
        let mut done = self.monitor.add_ports(&request.aggregation, before.clone()).await;
        if done.is_ok() {
            done = self.stores.commit_change(&request.aggregation, request.temporary, |config| {
                let new = request.ports.iter().filter(|port| !config.ports.contains(port)).cloned();
                config.ports.extend(new.collect::<Vec<_>>());
            });
            if done.is_err() {
                let _ = self.monitor.remove_ports(&request.aggregation, before).await;
            }
        }
        self.settle().await;
        done
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
        let removed = self.monitor.remove_ports(name, before).await;
        self.settle().await;
        removed
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
            .map(|port| (port.clone(), self.stores.state.ports.get(port).cloned().unwrap_or_default()))
            .collect()
    }

    /// Notes what is about to be made: a pair of links, and links that become ports. [`settle`](Self::settle) forgets it.
    ///
    /// # Errors
    /// It cannot be written down, so nothing may be begun.
    pub(crate) async fn begin(&mut self, pair: Option<(&str, MacAddr)>, ports: &[String]) -> Result<(), Error> {
        for port in ports {
            self.note_before(port).await;
        }
        self.stores.begin(pair)
    }

    /// Notes what a link is like before it becomes a port, unless that was noted already.
    async fn note_before(&mut self, port: &str) {
        let Ok(Some(link)) = self.netlink.link(port).await else {
            return;
        };
        if let Some(noted) = self.stores.state.ports.get_mut(port) {
            // It went and came again since then.
            noted.index = link.index;
            return;
        }
        let list = MulticastReader::open().and_then(|mut reader| reader.read(link.index, unfinished::GROUPS));
        let before = Before {
            index: link.index,
            clsact: self.netlink.has_clsact(link.index).await.unwrap_or(false),
            groups: list.map(|list| list.groups.into_iter().collect()).unwrap_or_default(),
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
