//! The ports' cards: looking at what they do with VLANs, and having them let in those that are wanted, as the rule says.
//!
//! Everything here takes the kernel's RTNL lock: for the thread of chores. Nothing of it is held by the daemon. What an
//! earlier one did is seen on the link, by what the link was like before it was a port.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use dlmp_api::PORT_VLAN_ALIAS;
use dlmp_netlink::ethtool::{Ethtool, Feature, VLAN_FILTER};
use dlmp_netlink::{Error, Link, Netlink, Result, ipv6};
use tokio::sync::mpsc;

use super::rule::{self, Card, MOST, State, Step, Way};
use crate::state::Before;
use crate::validate::is_port_vlan;

/// The names of the devices that register VLANs, with a number that is free.
const NAME: &str = "dlmpv%d";
/// There where the kernel has VLAN devices (`vlan_proc_init` in net/8021q/vlanproc.c).
const VLANS: &str = "/proc/thread-self/net/vlan";

/// What is wanted of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::monitor) struct Wish {
    /// What it was like before it was a port.
    pub(in crate::monitor) before: Before,
    /// The VLANs that it is to let in.
    pub(in crate::monitor) vlans: Arc<BTreeSet<u16>>,
    /// Takes back what is not needed; else only lets more in.
    pub(in crate::monitor) take_back: bool,
    /// It is a port no more.
    pub(in crate::monitor) last: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::monitor) struct Outcome {
    /// How the port lets the VLANs in.
    pub(in crate::monitor) way: Way,
    /// Why it is none of the better ways, in words.
    pub(in crate::monitor) reason: String,
}

/// The cards.
pub(in crate::monitor) struct Cards {
    /// Links that are taken for cards with a filter that cannot be switched off.
    filtering: BTreeSet<String>,
    /// Opened when it is first needed.
    ethtool: Option<Ethtool>,
    known: BTreeMap<u32, Known>,
    /// What is to be done; of several wishes for a port the last.
    wishes: BTreeMap<u32, Wish>,
    /// The kernel has no VLAN devices.
    no_devices: bool,
    outcomes: mpsc::UnboundedSender<(u32, Outcome)>,
}

/// What is remembered of a port.
#[derive(Debug, Default)]
struct Known {
    filter_off: bool,
    promiscuous: bool,
    /// So many VLANs could be registered, and why no more.
    most: Option<(usize, String)>,
    /// Why its filter cannot be switched off after all.
    stays_on: bool,
    /// Why it cannot be promiscuous.
    stays_off: bool,
}

impl Cards {
    /// None yet. What becomes of wishes is told by the sender, with the port's link.
    pub(in crate::monitor) fn new(
        filtering: BTreeSet<String>,
        outcomes: mpsc::UnboundedSender<(u32, Outcome)>,
    ) -> Self {
        Self { filtering, ethtool: None, known: BTreeMap::new(), wishes: BTreeMap::new(), no_devices: false, outcomes }
    }

    /// Notes a wish.
    pub(in crate::monitor) fn wish(&mut self, link: u32, mut wish: Wish) {
        // What was to be taken back still is.
        wish.take_back |= self.wishes.get(&link).is_some_and(|earlier| earlier.take_back);
        self.wishes.insert(link, wish);
    }

