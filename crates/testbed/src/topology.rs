//! Builds links: veth pairs between namespaces, bridges, taps with a speed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::environment::Environment;
use crate::namespace::{Namespace, output, succeed};
use crate::sys;

/// Joins two namespaces by a veth pair, both ends up and ready to send.
///
/// # Errors
/// When `ip` refuses, for example because a name is taken.
pub fn veth(left: (&Namespace, &str), right: (&Namespace, &str)) -> Result<()> {
    veth_down(left, right)?;
    up(left.0, left.1)?;
    up(right.0, right.1)?;
    // The carrier came when the second end did.
    up(left.0, left.1)
}

/// Brings a link up and has the kernel act at once on the carrier that it gets or has.
///
/// That would otherwise take up to a second, and until then the link drops what it is to send and
/// a bridge keeps it disabled: both wait for the same delayed work that reports the carrier. Asking
/// for one link does that work first (`linkwatch_sync_dev`).
///
/// # Errors
/// When there is no such link.
pub fn up(namespace: &Namespace, link: &str) -> Result<()> {
    namespace.ip(&format!("link set dev {link} up\nlink show dev {link}"))
}

/// Joins two namespaces by a veth pair, both ends down: they have a carrier once both are up.
///
/// Both ends get the same, otherwise unused interface index: only then does the kernel delay the
/// second of two carrier events as it does for real NICs (`linkwatch_urgent_event` in
/// net/core/link_watch.c takes a device whose `iflink` differs from its index for a stacked one).
///
/// # Errors
/// When `ip` refuses, for example because a name is taken.
pub fn veth_down((near, name): (&Namespace, &str), (far, peer): (&Namespace, &str)) -> Result<()> {
    static INDEX: AtomicU32 = AtomicU32::new(1000);
    let index = INDEX.fetch_add(1, Ordering::Relaxed);
    near.ip(&format!("link add {name} index {index} type veth peer name {peer} index {index} netns {}", far.name()))
}

/// Makes a bridge over links of its namespace, all up, without STP and multicast snooping, so that
/// it forwards from the first moment and treats multicast like a plain switch.
///
/// # Errors
/// When `ip` refuses, for example because a link does not exist.
pub fn bridge(namespace: &Namespace, name: &str, ports: &[&str]) -> Result<()> {
    namespace.ip(&format!("link add {name} type bridge stp_state 0 mcast_snooping 0\nlink set dev {name} up"))?;
    for port in ports {
        // A port that is up before it belongs to the bridge has a carrier that leads nowhere.
        namespace.ip(&format!("link set dev {port} master {name}"))?;
        up(namespace, port)?;
    }
    Ok(())
}

/// A tap device, the one virtual Ethernet device whose speed can be set, and the port of a guest that is a
/// virtual machine. It has a carrier as long as this value lives. Frames that it sends wait to be received, as many as its
/// `txqueuelen` says (ip-link(8)); further ones are dropped.
#[derive(Debug)]
pub struct Tap {
    device: File,
}

impl Tap {
    /// Makes the tap `name`, up, full duplex, with `speed` in Mb/s.
    ///
    /// # Errors
    /// When the kernel has no tap devices, the name is taken or ethtool is missing.
    pub fn new(namespace: &Namespace, name: &str, speed: u32) -> Result<Self> {
        let device = namespace.enter(|| -> Result<File> {
            let device =
                File::options().read(true).write(true).open("/dev/net/tun").context("cannot open /dev/net/tun")?;
            sys::attach_tap(&device, name).with_context(|| format!("cannot make the tap {name}"))?;
            Ok(device)
        })??;
        let speed = speed.to_string();
        succeed(namespace.command("ethtool").args(["-s", name, "speed", &speed, "duplex", "full"]))?;
        up(namespace, name)?;
        Ok(Self { device })
    }

    /// The tap of a vnet, attached as QEMU does: by `ldm attach-vnet`, run with a socket that it sends the tap over. Each
    /// frame has a `virtio_net_hdr` of 10 bytes in front.
    ///
    /// # Errors
    /// What the command says.
    pub fn of_vnet(dlmp: &Environment, vnet: &str, domain: &str) -> Result<Self> {
        // Without close-on-exec: the command inherits its end.
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::empty())?;
        let line = format!("ldm attach-vnet {vnet} {domain} --use-vnet --fd={} --br=br0", theirs.as_raw_fd());
        output(&mut dlmp.line(&line))?;
        let device = sys::receive_descriptor(&ours).context("no tap came over the socket")?;
        Ok(Self { device: device.into() })
    }

    /// Has the device receive a frame: what its guest sends.
    ///
    /// # Errors
    /// Those of write(2), such as that the device is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        (&self.device).write_all(frame)
    }

    /// The other side of the link: a read takes a frame that the tap sent, a write is one that it receives.
    #[must_use]
    pub const fn device(&self) -> &File {
        &self.device
    }

    /// Takes a frame that the device sends: what its guest receives. Returns its length; what does not fit
    /// into `frame` is cut off. Nothing when none comes within `patience` (to the millisecond).
    ///
    /// # Errors
    /// Those of poll(2) and read(2), such as that the device is down.
    pub fn receive(&self, frame: &mut [u8], patience: Duration) -> io::Result<Option<usize>> {
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        if poll(&mut [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)], patience)? == 0 {
            return Ok(None);
        }
        (&self.device).read(frame).map(Some)
    }
}
