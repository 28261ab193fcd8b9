//! MAC addresses.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A 48-bit IEEE 802 MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it names a group (multicast or broadcast): the low bit of the first octet.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The address that packets to an IP multicast group are sent to (RFC 1112, 6.4; RFC 2464, 7). Several groups
    /// share one: it has the group's low 23 bits for IPv4, its low 32 bits for IPv6.
    pub const fn group(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(group) => {
                let [_, a, b, c] = group.octets();
                Self([0x01, 0, 0x5e, a & 0x7f, b, c])
            }
            IpAddr::V6(group) => {
                let [.., a, b, c, d] = group.octets();
                Self([0x33, 0x33, a, b, c, d])
            }
        }
    }

    /// Whether all octets are zero.
    pub const fn is_zero(self) -> bool {
        matches!(self.0, [0, 0, 0, 0, 0, 0])
    }

    /// Whether it is one of 01:80:c2:00:00:00 to :0f, which bridges never forward
    /// (IEEE 802.1Q, table 8-1).
    pub const fn is_link_local(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
    }

    /// The form that Solaris prints, without leading zeros: `2:8:20:88:84:ba`.
    pub const fn short(self) -> Short {
        Short(self)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Display without leading zeros, see [`MacAddr::short`].
#[derive(Clone, Copy)]
pub struct Short(MacAddr);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0.0;
        write!(f, "{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{g:x}")
    }
}

/// The text is no MAC address of six hexadecimal octets with colons between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: six hexadecimal octets with colons, such as 2:8:20:88:84:ba")
    }
}

impl core::error::Error for ParseMacError {}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    /// Reads `2:8:20:88:84:ba` and `02:08:20:88:84:ba`.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or(ParseMacError)?;
            if !matches!(part.len(), 1 | 2) || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        match parts.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(ParseMacError),
        }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = MacAddr;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a MAC address such as 02:08:20:88:84:ba")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MacAddr, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn both_spellings_are_read() {
        let mac = MacAddr([0x02, 0x08, 0x20, 0x88, 0x84, 0xba]);
        assert_eq!("2:8:20:88:84:ba".parse(), Ok(mac));
        assert_eq!("02:08:20:88:84:BA".parse(), Ok(mac));
        assert_eq!(mac.to_string(), "02:08:20:88:84:ba");
        assert_eq!(mac.short().to_string(), "2:8:20:88:84:ba");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "1:2:3:4:5",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:",
            "100:2:3:4:5:6",
            "g:2:3:4:5:6",
            "+1:2:3:4:5:6",
            "01-02-03-04-05-06",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(ParseMacError), "{text}");
        }
    }

    #[test]
    fn groups_have_the_addresses_of_the_rfcs() {
        for (group, mac) in [
            ("224.0.0.251", "01:00:5e:00:00:fb"),
            ("239.129.2.3", "01:00:5e:01:02:03"),
            ("239.255.255.255", "01:00:5e:7f:ff:ff"),
            ("ff02::1:ff88:84ba", "33:33:ff:88:84:ba"),
        ] {
            assert_eq!(MacAddr::group(group.parse().unwrap()).to_string(), mac, "{group}");
        }
    }

    proptest! {
        #[test]
        fn printed_addresses_are_read_back(octets: [u8; 6]) {
            let mac = MacAddr(octets);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            prop_assert_eq!(mac.short().to_string().parse(), Ok(mac));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<MacAddr>();
        }
    }
}
