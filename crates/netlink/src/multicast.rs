//! Which multicast frames a link receives: addresses in its filter, many at a time, and all-multicast.
//!
//! What `bridge fdb add MAC dev PORT self` and `ip link set PORT allmulticast on` do.

use std::io;

use dlmp_wire::MacAddr;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_indextoname;
use rtnetlink::LinkUnspec;

use crate::Netlink;
use crate::error::{Error, Result};
use crate::sys::{self, Interface};

/// Messages in one system call. If the kernel refuses all of them, its answers still fit the socket's
/// buffer: each counts for less than 1 KiB of the usual 208 KiB (net.core.rmem_default).
const BATCH: usize = 128;

/// Room for one answer: a header, an error number, the refused message and the kernel's remark.
const ANSWER_MAX: usize = 4096;

/// What became of changes that were not simply made.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Groups that the kernel or the driver refused, with the reason.
    pub refused: Vec<(MacAddr, io::Error)>,
    /// Groups that were to be added and were there already, so somebody else's: taking them out would take them from
    /// that one.
    pub present: Vec<MacAddr>,
}

/// A blocking socket that changes multicast filters, many addresses in one system call.
///
/// Each address takes the kernel's RTNL lock, which others can hold long: use it on a thread that may wait.
#[derive(Debug)]
pub struct MulticastFilter {
    socket: Socket,
    /// Number of the last message sent.
    sequence: u32,
    messages: Vec<u8>,
    answer: Vec<u8>,
}

impl MulticastFilter {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Those of socket(2) and connect(2).
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        // Nobody but the kernel can answer then.
        socket.connect(&SocketAddr::new(0, 0))?;
        // A refusal need not bring the whole message back.
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0, messages: Vec::new(), answer: Vec::with_capacity(ANSWER_MAX) })
    }

    /// Adds group addresses to the filter of a link (`true`) or takes them out (`false`), in this order. An address that
    /// is there already is not added, one that is not there is not taken out, and neither is a refusal.
    ///
    /// The kernel counts the users of an address, but an addition by this way does not count where there is a user
    /// already, while each removal does (dev_mc_add_excl and dev_mc_del in net/core/dev_addr_lists.c). So take out only
    /// what was added, or the host's own groups lose theirs; of what nobody knows any more,
    /// [`take_out_added`](Self::take_out_added) finds that out.
    ///
    /// # Errors
    /// `ENODEV` when there is no such link (any more); those of send(2) and recv(2). Then some of the
    /// changes may have been made.
    pub fn change(&mut self, index: u32, changes: &[(MacAddr, bool)]) -> Result<Outcome> {
        let what = || format!("change the multicast filter of link {index}");
        let mut outcome = Outcome::default();
        for batch in changes.chunks(BATCH) {
            self.change_batch(index, batch, &mut outcome).map_err(|error| Error::new(what(), error))?;
        }
        Ok(outcome)
    }

    /// Takes those groups out of the filter of a link that were added to it, by this or another process, and leaves what the
    /// host has joined or links above want. Returns how many there were.
    ///
    /// One system call a group (`SIOCDELMULTI`, dev_mc_del_global in net/core/dev_addr_lists.c), and nobody is notified.
    ///
    /// # Errors
    /// `ENODEV` when there is no such link (any more), and what the driver refuses. Then some may have been taken out.
    pub fn take_out_added(&mut self, index: u32, groups: &[MacAddr]) -> Result<usize> {
        let what = || format!("take groups out of the filter of link {index}");
        let failed = |error: io::Error| Error::new(what(), error);
        let name = if_indextoname(index).map_err(|_| failed(io::Error::from_raw_os_error(libc::ENODEV)))?;
        let interface = Interface::new(&name.to_string_lossy()).map_err(failed)?;
        let socket = sys::datagram_socket().map_err(failed)?;
        let mut added = 0;
        for group in groups {
            match sys::delete_multicast(&socket, &interface, group.0) {
                Ok(()) => added += 1,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(added)
    }

    fn change_batch(&mut self, index: u32, batch: &[(MacAddr, bool)], outcome: &mut Outcome) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        self.messages.clear();
        for (number, &(mac, wanted)) in batch.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let mut message = request(index, mac, wanted);
            message.header.sequence_number = self.sequence;
            // A refusal is answered always; the answer to the last one says that all have been tried.
            if number + 1 == batch.len() {
                message.header.flags |= NLM_F_ACK;
            }
            message.finalize();
            let at = self.messages.len();
            self.messages.resize(at + message.buffer_len(), 0);
            message.serialize(&mut self.messages[at..]);
        }
        self.socket.send(&self.messages, 0)?;

        loop {
            let (sequence, error) = self.answer()?;
            // Answers to a batch that was given up may still come.
            let number = sequence.wrapping_sub(first) as usize;
            let Some(&(mac, wanted)) = batch.get(number) else { continue };
            match error.as_ref().and_then(io::Error::raw_os_error) {
                Some(libc::ENODEV) => return Err(io::Error::from_raw_os_error(libc::ENODEV)),
                Some(libc::EEXIST) if wanted => outcome.present.push(mac),
                Some(libc::ENOENT) if !wanted => {}
                _ => outcome.refused.extend(error.map(|error| (mac, error))),
            }
            if number + 1 == batch.len() {
                return Ok(());
            }
        }
    }

    /// The next answer of the kernel: to which message, and the error if it is none of success.
    fn answer(&mut self) -> io::Result<(u32, Option<io::Error>)> {
        self.answer.clear();
        self.socket.recv(&mut self.answer, 0)?;
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&self.answer).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::Error(answer) => {
                Ok((message.header.sequence_number, answer.code.is_some().then(|| answer.to_io())))
            }
            other => Err(io::Error::other(format!("the kernel answered with {other:?}"))),
        }
    }
}

/// The message that adds an address to the filter of a link or takes it out.
fn request(index: u32, mac: MacAddr, wanted: bool) -> NetlinkMessage<RouteNetlinkMessage> {
    let mut neighbour = NeighbourMessage::default();
    neighbour.header.family = AddressFamily::Bridge;
    neighbour.header.ifindex = index;
    neighbour.header.state = NeighbourState::Permanent;
    neighbour.header.flags = NeighbourFlags::Own;
    neighbour.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    let (inner, flags) = if wanted {
        // Without the second flag the kernel does not tell that it was there (ndo_dflt_fdb_add in net/core/rtnetlink.c).
        (RouteNetlinkMessage::NewNeighbour(neighbour), NLM_F_CREATE | NLM_F_EXCL)
    } else {
        (RouteNetlinkMessage::DelNeighbour(neighbour), 0)
    };
    let mut message = NetlinkMessage::from(inner);
    message.header.flags = NLM_F_REQUEST | flags;
    message
}

impl Netlink {
    /// Makes a link receive every multicast frame, or only those in its filter (`IFF_ALLMULTI`). Others can ask for
    /// all of them too: [`Link::all_multicast`](crate::Link::all_multicast) tells what is in force.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn set_all_multicast(&self, index: u32, on: bool) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).allmulticast(on).build();
        let what = format!("set link {index} to receive {} multicast", if on { "all" } else { "only its own" });
        self.change_link(message, what).await
    }
}
