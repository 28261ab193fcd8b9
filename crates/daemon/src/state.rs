//! A file for what must outlive the daemon but not the boot.
//!
//! It is below the runtime directory, which is empty after a boot, under the cookie of the
//! namespace, so that daemons of several namespaces can share the directory.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{self, write_atomically};

/// The file.
#[derive(Debug)]
pub struct StateFile<S> {
    path: PathBuf,
    contents: PhantomData<S>,
}

impl<S: Serialize + DeserializeOwned + Default> StateFile<S> {
    /// Reads the file of this name; a missing or unreadable one is an empty state, since nothing in it is needed
    /// to carry traffic.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn open(runtime: &Path, cookie: u64, name: &str) -> io::Result<(Self, S)> {
        let folder = dlmp_api::socket::directory(runtime, cookie);
        files::make_directory(&folder)?;
        let path = folder.join(name);
        files::warn_of_writers(&path);
        let state = match files::read(&path) {
            Ok(text) => toml_edit::de::from_str(&text).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "ignoring an unreadable state file");
                S::default()
            }),
            Err(_) => S::default(),
        };
        Ok((Self { path, contents: PhantomData }, state))
    }

    /// Writes the state.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn save(&self, state: &S) -> io::Result<()> {
        let text = toml_edit::ser::to_string_pretty(state).map_err(io::Error::other)?;
        write_atomically(&self.path, text.as_bytes())
    }
}
