//! What the kernel would tell the driver of a port: its addresses, its groups, and whether it takes all.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use anyhow::{Context, Result, anyhow, bail};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoVlan, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};

use super::Address;

/// Of the netlink groups (linux/rtnetlink.h), as bits of nl_groups: RTNLGRP_LINK and RTNLGRP_NEIGH.
const GROUPS: u32 = 1 | 1 << 2;
/// Memory for events that wait, in bytes: those of 100,000 addresses.
const RECEIVE_BUFFER: usize = 256 << 20;
/// A message of the kernel is no longer (netlink_dump in net/netlink/af_netlink.c).
const MESSAGE_MAX: usize = 64 << 10;

/// The kernel's side of one link.
pub(super) struct Kernel {
    index: u32,
    events: Socket,
    requests: Socket,
    lists: File,
    message: Vec<u8>,
}

/// What the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// An address was added to the link's filter.
    Added(Address),
    /// An address was taken off.
    Removed(Address),
    /// A device of this VLAN is on the link now, or no longer.
    Vlan(u16, bool),
    /// The link is like this.
    Link(LinkState),
    /// Events were lost: everything has to be read anew.
    Lost,
}

/// The link as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkState {
    /// Its own address.
    pub(super) address: Address,
    /// Whether it is to take all groups.
    pub(super) all_groups: bool,
    /// How many ask that it takes everything.
    pub(super) promiscuity: u32,
}

impl Kernel {
    /// Of the link with this index in the calling thread's namespace. Events are kept from now on.
    pub(super) fn open(index: u32) -> Result<Self> {
        let mut events = Socket::new(NETLINK_ROUTE).context("cannot open a netlink socket")?;
        setsockopt(&events, sockopt::RcvBufForce, &RECEIVE_BUFFER).context("cannot enlarge a receive buffer")?;
        events.bind(&SocketAddr::new(0, GROUPS)).context("cannot subscribe to netlink events")?;
        events.set_non_blocking(true)?;
        let mut requests = Socket::new(NETLINK_ROUTE).context("cannot open a netlink socket")?;
        requests.bind_auto()?;
        requests.connect(&SocketAddr::new(0, 0))?;
        let lists = File::open("/proc/thread-self/net/dev_mcast").context("cannot open /proc/net/dev_mcast")?;
        Ok(Self { index, events, requests, lists, message: Vec::with_capacity(MESSAGE_MAX) })
    }

    /// The socket that becomes readable when there is an event.
    pub(super) fn events(&self) -> &Socket {
        &self.events
    }

    /// The next event, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Event>> {
        loop {
            self.message.clear();
            match self.events.recv(&mut self.message, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(Some(Event::Lost)),
                Err(error) => return Err(anyhow!(error).context("cannot read netlink events")),
            }
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&self.message)?;
            let event = match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    let vlan = self.vlan_on(&link).map(|vlan| Event::Vlan(vlan, true));
                    vlan.or_else(|| self.link(&link).map(Event::Link))
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
                    self.vlan_on(&link).map(|vlan| Event::Vlan(vlan, false))
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) => {
                    self.own_entry(entry).map(Event::Added)
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(entry)) => {
                    self.own_entry(entry).map(Event::Removed)
                }
                _ => None,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// How the link is now.
    pub(super) fn link_state(&mut self) -> Result<LinkState> {
        let mut question = LinkMessage::default();
        question.header.index = self.index;
        let mut question = NetlinkMessage::from(RouteNetlinkMessage::GetLink(question));
        question.header.flags = NLM_F_REQUEST;
        question.finalize();
        let mut bytes = vec![0; question.buffer_len()];
        question.serialize(&mut bytes);
        self.requests.send(&bytes, 0).context("cannot ask for a link")?;
        self.message.clear();
        self.requests.recv(&mut self.message, 0).context("cannot ask for a link")?;
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&self.message)?.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                self.link(&link).context("the kernel describes another link")
            }
            NetlinkPayload::Error(error) => Err(anyhow!(error.to_io()).context("there is no such link")),
            other => bail!("the kernel answers {other:?}"),
        }
    }

    /// Its groups, in the order in which a driver gets them. The kernel prints the list of a link as a whole
    /// (dev_mc_seq_show in net/core/net-procfs.c), so it is as it was at one moment.
    pub(super) fn groups(&mut self) -> Result<Vec<Address>> {
        let mut text = String::new();
        self.lists.seek(SeekFrom::Start(0))?;
        self.lists.read_to_string(&mut text).context("cannot read /proc/net/dev_mcast")?;
        Ok(groups_of(self.index, &text))
    }

    fn link(&self, link: &LinkMessage) -> Option<LinkState> {
        if link.header.index != self.index {
            return None;
        }
        let mut state = LinkState { address: [0; 6], all_groups: false, promiscuity: 0 };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Address(address) => state.address = address.as_slice().try_into().ok()?,
                LinkAttribute::Promiscuity(count) => state.promiscuity = *count,
                // How many ask for it; the flag of that name is about the administrator alone.
                LinkAttribute::AllMulticast(count) => state.all_groups = *count > 0,
                _ => {}
            }
        }
        Some(state)
    }

    /// The VLAN of a device on the link.
    fn vlan_on(&self, device: &LinkMessage) -> Option<u16> {
        device.attributes.contains(&LinkAttribute::Link(self.index)).then_some(())?;
        device.attributes.iter().find_map(|attribute| {
            let LinkAttribute::LinkInfo(infos) = attribute else { return None };
            infos.iter().find_map(|info| match info {
                LinkInfo::Data(InfoData::Vlan(vlan)) => {
                    vlan.iter().find_map(|info| if let InfoVlan::Id(id) = info { Some(*id) } else { None })
                }
                _ => None,
            })
        })
    }

    /// The address of an entry of the link's own filter (NTF_SELF, not an entry of a bridge above).
    fn own_entry(&self, entry: NeighbourMessage) -> Option<Address> {
        if entry.header.ifindex != self.index || !entry.header.flags.contains(NeighbourFlags::Own) {
            return None;
        }
        entry.attributes.into_iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(address) => address.as_slice().try_into().ok(),
            _ => None,
        })
    }
}

/// The groups of a link in the text of /proc/net/dev_mcast: index, name, two counts, address in hexadecimal.
fn groups_of(index: u32, text: &str) -> Vec<Address> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        if words.next()?.parse() != Ok(index) {
            return None;
        }
        let word = words.nth(3)?;
        let mut address = [0; 6];
        for (byte, digits) in address.iter_mut().zip(word.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        (word.len() == 12).then_some(address)
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_link_are_those_with_its_index() {
        let text = "2    net0            1     0     01005e000001\n\
                    3    net1            1     0     3333ff000001\n\
                    2    net0            1     1     333300000001\n\
                    2    net0            1     1     3333";
        assert_eq!(groups_of(2, text), [[1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]]);
        assert_eq!(groups_of(4, text), [] as [Address; 0]);
    }
}
