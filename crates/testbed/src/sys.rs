//! The system calls that neither the standard library nor nix wraps.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Gives the calling thread the real-time scheduling class SCHED_FIFO (sched(7)), so that other
/// load on the machine does not look like a fault of the network. Without the privilege the thread
/// stays as it is, and also on a single processor: there it would keep ksoftirqd, which is in the
/// ordinary class, from delivering what was sent.
pub(crate) fn prefer_this_thread() {
    if std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1) {
        return;
    }
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: `parameters` lives through the call, which only reads it; 0 is the calling thread.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters);
    }
}

/// Makes the tap `name` (1 to 15 bytes) in the network namespace of the calling thread and ties it
/// to `tun`, an open `/dev/net/tun`: it has a carrier while `tun` is open and is gone afterwards.
pub(crate) fn attach_tap(tun: &File, name: &str) -> io::Result<()> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut name_bytes = [0; libc::IFNAMSIZ];
    for (byte, letter) in name_bytes.iter_mut().zip(name.bytes()) {
        *byte = letter.cast_signed();
    }
    #[allow(clippy::cast_possible_truncation, reason = "the flags are defined as 16 bits wide")]
    let request = libc::ifreq {
        ifr_name: name_bytes,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: (libc::IFF_TAP | libc::IFF_NO_PI) as i16 },
    };
    // SAFETY: TUNSETIFF takes a pointer to an `ifreq`, which lives through the call.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Ties a packet socket (packet(7)) to the link with this index: it sends through that link, and gets its frames of
/// this EtherType (linux/if_ether.h), or none for 0.
pub(crate) fn bind_to_link(socket: &OwnedFd, index: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is a sockaddr_ll of that length, which lives through the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has a packet socket be a member of a group on the link with this index (PACKET_ADD_MEMBERSHIP in packet(7)).
pub(crate) fn add_membership(socket: &OwnedFd, index: u32, group: [u8; 6]) -> io::Result<()> {
    let mut request = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: [0; 8],
    };
    request.mr_address[..6].copy_from_slice(&group);
    let length = size_of_val(&request) as libc::socklen_t;
    // SAFETY: `request` is a packet_mreq of that length, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
