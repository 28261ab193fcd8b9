//! A running aggregation as displays show it.

use dlmp_api::{PortStatistics, RuleCount};
use dlmp_datapath::{Counter, Counters, PortIndex};
use dlmp_engine::{Health, LinkState};

use super::running::Running;

impl Running {
    /// The aggregation, for displays; speeds are filled in by the caller.
    pub fn view(&self) -> dlmp_api::Aggregation {
        let name = |port: PortIndex| self.ports.get(&port).map(|port| port.name.clone());
        let ports: Vec<dlmp_api::Port> = (self.engine.ports())
            .filter_map(|view| {
                let port = self.ports.get(&view.port)?;
                Some(dlmp_api::Port {
                    name: port.name.clone(),
                    mac: port.device.map(|device| device.mac.to_string()),
                    state: link_word(view.link).into(),
                    speed: None,
                    duplex: "unknown".into(),
                    health: if view.health.is_active() { "active" } else { "failed" }.into(),
                    reason: reason(view.health).into(),
                    portstate: if port.device.is_some() { "attached" } else { "detached" }.into(),
                    clients: view.slots.iter().map(|_| self.name.clone()).collect(),
                    flags: if view.link == LinkState::Up { "u---" } else { "d---" }.into(),
                    targets: Vec::new(),
                    xtargets: Vec::new(),
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
            detection: "link".into(),
            multicast_port: self.engine.multicast_port().and_then(name),
            ports,
        }
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

/// Why a port has its health, in words.
pub(super) const fn reason(health: Health) -> &'static str {
    match health {
        Health::LinkUp => "its link is up",
        Health::LinkUnknown => "its link was not looked at yet",
        Health::LinkDown => "its link is down",
        Health::LinkAbsent => "its link does not exist",
    }
}
