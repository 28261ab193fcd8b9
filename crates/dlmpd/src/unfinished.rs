//! What an earlier daemon, or a request that failed, has left half done: pairs of links that were being made or deleted,
//! and links that are no ports any more.
//!
//! Each request notes in the state file what it begins, before it begins, and forgets it when all is done. The
//! configuration decides what becomes of it: what it names is whole, all else is taken away and put back as it was.
//! What it does not name and nobody has begun to delete is an orphan, of a file that was lost or is elsewhere: it goes
//! on forwarding until somebody deletes it.

use std::collections::{BTreeMap, BTreeSet};

use dlmp_api::Error;
use dlmp_datapath::bpf::{self, Owner};
use dlmp_netlink::{Link, MulticastFilter, MulticastReader, ipv6};
use dlmp_wire::MacAddr;

use crate::control::Control;
use crate::monitor::put_card_back;
use crate::pair;
use crate::state::Before;
use crate::validate::is_aggregation;

/// So many groups of a filter are looked at together.
pub const GROUPS: usize = 4096;

impl Control {
    /// Takes away and puts back everything that an earlier daemon has begun and not finished, and tells what is an orphan.
    pub(crate) async fn settle_at_start(&mut self) {
        let links = match self.netlink.links().await {
            Ok(links) => links,
            Err(error) => return tracing::error!(%error, "what an earlier daemon left unfinished cannot be looked for"),
        };
        self.find_former_ports(&links).await;
        // What a daemon had put into a port's filter before it came to attach the program.
        let mut addresses: BTreeSet<MacAddr> = self.stores.state.unfinished.values().copied().collect();
        for link in links.iter().filter(|link| is_aggregation(link)) {
            addresses.extend(self.owner(link).await.unwrap_or_default().addresses);
        }
        self.settle_with(&addresses).await;
        match self.netlink.links().await {
            Ok(links) => self.tell_orphans(&links),
            Err(error) => tracing::error!(%error, "cannot look at the links"),
        }
    }

    /// Takes away and puts back everything that was begun and is not configured. What cannot be done now stays noted.
    pub(crate) async fn settle(&mut self) {
        self.settle_with(&BTreeSet::new()).await;
    }

    async fn settle_with(&mut self, addresses: &BTreeSet<MacAddr>) {
        let (configured, pairs) = (self.configured_ports(), self.pairs());
        let ports: BTreeMap<String, Before> =
            (self.stores.state.ports.clone().into_iter()).filter(|(name, _)| !configured.contains(name)).collect();
        let unfinished = self.stores.state.unfinished.clone();
        if ports.is_empty() && unfinished.is_empty() {
            return;
        }
        let links = match self.netlink.links().await {
            Ok(links) => links,
            Err(error) => return tracing::error!(%error, "what was begun and not finished cannot be looked for"),
        };
        let orphans: BTreeSet<u32> = self.orphans(&links).map(|link| link.index).collect();
        for (name, before) in ports {
            match self.put_back(&links, (&name, &before), addresses, &orphans).await {
                Ok(true) => drop(self.stores.state.ports.remove(&name)),
                Ok(false) => {}
                Err(error) => tracing::warn!(port = name, %error, "a link that is no port any more is not as it was"),
            }
        }
        for (name, mac) in unfinished {
            if !pairs.contains(&name)
                && let Err(error) = self.take_away(&links, &name, mac).await
            {
                tracing::warn!(link = name, %error, "a pair of links stays that is not wanted");
                continue;
            }
            self.stores.state.unfinished.remove(&name);
        }
        self.stores.save_state();
    }

    /// Notes the links that bear our program and are no ports, whatever they are called by now.
    async fn find_former_ports(&mut self, links: &[Link]) {
        let configured = self.configured_ports();
        let orphans: BTreeSet<u32> = self.orphans(links).map(|link| link.index).collect();
        let could_be =
            |link: &&Link| link.ethernet && !configured.contains(&link.name) && pair::lower_of(link).is_none();
        for link in links.iter().filter(could_be) {
            let owner = Owner::of_port(link.index, &link.name, &self.netlink).await;
            if owner.is_ok_and(|owner| owner.is_some_and(|owner| !orphans.contains(&owner.link))) {
                let ports = &mut self.stores.state.ports;
                let noted = ports.values().find(|before| before.index == link.index).cloned();
                let before = noted.unwrap_or_else(|| Before { index: link.index, ..Before::default() });
                tracing::info!(link = link.name, "it was a port and is none any more: it becomes what it was before");
                ports.entry(link.name.clone()).or_insert(before);
            }
        }
    }

