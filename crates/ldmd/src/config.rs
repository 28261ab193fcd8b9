//! What the files hold: the configuration, and what is kept until the next boot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use dlmp_manager::range;
use dlmp_wire::MacAddr;
use serde::{Deserialize, Serialize};

use crate::manager::ManagerConfig;
use crate::property::{Allowance, InterVnet, Mtu, Priority, Protection, VlanId};

/// The configuration file.
pub type ConfigFile = dlmp_daemon::ConfigFile<Config>;

/// What is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How other managers are talked to.
    #[serde(skip_serializing_if = "is_default")]
    pub manager: ManagerConfig,
    /// Domains by name; `primary` is not among them.
    pub domains: BTreeMap<String, DomainConfig>,
    /// Virtual switches by name.
    pub switches: BTreeMap<String, SwitchConfig>,
    /// Virtual network devices by [`VnetKey`], `domain/vnet`.
    pub vnets: BTreeMap<VnetKey, VnetConfig>,
}

/// Freed addresses that are kept at most.
const FREED_MAX: usize = 1024;

impl Config {
    /// All MAC addresses of switches and vnets.
    pub fn addresses(&self) -> BTreeSet<MacAddr> {
        let switches = self.switches.values().map(|switch| switch.mac_addr);
        switches.chain(self.vnets.values().flat_map(VnetConfig::addresses)).collect()
    }

    /// Keeps the automatic addresses that are used no more since `before`, the last one first, so that they are used again before
    /// others: whoever has leases for them gets the same ones (Logical Domains, "Freed MAC Addresses").
    pub fn keep_freed(&mut self, before: &Self) {
        let (used, used_before) = (self.addresses(), before.addresses());
        let freed = used_before.difference(&used).filter(|mac| range::is_automatic(**mac)).copied();
        let kept = std::mem::take(&mut self.manager.freed);
        let usable = |mac: &MacAddr| range::is_automatic(*mac) && !used.contains(mac);
        self.manager.freed = freed.chain(kept).filter(usable).take(FREED_MAX).collect();
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainConfig {
    /// Where its network is.
    #[serde(flatten)]
    pub place: Place,
    /// It was stopped: the links of its switches and vnets stay down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

/// Where the network of a domain is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A named network namespace.
    Namespace(Named),
    /// The file of a network namespace.
    Path(PathBuf),
    /// The namespace of a process, as long as it is the one that the [`State`] names.
    Pid(u32),
    /// A virtual machine: its emulator's control socket.
    Vm(PathBuf),
}

/// A named network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its name, as `ip netns` has it.
    pub name: String,
    /// `ldmd` made it, and removes it with the domain.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made: bool,
}

/// The file of what is kept until the next boot.
pub type StateFile = dlmp_daemon::StateFile<State>;

/// What is kept until the next boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Cookies of namespaces, by the domain: of those given by a process, whose number may be used again, and of those that
    /// `ldmd` made, whose name may be.
    pub cookies: BTreeMap<String, u64>,
    /// Uplinks whose MTU was raised, by the switch.
    pub raised: BTreeMap<String, Raised>,
}

/// An uplink whose MTU was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// Cookie of the namespace that it is in.
    pub namespace: u64,
    /// Its index there.
    pub index: u32,
    /// Its MTU before.
    pub from: u32,
    /// The one that it was given.
    pub to: u32,
}

/// A virtual switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SwitchConfig {
    /// The service domain.
    pub domain: String,
    /// Device number, unique in the domain.
    pub id: u32,
    /// MAC address of its bridge.
    pub mac_addr: MacAddr,
    /// The address was not given but chosen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_mac: bool,
    /// The uplink; absent: an Ethernet stub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_dev: Option<String>,
    /// MTU of the switch, and of its vnets unless they have their own.
    #[serde(default)]
    pub mtu: Mtu,
    /// VLAN of untagged frames where nothing else is said.
    #[serde(default)]
    pub default_vlan_id: VlanId,
    /// VLAN of the switch's own untagged frames, unless it is the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvid: Option<VlanId>,
    /// VLANs of its own tagged frames.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub vid: BTreeSet<VlanId>,
    /// `linkprop=phys-state`: the bridge itself has no carrier while the uplink has none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub phys_state: bool,
    /// Whether vnets reach each other.
    #[serde(default)]
    pub inter_vnet_link: InterVnet,
}

