//! What is kept: the configuration, the state until the next boot, and changing both together.

use std::collections::BTreeMap;

use dlmp_api::Error;
use dlmp_wire::MacAddr;

use crate::config::{AggregationConfig, Config, ConfigFile, VnicConfig};
use crate::property::PortProperties;
use crate::state::{State, StateFile};

/// Both files and what they say.
pub struct Stores {
    file: ConfigFile,
    pub(crate) config: Config,
    state_file: StateFile,
    pub(crate) state: State,
}

impl Stores {
    /// From the files and what they say.
    pub fn new((file, config): (ConfigFile, Config), (state_file, state): (StateFile, State)) -> Self {
        Self { file, config, state_file, state }
    }

    /// Path of the configuration file, for displays.
    pub fn config_path(&self) -> String {
        self.file.path().display().to_string()
    }

    /// Whether they name nothing that needs the daemon.
    pub fn is_empty(&self) -> bool {
        let empty = |config: &Config| config.aggregations.is_empty() && config.interfaces.is_empty();
        empty(&self.config) && empty(&self.state.temporary)
    }

    /// What the files say together: persistent objects, and temporary ones over them.
    pub(crate) fn configured(&self) -> Vec<(&Config, bool)> {
        vec![(&self.config, false), (&self.state.temporary, true)]
    }

    /// Aggregations with whether they are temporary: gone after the next boot.
    pub(crate) fn aggregations(&self) -> BTreeMap<String, (AggregationConfig, bool)> {
        let mut all = BTreeMap::new();
        for (config, temporary) in self.configured() {
            for (name, aggregation) in &config.aggregations {
                if temporary || !self.state.absent.contains(name) {
                    let temporary = temporary && !self.config.aggregations.contains_key(name);
                    all.insert(name.clone(), (aggregation.clone(), temporary));
                }
            }
        }
        all
    }

    /// What is set for links as ports; what is temporary over what is kept.
    pub(crate) fn ports(&self) -> BTreeMap<String, PortProperties> {
        self.configured()
            .into_iter()
            .flat_map(|(config, _)| &config.ports)
            .map(|(link, port)| (link.clone(), *port))
            .collect()
    }

    /// VNICs with whether they are temporary: gone after the next boot.
    pub(crate) fn vnics(&self) -> BTreeMap<String, (VnicConfig, bool)> {
        let mut all = BTreeMap::new();
        for (config, temporary) in self.configured() {
            let there = config.vnics.iter().filter(|(name, _)| temporary || !self.state.absent_vnics.contains(*name));
            all.extend(there.map(|(name, vnic)| (name.clone(), (vnic.clone(), temporary))));
        }
        all
    }

