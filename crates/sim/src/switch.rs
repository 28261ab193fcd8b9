//! A switch that learns addresses and knows nothing of aggregations.

use std::collections::HashMap;

use dlmp_wire::MacAddr;
use dlmp_wire::ethernet::Frame;

use crate::link::LinkId;

#[derive(Debug, Default)]
pub(crate) struct Switch {
    pub(crate) links: Vec<LinkId>,
    /// Frames between these links are not forwarded (a private VLAN), except through other links.
    pub(crate) isolated: Vec<LinkId>,
    table: HashMap<MacAddr, LinkId>,
}

impl Switch {
    /// Where a frame goes on to.
    pub(crate) fn forward(&mut self, from: LinkId, bytes: &[u8]) -> Vec<LinkId> {
        let Ok(frame) = Frame::parse(bytes) else { return Vec::new() };
        self.table.insert(frame.source(), from);
        let known = self.table.get(&frame.destination()).copied().filter(|_| !frame.destination().is_group());
        self.onward(from).filter(|&to| known.is_none_or(|known| known == to)).collect()
    }

    /// The link by which it has learned an address.
    pub(crate) fn knows(&self, address: MacAddr) -> Option<LinkId> {
        self.table.get(&address).copied()
    }

    /// The links that a frame may leave by.
    pub(crate) fn onward(&self, from: LinkId) -> impl Iterator<Item = LinkId> + '_ {
        let apart = move |to: LinkId| self.isolated.contains(&from) && self.isolated.contains(&to);
        self.links.iter().copied().filter(move |&to| to != from && !apart(to))
    }

    /// A link lost its carrier: what was learned there is forgotten.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.table.retain(|_, learned| *learned != link);
    }
}
