//! Addresses, routes and IPv6 that others put on ports and on lower ends: found, told and taken off again.
//!
//! What comes to a port's own MAC address is received by nobody, so such an address works for nobody, and its routes take
//! the host's traffic away from the aggregation. A DHCP client that was set up before the link became a port does that. One
//! that puts its address on again at once is answered ever more rarely, and the problem stays told meanwhile.

mod fight;
mod found;
mod who;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dlmp_api::Aggregation;
use dlmp_netlink::{Changes, Link, LinkRoute};

use crate::control::Control;
use crate::pair;
use fight::{Fight, Move};
use found::Found;

/// How often it is looked when nothing tells of a change: of a parameter in `/proc/sys` nothing does.
const EACH: Duration = Duration::from_secs(5);
/// How long after the first change, so that a look sees what came together.
const SOON: Duration = Duration::from_millis(20);
/// The least time between looks.
const GAP: Duration = Duration::from_millis(500);
/// A look takes at most this part of the time, however many routes there are.
const SHARE: u32 = 30;

/// A link that is to be quiet.
struct Quiet {
    index: u32,
    name: String,
    aggregation: String,
    /// What it is, in words.
    role: String,
}

/// What others have put on links, by the links' names.
#[derive(Debug, Default)]
pub struct Foreign {
    fights: BTreeMap<String, Fight>,
}

impl Foreign {
    /// What is told of an aggregation.
    pub fn problems(&self, aggregation: &str) -> impl Iterator<Item = &str> {
        self.fights.values().filter(move |fight| fight.aggregation == aggregation).map(|fight| fight.problem.as_str())
    }

    /// What is told of a link.
    pub fn problem_of(&self, link: &str) -> Option<&str> {
        self.fights.get(link).map(|fight| fight.problem.as_str())
    }

    /// What cuts off the addresses of an aggregation in the family of `address` at present.
    pub fn cuts_off(&self, aggregation: &str, address: IpAddr) -> Option<&str> {
        (self.fights.values())
            .find(|fight| fight.aggregation == aggregation && fight.stands.touches(address))
            .map(|fight| fight.problem.as_str())
    }
}

/// When to look.
pub struct Looks {
    changes: Changes,
    due: Instant,
    not_before: Instant,
}

impl Looks {
    /// Follows the changes in the calling thread's namespace, inside a tokio runtime.
    ///
    /// # Errors
    /// Those of making a socket.
    pub fn open() -> std::io::Result<Self> {
        let now = Instant::now();
        Ok(Self { changes: Changes::open()?, due: now + EACH, not_before: now })
    }

    /// Waits until it is time. Loses nothing when the wait is given up.
    pub async fn due(&mut self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.due.into()) => return,
                () = self.changes.next() => self.due = self.due.min((Instant::now() + SOON).max(self.not_before)),
            }
        }
    }

    /// A look that began at `began` is over; the next one is due at `next` at the latest.
    pub fn done(&mut self, began: Instant, next: Option<Instant>) {
        let now = Instant::now();
        self.not_before = began + GAP.max((now - began) * SHARE);
        self.due = next.unwrap_or(now + EACH).min(now + EACH).max(self.not_before);
    }
}

