//! Values of properties, each with its range (reference: `ldm`(1M), Oracle VM Server for SPARC 3.5).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A VLAN, 1 to 4094; 1 unless something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(u16);

/// An MTU in bytes, 1500 to 16000; 1500 unless something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Mtu(u16);

/// How many MAC addresses or VLANs a guest may have, 1 to 4096; 4096 unless something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Allowance(u16);

/// A number that is out of its range.
#[derive(Debug, thiserror::Error)]
#[error("a number from {least} to {greatest}")]
pub struct OutOfRange {
    least: u16,
    greatest: u16,
}

macro_rules! ranged {
    ($type:ident, $least:literal to $greatest:literal, default $default:literal) => {
        impl $type {
            /// The number.
            pub const fn number(self) -> u16 {
                self.0
            }
        }

        impl Default for $type {
            fn default() -> Self {
                Self($default)
            }
        }

        impl TryFrom<u16> for $type {
            type Error = OutOfRange;

            fn try_from(number: u16) -> Result<Self, OutOfRange> {
                match number {
                    $least..=$greatest => Ok(Self(number)),
                    _ => Err(OutOfRange { least: $least, greatest: $greatest }),
                }
            }
        }

        impl From<$type> for u16 {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl FromStr for $type {
            type Err = OutOfRange;

            fn from_str(text: &str) -> Result<Self, OutOfRange> {
                // Any other number that is not one at all is out of range, too.
                text.parse().unwrap_or(0).try_into()
            }
        }
    };
}

ranged!(VlanId, 1 to 4094, default 1);
ranged!(Mtu, 1500 to 16000, default 1500);
ranged!(Allowance, 1 to 4096, default 4096);

/// Defines a property whose values are words.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$each:meta])* $name:ident = $word:literal),+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $type {
            $($(#[$each])* #[serde(rename = $word)] $name),+
        }

        impl $type {
            /// All of them, in words.
            pub const WORDS: &[&str] = &[$($word),+];

            /// As it is typed.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }
        }

        impl FromStr for $type {
            type Err = NotOneOf;

            fn from_str(text: &str) -> Result<Self, NotOneOf> {
                match text {
                    $($word => Ok(Self::$name),)+
                    _ => Err(NotOneOf(Self::WORDS)),
                }
            }
        }
    };
}

/// A word that is none of those which are possible.
#[derive(Debug)]
pub struct NotOneOf(&'static [&'static str]);

impl fmt::Display for NotOneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", self.0.join(", "))
    }
}

words! {
    /// Whether the vnets of a switch reach each other.
    #[derive(Default)]
    InterVnet {
        /// They do: a Linux bridge needs no channels between them that could become too many.
        #[default]
        Auto = "auto",
        /// They do.
        On = "on",
        /// They reach the uplink and the switch itself, but not each other.
        Off = "off"
    }
}

words! {
    /// Priority of a guest's frames in the queues of the uplink.
    Priority {
        /// Before others.
        High = "high",
        /// As others.
        Medium = "medium",
        /// After others.
        Low = "low"
    }
}

words! {
    /// What is checked of a guest's frames (`dladm`(8), `protection`).
    Protection {
        /// Their source MAC address is the vnet's own or an alternate one.
        MacNospoof = "mac-nospoof",
        /// Their source IP address is an allowed one.
        IpNospoof = "ip-nospoof",
        /// What they say of themselves to DHCP servers is true, and they are no server's.
        DhcpNospoof = "dhcp-nospoof",
        /// They are IPv4, IPv6 or ARP.
        Restricted = "restricted"
    }
}
