//! The groups of a running aggregation and its ports' filters, as displays show them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dlmp_api::{Group, GroupPort};
use dlmp_engine::{Asker, Membership, Reception};
use dlmp_wire::MacAddr;

use super::running::Running;

impl Running {
    /// The groups that are wanted, for displays.
    pub fn groups(&self) -> Vec<Group> {
        let mut addresses: BTreeMap<MacAddr, BTreeSet<IpAddr>> = BTreeMap::new();
        for Membership { group, .. } in self.engine.multicast().memberships() {
            addresses.entry(MacAddr::group(group)).or_default().insert(group);
        }
        let row = |group: Option<MacAddr>, askedby: Vec<String>| Group {
            aggregation: self.name.clone(),
            group: group.map(|group| group.to_string()),
            addresses: (group.and_then(|group| addresses.get(&group)).into_iter().flatten())
                .map(ToString::to_string)
                .collect(),
            askedby,
        };
        let wanted = self.groups.all.values().flatten().chain(self.groups.too_long.values()).cloned();
        let reasons: Vec<String> = wanted.chain(self.excess_reasons()).collect();
        let mut rows: Vec<Group> = Vec::new();
        if !reasons.is_empty() {
            rows.push(row(None, reasons));
        }
        let mut last = None;
        for (group, asker) in self.engine.multicast().entries() {
            let asker = self.asker_name(asker);
            match rows.last_mut().filter(|_| last == Some(group)) {
                Some(row) => row.askedby.push(asker),
                None => rows.push(row(Some(group), vec![asker])),
            }
            last = Some(group);
        }
        rows
    }

    pub(super) fn asker_name(&self, asker: Asker) -> String {
        let Asker::Client(slot) = asker else { return "earlier".to_owned() };
        let address = || self.client_address(slot).map_or_else(|| "?".to_owned(), |client| client.mac.to_string());
        self.client_name(slot).map_or_else(address, str::to_owned)
    }

    /// The ports, as far as groups go, for displays.
    pub fn group_ports(&self) -> Vec<GroupPort> {
        let multicast = self.engine.multicast();
        let row = |view: dlmp_engine::GroupPort| {
            let port = self.ports.get(&view.port)?;
            Some(GroupPort {
                aggregation: self.name.clone(),
                port: port.name.clone(),
                role: match Some(view.port) {
                    port if port == multicast.port() => Some("active".to_owned()),
                    port if port == multicast.successor() => Some("standby".to_owned()),
                    _ => None,
                },
                filter: match view.reception {
                    Reception::None => "none",
                    Reception::Exact => "exact",
                    Reception::All => "all",
                    Reception::Short => "short",
                }
                .to_owned(),
                groups: i64::try_from(view.held).unwrap_or(i64::MAX),
                limit: view.limit.and_then(|limit| i64::try_from(limit).ok()),
            })
        };
        multicast.ports().filter_map(row).collect()
    }
}
