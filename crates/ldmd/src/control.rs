//! Everything that requests change: what is kept, the open namespaces, and what was built in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use dlmp_api::ldm::{Error, PRIMARY};
use dlmp_guard::Guard;
use dlmp_manager::Collision;
use dlmp_netlink::LinkEvent;
use dlmp_netlink::ethtool::Settings;
use dlmp_wire::MacAddr;
use tokio::sync::mpsc;

use crate::build::Built;
use crate::carrier::Carriers;
use crate::channel::Channel;
use crate::check::wrong_address;
use crate::config::{Config, ConfigFile, State, StateFile, VnetKey};
use crate::machine::{Machine, Machines};
use crate::manager::{Allocator, Notice};
use crate::place::Place;
use crate::property::Short;

/// Something happened to a link of a service domain.
pub type Seen = (String, LinkEvent);

/// What requests and events change.
pub struct Control {
    file: ConfigFile,
    pub(crate) config: Config,
    state_file: StateFile,
    pub(crate) state: State,
    /// Open namespaces by domain; `primary` is always open.
    pub(crate) places: BTreeMap<String, Place>,
    /// Virtual machines by domain.
    pub(crate) machines: BTreeMap<String, Arc<Machine>>,
    /// Followers of the links of service domains.
    pub(crate) followers: BTreeMap<String, tokio::task::AbortHandle>,
    /// What was built of the vnets.
    pub(crate) built: BTreeMap<VnetKey, Built>,
    /// Their guards.
    pub(crate) guards: BTreeMap<VnetKey, Guard>,
    /// Guards that have not [settled](Guard::settle), and when the last one was hung.
    pub(crate) unsettled: (BTreeSet<VnetKey>, Instant),
    /// Speeds of uplinks that guests were told of, by the switch.
    pub(crate) described: BTreeMap<String, Settings>,
    /// What is wrong, by the name of the domain, the switch or the vnet.
    pub(crate) problems: Problems,
    /// Addresses that other managers use too.
    pub(crate) collisions: BTreeMap<MacAddr, Collision>,
    wrong_addresses: BTreeSet<MacAddr>,
    pub(crate) allocator: Allocator,
    pub(crate) carriers: Carriers,
    pub(crate) emulators: Machines,
    pub(crate) channel: Channel,
    pub(crate) seen: mpsc::UnboundedSender<Seen>,
}

/// What is wrong, in words.
#[derive(Debug, Default)]
pub struct Problems {
    /// Of domains.
    pub domains: BTreeMap<String, String>,
    /// Of switches.
    pub switches: BTreeMap<String, String>,
    /// Of vnets.
    pub vnets: BTreeMap<VnetKey, String>,
}

impl Control {
    /// Puts the parts together; nothing is built yet.
    ///
    /// # Errors
    /// Those of making sockets.
    pub fn new(
        (file, config): (ConfigFile, Config),
        (state_file, state): (StateFile, State),
        allocator: Allocator,
        carriers: Carriers,
        emulators: Machines,
        seen: mpsc::UnboundedSender<Seen>,
    ) -> dlmp_netlink::Result<Self> {
        let places = BTreeMap::from([(PRIMARY.to_owned(), Place::own()?)]);
        Ok(Self {
            file,
            wrong_addresses: config.wrong_addresses(),
            config,
            state_file,
            state,
            places,
            machines: BTreeMap::new(),
            followers: BTreeMap::new(),
            built: BTreeMap::new(),
            guards: BTreeMap::new(),
            unsettled: (BTreeSet::new(), Instant::now()),
            described: BTreeMap::new(),
            problems: Problems::default(),
            collisions: BTreeMap::new(),
            allocator,
            carriers,
            emulators,
            channel: Channel::start(),
            seen,
        })
    }

    /// Path of the configuration file, for displays.
    pub fn config_path(&self) -> String {
        self.file.path().display().to_string()
    }

    /// Keeps a change, in the file first.
    ///
    /// # Errors
    /// The file could not be written; nothing has changed then.
    pub(crate) fn commit(&mut self, change: impl FnOnce(&mut Config)) -> Result<(), Error> {
        let mut config = self.config.clone();
        change(&mut config);
        config.keep_freed(&self.config);
        self.file.save(&self.config, &config).map_err(|error| Error::failed(error.to_string()))?;
        self.config = config;
        self.wrong_addresses = self.config.wrong_addresses();
        self.allocator.follow(self.config.addresses(), self.config.manager.freed.clone());
        Ok(())
    }

