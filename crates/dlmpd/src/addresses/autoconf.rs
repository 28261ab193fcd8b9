//! Addresses that the kernel makes by itself (`ipadm create-addr -T addrconf`, RFC 4862): a link-local one, and
//! those of the prefixes that routers advertise.

use dlmp_api::Error;
use dlmp_netlink::ipv6;

use super::failed;
use crate::control::Control;

/// Switches it on for a link.
///
/// # Errors
/// The kernel has no IPv6, or `/proc/sys` cannot be written.
pub fn switch_on(link: &str) -> Result<(), Error> {
    ipv6::set_autoconfigured(link, true).map_err(|error| refused(link, &error))
}

impl Control {
    /// Switches it off for a link and takes off what it made, the link-local address too: without this object
    /// the interface has no IPv6 addresses but static ones, as in Solaris.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) async fn end_autoconfiguration(&self, interface: &str) -> Result<(), Error> {
        let Some(link) = self.netlink.link(interface).await.map_err(failed)? else { return Ok(()) };
        ipv6::set_autoconfigured(interface, false).map_err(|error| refused(interface, &error))?;
        let made = self
            .netlink
            .addresses()
            .await
            .map_err(failed)?
            .into_iter()
            .filter(|address| address.index == link.index && address.address.is_ipv6() && address.kernel_made);
        for address in made {
            self.take_off(interface, address.address, address.prefix_len).await;
        }
        Ok(())
    }
}

fn refused(link: &str, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::failed(format!("this kernel has no IPv6 on {link}")),
        _ => Error::failed(format!("the autoconfiguration of {link} cannot be changed in /proc/sys: {error}")),
    }
}
