//! The configuration file: read, checked, and written atomically with comments kept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dlmp_wire::MacAddr;
use serde::{Deserialize, Serialize};
use toml_edit::{DocumentMut, Item, Table, TableLike};

use crate::property::{PortProperties, Properties, VlanId};

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

/// The file, locked against other daemons for as long as this value lives.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    _lock: File,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read or written.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what it should be; the text names the line and the reason.
    #[error("{path} is damaged and was left as it is:\n{reason}\n  correct the file, or move it away to start with an empty configuration", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        reason: String,
    },
    /// Another daemon has it.
    #[error("{path} is in use by another dlmpd, of another network namespace: give each its own, by --config or DLMP_CONFIG", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

impl ConfigFile {
    /// Locks the file and reads it. A missing file is an empty configuration.
    ///
    /// # Errors
    /// The file is damaged, unreadable or in use by another daemon.
    pub fn open(path: &Path) -> Result<(Self, Config), Error> {
        let io_error = |what| {
            let path = path.to_owned();
            move |source| Error::Io { what, path, source }
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        // The file itself is replaced when it is written, so the lock is on a file beside it.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        fs::create_dir_all(folder).map_err(io_error("make the folder of"))?;
        let lock = File::create(folder.join(name)).map_err(io_error("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Error::InUse { path: path.to_owned() });
            }
            Err(fs::TryLockError::Error(error)) => return Err(io_error("lock")(error)),
        }
        let file = Self { path: path.to_owned(), _lock: lock };
        let config = file.parse(&file.text()?)?;
        Ok((file, config))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the configuration in place of the old one, all or nothing. Comments and order of what
    /// did not change stay.
    ///
    /// # Errors
    /// The file was damaged by somebody since it was read, or cannot be written.
    pub fn save(&self, before: &Config, after: &Config) -> Result<(), Error> {
        let text = self.text()?;
        self.parse(&text)?;
        let mut document = self.document(&text)?;
        sync(&mut document, "aggregations", &before.aggregations, &after.aggregations);
        sync(&mut document, "ports", &before.ports, &after.ports);
        sync(&mut document, "vnics", &before.vnics, &after.vnics);
        sync(&mut document, "interfaces", &before.interfaces, &after.interfaces);
        sync(&mut document, "addresses", &before.addresses, &after.addresses);
        write_atomically(&self.path, document.to_string().as_bytes()).map_err(|source| Error::Io {
            what: "write",
            path: self.path.clone(),
            source,
        })
    }

    fn text(&self) -> Result<String, Error> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(self.damaged("it is not UTF-8 text")),
            Err(source) => Err(Error::Io { what: "read", path: self.path.clone(), source }),
        }
    }

    fn parse(&self, text: &str) -> Result<Config, Error> {
        toml_edit::de::from_str(text).map_err(|error| self.damaged(error.to_string().trim_end()))
    }

    fn document(&self, text: &str) -> Result<DocumentMut, Error> {
        text.parse().map_err(|error: toml_edit::TomlError| self.damaged(error.to_string().trim_end()))
    }

    fn damaged(&self, reason: &str) -> Error {
        Error::Damaged { path: self.path.clone(), reason: reason.to_owned() }
    }
}

/// Brings one table of the document from `before` to `after`.
fn sync<T: Serialize + PartialEq>(
    document: &mut DocumentMut,
    section: &str,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
) {
    if before == after {
        return;
    }
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let table = document.entry(section).or_insert(Item::Table(implicit));
    let Some(table) = table.as_table_like_mut() else {
        return;
    };
    for gone in before.keys().filter(|key| !after.contains_key(*key)) {
        table.remove(gone);
    }
    for (key, value) in after {
        if before.get(key) == Some(value) {
            continue;
        }
        // Our own types always serialise to tables.
        let Ok(value) = toml_edit::ser::to_document(value) else { continue };
        let value = with_headings(value.as_table().clone());
        match table.get_mut(key).and_then(Item::as_table_like_mut) {
            Some(old) => update(old, &value),
            None => drop(table.insert(key, Item::Table(value))),
        }
    }
}

/// A table whose own tables stand under headings of theirs instead of in braces: there is room for comments.
fn with_headings(mut table: Table) -> Table {
    for (_, item) in table.iter_mut() {
        if let Some(inline) = item.as_inline_table() {
            *item = Item::Table(inline.clone().into_table());
        }
    }
    table
}

/// Brings an entry to its new values; a value that stays keeps its comments, and so does the entry.
fn update(old: &mut dyn TableLike, new: &dyn TableLike) {
    let gone: Vec<String> = (old.iter()).map(|(key, _)| key.to_owned()).filter(|key| !new.contains_key(key)).collect();
    for key in gone {
        old.remove(&key);
    }
    for (key, value) in new.iter() {
        match old.get_mut(key) {
            Some(there) => {
                if let (Some(there), Some(value)) = (there.as_table_like_mut(), value.as_table_like()) {
                    update(there, value);
                } else if there.to_string().trim() != value.to_string().trim() {
                    // In place: the comments belong to the key.
                    *there = value.clone();
                }
            }
            None => drop(old.insert(key, value.clone())),
        }
    }
}

/// Replaces a file by new contents, all or nothing, also through a power cut.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = atomic_write_file::AtomicWriteFile::open(path)?;
    file.write_all(contents)?;
    file.commit()
}

#[cfg(test)]
mod tests {
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
        let (file, before) = ConfigFile::open(&path).unwrap();
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
        let (file, before) = ConfigFile::open(&path).unwrap();
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
        let (file, read) = ConfigFile::open(&path).unwrap();
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
        let (file, before) = ConfigFile::open(&path).unwrap();
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
