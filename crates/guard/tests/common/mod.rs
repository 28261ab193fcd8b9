//! Frames of a guest, byte by byte, and what the guard is to do with them.
#![allow(dead_code, missing_docs, reason = "each test uses its own part")]

pub mod model;

use std::net::{Ipv4Addr, Ipv6Addr};

use dlmp_guard::{Counter, Limits, Settings};
use dlmp_wire::MacAddr;

pub const OWN: MacAddr = MacAddr([0, 0x14, 0x4f, 0xf8, 0, 1]);
pub const ALTERNATE: MacAddr = MacAddr([0, 0x14, 0x4f, 0xf8, 0, 2]);
pub const OTHER: MacAddr = MacAddr([2, 8, 0x20, 1, 2, 3]);
pub const ANOTHER: MacAddr = MacAddr([2, 8, 0x20, 1, 2, 4]);
pub const PEER: MacAddr = MacAddr([0x52, 0x54, 0, 9, 9, 9]);
pub const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 0xfb]);
pub const LINK_LOCAL: MacAddr = MacAddr([1, 0x80, 0xc2, 0, 0, 0x0e]);

pub const OWN_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OTHER_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const OWN_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const OTHER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// The link-local address of [`OWN`].
pub const OWN_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0214, 0x4fff, 0xfef8, 1);

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const RARP: u16 = 0x8035;
pub const VLAN: u16 = 0x8100;
pub const IPV6: u16 = 0x86dd;
pub const PROVIDER_VLAN: u16 = 0x88a8;
pub const CONTROL: u16 = 0x88b6;
pub const LLDP: u16 = 0x88cc;

pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

/// The settings of a vnet with this change.
pub fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::new(OWN);
    change(&mut settings);
    settings
}

/// The settings of a trusted vnet.
pub fn custom(macs: u32, vlans: u32) -> Settings {
    settings(|set| set.custom = Some(Limits { macs, vlans }))
}

/// A frame, padded as Ethernet does.
pub fn frame(destination: MacAddr, source: MacAddr, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&destination.0[..], &source.0, &kind.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Any frame from this source.
pub fn from(source: MacAddr) -> Vec<u8> {
    frame(PEER, source, IPV4, &ipv4(OWN_IP, 1, 0, &[]))
}

/// The same frame with a tag: its EtherType and what is in it.
pub fn tagged(frame: &[u8], kind: u16, tci: u16) -> Vec<u8> {
    [&frame[..12], &kind.to_be_bytes(), &tci.to_be_bytes(), &frame[12..]].concat()
}

/// A frame of this VLAN.
pub fn in_vlan(source: MacAddr, vlan: u16) -> Vec<u8> {
    tagged(&from(source), VLAN, vlan)
}

/// An IPv4 packet; `fragment` is its flags and offset.
pub fn ipv4(source: Ipv4Addr, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend([255; 4]);
    packet.extend(payload);
    packet
}

pub fn ipv6(source: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(source.octets());
    packet.extend(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets());
    packet.extend(payload);
    packet
}

/// An empty extension header of 8 bytes before `payload`.
pub fn extension(next: u8, payload: &[u8]) -> Vec<u8> {
    [&[next, 0, 1, 4, 0, 0, 0, 0], payload].concat()
}

pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let header = [from.to_be_bytes(), to.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    [&header[..], payload].concat()
}

/// A DHCP message (RFC 2131): 1 is a client's, 2 a server's.
pub fn dhcp(operation: u8, client: MacAddr) -> Vec<u8> {
    let mut message = vec![operation, 1, 6, 0];
    message.resize(28, 0);
    message.extend(client.0);
    message.resize(240, 0);
    message
}

pub fn arp(operation: u16, sender: MacAddr, sender_ip: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(operation.to_be_bytes());
    packet.extend(sender.0);
    packet.extend(sender_ip.octets());
    packet.extend([0; 6]);
    packet.extend([192, 0, 2, 9]);
    packet
}

/// A neighbour advertisement for this address.
pub fn advertisement(target: Ipv6Addr) -> Vec<u8> {
    [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target.octets()].concat()
}

/// An IGMPv2 report.
pub fn igmp_report(source: MacAddr) -> Vec<u8> {
    frame(GROUP, source, IPV4, &ipv4(OWN_IP, 2, 0, &[0x16, 0, 0, 0, 224, 0, 0, 251]))
}

/// An MLDv2 report without records.
pub fn mld_report(source: MacAddr) -> Vec<u8> {
    let destination = MacAddr([0x33, 0x33, 0, 0, 0, 0x16]);
    frame(destination, source, IPV6, &ipv6(OWN_LOCAL, 0, &extension(ICMPV6, &[143, 0, 0, 0, 0, 0, 0, 0])))
}

/// What becomes of a frame: it passes, or is dropped and counted as this.
pub type Fate = Result<(), Counter>;

pub const PASSES: Fate = Ok(());
