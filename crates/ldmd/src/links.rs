//! The links of one namespace, as ioctls see them: at once, from any thread.

use std::io;
use std::os::fd::OwnedFd;

use dlmp_netlink::ethtool::{Ethtool, Settings};

use crate::sys;

/// Sockets of a namespace.
#[derive(Debug)]
pub struct Links {
    ethtool: Ethtool,
    socket: std::net::UdpSocket,
    frames: OwnedFd,
}

impl Links {
    /// Opens the sockets in the calling thread's namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            ethtool: Ethtool::open()?,
            socket: std::net::UdpSocket::bind(("0.0.0.0", 0))?,
            frames: sys::frame_socket()?,
        })
    }

    /// Whether a link has a carrier now; `None` when its driver cannot say.
    ///
    /// # Errors
    /// Those of ioctl(2), `ENODEV` when the link does not exist.
    pub fn carrier(&self, name: &str) -> io::Result<Option<bool>> {
        self.ethtool.carrier(name)
    }

    /// Speed and duplex of a link.
    ///
    /// # Errors
    /// Those of ioctl(2), `ENODEV` when the link does not exist.
    pub fn settings(&self, name: &str) -> io::Result<Settings> {
        self.ethtool.settings(name)
    }

    /// Sets speed and duplex of a tap.
    ///
    /// # Errors
    /// As [`Ethtool::set_settings`].
    pub fn set_settings(&self, name: &str, settings: Settings) -> io::Result<()> {
        self.ethtool.set_settings(name, settings)
    }

    /// Brings a link up or down (netdevice(7), `SIOCSIFFLAGS`).
    ///
    /// # Errors
    /// Those of ioctl(2), `ENODEV` when the link does not exist.
    pub fn set_up(&self, name: &str, up: bool) -> io::Result<()> {
        sys::set_up(&self.socket, name, up)
    }

    /// Sends a whole Ethernet frame through the link of this index, without waiting.
    ///
    /// # Errors
    /// Those of sendto(2): `ENETDOWN` when the link is down, `ENXIO` when it does not exist.
    pub fn send(&self, index: u32, frame: &[u8]) -> io::Result<()> {
        sys::send_frame(&self.frames, index, frame)
    }

    /// Whether a link is brought up, whatever its carrier.
    ///
    /// # Errors
    /// Those of ioctl(2), `ENODEV` when the link does not exist.
    pub fn is_up(&self, name: &str) -> io::Result<bool> {
        sys::is_up(&self.socket, name)
    }
}
