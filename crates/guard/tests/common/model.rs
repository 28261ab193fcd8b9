//! The rules for what a guest sends as a pure function, without rates: a second writing of docs/datapath.md, "The
//! guard", to hold the programs to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dlmp_guard::{Counter, Settings};
use dlmp_wire::MacAddr;

use super::{ARP, CONTROL, Fate, ICMPV6, IPV4, IPV6, PROVIDER_VLAN, UDP, VLAN};

/// So much of a packet is read; what is further behind is as if it were not there.
const READ: usize = 188;

/// A guard that judges and learns.
pub struct Model {
    pub settings: Settings,
    pub macs: BTreeSet<MacAddr>,
    pub vlans: BTreeSet<u16>,
}

impl Model {
    pub fn new(settings: Settings) -> Self {
        Self { settings, macs: BTreeSet::new(), vlans: BTreeSet::new() }
    }

    /// What becomes of a frame that the guest sends.
    pub fn judge(&mut self, frame: &[u8]) -> Fate {
        let destination = MacAddr(bytes(frame, 0).ok_or(Counter::Short)?);
        let source = MacAddr(bytes(frame, 6).ok_or(Counter::Short)?);
        let kind = number(frame, 12).ok_or(Counter::Short)?;
        if destination.is_link_local() {
            return Err(if kind == CONTROL { Counter::Control } else { Counter::LinkLocal });
        }
        if destination.is_switch_protocol() {
            return Err(Counter::SwitchProtocol);
        }
        if source.is_group() || source.is_zero() {
            return Err(Counter::SourceInvalid);
        }
        let (vlan, kind, payload) = match kind {
            VLAN | PROVIDER_VLAN => {
                let inner = number(frame, 16).ok_or(Counter::Short)?;
                if kind == PROVIDER_VLAN || matches!(inner, VLAN | PROVIDER_VLAN) {
                    return Err(Counter::VlanStacked);
                }
                (number(frame, 14).ok_or(Counter::Short)? & 0xfff, inner, &frame[18..])
            }
            kind => (0, kind, &frame[14..]),
        };
        if vlan == 4095 {
            return Err(Counter::VlanInvalid);
        }

        let set = &self.settings;
        let is_configured = source == set.mac || set.alternates.contains(&source);
        if !is_configured && (set.custom.is_none() || set.protection.mac_nospoof) {
            return Err(Counter::MacForeign);
        }
        if vlan != 0 && set.custom.is_none() && !set.vlans.contains(&vlan) {
            return Err(Counter::VlanForeign);
        }
        if set.protection.restricted && !matches!(kind, IPV4 | IPV6 | ARP) {
            return Err(Counter::Protocol);
        }
        let payload = &payload[..payload.len().min(READ)];
        if set.protection.ip_nospoof && !self.is_honest_ip(source, kind, payload).unwrap_or(false) {
            return Err(Counter::IpSpoofed);
        }
        if set.protection.dhcp_nospoof && !is_honest_dhcp(source, kind, payload).unwrap_or(false) {
            return Err(Counter::DhcpSpoofed);
        }

        let Some(limits) = set.custom else { return Ok(()) };
        if !is_configured && !admit(&mut self.macs, source, limits.macs) {
            return Err(Counter::MacOverflow);
        }
        if vlan != 0 && !admit(&mut self.vlans, vlan, limits.vlans) {
            return Err(Counter::VlanOverflow);
        }
        Ok(())
    }

    fn is_honest_ip(&self, mac: MacAddr, kind: u16, payload: &[u8]) -> Option<bool> {
        let is_own = |ip: Ipv4Addr| ip.is_unspecified() || self.is_allowed(ip.into());
        Some(match kind {
            ARP => payload.get(..6)? == [0, 1, 8, 0, 6, 4] && is_own(bytes::<4>(payload, 14)?.into()),
            IPV4 => is_own(bytes::<4>(payload, 12)?.into()),
            IPV6 => {
                let is_own = |ip: Ipv6Addr| ip.is_unspecified() || ip == local(mac) || self.is_allowed(ip.into());
                if !is_own(bytes::<16>(payload, 8)?.into()) {
                    return Some(false);
                }
                match carried(kind, payload)? {
                    Carried::Unreadable => false,
                    Carried::Whole(ICMPV6, message) | Carried::First(ICMPV6, message) => {
                        *message.first()? != 136 || is_own(bytes::<16>(message, 8)?.into())
                    }
                    _ => true,
                }
            }
            _ => true,
        })
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        self.settings.allowed_ips.contains(&ip)
    }
}

/// What an IP packet carries: the protocol and the bytes.
enum Carried<'a> {
    Whole(u8, &'a [u8]),
    First(u8, &'a [u8]),
    Later,
    Unreadable,
}

fn carried(kind: u16, packet: &[u8]) -> Option<Carried<'_>> {
    if kind == IPV4 {
        let fragment = number(packet, 6)?;
        let protocol = *packet.get(9)?;
        let rest = packet.get(usize::from(packet[0] & 15) * 4..).unwrap_or_default();
        return Some(match (fragment & 0x1fff, fragment & 0x2000) {
            (0, 0) => Carried::Whole(protocol, rest),
            (0, _) => Carried::First(protocol, rest),
            _ => Carried::Later,
        });
    }
    let (mut next, mut rest, mut fragment) = (*packet.get(6)?, packet.get(40..)?, false);
    for _ in 0..4 {
        let length = match next {
            0 | 43 | 60 => (usize::from(*rest.get(1)?) + 1) * 8,
            44 => 8,
            _ => break,
        };
        if next == 44 {
            if number(rest, 2)? & 0xfff8 != 0 {
                return Some(Carried::Later);
            }
            fragment = true;
        } else {
            rest.get(..4)?;
        }
        next = rest[0];
        rest = rest.get(length..).unwrap_or_default();
    }
    Some(match next {
        0 | 43 | 44 | 60 => Carried::Unreadable,
        _ if fragment => Carried::First(next, rest),
        _ => Carried::Whole(next, rest),
    })
}

fn is_honest_dhcp(mac: MacAddr, kind: u16, payload: &[u8]) -> Option<bool> {
    if !matches!(kind, IPV4 | IPV6) {
        return Some(true);
    }
    let (datagram, whole) = match carried(kind, payload)? {
        Carried::Whole(UDP, datagram) => (datagram, true),
        Carried::First(UDP, datagram) => (datagram, false),
        Carried::Unreadable => return Some(kind == IPV4),
        _ => return Some(true),
    };
    Some(match (kind, number(datagram, 2)?) {
        (IPV6, port) => port != 546,
        (_, 68) => false,
        (_, 67) => whole && datagram.get(8..11)? == [1, 1, 6] && datagram.get(36..42)? == mac.0,
        _ => true,
    })
}

/// The link-local address that is made of a MAC address (RFC 2464, section 5).
fn local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f].into()
}

fn admit<T: Ord>(known: &mut BTreeSet<T>, one: T, limit: u32) -> bool {
    if !known.contains(&one) && known.len() >= limit as usize {
        return false;
    }
    known.insert(one);
    true
}

fn bytes<const N: usize>(of: &[u8], at: usize) -> Option<[u8; N]> {
    of.get(at..)?.first_chunk().copied()
}

fn number(of: &[u8], at: usize) -> Option<u16> {
    bytes(of, at).map(u16::from_be_bytes)
}
