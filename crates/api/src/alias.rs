//! What the daemon writes on the links that it makes, so that a command knows them without asking.

/// Alias of the link that is an aggregation.
pub const AGGREGATION_ALIAS: &str = "dlmp aggregation";
/// Start of the alias of a VNIC, in whatever namespace it is; the aggregation's name follows.
pub const VNIC_ALIAS: &str = "dlmp VNIC over";
/// Start of the alias of the lower end of either, which no command shows; the link's name follows.
pub const LOWER_ALIAS: &str = "dlmp lower end of";
/// Start of the alias of a device that only registers a VLAN with a port's driver; no command shows it. The port's name follows.
pub const PORT_VLAN_ALIAS: &str = "dlmp VLAN let in by";
/// Start of the alias of the switch end of a vnet; domain and vnet follow, `domain/vnet`.
pub const SWITCH_END_ALIAS: &str = "dlmp switch end of";
/// Alias of the bridge that is a virtual switch.
pub const SWITCH_ALIAS: &str = "dlmp virtual switch";
