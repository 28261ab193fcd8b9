//! Breaks and mends links in this process: to start `ip` takes longer than a fault may last where the machine is slow.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context, Result};

use crate::namespace::Namespace;
use crate::sys;

/// Controls the links of a namespace, which lives as long.
#[derive(Debug)]
pub struct LinkControl {
    _namespace: Namespace,
    // Whatever is asked through a socket is asked about the namespace that it was opened in.
    socket: UdpSocket,
}

impl LinkControl {
    /// Controls the links of this namespace.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn new(namespace: &Namespace) -> Result<Self> {
        let socket = namespace.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
        Ok(Self { _namespace: namespace.clone(), socket: socket.context("cannot open a socket")? })
    }

    /// Brings a link up and has the kernel act on its carrier at once, as [`up`](crate::up) does.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn up(&self, link: &str) -> Result<()> {
        let up = sys::set_link_up(&self.socket, link, true).and_then(|()| sys::settle_carrier(&self.socket, link));
        up.with_context(|| format!("cannot bring {link} up"))
    }

    /// Takes a link down.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn down(&self, link: &str) -> Result<()> {
        sys::set_link_up(&self.socket, link, false).with_context(|| format!("cannot take {link} down"))
    }

    /// Makes a link a port of a bridge.
    ///
    /// # Errors
    /// When one of them does not exist, or the link is a port already.
    pub fn join(&self, bridge: &str, link: &str) -> Result<()> {
        sys::set_bridge_port(&self.socket, bridge, link, true)
            .with_context(|| format!("cannot make {link} a port of {bridge}"))
    }

    /// Takes a port out of a bridge; its carrier stays.
    ///
    /// # Errors
    /// When one of them does not exist, or the link is no port of the bridge.
    pub fn leave(&self, bridge: &str, link: &str) -> Result<()> {
        sys::set_bridge_port(&self.socket, bridge, link, false)
            .with_context(|| format!("cannot take {link} out of {bridge}"))
    }
}
