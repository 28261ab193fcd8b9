//! The kernel's lists of the multicast addresses that links receive: a link at a time, and no more of its list than
//! is asked for.
//!
//! They hold what hosts have joined (IP groups, packet sockets) and what VLAN devices and macvlans above a
//! link want; filter entries that were added are in them too. `bridge fdb show dev LINK self` prints them.
//!
//! Not from `/proc/net/dev_mcast`: the kernel writes a link's list whole there, with soft interrupts off
//! (dev_mc_seq_show in net/core/dev_addr_lists.c), so one of 600,000 addresses stops the host's traffic for a second.

use std::io;

use dlmp_wire::MacAddr;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// As much as the kernel writes at a time (netlink_dump in net/netlink/af_netlink.c): some 800 addresses.
const ANSWER_MAX: usize = 32 << 10;
/// No link has this index, so that an answer about it is empty.
const NOBODY: u32 = i32::MAX as u32;

/// Sizes and numbers of linux/netlink.h, linux/neighbour.h and linux/rtnetlink.h.
const HEADER: usize = 16;
const NEIGHBOUR: usize = 12;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWNEIGH: u16 = 28;
const NTF_SELF: u8 = 2;
const NDA_LLADDR: u16 = 2;

/// Multicast addresses that a link receives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MulticastList {
    /// The addresses, in the kernel's order.
    pub groups: Vec<MacAddr>,
    /// There are more than were asked for.
    pub more: bool,
    /// The list is longer than the kernel writes at one moment: an address that was there all the time can be missing, if
    /// others were taken out meanwhile.
    pub piecemeal: bool,
}

/// A blocking socket that reads such lists, in the network namespace of the thread that opened it.
///
/// The kernel takes its RTNL lock for each 32 KiB, which others can hold long: use it on a thread that may wait.
#[derive(Debug)]
pub struct MulticastReader {
    socket: Socket,
    /// Number of the last question.
    sequence: u32,
    answer: Vec<u8>,
}

impl MulticastReader {
    /// Opens the socket.
    ///
    /// # Errors
    /// Those of socket(2) and of the first exchange.
    pub fn open() -> io::Result<Self> {
        let mut reader = Self { socket: socket()?, sequence: 0, answer: Vec::with_capacity(ANSWER_MAX) };
        // Only after a read does the kernel know how much it may write at a time.
        reader.read(NOBODY, 0)?;
        Ok(reader)
    }

    /// The first `most` multicast addresses that a link receives. A link that is not there receives none.
    ///
    /// # Errors
    /// Those of send(2) and recv(2), and the kernel's refusal.
    pub fn read(&mut self, index: u32, most: usize) -> io::Result<MulticastList> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&question(index, self.sequence), 0)?;
        let (mut list, mut pieces) = (MulticastList::default(), 0);
        loop {
            self.answer.clear();
            self.socket.recv(&mut self.answer, 0)?;
            let before = list.groups.len();
            let done = take_in(&self.answer, self.sequence, index, &mut list.groups)?;
            pieces += usize::from(list.groups.len() > before);
            list.piecemeal = pieces > 1;
            if list.groups.len() > most {
                list.groups.truncate(most);
                list.more = true;
            }
            if done {
                return Ok(list);
            }
            if list.more {
                // The kernel would go on answering.
                *self = Self::open()?;
                return Ok(list);
            }
        }
    }
}

fn socket() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    // Nobody but the kernel can answer then.
    socket.connect(&SocketAddr::new(0, 0))?;
    // Without it the kernel does not look which link is asked for.
    socket.set_netlink_get_strict_chk(true)?;
    Ok(socket)
}

