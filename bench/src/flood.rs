//! As many small packets a second as one thread can send.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use dlmp_testbed::Namespace;
use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};

/// With the headers of UDP, IPv4 and Ethernet and the frame's checksum: 64 bytes on the wire.
const PAYLOAD: [u8; 18] = [0; 18];
/// Packets handed to the kernel at once.
const BATCH: usize = 64;
/// The UDP port for packets to be discarded (RFC 863).
const DISCARD: u16 = 9;

/// Sends from one namespace to an address of another one for `length`. Returns how long it truly took.
pub fn send(from: &Namespace, (to, address): (&Namespace, IpAddr), length: Duration) -> Result<Duration> {
    let target = SocketAddr::new(address, DISCARD);
    // Somebody listens, so that no packet is answered by an error; nobody reads, so that none costs more.
    let _sink = to.enter(|| UdpSocket::bind(target))??;
    let socket = from.enter(|| UdpSocket::bind("0.0.0.0:0"))??;
    socket.connect(target)?;
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let messages = [[IoSlice::new(&PAYLOAD)]; BATCH];
    let start = Instant::now();
    while start.elapsed() < length {
        // A full queue refuses packets; a flood is to meet it.
        let _ = sendmmsg(socket.as_raw_fd(), &mut headers, &messages, [None; BATCH], [], MsgFlags::empty());
    }
    Ok(start.elapsed())
}