    /// Logs what is there, works and is in no file.
    fn tell_orphans(&self, links: &[Link]) {
        for link in self.orphans(links) {
            let name = &link.name;
            tracing::warn!(
                "the aggregation {name} is in no file: it goes on forwarding, and nobody watches its ports; to remove it: \
                 dladm delete-aggr {name}; to have it back, start dlmpd with the file that it is in"
            );
        }
        for name in self.orphan_vnics(links).filter(|name| !self.stores.state.unfinished.contains_key(*name)) {
            tracing::warn!(
                "the VNIC {name} is in no file; to remove it: dladm delete-vnic {name}; to have it back, start dlmpd with \
                 the file that it is in"
            );
        }
    }

    /// Whether a pair of links that was to be deleted is gone.
    ///
    /// # Errors
    /// It is not, and will be deleted when the daemon starts the next time.
    pub(crate) fn is_gone(&self, name: &str) -> Result<(), Error> {
        match self.stores.state.unfinished.contains_key(name) {
            true => Err(Error::failed(format!(
                "{name} is in no file any more, but its links are still there; the log of dlmpd says why, and it tries again \
                 when it starts"
            ))),
            false => Ok(()),
        }
    }

    /// Refuses the name of an aggregation that is there and in no file.
    ///
    /// # Errors
    /// It is one's.
    pub(crate) fn no_orphan(&self, links: &[Link], name: &str) -> Result<(), Error> {
        match self.orphan(links, name) {
            Some(_) => Err(Error::refused(
                format!(
                    "there is an aggregation {name} that no file names, of another configuration or one that was lost; it \
                     goes on forwarding until it is deleted"
                ),
                format!("dladm delete-aggr {name}"),
            )),
            None => Ok(()),
        }
    }

    /// The same of a VNIC.
    ///
    /// # Errors
    /// It is one's.
    pub(crate) fn no_orphan_vnic(&self, links: &[Link], name: &str) -> Result<(), Error> {
        match self.orphan_vnics(links).any(|orphan| orphan == name) {
            true => Err(Error::refused(
                format!(
                    "there is a VNIC {name} that no file names, of another configuration or one that was lost, perhaps in \
                     another network namespace"
                ),
                format!("dladm delete-vnic {name}"),
            )),
            false => Ok(()),
        }
    }

