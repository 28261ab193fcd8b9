//! What a guest may do, as its owner says it and as the programs have it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use dlmp_wire::MacAddr;

use crate::abi::{self, guard_ip, guard_settings};
use crate::{Error, MAX_ALLOWED_IPS, MAX_ALTERNATES, MAX_BANDWIDTH, MAX_MACS, MAX_VLANS, MIN_BANDWIDTH};

/// What is saved up of an unused bandwidth, at the least: [`BURST_BYTES`].
const BURST: Duration = Duration::from_millis(10);
/// A super-frame as the kernel makes them for one flow.
const BURST_BYTES: u64 = 65536;

/// What a guest may do. [`new`](Self::new) is a vnet without any property set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The vnet's own MAC address: unicast, not zero.
    pub mac: MacAddr,
    /// Alternate MAC addresses, at most [`MAX_ALTERNATES`].
    pub alternates: BTreeSet<MacAddr>,
    /// VLANs of its tagged frames, 1 to 4094; without meaning when `custom` is set.
    pub vlans: BTreeSet<u16>,
    /// `custom=enable`: MAC addresses and VLANs of its own choice, up to these limits.
    pub custom: Option<Limits>,
    /// `protection`.
    pub protection: Protection,
    /// IP addresses that it may use with ip-nospoof, at most [`MAX_ALLOWED_IPS`].
    pub allowed_ips: BTreeSet<IpAddr>,
    /// Limit in each direction in bits a second, [`MIN_BANDWIDTH`] to [`MAX_BANDWIDTH`].
    pub maxbw: Option<u64>,
    /// Class of service of its tagged frames, 0 to 7 (the PCP of IEEE 802.1Q).
    pub cos: Option<u8>,
    /// Priority of its frames in the queues of the links that they leave by.
    pub priority: Option<Priority>,
}

/// How many MAC addresses and VLANs of its own choice a guest may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// MAC addresses beside the vnet's own and its alternates, at most [`MAX_MACS`].
    pub macs: u32,
    /// VLANs, at most [`MAX_VLANS`].
    pub vlans: u32,
}

/// Types of protection, with the names of dladm(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protection {
    /// Only the vnet's own MAC address and its alternates, even with `custom`.
    pub mac_nospoof: bool,
    /// Only allowed IP addresses.
    pub ip_nospoof: bool,
    /// DHCP only as a client, and for the MAC address that it sends from.
    pub dhcp_nospoof: bool,
    /// Only IPv4, IPv6 and ARP.
    pub restricted: bool,
}

/// Priority in queues that have bands, such as pfifo_fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Before all others: TC_PRIO_INTERACTIVE, band 0 of tc-pfifo_fast(8).
    High,
    /// As frames without a priority: TC_PRIO_BESTEFFORT, band 1.
    Medium,
    /// After all others: TC_PRIO_BULK, band 2.
    Low,
}

impl Settings {
    /// A vnet with this MAC address and no property set: nothing else may send.
    #[must_use]
    pub const fn new(mac: MacAddr) -> Self {
        Self {
            mac,
            alternates: BTreeSet::new(),
            vlans: BTreeSet::new(),
            custom: None,
            protection: Protection { mac_nospoof: false, ip_nospoof: false, dhcp_nospoof: false, restricted: false },
            allowed_ips: BTreeSet::new(),
            maxbw: None,
            cos: None,
            priority: None,
        }
    }

