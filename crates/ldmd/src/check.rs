//! What holds in a configuration, whoever wrote it: requests are held to it one by one, a file edited by hand as a whole.

use std::collections::BTreeMap;

use dlmp_api::ldm::{Error, PRIMARY};
use dlmp_wire::MacAddr;

use crate::config::Config;
use crate::control::check_name;
use crate::{domains, switches, vnets};

impl Config {
    /// Checks names, device numbers and MAC addresses.
    ///
    /// # Errors
    /// The first thing that cannot be, in words.
    pub fn check(&self) -> Result<(), String> {
        self.check_names().map_err(|error| error.to_string())?;
        self.check_numbers()?;
        self.check_addresses()
    }

    fn check_names(&self) -> Result<(), Error> {
        if self.domains.contains_key(PRIMARY) {
            return Err(Error::refused(format!("{PRIMARY} is the host itself and cannot be another domain"), ""));
        }
        let vnets = self
            .vnets
            .keys()
            .flat_map(|key| [("domain", &key.domain, domains::NAME_MAX), ("vnet", &key.name, vnets::NAME_MAX)]);
        let switches = self.switches.iter().flat_map(|(name, switch)| {
            [("virtual switch", name, switches::NAME_MAX), ("domain", &switch.domain, domains::NAME_MAX)]
        });
        let domains = self.domains.keys().map(|name| ("domain", name, domains::NAME_MAX));
        domains.chain(switches).chain(vnets).try_for_each(|(what, name, longest)| check_name(what, name, longest))
    }

    fn check_numbers(&self) -> Result<(), String> {
        let mut taken = BTreeMap::new();
        let switches = self.switches.iter().map(|(name, switch)| (("switch", &switch.domain, switch.id), name.clone()));
        let vnets = self.vnets.iter().map(|(key, vnet)| (("vnet", &key.domain, vnet.id), key.to_string()));
        for (number, name) in switches.chain(vnets) {
            if let Some(other) = taken.insert(number, name.clone()) {
                return Err(format!("{other} and {name} have the same id {}", number.2));
            }
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), String> {
        let mut taken: BTreeMap<MacAddr, String> = BTreeMap::new();
        let switches = self.switches.iter().map(|(name, switch)| (switch.mac_addr, name.clone()));
        let vnets = self.vnets.iter().flat_map(|(key, vnet)| vnet.addresses().map(move |mac| (mac, key.to_string())));
        for (mac, name) in switches.chain(vnets) {
            if mac.is_group() || mac.is_zero() {
                return Err(format!("{name} has the MAC address {mac}, which is not that of a single station"));
            }
            if let Some(other) = taken.insert(mac, name.clone()) {
                return Err(format!("{other} and {name} have the same MAC address {mac}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCH: &str = "[switches.vsw0]\ndomain = \"primary\"\nid = 0\nmac-addr = \"0:14:4f:f8:0:1\"\n";
    const DOMAIN: &str = "[domains.ldg6]\nnamespace = { name = \"ldg6\" }\n";

    fn vnet(name: &str, id: u32, mac: &str) -> String {
        format!("[vnets.\"ldg6/{name}\"]\nswitch = \"vsw0\"\nid = {id}\nmac-addr = \"{mac}\"\n")
    }

    fn check(parts: &[&str]) -> Result<(), String> {
        toml_edit::de::from_str::<Config>(&parts.concat()).unwrap().check()
    }

    #[test]
    fn what_cannot_be_is_named() {
        let good = vnet("vnet0", 0, "0:14:4f:f8:0:2");
        assert_eq!(check(&[SWITCH, DOMAIN, &good]), Ok(()));
        let other_switch = SWITCH.replace("vsw0", "vsw1");
        for (part, words) in [
            (
                vnet("vnet1", 1, "0:14:4f:f8:0:2"),
                "ldg6/vnet0 and ldg6/vnet1 have the same MAC address 00:14:4f:f8:00:02",
            ),
            (vnet("vnet1", 1, "0:14:4f:f8:0:1"), "vsw0 and ldg6/vnet1 have the same MAC address"),
            (vnet("vnet1", 0, "0:14:4f:f8:0:3"), "ldg6/vnet0 and ldg6/vnet1 have the same id 0"),
            (vnet("vnet1", 1, "1:0:5e:0:0:3"), "not that of a single station"),
            (vnet("vnet 1", 1, "0:14:4f:f8:0:3"), "no name for a vnet"),
            (other_switch.replace("id = 0", "id = 1"), "vsw0 and vsw1 have the same MAC address"),
            (other_switch.replace("f8:0:1", "f8:0:9"), "vsw0 and vsw1 have the same id 0"),
            (SWITCH.replace("vsw0", "a-name-that-is-too-long"), "at most 15 characters"),
            (DOMAIN.replace("domains.ldg6", "domains.primary"), "primary is the host itself"),
        ] {
            let refused = check(&[SWITCH, DOMAIN, &good, &part]).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
