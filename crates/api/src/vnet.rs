//! How a guest knows that a link of its is a virtual network device, and of what kind: by the link's alias.
//!
//! `ldmd` writes the alias of a link in a namespace itself. Into a virtual machine it sends the same text in a frame
//! (`docs/protocol.md`), and the machine's `dlmpd` writes it. A guest can change the alias of its own
//! links only, so it can deceive nobody but itself.

use std::fmt;
use std::str::FromStr;

/// Start of the alias of a guest's link.
const START: &str = "dlmp vnet";

/// What the alias says.
///
/// As text: `dlmp vnet vnet6 primary-vsw0 net-dev=net0 speed=1000 duplex=full linkprop=phys-state custom=enable`, where the last
/// five are left out when there is nothing to say. At most 255 bytes, as the kernel's limit is (`IFALIASZ`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VnetAlias {
    /// Name of the vnet.
    pub vnet: String,
    /// Name of its switch.
    pub switch: String,
    /// Uplink of the switch; absent: an Ethernet stub.
    pub net_dev: Option<String>,
    /// Speed of the uplink in Mb/s; absent when unknown.
    pub speed: Option<u32>,
    /// Duplex of the uplink, `full` or `half`; absent when unknown.
    pub duplex: Option<String>,
    /// `linkprop=phys-state` is set.
    pub phys_state: bool,
    /// `custom=enable` is set.
    pub custom: bool,
}

impl fmt::Display for VnetAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{START} {} {}", self.vnet, self.switch)?;
        if let Some(net_dev) = &self.net_dev {
            write!(f, " net-dev={net_dev}")?;
        }
        if let Some(speed) = self.speed {
            write!(f, " speed={speed}")?;
        }
        if let Some(duplex) = &self.duplex {
            write!(f, " duplex={duplex}")?;
        }
        if self.phys_state {
            f.write_str(" linkprop=phys-state")?;
        }
        if self.custom {
            f.write_str(" custom=enable")?;
        }
        Ok(())
    }
}

impl FromStr for VnetAlias {
    type Err = NotAVnet;

    /// Words that it does not know are left to later versions.
    fn from_str(text: &str) -> Result<Self, NotAVnet> {
        let mut words = text.strip_prefix(START).ok_or(NotAVnet)?.split(' ');
        let (Some(""), Some(vnet), Some(switch)) = (words.next(), words.next(), words.next()) else {
            return Err(NotAVnet);
        };
        let mut alias = Self { vnet: vnet.to_owned(), switch: switch.to_owned(), ..Self::default() };
        for word in words {
            match word.split_once('=') {
                Some(("net-dev", name)) => alias.net_dev = Some(name.to_owned()),
                Some(("speed", number)) => alias.speed = number.parse().ok(),
                Some(("duplex", duplex)) => alias.duplex = Some(duplex.to_owned()),
                Some(("linkprop", "phys-state")) => alias.phys_state = true,
                Some(("custom", "enable")) => alias.custom = true,
                _ => {}
            }
        }
        Ok(alias)
    }
}

/// The text is no alias of a vnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAVnet;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let full = VnetAlias {
            vnet: "vnet6".into(),
            switch: "primary-vsw0".into(),
            net_dev: Some("net0".into()),
            speed: Some(1000),
            duplex: Some("full".into()),
            phys_state: true,
            custom: true,
        };
        let text = "dlmp vnet vnet6 primary-vsw0 net-dev=net0 speed=1000 duplex=full linkprop=phys-state custom=enable";
        assert_eq!(full.to_string(), text);
        assert_eq!(text.parse(), Ok(full));
        let stub = VnetAlias { vnet: "v".into(), switch: "s".into(), ..VnetAlias::default() };
        assert_eq!(stub.to_string().parse(), Ok(stub));
    }

    #[test]
    fn other_aliases_are_none_and_unknown_words_are_passed_over() {
        for text in ["", "dlmp vnet", "dlmp vnet ", "dlmp vnet v", "dlmp vnets v s", "dlmp VNIC over aggr0"] {
            assert_eq!(text.parse::<VnetAlias>(), Err(NotAVnet), "{text}");
        }
        let later = "dlmp vnet v s speed=fast colour=red custom=disable".parse::<VnetAlias>().unwrap();
        assert_eq!(later, VnetAlias { vnet: "v".into(), switch: "s".into(), ..VnetAlias::default() });
    }
}
