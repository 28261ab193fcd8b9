//! What the configuration file holds.

use std::collections::BTreeMap;

use dlmp_wire::MacAddr;
use serde::{Deserialize, Serialize};

use crate::property::{PortProperties, Properties, VlanId};

/// The file.
pub type ConfigFile = dlmp_daemon::ConfigFile<Config>;

/// What is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Aggregations by name.
    pub aggregations: BTreeMap<String, AggregationConfig>,
    /// Properties of links that are or may become ports, by name.
    pub ports: BTreeMap<String, PortProperties>,
    /// VNICs by name.
    pub vnics: BTreeMap<String, VnicConfig>,
    /// IP interfaces by the name of their link.
    pub interfaces: BTreeMap<String, InterfaceConfig>,
    /// Address objects by name, `interface/name`.
    pub addresses: BTreeMap<String, AddressConfig>,
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AggregationConfig {
    /// MAC address of its primary interface.
    pub mac: MacAddr,
    /// Names of its ports.
    pub ports: Vec<String>,
    /// Properties that are set (`dladm set-linkprop`).
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub properties: Properties,
}

/// A VNIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VnicConfig {
    /// The aggregation that it is over.
    pub link: String,
    /// MAC address.
    pub mac: MacAddr,
    /// The address was not given but chosen at random.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub random_mac: bool,
    /// VLAN of its frames outside; 0: untagged.
    #[serde(default, skip_serializing_if = "VlanId::is_untagged")]
    pub vlan: VlanId,
}

/// An IP interface; nothing to set yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceConfig {}

/// An address object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub enum AddressConfig {
    /// A fixed address.
    Static {
        /// `address/prefix`.
        address: String,
        /// Kept, but not on the interface.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        down: bool,
    },
    /// An address from a DHCP server.
    Dhcp {
        /// Host name to ask for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hostname: Option<String>,
    },
    /// IPv6 addresses that the kernel makes by itself (RFC 4862).
    Addrconf {},
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use dlmp_daemon::ConfigError as Error;

    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dlmpd.toml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    const TEXT: &str = "# both go to the switches in the basement\n[aggregations.aggr0]\n# from the label\nmac = \"2:8:20:0:0:1\"\nports = [\"net0\"]\n\n[interfaces.eth9]\n";

    #[test]
    fn comments_and_what_did_not_change_stay() {
        let (_folder, path) = file(TEXT);
        let (mut file, before) = ConfigFile::open(&path).unwrap();
        let mut after = before.clone();
        after.aggregations.get_mut("aggr0").unwrap().ports.push("net1".into());
        after.addresses.insert("eth9/v4".into(), AddressConfig::Dhcp { hostname: None });
        file.save(&before, &after).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# both go to the switches in the basement\n[aggregations.aggr0]\n"), "{text}");
        assert!(text.contains("# from the label"), "{text}");
        drop(file);
        assert_eq!(ConfigFile::open(&path).unwrap().1, after);
    }

    #[test]
    fn what_is_written_is_read_again_and_a_property_that_stays_keeps_its_comment() {
        let text = format!("{TEXT}\n[aggregations.aggr0.properties]\n# as the router wants it\nprobe-fdt = \"50ms\"\n");
        let (_folder, path) = file(&text);
        let (mut file, before) = ConfigFile::open(&path).unwrap();
        let mut after = before.clone();
        let properties = &mut after.aggregations.get_mut("aggr0").unwrap().properties;
        properties.probe_ip = Some("+router.example,[aggr0]".parse().unwrap());
        properties.probe_vlan_id = Some(7.try_into().unwrap());
        after.addresses.insert("eth9/v6".into(), AddressConfig::Addrconf {});
        let vnic = |mac: &str, random_mac, vlan: u16| VnicConfig {
            link: "aggr0".into(),
            mac: mac.parse().unwrap(),
            random_mac,
            vlan: vlan.try_into().unwrap(),
        };
        after.vnics.insert("vnic1".into(), vnic("2:8:20:0:0:2", true, 0));
        after.vnics.insert("vnic2".into(), vnic("0:14:4f:0:0:3", false, 4094));
        file.save(&before, &after).unwrap();
        drop(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("# as the router wants it\nprobe-fdt = \"50ms\""), "{text}");
        assert!(text.contains("probe-ip = \"+router.example,[aggr0]+\""), "{text}");
        let (mut file, read) = ConfigFile::open(&path).unwrap();
        assert_eq!(read, after);

        let mut none = after.clone();
        none.aggregations.get_mut("aggr0").unwrap().properties = Properties::default();
        file.save(&after, &none).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("properties"));
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_line_and_left_as_it_is() {
        for (text, line) in [
            ("x = [", "line 1"),
            ("[aggregations.aggr0]\nmac = \"no\"\nports = []\n", "line 2"),
            ("[aggregation.aggr0]\n", "line 1"),
            ("[aggregations.a]\nmac = \"2:8:20:0:0:1\"\nports = []\nproperties.probe-fdt = \"1h\"\n", "line 4"),
            ("[aggregations.a]\nmac = \"2:8:20:0:0:1\"\nports = []\nproperties.probe-vlan-id = 4095\n", "line 4"),
            ("[vnics.v]\nlink = \"aggr0\"\nmac = \"2:8:20:0:0:1\"\nvlan = 4095\n", "line 4"),
        ] {
            let (_folder, path) = file(text);
            let error = ConfigFile::open(&path).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_file_that_was_damaged_meanwhile_is_not_overwritten() {
        let (_folder, path) = file(TEXT);
        let (mut file, before) = ConfigFile::open(&path).unwrap();
        fs::write(&path, "x = [").unwrap();
        assert!(file.save(&before, &Config::default()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "x = [");
    }

    #[test]
    fn one_file_serves_one_daemon() {
        let (_folder, path) = file("");
        let held = ConfigFile::open(&path).unwrap();
        assert!(matches!(ConfigFile::open(&path), Err(Error::InUse { .. })));
        drop(held);
        assert!(ConfigFile::open(&path).is_ok());
    }
}