    /// The aggregation of this name that is there and in no file.
    pub(crate) fn orphan<'a>(&self, links: &'a [Link], name: &str) -> Option<&'a Link> {
        // One that was begun to be deleted and could not be is no better off.
        let unknown = !self.stores.aggregations().contains_key(name);
        links.iter().filter(|_| unknown).find(|link| link.name == name && is_aggregation(link))
    }

    /// Names of the VNICs that are there and in no file.
    pub(crate) fn orphan_vnics<'a>(&self, links: &'a [Link]) -> impl Iterator<Item = &'a str> {
        let (vnics, aggregations) = (self.stores.vnics(), self.stores.aggregations());
        links.iter().filter_map(move |lower| {
            let name = pair::lower_of(lower)?;
            let upper = links.iter().find(|upper| upper.peer_index == Some(lower.index));
            let of_aggregation = aggregations.contains_key(name) || upper.is_some_and(is_aggregation);
            (!of_aggregation && !vnics.contains_key(name)).then_some(name)
        })
    }

    /// What is to be noted to delete an orphan: what its ports were like, as far as that is known.
    ///
    /// # Errors
    /// A VNIC is over it, or the kernel did not say what belongs to it.
    pub(crate) async fn ports_of_orphan(
        &self,
        links: &[Link],
        orphan: &Link,
    ) -> Result<BTreeMap<String, Before>, Error> {
        let owner = self.owner(orphan).await?;
        let vnic = links.iter().filter(|lower| owner.vnics.contains(&lower.index)).find_map(pair::lower_of);
        if let Some(vnic) = vnic {
            return Err(Error::refused(
                format!("the VNIC {vnic} is over the aggregation {}", orphan.name),
                format!("dladm delete-vnic {vnic}"),
            ));
        }
        let ports = links.iter().filter(|link| owner.ports.contains(&link.index));
        let noted = |link: &Link| self.stores.state.ports.get(&link.name).cloned();
        Ok(ports
            .map(|link| {
                let unknown = || Before { index: link.index, ..Before::default() };
                (link.name.clone(), noted(link).unwrap_or_else(unknown))
            })
            .collect())
    }

    fn orphans<'a>(&self, links: &'a [Link]) -> impl Iterator<Item = &'a Link> {
        let (known, begun) = (self.stores.aggregations(), self.stores.state.unfinished.clone());
        (links.iter()).filter(move |link| {
            is_aggregation(link) && !known.contains_key(&link.name) && !begun.contains_key(&link.name)
        })
    }

    async fn owner(&self, aggregation: &Link) -> Result<Owner, Error> {
        let owner = Owner::of_link(aggregation.index, &aggregation.name, &self.netlink).await;
        Ok(owner.map_err(failed)?.unwrap_or_default())
    }

    fn configured_ports(&self) -> BTreeSet<String> {
        self.stores.aggregations().into_values().flat_map(|(config, _)| config.ports).collect()
    }

    /// The names of all aggregations and VNICs.
    fn pairs(&self) -> BTreeSet<String> {
        self.stores.aggregations().into_keys().chain(self.stores.vnics().into_keys()).collect()
    }

    /// Makes a link that is no port any more what it was before; whether that is done, or it is an orphan's port.
    async fn put_back(
        &self,
        links: &[Link],
        (name, before): (&str, &Before),
        addresses: &BTreeSet<MacAddr>,
        orphans: &BTreeSet<u32>,
    ) -> Result<bool, Error> {
        let noted = links.iter().find(|link| link.index == before.index);
        // A link that went away has lost everything, and another one of its name is not the one that was noted.
        let unknown = || links.iter().find(|link| before.index == 0 && link.name == name);
        let Some(link) = noted.or_else(unknown) else { return Ok(true) };
        let owner = Owner::of_port(link.index, &link.name, &self.netlink).await.map_err(failed)?;
        if owner.as_ref().is_some_and(|owner| orphans.contains(&owner.link)) {
            return Ok(false);
        }
        let is_quiet = ipv6::disabled(&link.name).map_err(failed)?.unwrap_or(true);
        if owner.is_some() || is_quiet != before.ipv6_disabled {
            self.empty_group_filter(link, before)?;
        }
        let owner = owner.unwrap_or_default();
        for &mac in addresses.union(&owner.addresses) {
            if let Err(error) = self.netlink.delete_filter(link.index, mac).await {
                tracing::debug!(port = name, %mac, %error, "its filter has no such address");
            }
        }
        bpf::free_port(link.index, &link.name, self.pins.as_deref(), &self.netlink).await.map_err(failed)?;
        // Left behind between the deletion of our filter and that of the qdisc.
        if !before.clsact && self.netlink.filter_count(link.index).await.map_err(failed)? == 0 {
            self.netlink.delete_clsact(link.index).await.map_err(failed)?;
        }
        put_card_back(link.index, before.clone(), &self.netlink).await;
        if link.all_multicast && !before.all_multicast {
            self.netlink.set_all_multicast(link.index, false).await.map_err(failed)?;
        }
        ipv6::set_disabled(&link.name, before.ipv6_disabled).map_err(failed)?;
        if link.admin_up && !before.up {
            self.netlink.set_up(link.index, false).await.map_err(failed)?;
        }
        Ok(true)
    }

    /// Takes the groups out of a link's filter that were not there before it was a port. Only before IPv6 is on again: it joins
    /// some of them itself, and the kernel does not tell apart who still needs one.
    fn empty_group_filter(&self, link: &Link, before: &Before) -> Result<(), Error> {
        let (mut reader, mut filter) =
            (MulticastReader::open().map_err(failed)?, MulticastFilter::open().map_err(failed)?);
        let mut most = GROUPS;
        loop {
            let list = reader.read(link.index, most).map_err(failed)?;
            let ours: Vec<MacAddr> = list.groups.into_iter().filter(|group| !before.groups.contains(group)).collect();
            let taken = filter.take_out_added(link.index, &ours).map_err(failed)?;
            if !list.more {
                break;
            }
            if taken == 0 {
                most += GROUPS;
            }
        }
        Ok(())
    }

    /// Deletes a pair that is not wanted, if it is there, and what is pinned of it.
    async fn take_away(&self, links: &[Link], name: &str, mac: MacAddr) -> Result<(), Error> {
        if let Some(lower) = pair::find(links, name, mac) {
            tracing::info!(link = name, "its making or its deletion was not finished: it goes");
            let pins = self.pins.as_deref();
            bpf::free_vnic(lower.index, &lower.name, pins, &self.netlink).await.map_err(failed)?;
            match self.netlink.delete_link(lower.index).await {
                Err(error) if error.errno() != Some(libc::ENODEV) => return Err(failed(error)),
                _ => {}
            }
        }
        match &self.pins {
            Some(pins) => bpf::forget_pins(&pins.join(name)).map_err(failed),
            None => Ok(()),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::failed(error.to_string())
}
