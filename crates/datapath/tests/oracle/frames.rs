//! The network that both sides are in, and the frames that are sent through it.

use std::collections::BTreeMap;

use dlmp_datapath::{ClientAddress, PortIndex, VnicIndex};
use dlmp_wire::MacAddr;
use dlmp_wire::ethernet::{HEADER_LEN, TAG_LEN};

/// The host's own address, on the aggregation's link.
pub const HOST: MacAddr = MacAddr([2, 8, 0x20, 1, 2, 3]);
/// Guests of the bridge above that link.
pub const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 1, 1, 1]);
pub const OTHER_GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 1, 1, 2]);
/// A VNIC without a VLAN, and one in [`VLAN`].
pub const VNIC: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 0x10]);
pub const VLAN_VNIC: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 0x11]);
/// Hosts out in the network.
pub const STRANGER: MacAddr = MacAddr([0x52, 0x54, 0, 9, 9, 9]);
pub const OTHER_STRANGER: MacAddr = MacAddr([0x52, 0x54, 0, 9, 9, 10]);
/// The ports themselves.
pub const PORTS: [MacAddr; 2] = [MacAddr([0, 0x14, 0x4f, 0xf9, 0, 0]), MacAddr([0, 0x14, 0x4f, 0xf9, 0, 1])];
pub const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 0xfb]);
pub const LLDP: MacAddr = MacAddr([1, 0x80, 0xc2, 0, 0, 0x0e]);
/// Where Cisco's discovery protocol goes, outside the range that the standard keeps on the link.
pub const CDP: MacAddr = MacAddr([1, 0, 0x0c, 0xcc, 0xcc, 0xcc]);

/// Where switches register VLANs.
pub const GVRP: MacAddr = MacAddr([1, 0x80, 0xc2, 0, 0, 0x21]);

/// Whoever can be a source.
pub const SOURCES: [MacAddr; 9] =
    [HOST, GUEST, OTHER_GUEST, VNIC, VLAN_VNIC, STRANGER, OTHER_STRANGER, PORTS[0], PORTS[1]];
pub const DESTINATIONS: [MacAddr; 14] = [
    HOST,
    GUEST,
    OTHER_GUEST,
    VNIC,
    VLAN_VNIC,
    STRANGER,
    OTHER_STRANGER,
    PORTS[0],
    PORTS[1],
    MacAddr::BROADCAST,
    GROUP,
    LLDP,
    CDP,
    GVRP,
];
pub const VLAN: u16 = 7;

/// A link that frames come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A port.
    Port(PortIndex),
    /// The aggregation's own link.
    Link,
    /// A VNIC.
    Vnic(VnicIndex),
}

impl Place {
    pub const NET0: Self = Self::Port(PortIndex(0));
    pub const NET1: Self = Self::Port(PortIndex(1));
    pub const VNIC: Self = Self::Vnic(VnicIndex(0));
    pub const VLAN_VNIC: Self = Self::Vnic(VnicIndex(1));
    /// All of them; a link's number in Open vSwitch is its position from 1.
    pub const ALL: [Self; 5] = [Self::NET0, Self::NET1, Self::Link, Self::VNIC, Self::VLAN_VNIC];

    pub const fn is_port(self) -> bool {
        matches!(self, Self::Port(_))
    }
}

/// What came out, by link, each frame whole.
pub type Outputs = BTreeMap<Place, Vec<Vec<u8>>>;

/// What a frame carries, as far as a rule looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    Ip,
    ArpRequest,
    /// An ARP for the sender's own address (RFC 5227), which Open vSwitch calls a gratuitous ARP.
    ArpAnnouncement,
    Rarp,
    NeighbourAdvertisement,
    IgmpReport,
    /// An ARP reply to nobody's address, as it answers an ARP probe.
    ProbeAnswer,
}

impl Payload {
    pub const ALL: [Self; 7] = [
        Self::Ip,
        Self::ArpRequest,
        Self::ArpAnnouncement,
        Self::Rarp,
        Self::NeighbourAdvertisement,
        Self::IgmpReport,
        Self::ProbeAnswer,
    ];

    fn bytes(self, source: MacAddr) -> Vec<u8> {
        let arp = |kind: [u8; 2], operation: u8, sender: [u8; 4], target: [u8; 4]| {
            [&kind[..], &[0, 1, 8, 0, 6, 4, 0, operation], &source.0, &sender, &[0; 6], &target].concat()
        };
        match self {
            Self::Ip => vec![8, 0, 0x45],
            Self::ArpRequest => arp([8, 6], 1, [10, 0, 0, 9], [10, 0, 0, 1]),
            Self::ArpAnnouncement => arp([8, 6], 1, [10, 0, 0, 9], [10, 0, 0, 9]),
            Self::ProbeAnswer => arp([8, 6], 2, [10, 0, 0, 9], [0; 4]),
            Self::Rarp => arp([0x80, 0x35], 3, [0; 4], [0; 4]),
            Self::NeighbourAdvertisement => {
                [&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255][..], &[0xfe; 32], &[136, 0, 0, 0, 0x20]].concat()
            }
            Self::IgmpReport => {
                let header = [0x46, 0, 0, 32, 0, 0, 0, 0, 1, 2, 0, 0, 10, 0, 0, 9, 224, 0, 0, 251, 0x94, 4, 0, 0];
                [&[8, 0][..], &header, &[0x16, 0, 0, 0, 224, 0, 0, 251]].concat()
            }
        }
    }
}

/// A frame on its way.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// The link that it comes from.
    pub at: Place,
    pub destination: MacAddr,
    pub source: MacAddr,
    /// 0 for no tag.
    pub vlan: u16,
    /// The tag is one of 802.1ad.
    pub provider: bool,
    pub payload: Payload,
}

impl Sent {
    /// Its bytes where it enters, long enough to need no padding anywhere.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.destination.0, self.source.0].concat();
        bytes.extend(self.payload.bytes(self.source));
        bytes.resize(bytes.len().max(80), 0);
        let mut bytes = tagged(bytes, self.vlan);
        if self.has_provider_tag() {
            bytes[HEADER_LEN - 2..HEADER_LEN].copy_from_slice(&[0x88, 0xa8]);
        }
        bytes
    }

    pub const fn has_provider_tag(&self) -> bool {
        self.provider && self.vlan != 0
    }

    /// The VLAN that it is in by our rules: that of the VNIC that it comes from, or of its 802.1Q tag.
    pub fn in_vlan(&self) -> u16 {
        match self.at {
            Place::VLAN_VNIC => VLAN,
            _ if self.provider => 0,
            _ => self.vlan,
        }
    }

    pub fn sender(&self) -> ClientAddress {
        ClientAddress { mac: self.source, vlan: self.in_vlan() }
    }

    pub fn receiver(&self) -> ClientAddress {
        ClientAddress { mac: self.destination, vlan: self.in_vlan() }
    }
}

/// The frame with a tag, unless the VLAN is 0.
pub fn tagged(mut frame: Vec<u8>, vlan: u16) -> Vec<u8> {
    if vlan != 0 {
        let [high, low] = vlan.to_be_bytes();
        frame.splice(HEADER_LEN - 2..HEADER_LEN - 2, [0x81, 0, high, low]);
    }
    frame
}

/// The frame without its tag.
pub fn untagged(mut frame: Vec<u8>) -> Vec<u8> {
    frame.drain(HEADER_LEN - 2..HEADER_LEN - 2 + TAG_LEN);
    frame
}