/// A virtual network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VnetConfig {
    /// The switch that it is connected to.
    pub switch: String,
    /// Device number, unique in the domain: the guest's link is `net` and this number.
    pub id: u32,
    /// MAC address.
    pub mac_addr: MacAddr,
    /// The address was not given but chosen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_mac: bool,
    /// Further addresses that the guest may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alt_mac_addrs: Vec<MacAddr>,
    /// VLAN of its untagged frames, unless it is the switch's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvid: Option<VlanId>,
    /// VLANs of its tagged frames.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub vid: BTreeSet<VlanId>,
    /// MTU, unless it is the switch's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// Limit of its traffic through the switch in bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maxbw: Option<u64>,
    /// `linkprop=phys-state`: its link is down while the uplink is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub phys_state: bool,
    /// `custom=enable`: the guest may have MAC addresses and VLANs of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub custom: bool,
    /// How many MAC addresses then.
    #[serde(default)]
    pub max_mac_addrs: Allowance,
    /// How many VLANs then.
    #[serde(default)]
    pub max_vlans: Allowance,
    /// What is checked of the guest's frames.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub protection: BTreeSet<Protection>,
    /// IP addresses that the guest may use, with ip-nospoof.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed_ips: BTreeSet<IpAddr>,
    /// Priority of its frames in the queues of the uplink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Class of service of its tagged frames (IEEE 802.1p), 0 to 7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cos: Option<u8>,
}

impl SwitchConfig {
    /// A switch with no property set: an Ethernet stub whose address is still to be chosen.
    pub fn new(domain: &str, id: u32) -> Self {
        Self {
            domain: domain.into(),
            id,
            mac_addr: MacAddr::default(),
            auto_mac: true,
            net_dev: None,
            mtu: Mtu::default(),
            default_vlan_id: VlanId::default(),
            pvid: None,
            vid: BTreeSet::new(),
            phys_state: false,
            inter_vnet_link: InterVnet::default(),
        }
    }
}

impl VnetConfig {
    /// Its own address and the alternate ones.
    pub fn addresses(&self) -> impl Iterator<Item = MacAddr> {
        std::iter::once(self.mac_addr).chain(self.alt_mac_addrs.iter().copied())
    }

    /// A vnet with no property set, whose address is still to be chosen.
    pub fn new(switch: &str, id: u32) -> Self {
        Self {
            switch: switch.into(),
            id,
            mac_addr: MacAddr::default(),
            auto_mac: true,
            alt_mac_addrs: Vec::new(),
            pvid: None,
            vid: BTreeSet::new(),
            mtu: None,
            maxbw: None,
            phys_state: false,
            custom: false,
            max_mac_addrs: Allowance::default(),
            max_vlans: Allowance::default(),
            protection: BTreeSet::new(),
            allowed_ips: BTreeSet::new(),
            priority: None,
            cos: None,
        }
    }
}

/// Which vnet: names are unique in a domain. As text `domain/vnet`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VnetKey {
    /// The domain.
    pub domain: String,
    /// The vnet.
    pub name: String,
}

impl VnetKey {
    /// The vnet of this name in a domain.
    pub fn new(domain: &str, name: &str) -> Self {
        Self { domain: domain.into(), name: name.into() }
    }
}

impl std::fmt::Display for VnetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.domain, self.name)
    }
}

impl From<VnetKey> for String {
    fn from(key: VnetKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for VnetKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once('/') {
            Some((domain, name)) if !domain.is_empty() && !name.is_empty() => Ok(Self::new(domain, name)),
            _ => Err("a vnet is written as domain/vnet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_example_is_a_configuration_and_what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ldmd.toml");
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ldmd.toml.example"), &path).unwrap();
        let (mut file, before) = ConfigFile::open(&path).unwrap();
        assert_eq!((before.domains.len(), before.switches.len(), before.vnets.len()), (2, 1, 1));

        let mut after = before.clone();
        let places = [Place::Path("/run/ns/net".into()), Place::Pid(17), Place::Vm("/run/vm.sock".into())];
        for (number, place) in places.into_iter().enumerate() {
            after.domains.insert(format!("d{number}"), DomainConfig { place, stopped: number == 0 });
        }
        let key = VnetKey::new("ldg6", "vnet0");
        let vnet = after.vnets.get_mut(&key).unwrap();
        vnet.protection = [Protection::Restricted, Protection::IpNospoof].into();
        vnet.allowed_ips = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()].into();
        vnet.alt_mac_addrs = vec!["0:14:4f:0:0:1".parse().unwrap()];
        vnet.maxbw = Some(100_000_000);
        file.save(&before, &after).unwrap();
        let mut freed = after.clone();
        freed.vnets.get_mut(&key).unwrap().mac_addr = "0:14:4f:fc:0:1".parse().unwrap();
        freed.keep_freed(&after);
        assert_eq!(freed.manager.freed, ["0:14:4f:fa:12:2", "0:14:4f:f9:0:7"].map(|mac| mac.parse().unwrap()));
        file.save(&after, &freed).unwrap();
        drop(file);
        assert!(fs::read_to_string(&path).unwrap().contains("# The guest's link is net0."));
        assert_eq!(ConfigFile::open(&path).unwrap().1, freed);
    }

    #[test]
    fn a_value_that_is_impossible_is_refused_with_its_line() {
        for (text, line) in [
            ("[domains.d]\n", "line 1"),
            ("[switches.s]\ndomain = \"primary\"\nid = 0\nmac-addr = \"0:0:5e:0:0:1\"\nmtu = 16001\n", "line 5"),
            ("[vnets.v]\n", "line 1"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ldmd.toml");
            fs::write(&path, text).unwrap();
            let error = ConfigFile::open(&path).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
    }
}
