//! The values that cross the control socket of `dlmpd`.

use serde::{Deserialize, Serialize};
use zlink::introspect::CustomType;

/// The varlink interface name of `dlmpd`.
pub const INTERFACE: &str = "io.dlmp.Aggregation";

/// Who answers on this socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct DaemonInfo {
    /// Version of the daemon, as in its package.
    pub version: String,
    /// Process id of the daemon, in its own pid namespace.
    pub pid: i64,
    /// The configuration file that it reads and writes.
    pub config: String,
    /// How its programs are attached: `tcx` or `clsact`.
    pub attachment: String,
}

/// A request to create an aggregation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct NewAggregation {
    /// Name of the link to make, at most 15 bytes.
    pub name: String,
    /// Names of its ports, in the order given.
    pub ports: Vec<String>,
    /// MAC address, `aa:bb:cc:dd:ee:ff`; random in 02:08:20 when absent.
    pub mac: Option<String>,
    /// Do not keep it beyond the next boot (`-t`).
    pub temporary: bool,
    /// Accept ports whose speeds differ or that cannot report their link (`-f`).
    pub force: bool,
}

/// A request to add ports to an aggregation, or to remove them from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct PortChange {
    /// The aggregation.
    pub aggregation: String,
    /// The ports to add or to remove.
    pub ports: Vec<String>,
    /// Do not keep the change beyond the next boot (`-t`).
    pub temporary: bool,
    /// Accept ports whose speeds differ or that cannot report their link (`-f`); adding only.
    pub force: bool,
}

/// An aggregation, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Aggregation {
    /// Name of the link.
    pub name: String,
    /// Always `dlmp`.
    pub mode: String,
    /// MAC address of the primary interface, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: i64,
    /// `up` when at least one port's link is up, else `down`.
    pub state: String,
    /// Speed in Mb/s: the sum is never formed, it is the speed of one port; absent when unknown.
    pub speed: Option<i64>,
    /// `full`, `half` or `unknown`.
    pub duplex: String,
    /// Not kept beyond the next boot.
    pub temporary: bool,
    /// Which failure detection is in force, in words: `link`, or with probing what that rests on.
    pub detection: String,
    /// The port that group-addressed frames are taken from; absent while no port is usable.
    pub multicast_port: Option<String>,
    /// What keeps it from being operable though it may work now, in words: of vnets among its ports or of their switches, of
    /// VLANs that a port's card drops, and of addresses that others put on ports.
    pub problems: Vec<String>,
    /// Its ports, in configuration order.
    pub ports: Vec<Port>,
}

/// A port of an aggregation, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Port {
    /// Name of the link.
    pub name: String,
    /// Its own MAC address; absent while the link does not exist.
    pub mac: Option<String>,
    /// Link state: `up`, `down`, or `absent` while the link does not exist.
    pub state: String,
    /// Speed in Mb/s; absent when the device does not say.
    pub speed: Option<i64>,
    /// `full`, `half` or `unknown`.
    pub duplex: String,
    /// Health as the engine judges it: `active` or `failed`.
    pub health: String,
    /// Why the port has that health, in words.
    pub reason: String,
    /// `attached` when the datapath runs on it, else `detached`.
    pub portstate: String,
    /// The clients that sit on it (names of their links).
    pub clients: Vec<String>,
    /// Four positions, `-` where clear (reference of the format: `docs/commands.md`, `show-aggr -S`):
    /// `u` link up or `d` down, `p` ICMP prober, `2` L2 active, `3` ICMP active.
    pub flags: String,
    /// Addresses of the targets that its probes ask.
    pub targets: Vec<String>,
    /// Names of the ports that it exchanges transitive probes with.
    pub xtargets: Vec<String>,
    /// How its card is made to let in the VLANs of clients and probes: `registered`, `filter-off`, `promiscuous`, or `refused` when
    /// some do not come in; absent when nothing need be done.
    pub vlans: Option<String>,
}

/// A probe that went out or was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct ProbeNews {
    /// When it went out, by CLOCK_MONOTONIC, in nanoseconds.
    pub time: i64,
    /// The aggregation.
    pub aggregation: String,
    /// The port that it left through.
    pub port: String,
    /// Source address, or the asking port's name.
    pub local: String,
    /// Target address, or the asked port's name.
    pub target: String,
    /// `i` (ICMP echo), `a` (ARP probe or neighbour solicitation) or `t` (transitive), and the
    /// sequence number.
    pub probe: String,
    /// From sending to the arrival of the answer, in nanoseconds; absent while there is none.
    pub netrtt: Option<i64>,
    /// From sending until the answer was dealt with, in nanoseconds; absent while there is none.
    pub rtt: Option<i64>,
}

/// A change of state, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct StateNews {
    /// When, by CLOCK_REALTIME, in nanoseconds since 1970.
    pub time: i64,
    /// The aggregation.
    pub aggregation: String,
    /// The port, unless it is about the whole aggregation.
    pub port: Option<String>,
    /// The new state: `active`, `failed`, `moved`; `detection` when that changed; `problem` and `solved` for what
    /// `show-aggr` reports as a problem.
    pub state: String,
    /// Why, in words.
    pub reason: String,
}

