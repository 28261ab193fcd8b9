//! Multicast groups of aggregations and the filters of their ports, as they cross the control socket.

use serde::{Deserialize, Serialize};
use zlink::introspect::CustomType;

/// A group that somebody above an aggregation has asked for, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Group {
    /// The aggregation.
    pub aggregation: String,
    /// Its MAC address, `aa:bb:cc:dd:ee:ff`; absent: every group is wanted.
    pub group: Option<String>,
    /// The IP addresses of the groups that were reported and have this MAC address.
    pub addresses: Vec<String>,
    /// Who has asked: names of links, MAC addresses of guests, `earlier` for what an earlier daemon knew. For every group: why.
    pub askedby: Vec<String>,
}

/// A port of an aggregation, as far as groups go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct GroupPort {
    /// The aggregation.
    pub aggregation: String,
    /// Name of the port.
    pub port: String,
    /// `active` (it takes groups for the aggregation), `standby` (it takes over from that one), absent for others.
    pub role: Option<String>,
    /// What its filter lets through: `exact` (the groups that are wanted), `all`, `none`, or `short`: fewer than are
    /// wanted, because it can neither hold them nor take all.
    pub filter: String,
    /// How many groups are in it.
    pub groups: i64,
    /// How many it can hold; absent: nothing is known of a limit.
    pub limit: Option<i64>,
}

/// Reply of `ListGroups`, of which there are as many as it takes. Call it with `more`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct GroupsReply {
    /// Some of all groups, by aggregation; first of each that all are wanted, if they are.
    pub groups: Vec<Group>,
}

/// Reply of `ListGroupPorts`.
#[derive(Debug, Clone, Serialize, Deserialize, zlink::introspect::Type)]
pub struct GroupPortsReply {
    /// All ports, by aggregation.
    pub ports: Vec<GroupPort>,
}
