//! The values that cross the control socket of `ldmd`.

use serde::{Deserialize, Serialize};
use zlink::introspect::{CustomType, Type};

/// The domain that `ldmd` itself runs in. It is always there.
pub const PRIMARY: &str = "primary";

/// Who answers on this socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct LdmdInfo {
    /// Version of the daemon, as in its package.
    pub version: String,
    /// Process id of the daemon, in its own pid namespace.
    pub pid: i64,
    /// The configuration file that it reads and writes.
    pub config: String,
}

/// A request to add a domain. At most one of the places is given; none: the named namespace of the domain's name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, CustomType)]
pub struct NewDomain {
    /// Name of the domain.
    pub name: String,
    /// A named network namespace (`ip netns`), made if it is missing.
    pub namespace: Option<String>,
    /// The file of a network namespace that exists.
    pub path: Option<String>,
    /// A process whose network namespace it is.
    pub pid: Option<i64>,
    /// A virtual machine: path of its emulator's control socket (QMP), which need not exist yet. It serves one program at
    /// a time, so this one is for `ldmd` alone.
    pub vm: Option<String>,
}

/// A property and its value as typed, `property=value`; an empty value resets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Setting {
    /// The property.
    pub property: String,
    /// Its value.
    pub value: String,
}

/// A request to add a virtual switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct NewSwitch {
    /// Name of the switch and of its bridge, at most 15 bytes.
    pub name: String,
    /// The service domain.
    pub domain: String,
    /// Properties.
    pub settings: Vec<Setting>,
}

/// A request to add a virtual network device to a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct NewVnet {
    /// Name of the device, unique in its domain.
    pub name: String,
    /// The switch that it is connected to.
    pub switch: String,
    /// The domain that it belongs to.
    pub domain: String,
    /// Properties.
    pub settings: Vec<Setting>,
}

/// A domain, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Domain {
    /// Name.
    pub name: String,
    /// `active`, `bound` (stopped) or `inactive` (its namespace or its emulator is not there).
    pub state: String,
    /// What it is: `control`, `namespace` or `vm`.
    pub kind: String,
    /// Its namespace's name or file, `pid N`, or the emulator's control socket.
    pub place: String,
    /// How many virtual switches it offers.
    pub switches: i64,
    /// How many virtual network devices it has.
    pub vnets: i64,
    /// Seconds since it became active; absent while it is not.
    pub uptime: Option<i64>,
    /// What is wrong with it, in words.
    pub problem: Option<String>,
}

/// A virtual switch, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Switch {
    /// Name of the switch and of its bridge.
    pub name: String,
    /// The service domain.
    pub domain: String,
    /// MAC address of its bridge, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// The uplink; absent: an Ethernet stub.
    pub netdev: Option<String>,
    /// Device number.
    pub id: i64,
    /// `phys-state` is set on the switch itself.
    pub physstate: bool,
    /// VLAN of what has no `pvid` of its own, 1 to 4094.
    pub defaultvlan: i64,
    /// VLAN of its own untagged frames, 1 to 4094.
    pub pvid: i64,
    /// VLANs of its own tagged frames.
    pub vids: Vec<i64>,
    /// MTU in bytes.
    pub mtu: i64,
    /// `on`, `off` or `auto`.
    pub intervnet: String,
    /// `up` or `down`: its uplink's carrier, or for an Ethernet stub whether the switch is there.
    pub state: String,
    /// Speed of the uplink in Mb/s; absent when unknown.
    pub speed: Option<i64>,
    /// Duplex of the uplink: `full`, `half` or `unknown`.
    pub duplex: String,
    /// What is wrong with it, in words.
    pub problem: Option<String>,
}

/// A virtual network device, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Vnet {
    /// Name, unique in its domain.
    pub name: String,
    /// The domain that it belongs to.
    pub domain: String,
    /// The switch that it is connected to.
    pub switch: String,
    /// The service domain of that switch.
    pub service: String,
    /// MAC address, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// Alternate MAC addresses.
    pub alternates: Vec<String>,
    /// VLAN of its untagged frames, 1 to 4094.
    pub pvid: i64,
    /// VLANs of its tagged frames.
    pub vids: Vec<i64>,
    /// Device number; the guest's link is `net` and this number.
    pub id: i64,
    /// `phys-state` is set.
    pub physstate: bool,
    /// MTU in bytes.
    pub mtu: i64,
    /// Limit of its traffic through the switch in bits a second; absent: none.
    pub maxbw: Option<i64>,
    /// The guest may have MAC addresses and VLANs of its own.
    pub custom: bool,
    /// How many MAC addresses then.
    pub maxmacs: i64,
    /// How many VLANs then.
    pub maxvlans: i64,
    /// `high`, `medium` or `low`; absent when not set.
    pub priority: Option<String>,
    /// Class of service, 0 to 7; absent when not set.
    pub cos: Option<i64>,
    /// Protections in force.
    pub protection: Vec<String>,
    /// IP addresses that the guest may use, with ip-nospoof.
    pub allowedips: Vec<String>,
    /// `up` or `down`, as the guest sees it.
    pub state: String,
    /// Speed of the uplink behind it in Mb/s; absent when unknown.
    pub speed: Option<i64>,
    /// Duplex of that uplink: `full`, `half` or `unknown`.
    pub duplex: String,
    /// MAC addresses of the guest that are in use.
    pub macs: i64,
    /// VLANs of the guest that are in use.
    pub vlans: i64,
    /// Frames that the guard dropped or saw, by the reason's name (`docs/datapath.md`).
    pub counters: Vec<crate::RuleCount>,
    /// What is wrong with it, in words.
    pub problem: Option<String>,
}

