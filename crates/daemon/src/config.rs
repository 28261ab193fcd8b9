//! A configuration file in TOML: read, checked, and written atomically with comments kept.
//!
//! A configuration is a structure of tables, each with entries by name, which are tables themselves, `[aggregations.aggr0]`, or plain
//! values.

use std::collections::BTreeSet;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml_edit::{DocumentMut, Item, Table, TableLike};

use crate::files::{self, write_atomically};
use crate::lock::{self, Lock};

/// The file, locked against other daemons for as long as this value lives.
#[derive(Debug)]
pub struct ConfigFile<C> {
    path: PathBuf,
    _lock: Lock,
    /// What was written last, and the same taken apart, which takes long.
    written: Option<(String, DocumentMut)>,
    contents: PhantomData<C>,
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
    #[error("{path} is in use by another daemon, of another network namespace: give each its own, by --config", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

impl<C: Serialize + DeserializeOwned> ConfigFile<C> {
    /// Locks the file and reads it. A missing file is an empty configuration.
    ///
    /// # Errors
    /// The file is damaged, unreadable or in use by another daemon.
    pub fn open(path: &Path) -> Result<(Self, C), Error> {
        let io_error = |what| {
            let path = path.to_owned();
            move |source| Error::Io { what, path, source }
        };
        // The file itself is replaced when it is written, so the lock is on a file beside it.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let folder = files::folder(path);
        files::make_directory(folder).map_err(io_error("make the folder of"))?;
        let Some(lock) = lock::take(&folder.join(name)).map_err(io_error("lock"))? else {
            return Err(Error::InUse { path: path.to_owned() });
        };
        files::warn_of_writers(path);
        let file = Self { path: path.to_owned(), _lock: lock, written: None, contents: PhantomData };
        let config = file.parse(&file.text()?)?;
        Ok((file, config))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the configuration in place of the old one, all or nothing. Comments and order of what
    /// did not change stay.
    ///
    /// # Errors
    /// The file was damaged by somebody since it was read, or cannot be written.
    pub fn save(&mut self, before: &C, after: &C) -> Result<(), Error> {
        let text = self.text()?;
        // Of a file that is gone nothing is left to be brought from one state to the next.
        let before = if text.is_empty() { Map::new() } else { self.sections(before)? };
        let mut document = match self.written.take() {
            Some((written, document)) if written == text => document,
            _ => {
                self.parse(&text)?;
                self.document(&text)?
            }
        };
        sync(&mut document, &before, &self.sections(after)?, self.tables(after)?.as_table());
        let text = document.to_string();
        write_atomically(&self.path, text.as_bytes()).map_err(|source| self.unwritten(source))?;
        self.written = Some((text, document));
        Ok(())
    }

    fn text(&self) -> Result<String, Error> {
        match files::read(&self.path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(self.damaged("it is not UTF-8 text")),
            Err(source) => Err(Error::Io { what: "read", path: self.path.clone(), source }),
        }
    }

    fn parse(&self, text: &str) -> Result<C, Error> {
        toml_edit::de::from_str(text).map_err(|error| self.damaged(error.to_string().trim_end()))
    }

    fn document(&self, text: &str) -> Result<DocumentMut, Error> {
        text.parse().map_err(|error: toml_edit::TomlError| self.damaged(error.to_string().trim_end()))
    }

    /// A configuration as tables, in the order in which they are to be written.
    fn tables(&self, config: &C) -> Result<DocumentMut, Error> {
        toml_edit::ser::to_document(config).map_err(|error| self.unwritten(io::Error::other(error)))
    }

    /// A configuration as values that can be compared.
    fn sections(&self, config: &C) -> Result<Map<String, Value>, Error> {
        match serde_json::to_value(config) {
            Ok(Value::Object(sections)) => Ok(sections),
            Ok(_) => Err(self.unwritten(io::Error::other("it has no sections"))),
            Err(error) => Err(self.unwritten(error.into())),
        }
    }

    fn unwritten(&self, source: io::Error) -> Error {
        Error::Io { what: "write", path: self.path.clone(), source }
    }

    fn damaged(&self, reason: &str) -> Error {
        Error::Damaged { path: self.path.clone(), reason: reason.to_owned() }
    }
}

/// Brings a document from `before` to `after`, which are `tables`; what did not change stays as it was written.
fn sync(document: &mut DocumentMut, before: &Map<String, Value>, after: &Map<String, Value>, tables: &Table) {
    let sections: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for section in sections {
        let none = Map::new();
        let [before, after] = [before, after].map(|all| all.get(section).and_then(Value::as_object).unwrap_or(&none));
        let gone: Vec<&String> = before.keys().filter(|key| !after.contains_key(*key)).collect();
        // In the order of the tables.
        let tables = tables.get(section).and_then(Item::as_table_like);
        let entries = tables.into_iter().flat_map(TableLike::iter);
        let changed: Vec<_> = entries.filter(|(key, _)| before.get(*key) != after.get(*key)).collect();
        if !gone.is_empty() || !changed.is_empty() {
            sync_section(document, section, &gone, &changed);
        }
    }
}

/// Changes one table of the document.
fn sync_section(document: &mut DocumentMut, section: &str, gone: &[&String], changed: &[(&str, &Item)]) {
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let table = document.entry(section).or_insert(Item::Table(implicit));
    let Some(table) = table.as_table_like_mut() else {
        return;
    };
    for key in gone {
        table.remove(key);
    }
    for (key, item) in changed {
        // An entry is a table, in braces or not, or a plain value.
        let value =
            Item::clone(item).into_table().map_or_else(|value| value, |table| Item::Table(with_headings(table)));
        put(table, key, &value);
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
        put(old, key, value);
    }
}

/// Brings one value of a table to a new one.
fn put(table: &mut dyn TableLike, key: &str, value: &Item) {
    match table.get_mut(key) {
        Some(there) => {
            if let (Some(there), Some(value)) = (there.as_table_like_mut(), value.as_table_like()) {
                update(there, value);
            } else if there.to_string().trim() != value.to_string().trim() {
                // In place: the comments belong to the key.
                *there = value.clone();
            }
        }
        None => drop(table.insert(key, value.clone())),
    }
}
