//! IP addresses on links.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo};

use crate::Netlink;
use crate::error::{Result, explain, tolerate};

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix_len: u8,
    /// Valid on this link only (169.254/16 with that scope, or fe80::/10).
    pub link_local: bool,
    /// Made by the kernel itself: a link-local or an autoconfigured IPv6 address.
    pub kernel_made: bool,
    /// Duplicate address detection is still under way.
    pub tentative: bool,
    /// Duplicate address detection found another owner.
    pub duplicate: bool,
}

/// How long the kernel keeps an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted.
    Forever,
    /// This many seconds, then the kernel deletes it by itself.
    Seconds(u32),
}

impl Address {
    fn from_message(message: &AddressMessage) -> Option<Self> {
        let (mut address, mut local, mut flags, mut kernel) = (None, None, AddressFlags::empty(), false);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(value) => address = Some(*value),
                AddressAttribute::Local(value) => local = Some(*value),
                AddressAttribute::Flags(value) => flags = *value,
                AddressAttribute::Protocol(protocol) => {
                    use netlink_packet_route::address::AddressProtocol as P;
                    kernel = matches!(protocol, P::LinkLocal | P::RouterAnnouncement | P::Loopback);
                }
                _ => {}
            }
        }
        let address = local.or(address)?;
        let link_local = message.header.scope == AddressScope::Link;
        let six = address.is_ipv6();
        Some(Self {
            index: message.header.index,
            address,
            prefix_len: message.header.prefix_len,
            link_local,
            // Kernels before 6.3 do not name the maker: there a link-local IPv6 address counts as
            // the kernel's, which it nearly always is, and so does one with a finite lifetime.
            kernel_made: kernel || (six && link_local) || (six && !flags.contains(AddressFlags::Permanent)),
            tentative: flags.contains(AddressFlags::Tentative),
            duplicate: flags.contains(AddressFlags::Dadfailed),
        })
    }
}

impl Netlink {
    /// All addresses of the namespace.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn addresses(&self) -> Result<Vec<Address>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let objects = self.dump(request, "list the addresses").await?;
        Ok((objects.iter())
            .filter_map(|object| match object {
                RouteNetlinkMessage::NewAddress(message) => Address::from_message(message),
                _ => None,
            })
            .collect())
    }

    /// Puts an address on a link, or renews its lifetime when it is there.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn add_address(&self, index: u32, address: IpAddr, prefix_len: u8, lifetime: Lifetime) -> Result<()> {
        let mut request = (self.handle.address()).add(index, address, prefix_len).replace();
        if let Lifetime::Seconds(seconds) = lifetime {
            let mut cache = CacheInfo::default();
            cache.ifa_preferred = seconds;
            cache.ifa_valid = seconds;
            (request.message_mut().attributes).push(AddressAttribute::CacheInfo(cache));
        }
        (request.execute().await).map_err(explain(format!("add the address {address}/{prefix_len} to link {index}")))
    }

    /// Takes an address off a link; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn delete_address(&self, index: u32, address: IpAddr, prefix_len: u8) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = match address {
            IpAddr::V4(_) => netlink_packet_route::AddressFamily::Inet,
            IpAddr::V6(_) => netlink_packet_route::AddressFamily::Inet6,
        };
        message.header.index = index;
        message.header.prefix_len = prefix_len;
        message.attributes.push(AddressAttribute::Local(address));
        let what = format!("delete the address {address}/{prefix_len} from link {index}");
        let result = self.handle.address().del(message).execute().await;
        tolerate(result.map_err(explain(what)), libc::EADDRNOTAVAIL)
    }
}