    /// Whether the programs can do this.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let within = |value: u64, least: u64, most: u64, what: &str| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::Settings(format!("{value} {what}: choose {least} to {most}")))
        };
        for mac in self.alternates.iter().chain([&self.mac]) {
            if mac.is_group() || mac.is_zero() {
                return Err(Error::Settings(format!("the MAC address {mac}: choose a unicast address")));
            }
        }
        within(self.alternates.len() as u64, 0, MAX_ALTERNATES as u64, "alternate MAC addresses")?;
        within(self.allowed_ips.len() as u64, 0, MAX_ALLOWED_IPS as u64, "allowed IP addresses")?;
        for &vlan in &self.vlans {
            within(vlan.into(), 1, 4094, "as a VLAN")?;
        }
        if let Some(limits) = self.custom {
            within(limits.macs.into(), 1, MAX_MACS.into(), "MAC addresses of its own choice")?;
            within(limits.vlans.into(), 1, MAX_VLANS.into(), "VLANs of its own choice")?;
        }
        if let Some(rate) = self.maxbw {
            within(rate, MIN_BANDWIDTH, MAX_BANDWIDTH, "bits a second")?;
        }
        within(self.cos.unwrap_or(0).into(), 0, 7, "as a class of service")
    }

    /// Whether what the guest says in IP and DHCP is judged.
    pub(crate) const fn judges(&self) -> bool {
        self.protection.ip_nospoof || self.protection.dhcp_nospoof
    }

    /// As the programs have it, without what is in maps of its own.
    pub(crate) fn encode(&self) -> guard_settings {
        let limits = self.custom.unwrap_or(Limits { macs: 0, vlans: 0 });
        let (price, burst_ns) = self.maxbw.map_or((0, 0), bucket);
        let mut vlans = [0; 64];
        for &vlan in &self.vlans {
            vlans[usize::from(vlan / 64)] |= 1 << (vlan % 64);
        }
        guard_settings {
            mac: word(self.mac),
            flags: self.flags(),
            max_macs: limits.macs,
            max_vlans: limits.vlans,
            priority: self.priority.map_or(0, Priority::of_frame),
            cos: self.cos.unwrap_or(0).into(),
            reserved: 0,
            price,
            burst_ns,
            vlans,
        }
    }

    fn flags(&self) -> u32 {
        let Protection { mac_nospoof, ip_nospoof, dhcp_nospoof, restricted } = self.protection;
        let set = [
            (self.custom.is_some(), abi::GUARD_CUSTOM),
            (mac_nospoof, abi::GUARD_MAC_NOSPOOF),
            (ip_nospoof, abi::GUARD_IP_NOSPOOF),
            (dhcp_nospoof, abi::GUARD_DHCP_NOSPOOF),
            (restricted, abi::GUARD_RESTRICTED),
            (!self.alternates.is_empty(), abi::GUARD_ALTERNATES),
            (self.cos.is_some(), abi::GUARD_COS),
            (self.priority.is_some(), abi::GUARD_PRIORITY),
            (self.maxbw.is_some(), abi::GUARD_MAXBW),
        ];
        set.iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag)
    }
}

impl Priority {
    /// The priority of an sk_buff (linux/pkt_sched.h).
    const fn of_frame(self) -> u32 {
        match self {
            Self::High => 6,
            Self::Medium => 0,
            Self::Low => 2,
        }
    }
}

/// The price of a byte, and what can be saved up, for so many bits a second.
fn bucket(rate: u64) -> (u64, u64) {
    const NS_PER_SECOND: u64 = 1_000_000_000;
    // In 128 bits: scaled for the lowest rates it does not fit into 64.
    let price = (u128::from(8 * NS_PER_SECOND) << abi::GUARD_PRICE_SHIFT) / u128::from(rate);
    let least = u128::from(BURST_BYTES) * u128::from(8 * NS_PER_SECOND) / u128::from(rate);
    let narrow = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
    (narrow(price), narrow(least.max(BURST.as_nanos())))
}

/// A MAC address as `mac_word` in `bpf/guard_frame.h` has it.
pub(crate) fn word(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    let part = |first, second| u64::from(u16::from_ne_bytes([first, second]));
    part(a, b) | part(c, d) << 16 | part(e, f) << 32
}

/// An IP address as a key of the map `allowed_ips`.
pub(crate) fn ip_key(ip: IpAddr) -> guard_ip {
    match ip {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            guard_ip { version: 4, bytes: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] }
        }
        IpAddr::V6(address) => guard_ip { version: 6, bytes: address.octets() },
    }
}