    /// Carries out all wishes.
    pub(in crate::monitor) async fn write(&mut self, netlink: &Netlink) {
        for (link, wish) in std::mem::take(&mut self.wishes) {
            let outcome = match self.fulfil(link, &wish, netlink).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    // A link that has gone since then needs nothing any more.
                    if error.errno() != Some(libc::ENODEV) {
                        tracing::error!(%error, link, "VLANs may not come in");
                    }
                    Outcome { way: Way::Refused, reason: error.to_string() }
                }
            };
            if wish.last {
                self.known.remove(&link);
            } else {
                // Nobody listens only while the daemon ends.
                let _ = self.outcomes.send((link, outcome));
            }
        }
    }

    async fn fulfil(&mut self, link: u32, wish: &Wish, netlink: &Netlink) -> Result<Outcome> {
        let gone = || Error::new(format!("look at link {link}"), std::io::Error::from_raw_os_error(libc::ENODEV));
        // The module may have been loaded since.
        self.no_devices &= !wish.take_back;
        loop {
            let port = netlink.link_by_index(link).await?.ok_or_else(gone)?;
            let devices = self.devices(link, netlink).await?;
            let feature = self.feature(&port);
            let mut state = self.state(&port, &devices, feature, wish);
            let card = self.card(link, feature, &state);
            let (way, steps) = rule::plan(&wish.vlans, &state, card, wish.take_back);
            let not_ours = port.promiscuous_flag && !state.promiscuous;
            let (mut made, mut refused) = (false, None);
            for step in steps {
                match self.take(step, &port, &devices, netlink).await {
                    Ok(()) => {
                        note(&mut state, step);
                        made |= matches!(step, Step::Register(_));
                    }
                    Err(error) if !step.opens() => tell(Err(error)),
                    Err(error) => {
                        refused = Some((step, error));
                        break;
                    }
                }
            }
            let known = self.known.entry(link).or_default();
            (known.filter_off, known.promiscuous) = (state.filter_off, state.promiscuous && !not_ours);
            if made || devices.iter().any(is_bare) {
                dress(&port.name, &self.devices(link, netlink).await?, netlink).await;
            }
            match refused {
                None => return Ok(Outcome { way, reason: self.reason(link, way, feature) }),
                // Gone, or being reset, of which nothing is to be concluded.
                Some((_, error)) if error.errno() == Some(libc::ENODEV) => return Err(error),
                Some((step, error)) => self.refuse(link, step, wish.vlans.intersection(&state.ours).count(), &error),
            }
        }
    }

    /// The VLAN devices on a port.
    async fn devices(&self, link: u32, netlink: &Netlink) -> Result<Vec<Link>> {
        let mut devices = netlink.vlan_devices().await?;
        // Whose port has left for another namespace: nobody else would take them away.
        for device in devices.iter().filter(|device| is_port_vlan(device) && device.peer_index.is_none()) {
            tell(netlink.delete_link(device.index).await);
        }
        devices.retain(|device| device.peer_index == Some(link));
        Ok(devices)
    }

    /// What the card's filter of VLANs is like.
    fn feature(&mut self, port: &Link) -> Feature {
        if self.filtering.contains(&port.name) {
            return Feature { on: true, switchable: false };
        }
        if self.ethtool.is_none() {
            self.ethtool = Ethtool::open().ok();
        }
        let feature = self.ethtool.as_ref().and_then(|ethtool| ethtool.feature(&port.name, VLAN_FILTER).ok());
        let Feature { on, switchable } = feature.unwrap_or_default();
        // A bond or team says no word of a VLAN to the cards below while its own filter is off, and those drop it.
        Feature { on, switchable: switchable && port.kind.is_none() }
    }

    fn state(&mut self, port: &Link, devices: &[Link], feature: Feature, wish: &Wish) -> State {
        let vlans = |ours: bool| {
            let these = devices.iter().filter(|device| is_port_vlan(device) == ours);
            these.filter_map(|device| device.vlan).collect()
        };
        // At the first look an earlier daemon may have done it.
        let known = self.known.entry(port.index).or_insert_with(|| Known {
            filter_off: wish.before.vlan_filter,
            promiscuous: !wish.before.promiscuous,
            ..Known::default()
        });
        known.filter_off &= !feature.on && feature.switchable;
        known.promiscuous &= port.promiscuous_flag;
        if wish.vlans.is_empty() {
            known.most = None;
        }
        State { ours: vlans(true), others: vlans(false), filter_off: known.filter_off, promiscuous: known.promiscuous }
    }

    fn card(&self, link: u32, feature: Feature, state: &State) -> Card {
        let known = self.known.get(&link);
        let most = known.and_then(|known| known.most.as_ref()).map_or(MOST, |&(most, _)| most.min(MOST));
        Card {
            filters: feature.on || state.filter_off,
            switchable: feature.switchable && known.is_none_or(|known| !known.stays_on),
            promiscuous: known.is_none_or(|known| !known.stays_off),
            most: if self.no_devices { 0 } else { most },
        }
    }

    async fn take(&self, step: Step, port: &Link, devices: &[Link], netlink: &Netlink) -> Result<()> {
        match step {
            Step::Register(vlan) => match netlink.create_vlan(port.index, vlan, NAME).await {
                // Somebody else's, perhaps in another namespace.
                Err(error) if error.errno() == Some(libc::EEXIST) => Ok(()),
                other => other,
            },
            Step::Unregister(vlan) => {
                let device = devices.iter().find(|device| is_port_vlan(device) && device.vlan == Some(vlan));
                match device {
                    Some(device) => netlink.delete_link(device.index).await,
                    None => Ok(()),
                }
            }
            Step::Filter(on) => {
                let what = || format!("switch {VLAN_FILTER} of {} {}", port.name, if on { "on" } else { "off" });
                let Some(ethtool) = &self.ethtool else { return Ok(()) };
                ethtool.set_feature(&port.name, VLAN_FILTER, on).map_err(|error| Error::new(what(), error))
            }
            Step::Promiscuous(on) => netlink.set_promiscuous(port.index, on).await,
        }
    }

    /// Remembers that a step cannot be taken. So many of the wanted VLANs are registered.
    fn refuse(&mut self, link: u32, step: Step, registered: usize, error: &Error) {
        tracing::debug!(%error, link, ?step, "refused");
        let known = self.known.entry(link).or_default();
        // The kernel answers so for a card that can have no VLANs at all, too.
        let no_devices = || error.errno() == Some(libc::EOPNOTSUPP) && !Path::new(VLANS).exists();
        match step {
            Step::Register(_) if no_devices() => self.no_devices = true,
            Step::Register(_) => known.most = Some((registered, error.to_string())),
            Step::Filter(_) => known.stays_on = true,
            Step::Promiscuous(_) => known.stays_off = true,
            Step::Unregister(_) => {}
        }
    }

    /// Why it is none of the better ways, for the worse ones.
    fn reason(&self, link: u32, way: Way, feature: Feature) -> String {
        let why = match self.known.get(&link).and_then(|known| known.most.as_ref()) {
            _ if self.no_devices => "this kernel has no VLAN devices to register them by (module 8021q)".to_owned(),
            Some((most, error)) => format!("no more than {most} can be registered ({error})"),
            None => format!("they are more than {MOST}"),
        };
        let fixed = if feature.switchable { "refuses to be" } else { "cannot be" };
        match way {
            Way::Nothing | Way::Registered => String::new(),
            Way::FilterOff => why,
            Way::Promiscuous => format!("its filter of VLANs {fixed} switched off, and {why}"),
            Way::Refused => {
                format!("its filter of VLANs {fixed} switched off, {why}, and it refuses promiscuous mode")
            }
        }
    }
}

fn note(state: &mut State, step: Step) {
    match step {
        Step::Register(vlan) => drop(state.ours.insert(vlan)),
        Step::Unregister(vlan) => drop(state.ours.remove(&vlan)),
        Step::Filter(on) => state.filter_off = !on,
        Step::Promiscuous(on) => state.promiscuous = on,
    }
}

/// A device of ours that does not say so yet.
fn is_bare(device: &Link) -> bool {
    is_port_vlan(device) && device.alias.is_none()
}

/// Has new devices say whose they are, and keeps IPv6 off them, should anybody bring them up.
async fn dress(port: &str, devices: &[Link], netlink: &Netlink) {
    for device in devices.iter().filter(|device| is_bare(device)) {
        if let Err(error) = ipv6::set_disabled(&device.name, true) {
            tracing::warn!(%error, link = device.name, "IPv6 is not switched off");
        }
        tell(netlink.set_alias(device.index, &format!("{PORT_VLAN_ALIAS} {port}")).await);
    }
}

/// Logs what could not be done: nothing better can be done with it.
fn tell(result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "a card is not as it was");
    }
}
