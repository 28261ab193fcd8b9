//! Taps: links whose other end is a program, such as a virtual machine.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use crate::error::{Error, Result};
use crate::sys::{self, Interface};

/// The device that taps are made by (Documentation/networking/tuntap.rst of the kernel).
const DEVICE: &str = "/dev/net/tun";

/// Makes a tap in the namespace of the calling thread and returns its name. It stays until it is
/// [deleted](crate::Netlink::delete_link); a program attaches to it by its name, one at a time, and it has a carrier
/// only meanwhile.
///
/// Frames pass with a `virtio_net_hdr` in front and through one queue: what QEMU's `-netdev tap,ifname=NAME` takes.
/// `%d` in `name` is replaced by a free number by the kernel.
///
/// # Errors
/// `EBUSY` when there is a link of this name, `ENOENT` when the kernel has no taps (`modprobe tun`); a name without
/// a byte or over 15; those of ioctl(2).
pub fn create_tap(name: &str) -> Result<String> {
    let create = || {
        if !(1..libc::IFNAMSIZ).contains(&name.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a link's name has 1 to 15 bytes"));
        }
        let tun = File::options().read(true).write(true).open(DEVICE)?;
        let mut interface = Interface::new(name)?;
        sys::attach_tap(&tun, &mut interface, true)?;
        // Without this it goes when the file is closed: also when this is refused.
        sys::keep_tap(&tun)?;
        Ok(interface.name())
    };
    create().map_err(|error| Error::new(format!("create the tap {name}"), error))
}

/// Attaches to a tap in the namespace of the calling thread: what is written to the descriptor comes in by the link, and
/// what the link sends can be read. The other end is attached for as long as a copy of the descriptor is open.
///
/// # Errors
/// `EBUSY` when another program is attached, `EINVAL` when the link is no tap as [`create_tap`] makes them, `ENODEV` when
/// there is no such link; those of ioctl(2).
pub fn attach_tap(name: &str) -> Result<OwnedFd> {
    let attach = || {
        // The kernel would make a tap of a name that does not exist, and one without a name.
        if name.is_empty() || nix::net::if_::if_nametoindex(name).is_err() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let tun = File::options().read(true).write(true).open(DEVICE)?;
        sys::attach_tap(&tun, &mut Interface::new(name)?, false)?;
        Ok(OwnedFd::from(tun))
    };
    attach().map_err(|error| Error::new(format!("attach to the tap {name}"), error))
}
