//! What is known of the ports' filters of a running aggregation, and having it measured where it is not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dlmp_datapath::PortIndex;
use dlmp_engine::{GroupEvent, Reception};

use super::measure::{self, Finding, Measured, Question, TRIED};
use super::running::Running;

/// When nothing could be measured, as long as a switch does not forward yet, it is tried again after this.
const AGAIN: Duration = Duration::from_mins(1);

impl Running {
    /// A port's link is new: nothing is known of its filter.
    pub(super) fn forget_filter(&mut self, port: PortIndex) {
        self.groups.unmeasured.insert(port, Instant::now());
        self.find_limit(port);
    }

    /// Has the filter of a port measured, one at a time, if another one can send to it.
    pub(super) fn measure_filters(&mut self) {
        if self.groups.measuring.is_some() {
            return;
        }
        let now = Instant::now();
        let active: Vec<PortIndex> =
            (self.engine.ports(now)).filter(|view| view.health.is_active()).map(|view| view.port).collect();
        let known = |port: PortIndex| {
            let name = self.ports.get(&port).map(|port| port.name.clone());
            name.is_none_or(|name| self.limits.borrow_mut().known(&name).is_some())
        };
        let multicast = self.engine.multicast();
        let views: BTreeMap<PortIndex, _> = multicast.ports().map(|view| (view.port, view)).collect();
        let capacity = (self.groups.unmeasured.iter())
            .filter(|&(&port, &from)| from <= now && active.contains(&port) && !known(port))
            .filter_map(|(&port, _)| views.get(&port).filter(|view| view.reception != Reception::All))
            .map(|view| {
                let sample = multicast.held(view.port).take(TRIED).collect();
                (view.port, Question::Capacity { held: view.held, sample })
            });
        let all = (self.groups.unsure_of_all.iter().copied())
            .filter(|port| active.contains(port))
            .map(|port| (port, Question::TakesAll { held: multicast.held(port).next() }));
        let Some((port, question)) = capacity.chain(all).next() else { return };
        let Some(&other) = active.iter().find(|&&other| other != port) else { return };
        let device = |port: PortIndex| self.ports.get(&port).and_then(|port| port.device);
        if let (Some(device), Some(from)) = (device(port), device(other)) {
            measure::start(device, from, question, self.measured.clone());
            self.groups.measuring = Some(device.ifindex);
        }
    }

    /// Something is known of a port's filter.
    pub(super) fn filter_measured(&mut self, measured: &Measured) {
        if self.groups.measuring == Some(measured.link) {
            self.groups.measuring = None;
        }
        let Some(port) = self.port_of(measured.link) else { return };
        match (&measured.question, measured.finding) {
            (Question::Capacity { .. }, None) => drop(self.groups.unmeasured.insert(port, Instant::now() + AGAIN)),
            (Question::Capacity { .. }, Some(_)) => drop(self.groups.unmeasured.remove(&port)),
            (Question::TakesAll { .. }, _) => drop(self.groups.unsure_of_all.remove(&port)),
        }
        let name = self.ports.get(&port).map(|port| port.name.clone()).unwrap_or_default();
        match measured.finding {
            Some(Finding::Capacity(limit)) => {
                if let Some(groups) = limit {
                    tracing::warn!(
                        aggregation = self.name,
                        port = name,
                        groups,
                        "the port's filter holds so many groups"
                    );
                }
                self.limits.borrow_mut().note(&name, limit);
                self.find_limit(port);
            }
            Some(Finding::TakesAll(takes_all)) => {
                if !takes_all {
                    tracing::warn!(
                        aggregation = self.name,
                        port = name,
                        "the port does not take all multicast, as an untrusted virtual function: groups that its filter \
                         cannot hold do not reach it; try: ip link set PF vf N trust on"
                    );
                }
                self.tell_groups(GroupEvent::TakesAll(port, takes_all), Instant::now());
            }
            None => tracing::debug!(aggregation = self.name, port = name, "the port's filter cannot be measured now"),
        }
        self.act();
    }

    /// Another limit is set for a link.
    pub(super) fn limit_changed(&mut self, link: &str) {
        let port = self.ports.iter().find(|(_, port)| port.name == link).map(|(&port, _)| port);
        if let Some(port) = port {
            self.find_limit(port);
        }
    }

    /// Tells the engine how many groups a port can hold.
    pub(super) fn find_limit(&mut self, port: PortIndex) {
        let Some(name) = self.ports.get(&port).map(|port| port.name.clone()) else { return };
        let limit = self.limits.borrow_mut().of(&name);
        if self.ports.get(&port).is_some_and(|port| port.device.is_some()) {
            let measured = self.limits.borrow().measured(&name);
            if let Err(error) = self.bpf.note_room(port, measured) {
                tracing::warn!(aggregation = self.name, port = name, %error, "the next daemon has to measure the port again");
            }
        }
        self.tell_groups(GroupEvent::Limit(port, limit), Instant::now());
    }
}
