//! A running aggregation as displays show it.

use dlmp_api::{PortStatistics, RuleCount};
use dlmp_datapath::{Counter, Counters, PortIndex};
use dlmp_engine::{Cause, Detection, Health, LinkState, PortView, Reception};

use std::time::Instant;

use super::running::Running;

impl Running {
    /// The aggregation at `now`, for displays; speeds are filled in by the caller.
    pub fn view(&self, now: Instant) -> dlmp_api::Aggregation {
        let name = |port: PortIndex| self.ports.get(&port).map(|port| port.name.clone());
        let ports: Vec<dlmp_api::Port> = (self.engine.ports(now))
            .filter_map(|view| {
                let port = self.ports.get(&view.port)?;
                Some(dlmp_api::Port {
                    name: port.name.clone(),
                    mac: port.device.map(|device| device.mac.to_string()),
                    state: link_word(view.link).into(),
                    speed: None,
                    duplex: "unknown".into(),
                    health: if view.health.is_active() { "active" } else { "failed" }.into(),
                    reason: self.port_reason(&view),
                    portstate: if port.device.is_some() { "attached" } else { "detached" }.into(),
                    clients: view.slots.iter().filter_map(|&slot| self.client_name(slot)).map(str::to_owned).collect(),
                    flags: flags(&view),
                    targets: view.targets.iter().map(ToString::to_string).collect(),
                    xtargets: view.peers.iter().filter_map(|&port| name(port)).collect(),
                    vlans: port.device.and_then(|device| self.vlan_way(device.ifindex)).map(Into::into),
                })
            })
            .collect();
        dlmp_api::Aggregation {
            name: self.name.clone(),
            mode: "dlmp".into(),
            mac: self.mac.to_string(),
            mtu: self.mtu.into(),
            state: if ports.iter().any(|port| port.state == "up") { "up" } else { "down" }.into(),
            speed: None,
            duplex: "unknown".into(),
            temporary: false,
            detection: detection(self.engine.detection(), |port| name(port).unwrap_or_default()),
            multicast_port: self.engine.multicast().port().and_then(name),
            problems: self.problems.clone(),
            ports,
        }
    }

    /// Why a port is what it is, and what it cannot do.
    fn port_reason(&self, view: &PortView) -> String {
        let mut text = reason(view.health);
        let groups = self.engine.multicast().ports().find(|groups| groups.port == view.port);
        if groups.is_some_and(|groups| groups.reception == Reception::Short) {
            text.push_str("; its filter lacks multicast groups (show-mcast -P)");
        }
        text
    }

    /// The counters of each port.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn statistics(&self) -> Result<Vec<PortStatistics>, dlmp_datapath::Error> {
        let mut all = Vec::new();
        for (&index, port) in &self.ports {
            all.push(statistics(&self.name, &port.name, &self.bpf.counters(index)?));
        }
        all.push(statistics(&self.name, "", &self.bpf.aggregation_counters()?));
        Ok(all)
    }
}

fn statistics(aggregation: &str, port: &str, counters: &Counters) -> PortStatistics {
    let get = |counter| counters.get(counter).cast_signed();
    PortStatistics {
        aggregation: aggregation.to_owned(),
        port: port.to_owned(),
        ipackets: get(Counter::RxPackets),
        rbytes: get(Counter::RxBytes),
        opackets: get(Counter::TxPackets),
        obytes: get(Counter::TxBytes),
        rules: Counter::rules()
            .map(|(counter, name)| RuleCount { name: name.to_owned(), count: get(counter) })
            .collect(),
    }
}

const fn link_word(link: LinkState) -> &'static str {
    match link {
        LinkState::Up => "up",
        LinkState::Down | LinkState::Unknown => "down",
        LinkState::Absent => "absent",
    }
}

/// The four flags of `show-aggr -S`: link, prober, L2 active, ICMP active (seed 002; docs/commands.md).
fn flags(view: &PortView) -> String {
    let flag = |set: bool, letter: char| if set { letter } else { '-' };
    let link = if view.link == LinkState::Up { 'u' } else { 'd' };
    let icmp = view.icmp && view.health.is_active();
    let l2 = view.joined && view.health.is_active() && !icmp;
    [link, flag(view.prober, 'p'), flag(l2, '2'), flag(icmp, '3')].iter().collect()
}

/// Why a port has its health, in words.
pub(super) fn reason(health: Health) -> String {
    match health {
        Health::LinkUp => "its link is up".into(),
        Health::IcmpActive => "a target answers".into(),
        Health::L2Active => "it reaches a port that a target answers".into(),
        Health::TargetsSilent => "no target answers, but all ports reach each other: the targets died".into(),
        Health::LinkUnknown => "its link was not looked at yet".into(),
        Health::LinkDown => "its link is down".into(),
        Health::LinkAbsent => "its link does not exist".into(),
        Health::Returning => "its link is up, and it has yet to prove that its path is".into(),
        Health::Failed(Cause::Silent(silence)) => {
            format!("no target and no transitive peer for {} ms", silence.as_millis())
        }
        Health::Failed(Cause::CutOff) => "ports that it does not reach any more reach more of the targets".into(),
        Health::Failed(Cause::AllSilent) => "no target answers any port, and the ports do not reach each other".into(),
    }
}

/// What decides about the ports, in words.
pub(super) fn detection<N: std::fmt::Display>(detection: Detection, name: impl Fn(PortIndex) -> N) -> String {
    match detection {
        Detection::Link => "link".into(),
        Detection::NoTargets => "link; probing has no target that vouches for ports".into(),
        Detection::Probes => "link and probes".into(),
        Detection::TargetsSilent => "link and transitive probes; no target answers".into(),
        Detection::Prober(port) => format!("link; no port reaches a target, {} looks for one", name(port)),
    }
}
