//! What must outlive the daemon but not the boot: temporary objects, and what ports were like before
//! they became ports.
//!
//! One file below the runtime directory, which is empty after a boot, under the cookie of the
//! namespace, so that daemons of several namespaces can share the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use dlmp_dhcp::Lease;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// What a link was like before it became a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// IPv6 was switched off already.
    pub ipv6_disabled: bool,
    /// It was up.
    pub up: bool,
    /// It received all multicast.
    #[serde(default)]
    pub all_multicast: bool,
}

impl Default for Before {
    /// What a link is like that nobody asked about: in use as it is.
    fn default() -> Self {
        Self { ipv6_disabled: false, up: true, all_multicast: false }
    }
}

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Objects made with `-t`.
    pub temporary: Config,
    /// Aggregations of the configuration that were deleted with `-t`.
    pub absent: BTreeSet<String>,
    /// VNICs of the configuration that were deleted with `-t`.
    pub absent_vnics: BTreeSet<String>,
    /// Links that are ports now, by name.
    pub ports: BTreeMap<String, Before>,
    /// Leases from DHCP by object: the next daemon goes on with them.
    pub leases: BTreeMap<String, Lease>,
}

/// The file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Reads the file; a missing or unreadable one is an empty state, since nothing in it is needed
    /// to carry traffic.
    pub fn open(runtime: &Path, cookie: u64) -> io::Result<(Self, State)> {
        let folder = runtime.join(format!("netns-{cookie}"));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("state.toml");
        let state = match std::fs::read_to_string(&path) {
            Ok(text) => toml_edit::de::from_str(&text).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "ignoring an unreadable state file");
                State::default()
            }),
            Err(_) => State::default(),
        };
        Ok((Self { path }, state))
    }

    /// Writes the state.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn save(&self, state: &State) -> io::Result<()> {
        let text = toml_edit::ser::to_string_pretty(state).map_err(io::Error::other)?;
        dlmp_daemon::write_atomically(&self.path, text.as_bytes())
    }
}