fn question(index: u32, sequence: u32) -> Vec<u8> {
    let mut neighbour = NeighbourMessage::default();
    neighbour.header.family = AddressFamily::Bridge;
    neighbour.header.ifindex = index;
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(neighbour));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Takes in the multicast addresses of one datagram. Says whether it is the last one.
fn take_in(mut rest: &[u8], sequence: u32, index: u32, groups: &mut Vec<MacAddr>) -> io::Result<bool> {
    while let Some(message) = part(&mut rest, HEADER, |header| Some(u32::from_ne_bytes(*header.first_chunk()?))) {
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        if message[8..12] != sequence.to_ne_bytes() {
            continue;
        }
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code =
                    message.get(HEADER..).and_then(<[u8]>::first_chunk).map_or(0, |code| i32::from_ne_bytes(*code));
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            RTM_NEWNEIGH => groups.extend(own_group(&message[HEADER..], index)),
            _ => {}
        }
    }
    Ok(false)
}

/// The multicast address of an entry of the link's own, not of a bridge above it.
fn own_group(entry: &[u8], index: u32) -> Option<MacAddr> {
    let (head, mut attributes) = entry.split_at_checked(NEIGHBOUR)?;
    if head[4..8] != index.to_ne_bytes() || head[10] & NTF_SELF == 0 {
        return None;
    }
    let length = |head: &[u8]| Some(u32::from(u16::from_ne_bytes(*head.first_chunk()?)));
    while let Some(attribute) = part(&mut attributes, 4, length) {
        if u16::from_ne_bytes([attribute[2], attribute[3]]) == NDA_LLADDR {
            return attribute[4..].try_into().ok().map(MacAddr).filter(|mac| mac.is_group());
        }
    }
    None
}

/// Takes the next part off, which begins with a `head` that says how long all of it is; the one after it begins at a
/// multiple of four bytes.
fn part<'a>(rest: &mut &'a [u8], head: usize, length: impl Fn(&[u8]) -> Option<u32>) -> Option<&'a [u8]> {
    let length = length(rest.get(..head)?)? as usize;
    let part = rest.get(..length).filter(|part| part.len() >= head)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry as the kernel writes it.
    fn entry(sequence: u32, index: u32, flags: u8, mac: [u8; 6]) -> Vec<u8> {
        let mut message = 40u32.to_ne_bytes().to_vec();
        message.extend(RTM_NEWNEIGH.to_ne_bytes());
        message.extend([2, 0]);
        message.extend(sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend([7, 0, 0, 0]);
        message.extend(index.to_ne_bytes());
        message.extend([0x80, 0, flags, 0]);
        message.extend([10, 0, 2, 0]);
        message.extend(mac);
        message.extend([0; 2]);
        message
    }

    const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];

    #[test]
    fn only_multicast_addresses_of_the_links_own_are_taken() {
        let datagram = [
            entry(3, 50, NTF_SELF, GROUP),
            entry(3, 51, NTF_SELF, GROUP),
            entry(3, 50, 4, GROUP),
            entry(3, 50, NTF_SELF, [2, 0, 0, 0, 0, 1]),
            entry(2, 50, NTF_SELF, GROUP),
        ]
        .concat();
        let mut groups = Vec::new();
        assert!(!take_in(&datagram, 3, 50, &mut groups).unwrap());
        assert_eq!(groups, [MacAddr(GROUP)]);
    }

    #[test]
    fn a_datagram_cut_anywhere_gives_its_whole_entries() {
        let datagram = [entry(3, 50, NTF_SELF, GROUP), entry(3, 50, NTF_SELF, GROUP)].concat();
        for len in 0..datagram.len() {
            let mut groups = Vec::new();
            take_in(&datagram[..len], 3, 50, &mut groups).unwrap();
            assert_eq!(groups.len(), len / 40, "{len}");
        }
    }

    #[test]
    fn lengths_that_make_no_sense_end_the_reading() {
        let mut datagram = entry(3, 50, NTF_SELF, GROUP);
        for length in [0u8, 1, 15, 200] {
            datagram[0] = length;
            assert!(!take_in(&datagram, 3, 50, &mut Vec::new()).unwrap());
        }
        datagram[0] = 40;
        for length in [0u8, 3, 9, 11, 200] {
            datagram[28] = length;
            let mut groups = Vec::new();
            take_in(&datagram, 3, 50, &mut groups).unwrap();
            assert!(groups.is_empty(), "{length}");
        }
    }
}
