//! Properties of switches and vnets: what they can be set to, and what they are typed as.

mod mac;
mod switch;
mod value;
mod vnet;

use dlmp_api::ldm::Error;

pub use mac::{Short, Taken};
pub use switch::set_switch;
pub use value::{Allowance, InterVnet, Mtu, Priority, Protection, VlanId};
pub use vnet::set_vnet;

/// Why a property of the original cannot be set here.
fn without_equivalent(property: &str) -> Option<&'static str> {
    Some(match property {
        "mode" => "hybrid I/O (mode) gives a guest a slot of a SPARC network card: a Linux vnet has no such mode",
        "pvlan" => {
            "private VLANs: a Linux bridge has none; inter-vnet-link=off keeps the vnets of a switch from each other"
        }
        "vsw-relay-mode" => "a Linux bridge never sends a frame back through its uplink (vsw-relay-mode=remote)",
        "allowed-dhcp-cids" => "DHCP client identifiers are not looked at; dhcp-nospoof holds the hardware address",
        "mac-collision-check" => {
            "it is not one of a vnet or a switch: set mac-collision-check = true under [manager] in the configuration file"
        }
        _ => return None,
    })
}

/// The property does not exist, or not on Linux.
fn unknown(property: &str, known: &[&str]) -> Error {
    match without_equivalent(property) {
        Some(reason) => refused(format!("the property {property} cannot be set: {reason}")),
        None => refused(format!("there is no property {property}; there are: {}", known.join(", "))),
    }
}

/// A property's value is not one that it can have.
fn impossible(property: &str, value: &str, possible: &str) -> Error {
    refused(format!("{property}={value}: {property} is {possible}"))
}

fn refused(reason: String) -> Error {
    Error::refused(reason, "")
}
