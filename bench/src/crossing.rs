//! What the kernel takes for a frame that crosses the simulated network: the switches run inside the call
//! that sends, so their work is accounted to whoever sends.

use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dlmp_testbed::Namespace;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket};
use nix::time::{ClockId, clock_gettime};

/// Length of a transitive probe without VLAN (docs/protocol.md).
const LEN: usize = 62;
/// As many as the daemon hands to the kernel at once.
const BATCH: usize = 16;
/// The second Ethertype for experiments (IEEE 802, table 3): the aggregation takes such a frame for no probe.
const EXPERIMENT: [u8; 2] = [0x88, 0xb6];
const LENGTH: Duration = Duration::from_millis(500);

/// Processor time of one frame from one link of a namespace to another. The receiving port's program drops it.
pub fn cost(namespace: &Namespace, from: &str, to: &str) -> Result<Duration> {
    namespace.enter(|| {
        let (from, to) = (link(from)?, link(to)?);
        let mut frame = [0; LEN];
        frame[..6].copy_from_slice(&to.addr().context("no Ethernet address")?);
        frame[6..12].copy_from_slice(&from.addr().context("no Ethernet address")?);
        frame[12..14].copy_from_slice(&EXPERIMENT);
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None)?;
        bind(socket.as_raw_fd(), &from)?;
        let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
        let messages = [[IoSlice::new(&frame)]; BATCH];
        let (start, before, mut sent) = (Instant::now(), used()?, 0);
        while start.elapsed() < LENGTH {
            sent +=
                sendmmsg(socket.as_raw_fd(), &mut headers, &messages, [None; BATCH], [], MsgFlags::empty())?.count();
        }
        ensure!(sent > 0, "no frame left");
        Ok((used()? - before) / u32::try_from(sent)?)
    })?
}

/// The packet address of a link (packet(7)) of the calling thread's namespace.
fn link(name: &str) -> Result<LinkAddr> {
    let addresses = getifaddrs()?.filter(|interface| interface.interface_name == name);
    let mut links = addresses.filter_map(|interface| interface.address?.as_link_addr().copied());
    links.next().with_context(|| format!("there is no link {name}"))
}

/// Processor time of the calling thread so far.
fn used() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
