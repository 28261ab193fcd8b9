//! Rows of multicast groups, and their members: sockets as programs have them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};

use crate::namespace::Namespace;
use crate::sys;

/// Memberships of one socket: as many as its memory for options holds on every kernel (net.core.optmem_max,
/// 20 KiB before Linux 6.7).
const MEMBERSHIPS: usize = 200;

/// Groups with consecutive addresses. All of a family have different MAC addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    family: Family,
    first: u32,
    count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Groups {
    /// So many from 239.1.0.0 on, the first being the `first` one of them. `first + count` is at most 2^22.
    #[must_use]
    pub const fn v4(first: u32, count: u32) -> Self {
        Self { family: Family::V4, first, count }
    }

    /// So many from ff15::1:0 on.
    #[must_use]
    pub const fn v6(first: u32, count: u32) -> Self {
        Self { family: Family::V6, first, count }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their addresses, in order.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> + Clone {
        (self.first..self.first + self.count).map(move |number| {
            let last = 0x1_0000 + number;
            match self.family {
                Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(239 << 24 | last)),
                Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(0xff15 << 112 | u128::from(last))),
            }
        })
    }
}

/// The MAC address of a group (RFC 1112, 6.4; RFC 2464, 7).
#[must_use]
pub fn mac_of_group(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(group) => {
            let [_, a, b, c] = group.octets();
            [0x01, 0, 0x5e, a & 0x7f, b, c]
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

/// Sockets that are members of groups (ip(7), ipv6(7)). They receive nothing themselves: they have no UDP port. Dropping
/// them leaves the groups.
#[derive(Debug)]
pub struct Members {
    _sockets: Vec<OwnedFd>,
}

impl Members {
    /// Joins groups on a link, which has to be up.
    ///
    /// # Errors
    /// Those of the socket options.
    pub fn join(namespace: &Namespace, link: &str, groups: &[Groups]) -> Result<Self> {
        namespace.enter(|| {
            let index = if_nametoindex(link)?;
            fs::write("/proc/sys/net/ipv4/igmp_max_memberships", "1000000").context("cannot raise the limit")?;
            let mut sockets = Vec::new();
            for row in groups {
                let addresses: Vec<IpAddr> = row.addresses().collect();
                for some in addresses.chunks(MEMBERSHIPS) {
                    sockets.push(member(index, row.family, some)?.into());
                }
            }
            Ok(Self { _sockets: sockets })
        })?
    }
}

impl Members {
    /// The same by packet sockets: nothing is reported, as for groups that are not IP. The kernel does it fast for
    /// 100,000 groups too, while it looks through all IP memberships when one is left or, for IPv6, a packet comes.
    ///
    /// # Errors
    /// Those of the socket option.
    pub fn join_quietly(namespace: &Namespace, link: &str, groups: &[Groups]) -> Result<Self> {
        namespace.enter(|| {
            let index = if_nametoindex(link)?;
            let addresses: Vec<IpAddr> = groups.iter().flat_map(|groups| groups.addresses()).collect();
            let mut sockets = Vec::new();
            for some in addresses.chunks(MEMBERSHIPS) {
                // Without a protocol it receives nothing.
                let socket =
                    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None::<SockProtocol>)?;
                for &group in some {
                    sys::add_membership(&socket, index, mac_of_group(group))
                        .with_context(|| format!("cannot join {group}"))?;
                }
                sockets.push(socket);
            }
            Ok(Self { _sockets: sockets })
        })?
    }
}

/// A socket that has joined groups of its family.
fn member(link: u32, family: Family, groups: &[IpAddr]) -> Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    for group in groups {
        match group {
            IpAddr::V4(group) => socket.join_multicast_v4_n(group, &InterfaceIndexOrAddress::Index(link)),
            IpAddr::V6(group) => socket.join_multicast_v6(group, link),
        }
        .with_context(|| format!("cannot join {group}"))?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_addresses_and_mac_addresses_of_their_own() {
        let v4: Vec<IpAddr> = Groups::v4(255, 2).addresses().collect();
        assert_eq!(v4, [IpAddr::from([239, 1, 0, 255]), IpAddr::from([239, 1, 1, 0])]);
        assert_eq!(mac_of_group(v4[1]), [0x01, 0, 0x5e, 1, 1, 0]);
        let v6: Vec<IpAddr> = Groups::v6(0, 1).addresses().collect();
        assert_eq!(v6, ["ff15::1:0".parse::<IpAddr>().unwrap()]);
        assert_eq!(mac_of_group(v6[0]), [0x33, 0x33, 0, 1, 0, 0]);
    }

    #[test]
    fn the_highest_bit_of_an_ipv4_group_is_not_in_its_mac_address() {
        assert_eq!(mac_of_group(IpAddr::from([239, 129, 2, 3])), [0x01, 0, 0x5e, 1, 2, 3]);
    }
}