    /// The aggregation of this name, with whether it is temporary.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn known(&self, name: &str) -> Result<(AggregationConfig, bool), Error> {
        self.aggregations()
            .remove(name)
            .ok_or_else(|| Error::refused(format!("there is no aggregation {name}"), "dladm show-aggr"))
    }

    /// Changes configuration and state together, in the files first: on failure neither has changed.
    ///
    /// # Errors
    /// A file could not be written.
    pub(crate) fn commit(&mut self, change: impl FnOnce(&mut Config, &mut State)) -> Result<(), Error> {
        let (mut config, mut state) = (self.config.clone(), self.state.clone());
        change(&mut config, &mut state);
        let failed = |error: &dyn std::fmt::Display| Error::failed(error.to_string());
        if state != self.state {
            self.state_file.save(&state).map_err(|error| failed(&error))?;
        }
        if config != self.config
            && let Err(error) = self.file.save(&self.config, &config)
        {
            self.save_state();
            return Err(failed(&error));
        }
        (self.config, self.state) = (config, state);
        Ok(())
    }

    /// Keeps a change of an aggregation: until the next boot, and unless it is `temporary` beyond that.
    pub(crate) fn commit_change(
        &mut self,
        name: &str,
        temporary: bool,
        change: impl Fn(&mut AggregationConfig),
    ) -> Result<(), Error> {
        self.commit(|kept, state| {
            let kept = kept.aggregations.get_mut(name);
            let now = &mut state.temporary.aggregations;
            if let (true, Some(kept), false) = (temporary, &kept, now.contains_key(name)) {
                now.insert(name.to_owned(), (*kept).clone());
            }
            now.get_mut(name).map(&change);
            if let (false, Some(kept)) = (temporary, kept) {
                change(kept);
                // What is to be beyond the next boot is in force already: nothing temporary is left.
                if now.get(name) == Some(kept) {
                    now.remove(name);
                }
            }
        })
    }

    /// What the files say, to be put back.
    pub(crate) fn kept(&self) -> (Config, State) {
        (self.config.clone(), self.state.clone())
    }

    /// Puts back what the files said.
    pub(crate) fn put_back(&mut self, (config, state): (Config, State)) -> Result<(), Error> {
        self.commit(|kept, current| (*kept, *current) = (config, state))
    }

    /// Notes a pair of links that is about to be made, and writes the state with everything else that was noted in it.
    ///
    /// # Errors
    /// It could not be written, so nothing may be begun.
    pub(crate) fn begin(&mut self, pair: Option<(&str, MacAddr)>) -> Result<(), Error> {
        if let Some((name, mac)) = pair {
            self.state.unfinished.insert(name.to_owned(), mac);
        }
        self.state_file.save(&self.state).map_err(|error| {
            if let Some((name, _)) = pair {
                self.state.unfinished.remove(name);
            }
            Error::failed(format!("what is begun cannot be noted in the state file, so it is not begun: {error}"))
        })
    }

    /// Writes the state, in which a change alone has no need to succeed.
    pub(crate) fn save_state(&self) {
        if let Err(error) = self.state_file.save(&self.state) {
            tracing::warn!(%error, "the state file could not be written: what ports were like may be forgotten");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use crate::property::VlanId;

    fn stores() -> (tempfile::TempDir, Stores) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dlmpd.toml");
        let text = "[aggregations.aggr0]\nmac = \"2:8:20:0:0:1\"\nports = [\"net0\"]\n";
        std::fs::write(&path, text).unwrap();
        let stores =
            Stores::new(ConfigFile::open(&path).unwrap(), StateFile::open(folder.path(), 1, "state.toml").unwrap());
        (folder, stores)
    }

    fn add(stores: &mut Stores, port: &str, temporary: bool) {
        stores.commit_change("aggr0", temporary, |config| config.ports.push(port.into())).unwrap();
    }

    fn now(stores: &Stores) -> (Vec<String>, bool) {
        let (config, temporary) = stores.known("aggr0").unwrap();
        (config.ports, temporary)
    }

    #[test]
    fn a_temporary_change_is_in_force_and_is_not_kept() {
        let (_folder, mut stores) = stores();
        add(&mut stores, "net1", true);
        assert_eq!(now(&stores), (vec!["net0".into(), "net1".into()], false));
        assert_eq!(stores.config.aggregations["aggr0"].ports, ["net0"]);
    }

    #[test]
    fn a_change_beside_a_temporary_one_is_kept() {
        let (_folder, mut stores) = stores();
        add(&mut stores, "net1", true);
        add(&mut stores, "net2", false);
        assert_eq!(now(&stores).0, ["net0", "net1", "net2"]);
        assert_eq!(stores.config.aggregations["aggr0"].ports, ["net0", "net2"]);
    }

    #[test]
    fn nothing_temporary_is_left_when_what_is_kept_is_the_same() {
        let (_folder, mut stores) = stores();
        add(&mut stores, "net1", true);
        stores.commit_change("aggr0", false, |config| config.ports = vec!["net5".into()]).unwrap();
        assert!(stores.state.temporary.aggregations.is_empty());
        assert_eq!(now(&stores).0, ["net5"]);
    }

    #[test]
    fn what_was_kept_is_put_back() {
        let (_folder, mut stores) = stores();
        let before = stores.kept();
        add(&mut stores, "net1", true);
        add(&mut stores, "net2", false);
        stores.put_back(before.clone()).unwrap();
        assert_eq!(stores.kept(), before);
    }
    #[test]
    fn a_vnic_that_was_deleted_until_the_next_boot_is_kept_and_not_there() {
        let (_folder, mut stores) = stores();
        let vnic = |last: u8| VnicConfig {
            link: "aggr0".into(),
            mac: MacAddr([2, 8, 0x20, 0, 0, last]),
            random_mac: false,
            vlan: VlanId::default(),
        };
        stores.commit(|kept, _| drop(kept.vnics.insert("vnic1".into(), vnic(1)))).unwrap();
        assert_eq!(stores.vnics(), BTreeMap::from([("vnic1".into(), (vnic(1), false))]));
        stores.commit(|_, state| state.absent_vnics = BTreeSet::from(["vnic1".into()])).unwrap();
        assert!(stores.vnics().is_empty());
        // A temporary one takes its place until then.
        stores.commit(|_, state| drop(state.temporary.vnics.insert("vnic1".into(), vnic(2)))).unwrap();
        assert_eq!(stores.vnics(), BTreeMap::from([("vnic1".into(), (vnic(2), true))]));
        assert_eq!(stores.config.vnics, BTreeMap::from([("vnic1".into(), vnic(1))]));
    }
}
