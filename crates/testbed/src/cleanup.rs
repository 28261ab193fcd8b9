//! Undoes what was made: when its owner is dropped, or when a signal ends the program.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

type Undo = Box<dyn FnOnce() + Send>;

/// What is to be undone, in the order in which it was made.
struct Registry {
    next: u64,
    undo: BTreeMap<u64, Undo>,
    closing: bool,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { next: 0, undo: BTreeMap::new(), closing: false });

/// Undoes one thing when dropped, unless a signal has undone it already.
#[derive(Debug)]
pub(crate) struct Cleanup(u64);

impl Cleanup {
    /// Registers `undo` and runs `create`. When `create` fails, `undo` runs at once: it must bear
    /// a thing that exists in part or not at all.
    pub(crate) fn around<T>(
        create: impl FnOnce() -> Result<T>,
        undo: impl FnOnce() + Send + 'static,
    ) -> Result<(T, Self)> {
        let mut registry = lock();
        let id = registry.next;
        registry.next += 1;
        registry.undo.insert(id, Box::new(undo));
        let created = create();
        drop(registry);
        let cleanup = Self(id);
        Ok((created?, cleanup))
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let undo = lock_even_if_closing().undo.remove(&self.0);
        if let Some(undo) = undo {
            undo();
        }
    }
}

/// Runs `create` unless a signal is being served: what comes up then would be left over.
pub(crate) fn unless_interrupted<T>(create: impl FnOnce() -> T) -> T {
    let _registry = lock();
    create()
}

/// Turns SIGINT, SIGTERM and SIGHUP into an orderly end: everything made by this crate is undone,
/// then the process exits with 128 plus the number of the signal, as a shell would report it.
///
/// Keep the guard until the end of `main`: dropping it waits for a clean-up that has begun.
#[derive(Debug)]
pub struct InterruptGuard(());

impl InterruptGuard {
    /// Starts to watch for the signals. Call it before any other thread exists, since threads
    /// inherit the set of blocked signals.
    ///
    /// # Errors
    /// When the kernel refuses to block the signals or to start a thread.
    pub fn install() -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block().context("cannot block SIGINT, SIGTERM and SIGHUP")?;
        thread::Builder::new()
            .name("interrupt".into())
            .spawn(move || {
                if let Ok(signal) = signals.wait() {
                    undo_everything();
                    std::process::exit(128 + signal as i32);
                }
            })
            .context("cannot start the thread that waits for signals")?;
        Ok(Self(()))
    }
}

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        drop(lock());
    }
}

/// Undoes everything, the newest first.
fn undo_everything() {
    let undo = {
        let mut registry = lock_even_if_closing();
        registry.closing = true;
        std::mem::take(&mut registry.undo)
    };
    for undo in undo.into_values().rev() {
        undo();
    }
}

/// Locks the registry; never returns once a signal is being served, as the process is about to end.
fn lock() -> MutexGuard<'static, Registry> {
    loop {
        let registry = lock_even_if_closing();
        if !registry.closing {
            return registry;
        }
        drop(registry);
        thread::park();
    }
}

fn lock_even_if_closing() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}
