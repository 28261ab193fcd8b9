//! Ports that are vnets: following what their links' aliases say, and telling of what makes the aggregation inoperable.
//!
//! It is a report only. The datapath goes on: a link that still carries frames is better than none.

use dlmp_datapath::PortIndex;
use dlmp_netlink::Link;

use super::running::Running;
use crate::vnet;

impl Running {
    /// Takes note of what a port's link says of its vnet; a port without a link says nothing.
    pub(super) fn follow_vnet(&mut self, port: PortIndex, link: Option<&Link>) {
        let Some(port) = self.ports.get_mut(&port) else { return };
        let vnet = link.and_then(vnet::of);
        if port.vnet == vnet {
            return;
        }
        port.vnet = vnet;
        self.find_problems();
    }

    /// Finds what is wrong, and tells what is new and what is solved.
    pub(super) fn find_problems(&mut self) {
        let vnets = self.ports.values().filter_map(|port| Some((port.name.as_str(), port.vnet.as_ref()?)));
        let mut problems = vnet::problems(vnets);
        problems.extend(self.vlan_problems());
        let before = std::mem::replace(&mut self.problems, problems);
        for solved in before.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::info!(aggregation = self.name, "solved: {solved}");
            self.publish(None, "solved", solved.clone());
        }
        for problem in self.problems.iter().filter(|problem| !before.contains(problem)) {
            tracing::warn!(aggregation = self.name, "{problem}");
            self.publish(None, "problem", problem.clone());
        }
    }
}