/// A network device of a domain, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Netdev {
    /// The domain.
    pub domain: String,
    /// Name of the link.
    pub name: String,
    /// `PHYS`, `VNET`, `VSW`, `ESTUB`, `AGGR`, `VNIC`, `VLAN`, `BRIDGE` or `VIRT` (any other virtual link).
    pub class: String,
    /// `ETHER`.
    pub media: String,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// Speed in Mb/s; absent when unknown.
    pub speed: Option<i64>,
    /// What it is over: the device of a vnet, the uplink of a switch, the aggregation of a VNIC. Empty for an aggregation, whose
    /// ports its own `dlmpd` knows alone.
    pub over: Vec<String>,
    /// Where it is, for vnets `switch/vnet`.
    pub location: Option<String>,
    /// MAC address, `aa:bb:cc:dd:ee:ff`.
    pub mac: Option<String>,
    /// MTU in bytes.
    pub mtu: i64,
}

/// What the daemon shares with the managers of other hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Manager {
    /// Interfaces that other managers are heard on.
    pub interfaces: Vec<ManagerInterface>,
    /// Time to live of what is sent to all of them, 1 to 32.
    pub hops: i64,
    /// TCP port that they are told for management.
    pub port: i64,
    /// MAC addresses that are claimed and wait to be used.
    pub ready: Vec<String>,
    /// Automatic MAC addresses that were freed, the one to be used next first.
    pub freed: Vec<String>,
    /// MAC addresses of this host that other managers use too.
    pub collisions: Vec<MacCollision>,
    /// Messages, by what they were and what became of them (`docs/protocol.md`, "Managers").
    pub counters: Vec<crate::RuleCount>,
}

/// An interface that other managers are heard on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct ManagerInterface {
    /// Its name.
    pub name: String,
    /// The IPv4 address that messages are sent from.
    pub address: String,
}

/// A MAC address that another manager uses too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct MacCollision {
    /// The address, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// IPv4 address of the other manager.
    pub manager: String,
    /// Name of its host, if it said one.
    pub host: Option<String>,
}

/// Reply of `GetInfo`.
#[derive(Debug, Clone, Serialize, Deserialize, Type)]
pub struct InfoReply {
    /// Who answers.
    pub info: LdmdInfo,
}

/// Reply of `GetManager`.
#[derive(Debug, Clone, Serialize, Deserialize, Type)]
pub struct ManagerReply {
    /// The daemon among other managers.
    pub manager: Manager,
}

/// Reply of `AttachVnet`.
#[derive(Debug, Clone, Serialize, Deserialize, Type)]
pub struct AttachReply {
    /// Which of the file descriptors that come with the reply is the emulator's end of the tap.
    pub fd: i64,
}

/// One of the replies of `ListDomains`.
#[derive(Debug, Clone, Serialize, Deserialize, Type)]
pub struct DomainsReply {
    /// Further domains; all together are sorted by name.
    pub domains: Vec<Domain>,
}

/// One of the replies of `ListSwitches`.
#[derive(Debug, Clone, Serialize, Deserialize, Type)]
pub struct SwitchesReply {
    /// Further switches; all together are sorted by name.
    pub switches: Vec<Switch>,
}

/// One of the replies of `ListVnets`.
#[derive(Debug, Clone, Serialize, Deserialize, Type)]
pub struct VnetsReply {
    /// Further vnets; all together are sorted by domain and device number.
    pub vnets: Vec<Vnet>,
}

/// One of the replies of `ListNetdevs`.
#[derive(Debug, Clone, Serialize, Deserialize, Type)]
pub struct NetdevsReply {
    /// Further devices; all together are sorted by domain, then in the kernel's order.
    pub netdevs: Vec<Netdev>,
}
