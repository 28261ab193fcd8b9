//! VNICs and the clients of aggregations, as they cross the control socket.

use serde::{Deserialize, Serialize};
use zlink::introspect::CustomType;

/// A request to create a VNIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct NewVnic {
    /// Name of the link to make, at most 15 bytes.
    pub name: String,
    /// The aggregation that it is to be over.
    pub link: String,
    /// MAC address, `aa:bb:cc:dd:ee:ff`; random in 02:08:20 when absent.
    pub mac: Option<String>,
    /// VLAN of its frames outside, 0 to 4094; 0: untagged.
    pub vlan: i64,
    /// Do not keep it beyond the next boot (`-t`).
    pub temporary: bool,
}

/// A VNIC, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Vnic {
    /// Name that it was made with; in another namespace its link may have been renamed.
    pub name: String,
    /// The aggregation that it is over.
    pub link: String,
    /// Speed of the aggregation in Mb/s; absent when unknown.
    pub speed: Option<i64>,
    /// MAC address, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// Where that address comes from: `random` or `fixed` (given).
    pub mackind: String,
    /// VLAN of its frames outside, 0 to 4094; 0: untagged.
    pub vlan: i64,
    /// `up` or `down` as the aggregation, or `absent` while its link does not exist.
    pub state: String,
    /// Not kept beyond the next boot.
    pub temporary: bool,
}

/// A client of an aggregation: an address and VLAN that sends through it, and where it sits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Client {
    /// The aggregation.
    pub aggregation: String,
    /// Name of the client's link, such as `aggr0`, `vnic1` or `aggr0.10`; absent for a learned one.
    pub link: Option<String>,
    /// MAC address, `aa:bb:cc:dd:ee:ff`.
    pub address: String,
    /// VLAN, 0 to 4094; 0: untagged.
    pub vlan: i64,
    /// `primary`, `vnic`, `vlan` (a VLAN link over the aggregation) or `learned` (behind a bridge).
    pub kind: String,
    /// The port that it sits on; absent while there is none.
    pub port: Option<String>,
}

/// Reply of `ListVnics`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct VnicsReply {
    /// All VNICs, by name.
    pub vnics: Vec<Vnic>,
}

/// Reply of `ListClients`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct ClientsReply {
    /// All clients, by aggregation.
    pub clients: Vec<Client>,
}