impl Control {
    /// Looks what others have put on ports and lower ends, and takes it off. Says when to look again at the latest.
    pub async fn tidy_ports(&mut self) -> Option<Instant> {
        let quiet = match self.monitor.list().await {
            Ok(running) => self.quiet_links(&running).await,
            Err(_) => return None,
        };
        let addresses = self.netlink.addresses().await;
        let routes = self.netlink.routes_through(&quiet.iter().map(|link| link.index).collect()).await;
        let (addresses, routes) = match (addresses, routes) {
            (Ok(addresses), Ok(routes)) => (addresses, routes),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "cannot see what others put on ports");
                return None;
            }
        };
        let known: BTreeSet<&str> = quiet.iter().map(|link| link.name.as_str()).collect();
        self.foreign.fights.retain(|link, _| known.contains(link.as_str()));
        for link in &quiet {
            let found = Found::on(link, &addresses, &routes);
            let routes = routes.iter().filter(|route| route.index == link.index);
            self.answer(link, found, routes).await;
        }
        self.foreign.fights.values().map(Fight::due).min()
    }

    /// Tells of IPv6 addresses that somebody gave to configured ports, before they are switched off with IPv6 as the
    /// aggregations start. Those that the kernel made by itself are no news.
    pub(crate) async fn tell_ipv6_of_ports(&mut self) {
        let Ok(addresses) = self.netlink.addresses().await else { return };
        let given: Vec<_> =
            addresses.into_iter().filter(|there| there.address.is_ipv6() && !there.kernel_made).collect();
        for (aggregation, (config, _)) in self.stores.aggregations() {
            for port in &config.ports {
                let Some((index, name)) = self.port_link(port) else { continue };
                let link = Quiet { index, name, aggregation: aggregation.clone(), role: "a port".into() };
                let found = Found::on(&link, &given, &[]);
                if !found.addresses.is_empty() {
                    self.tell_found(&link, &found, Instant::now());
                }
            }
        }
    }

    /// Tells what was found on a link, unless it was told already.
    fn tell_found(&mut self, link: &Quiet, found: &Found, now: Instant) -> &mut Fight {
        let new = || Fight::new(&link.aggregation, now);
        let fight = self.foreign.fights.entry(link.name.clone()).or_insert_with(new);
        if !found.is_part_of(&fight.known) {
            fight.known.extend(found);
            fight.problem = fight.known.problem(&link.name, &link.role);
            tracing::warn!(aggregation = link.aggregation, "{}", fight.problem);
            self.monitor.tell_problem(&link.aggregation, &link.name, true, fight.problem.clone());
        }
        fight
    }

    /// Answers what was found on one link.
    async fn answer(&mut self, link: &Quiet, found: Found, routes: impl Iterator<Item = &LinkRoute>) {
        let now = Instant::now();
        if found.is_nothing() {
            if let Some(fight) = self.foreign.fights.get_mut(&link.name) {
                fight.gone();
                if fight.is_over(now)
                    && let Some(fight) = self.foreign.fights.remove(&link.name)
                {
                    tracing::info!(aggregation = link.aggregation, "solved: {}", fight.problem);
                    self.monitor.tell_problem(&link.aggregation, &link.name, false, fight.problem);
                }
            }
            return;
        }
        let fight = self.tell_found(link, &found, now);
        if fight.seen(now, &found) == Move::Wait {
            return;
        }
        if let Err(error) = self.take_off_link(link, &found, routes).await {
            tracing::error!(link = link.name, %error, "it stays there");
            if let Some(fight) = self.foreign.fights.get_mut(&link.name) {
                fight.stands.extend(&found);
            }
        }
    }

    async fn take_off_link(
        &self,
        link: &Quiet,
        found: &Found,
        routes: impl Iterator<Item = &LinkRoute>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        // Routes first: with the last address the kernel removes most of them by itself.
        for route in routes {
            self.netlink.delete_route(route).await?;
        }
        for &(address, prefix_len) in &found.addresses {
            self.netlink.delete_address(link.index, address, prefix_len).await?;
        }
        dlmp_netlink::ipv6::set_disabled(&link.name, true)?;
        Ok(())
    }

    /// The ports and the lower ends of the aggregations that run.
    async fn quiet_links(&self, running: &[Aggregation]) -> Vec<Quiet> {
        let mut quiet = Vec::new();
        for aggregation in running {
            let name = &aggregation.name;
            for port in aggregation.ports.iter().filter(|port| port.portstate == "attached") {
                let Some((index, link)) = self.port_link(&port.name) else { continue };
                quiet.push(Quiet { index, name: link, aggregation: name.clone(), role: "a port".into() });
            }
            if let Ok(Some(Link { peer_index: Some(lower), .. })) = self.netlink.link(name).await
                && let Some(link) = name_of(lower)
            {
                let role = format!("the lower end of {name}");
                quiet.push(Quiet { index: lower, name: link, aggregation: name.clone(), role });
            }
        }
        for (vnic, (config, _)) in self.stores.vnics() {
            if let Some(pair::Lower { index, name }) = self.lowers.get(&vnic).cloned()
                && running.iter().any(|aggregation| aggregation.name == config.link)
            {
                quiet.push(Quiet { index, name, aggregation: config.link, role: format!("the lower end of {vnic}") });
            }
        }
        quiet
    }

    /// The link of a port, also one that was renamed while it is a port.
    fn port_link(&self, port: &str) -> Option<(u32, String)> {
        if let Ok(index) = nix::net::if_::if_nametoindex(port) {
            return Some((index, port.to_owned()));
        }
        let index = self.stores.state.ports.get(port)?.index;
        Some((index, name_of(index)?))
    }
}

fn name_of(index: u32) -> Option<String> {
    nix::net::if_::if_indextoname(index).ok()?.into_string().ok()
}