/// Traffic counted by the datapath for one port of an aggregation.
///
/// These count what the aggregation sent and received through the port. The device's own counters
/// also hold what the receive rules dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct PortStatistics {
    /// The aggregation.
    pub aggregation: String,
    /// The port.
    pub port: String,
    /// Packets delivered to the aggregation from this port.
    pub ipackets: i64,
    /// Bytes delivered to the aggregation from this port, Ethernet headers included.
    pub rbytes: i64,
    /// Packets sent by the aggregation through this port.
    pub opackets: i64,
    /// Bytes sent by the aggregation through this port, Ethernet headers included.
    pub obytes: i64,
    /// Frames that a rule dropped or treated specially, by the rule's name.
    pub rules: Vec<RuleCount>,
}

/// How often one rule of the datapath applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct RuleCount {
    /// Name of the counter, as in `docs/datapath.md`.
    pub name: String,
    /// Frames.
    pub count: i64,
}

/// An IP interface that `dlmpd` keeps (`create-ip`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Interface {
    /// Name of the link under it.
    pub name: String,
    /// Not kept beyond the next boot.
    pub temporary: bool,
}

/// A request to create an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct NewAddress {
    /// Address object (`aggr0/v4`), or an interface (`aggr0`): then the daemon chooses `v4`, `v4a`...
    pub object: String,
    /// `static`, `dhcp` or `addrconf`.
    pub kind: String,
    /// `address[/prefix]` of a static address; prefix by address class (IPv4) or 64 when absent.
    pub address: Option<String>,
    /// Host name to ask the DHCP server for.
    pub hostname: Option<String>,
    /// Create it down: kept and shown, but not on the interface (`-d`, static only).
    pub down: bool,
    /// Do not keep it beyond the next boot (`-t`).
    pub temporary: bool,
}

/// An address object that `dlmpd` keeps (`create-addr`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Address {
    /// Address object, `interface/name`.
    pub object: String,
    /// `static`, `dhcp` or `addrconf`.
    pub kind: String,
    /// `ok`, `tentative` (DHCP still asking), `down`, `disabled` (not on its link), `duplicate` or `inaccessible` (no such
    /// link, or its traffic is led astray by what others put on a port).
    pub state: String,
    /// `address/prefix`, with `addrconf` the link-local one; absent while there is none.
    pub address: Option<String>,
    /// Seconds until the DHCP lease ends.
    pub lease: Option<i64>,
    /// What keeps a `tentative` address from being `ok`, in words.
    pub problem: Option<String>,
    /// Not kept beyond the next boot.
    pub temporary: bool,
}

/// A property of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct LinkProperty {
    /// The link.
    pub link: String,
    /// The property.
    pub property: String,
    /// What it is set to; absent while it is not set.
    pub value: Option<String>,
    /// What is in force; absent when nothing is.
    pub effective: Option<String>,
    /// What is in force while it is not set; absent when nothing is.
    pub default: Option<String>,
    /// What it can be set to, in words.
    pub possible: String,
}

/// A property to set, or to reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct PropertyChange {
    /// The property.
    pub property: String,
    /// What to set it to; absent: reset it to its default.
    pub value: Option<String>,
}

/// A request to change properties of a link: all of them or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct PropertyRequest {
    /// The link.
    pub link: String,
    /// The changes.
    pub changes: Vec<PropertyChange>,
    /// Do not keep them beyond the next boot (`-t`).
    pub temporary: bool,
}

/// Reply of `GetInfo`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct InfoReply {
    /// Who answers.
    pub info: DaemonInfo,
}

/// Reply of `ListAggregations`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct AggregationsReply {
    /// All aggregations, by name.
    pub aggregations: Vec<Aggregation>,
}

/// Reply of `GetStatistics`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct StatisticsReply {
    /// One entry a port, by aggregation and then in configuration order.
    pub ports: Vec<PortStatistics>,
}

/// Reply of `ListInterfaces`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct InterfacesReply {
    /// All IP interfaces that the daemon keeps, by name.
    pub interfaces: Vec<Interface>,
}

/// Reply of `ListAddresses`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct AddressesReply {
    /// All address objects that the daemon keeps, by name.
    pub addresses: Vec<Address>,
}

/// Reply of `CreateAddress`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct ObjectReply {
    /// The address object that was made.
    pub object: String,
}

/// Reply of `ListLinkProperties`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct PropertiesReply {
    /// All properties, by link.
    pub properties: Vec<LinkProperty>,
}

/// One reply of `WatchProbes`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct ProbeReply {
    /// What happened; absent in a reply that only tells of missed ones.
    pub probe: Option<ProbeNews>,
    /// How many were missed since the last reply, the watcher having been too slow.
    pub missed: i64,
}

/// One reply of `WatchStates`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct StateReply {
    /// What happened; absent in a reply that only tells of missed ones.
    pub change: Option<StateNews>,
    /// How many were missed since the last reply, the watcher having been too slow.
    pub missed: i64,
}