    /// Takes in what was heard from other managers.
    pub fn heard(&mut self, notice: Notice) {
        match notice {
            Notice::Forget(mac) => {
                tracing::info!(%mac, "a freed address is used elsewhere");
                if let Err(error) = self.commit(|config| config.manager.freed.retain(|freed| *freed != mac)) {
                    tracing::warn!(%mac, %error, "it stays in the list of freed addresses");
                }
            }
            Notice::Collides(collision) => {
                tracing::error!(mac = %collision.mac, "{}", collision_text(&collision));
                self.collisions.insert(collision.mac, collision);
            }
            Notice::Over(mac) => {
                tracing::info!(%mac, "no other manager uses the address any more");
                self.collisions.remove(&mac);
            }
        }
    }

    /// What is wrong with one of these addresses, in words.
    pub(crate) fn collision(&self, mut addresses: impl Iterator<Item = MacAddr>) -> Option<String> {
        addresses.find_map(|mac| {
            let wrong = self.wrong_addresses.contains(&mac).then(|| wrong_address(mac));
            self.collisions.get(&mac).map(collision_text).or(wrong)
        })
    }

    /// Keeps the cookie of the namespace of a domain that is given by a process.
    ///
    /// # Errors
    /// The file could not be written; nothing has changed then.
    pub(crate) fn keep_cookie(&mut self, domain: &str, cookie: Option<u64>) -> Result<(), Error> {
        self.keep(|state| {
            match cookie {
                Some(cookie) => state.cookies.insert(domain.into(), cookie),
                None => state.cookies.remove(domain),
            };
        })
    }

    /// Keeps a change until the next boot, in the file first.
    ///
    /// # Errors
    /// The file could not be written; nothing has changed then.
    pub(crate) fn keep(&mut self, change: impl FnOnce(&mut State)) -> Result<(), Error> {
        let mut state = self.state.clone();
        change(&mut state);
        if state != self.state {
            self.state_file.save(&state).map_err(|error| Error::failed(format!("cannot keep the state: {error}")))?;
            self.state = state;
        }
        Ok(())
    }

    /// Whether a domain is there.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn known_domain(&self, name: &str) -> Result<(), Error> {
        if name == PRIMARY || self.config.domains.contains_key(name) {
            return Ok(());
        }
        Err(Error::refused(format!("there is no domain {}", shortened(name)), "ldm list"))
    }

    /// The open namespace of a domain.
    ///
    /// # Errors
    /// It is not there, and why.
    pub(crate) fn place(&self, domain: &str) -> Result<&Place, Error> {
        self.places.get(domain).ok_or_else(|| {
            let why = self.problems.domains.get(domain).map_or("it has no network namespace", String::as_str);
            Error::refused(format!("the domain {domain} is not there: {why}"), format!("ldm list {domain}"))
        })
    }

    /// Whether a domain was not stopped.
    pub(crate) fn runs(&self, domain: &str) -> bool {
        self.config.domains.get(domain).is_none_or(|domain| !domain.stopped)
    }
}

/// Why a change was not made.
#[derive(Debug)]
pub enum Blocked {
    /// It cannot be.
    Refused(Error),
    /// So many automatic addresses must be claimed first.
    Short(usize),
}

impl From<Error> for Blocked {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Short> for Blocked {
    fn from(Short(count): Short) -> Self {
        Self::Short(count)
    }
}

fn collision_text(collision: &Collision) -> String {
    let Collision { mac, with, host } = collision;
    let host = host.as_ref().map(|host| format!(", {host:?}")).unwrap_or_default();
    format!("the MAC address {mac} is also used by the manager at {with}{host}")
}

/// Checks the name of a domain or a vnet.
///
/// # Errors
/// It is not a name, or too long.
pub(crate) fn check_name(what: &str, name: &str, longest: usize) -> Result<(), Error> {
    if name.len() > longest {
        return Err(Error::refused(
            format!(
                "{}: the name of a {what} has at most {longest} characters, this has {}",
                shortened(name),
                name.len()
            ),
            "",
        ));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(allowed) {
        return Err(Error::refused(
            format!(
                "{name:?} is no name for a {what}: it starts with a letter and goes on with letters, digits, '_', '-' and '.'"
            ),
            "",
        ));
    }
    Ok(())
}

/// As much of a name as a message can bear; no name that exists is longer.
pub(crate) fn shortened(name: &str) -> String {
    const LONGEST: usize = 64;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.into(),
    }
}
