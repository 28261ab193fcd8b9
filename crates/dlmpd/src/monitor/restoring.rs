//! Taking over groups from an earlier daemon: what it had in the ports' filters, which its programs go on letting in until
//! everybody has asked again.
//!
//! However much it left behind, the takeover takes the same time. What is more than it can have put there on purpose is not
//! looked at: the port takes all groups meanwhile, and the thread for chores clears it bit by bit.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use dlmp_datapath::bpf::Previous;
use dlmp_datapath::{Datapath, PortIndex, SlotIndex};
use dlmp_engine::GroupEvent;
use dlmp_netlink::{MulticastList, MulticastReader};
use dlmp_wire::MacAddr;

use super::chores::Chore;
use super::running::{Device, Running};

/// Every host is in these from the moment on that its link is up, and nobody reports them (RFC 1112, 4; RFC 4291, 2.8).
const ALL_HOSTS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))];

/// So many groups of a port are read: more than any filter holds that nobody has set a limit of, and than the host is in
/// besides.
const READ: usize = 1024;

impl Running {
    /// The groups that hosts are in without a word, and those that an earlier daemon had, if the link is one that it made.
    ///
    /// # Errors
    /// The datapath did not take them over.
    pub(super) fn begin_groups(
        &mut self,
        previous: Option<&Previous>,
        taken_over: bool,
        now: Instant,
    ) -> Result<(), dlmp_datapath::Error> {
        self.groups.listed.insert(self.link, SlotIndex::PRIMARY);
        let joined = ALL_HOSTS.map(MacAddr::group).to_vec();
        self.tell_groups(GroupEvent::Listed { slot: SlotIndex::PRIMARY, joined, left: Vec::new() }, now);
        if !taken_over {
            return Ok(());
        }
        self.groups.restoring = true;
        match previous {
            Some(previous) => self.bpf.restore_groups(previous)?,
            // Which groups the programs took of a daemon that had other maps cannot be read.
            None => self.bpf.set_all_multicast(true)?,
        }
        self.restore_filters(previous, now);
        self.ask_for_reports();
        Ok(())
    }

    /// Tells the engine what is in the filters of the ports.
    fn restore_filters(&mut self, previous: Option<&Previous>, now: Instant) {
        let ports: Vec<(PortIndex, Device)> =
            self.ports.iter().filter_map(|(&port, known)| Some((port, known.device?))).collect();
        let mut reader = MulticastReader::open();
        let mut read = |device: Device| {
            let list = match &mut reader {
                Ok(reader) => reader.read(device.ifindex, READ),
                Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
            };
            list.unwrap_or_else(|error| {
                tracing::error!(%error, link = device.ifindex, "cannot see what is in the port's filter");
                MulticastList { more: true, ..MulticastList::default() }
            })
        };
        let filters: Vec<(PortIndex, Device, MulticastList)> =
            ports.into_iter().map(|(port, device)| (port, device, read(device))).collect();
        let known: BTreeSet<MacAddr> =
            filters.iter().filter(|(.., list)| !list.more).flat_map(|(.., list)| list.groups.iter().copied()).collect();
        self.tell_groups(GroupEvent::Restored(known.into_iter().collect()), now);
        for (port, device, MulticastList { groups, more, .. }) in filters {
            let all = device.all_multicast && !self.groups.took_all.contains(&port);
            let room = match previous {
                Some(previous) => previous.rooms.get(&device.ifindex).copied(),
                // A daemon that had other maps put as many into a filter as it held before it had it take all.
                None => Some(groups.len()).filter(|&room| all && room > 0 && !self.groups.all_wanted()),
            };
            self.restore_room(port, room);
            let groups = if more { Vec::new() } else { groups };
            if more {
                tracing::warn!(
                    aggregation = self.name,
                    link = device.ifindex,
                    "the port's filter holds more than {READ} groups of an earlier daemon, which are taken out bit by bit"
                );
                self.groups.unswept.push(device.ifindex);
            } else {
                // Some may be the host's own.
                self.chore(Chore::Inherit { link: device.ifindex, groups: groups.clone() });
            }
            if all {
                self.groups.unsure_of_all.insert(port);
            }
            self.tell_groups(GroupEvent::FilterRestored { port, groups, more, all }, now);
        }
    }

    /// What an earlier daemon had measured of a port.
    fn restore_room(&mut self, port: PortIndex, room: Option<usize>) {
        let (Some(room), Some(name)) = (room, self.ports.get(&port).map(|port| port.name.clone())) else { return };
        self.limits.borrow_mut().note(&name, Some(room));
        self.groups.unmeasured.remove(&port);
        self.find_limit(port);
    }

    /// Has cleared what an earlier daemon left behind, now that the ports take all groups.
    pub(super) fn sweep(&mut self) {
        for link in std::mem::take(&mut self.groups.unswept) {
            self.chore(Chore::Sweep { link });
        }
    }

    /// The programs of the earlier daemon have learned of these groups until they were replaced.
    pub(super) fn catch_up_groups(&mut self, previous: &Previous) {
        if let Err(error) = self.bpf.restore_groups(previous) {
            tracing::error!(aggregation = self.name, %error, "groups that were joined just now may be missing");
        }
    }
}
