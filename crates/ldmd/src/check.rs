//! What requests make sure of, and a file edited by hand need not hold: MAC addresses and numbers are given once.

use std::collections::{BTreeMap, BTreeSet};

use dlmp_api::ldm::PRIMARY;
use dlmp_wire::MacAddr;

use crate::config::{Config, VnetConfig};

impl Config {
    /// Whether a domain is named like the host itself.
    ///
    /// # Errors
    /// One is, in words.
    pub fn check(&self) -> Result<(), String> {
        match self.domains.contains_key(PRIMARY) {
            true => Err(format!("{PRIMARY} is the host itself and cannot be another domain")),
            false => Ok(()),
        }
    }

    /// MAC addresses that are given to several, or cannot be those of a single station.
    pub fn wrong_addresses(&self) -> BTreeSet<MacAddr> {
        let mut seen = BTreeSet::new();
        let switches = self.switches.values().map(|switch| switch.mac_addr);
        let all = switches.chain(self.vnets.values().flat_map(VnetConfig::addresses));
        all.filter(|mac| !seen.insert(*mac) || mac.is_group() || mac.is_zero()).collect()
    }

    /// What is given twice, in words.
    pub fn twins(&self) -> Vec<String> {
        let mut taken = BTreeMap::new();
        let mut twins = Vec::new();
        let switches = self.switches.iter().map(|(name, switch)| (("switch", &switch.domain, switch.id), name.clone()));
        let vnets = self.vnets.iter().map(|(key, vnet)| (("vnet", &key.domain, vnet.id), key.to_string()));
        for (number, name) in switches.chain(vnets) {
            if let Some(other) = taken.insert(number, name.clone()) {
                twins.push(format!("{other} and {name} have the same id {}", number.2));
            }
        }
        twins.extend(self.wrong_addresses().iter().map(|mac| wrong_address(*mac)));
        twins
    }
}

/// What is wrong with one of [`Config::wrong_addresses`].
pub fn wrong_address(mac: MacAddr) -> String {
    match mac.is_group() || mac.is_zero() {
        true => format!("the MAC address {mac} is not that of a single station"),
        false => format!("the MAC address {mac} is given twice"),
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

    fn config(parts: &[&str]) -> Config {
        toml_edit::de::from_str(&parts.concat()).unwrap()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = vnet("vnet0", 0, "0:14:4f:f8:0:2");
        assert_eq!(config(&[SWITCH, DOMAIN, &good]).twins(), [""; 0]);
        let other_switch = SWITCH.replace("vsw0", "vsw1");
        for (part, words) in [
            (vnet("vnet1", 1, "0:14:4f:f8:0:2"), "the MAC address 00:14:4f:f8:00:02 is given twice"),
            (vnet("vnet1", 1, "0:14:4f:f8:0:1"), "the MAC address 00:14:4f:f8:00:01 is given twice"),
            (vnet("vnet1", 0, "0:14:4f:f8:0:3"), "ldg6/vnet0 and ldg6/vnet1 have the same id 0"),
            (vnet("vnet1", 1, "1:0:5e:0:0:3"), "the MAC address 01:00:5e:00:00:03 is not that of a single station"),
            (other_switch.replace("id = 0", "id = 1"), "the MAC address 00:14:4f:f8:00:01 is given twice"),
            (other_switch.replace("f8:0:1", "f8:0:9"), "vsw0 and vsw1 have the same id 0"),
        ] {
            assert_eq!(config(&[SWITCH, DOMAIN, &good, &part]).twins(), [words]);
        }
        let primary = config(&[&DOMAIN.replace("domains.ldg6", "domains.primary")]);
        assert!(primary.check().unwrap_err().contains("primary is the host itself"));
    }
}
