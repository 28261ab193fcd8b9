//! What `ldmd` sees of an emulator of a virtual machine: a control socket that takes `set_link` (QMP).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// How often it looks whether it should end.
const LOOK: Duration = Duration::from_millis(5);

/// An emulator with some network cards. Dropping it ends it, and its control socket is gone.
#[derive(Debug)]
pub struct Emulator {
    state: Arc<State>,
    socket: PathBuf,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    /// The cards' links by name; absent until somebody has set one.
    links: Mutex<BTreeMap<String, Option<bool>>>,
    ends: AtomicBool,
}

impl Emulator {
    /// Starts it with cards of these names and its control socket there.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn start(socket: &Path, cards: &[&str]) -> Result<Self> {
        // What a killed one left.
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
        listener.set_nonblocking(true)?;
        let links = Mutex::new(cards.iter().map(|&card| (card.to_owned(), None)).collect());
        let state = Arc::new(State { links, ends: AtomicBool::new(false) });
        let serving = Arc::clone(&state);
        let thread = thread::Builder::new().name("emulator".into()).spawn(move || serve(&listener, &serving))?;
        Ok(Self { state, socket: socket.to_owned(), thread: Some(thread) })
    }

    /// What the link of a card was last set to; absent when nobody has.
    #[must_use]
    pub fn link(&self, card: &str) -> Option<bool> {
        self.state.links.lock().unwrap_or_else(PoisonError::into_inner).get(card).copied().flatten()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.state.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it failed by has been printed.
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(listener: &UnixListener, state: &State) {
    while !state.ends.load(Ordering::Relaxed) {
        match listener.accept() {
            // One that goes away in the middle of a line is as good as gone before.
            Ok((stream, _)) => drop(talk(&stream, state)),
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Serves one connection, as QEMU does.
fn talk(mut stream: &UnixStream, state: &State) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LOOK))?;
    writeln!(stream, "{}", json!({ "QMP": { "version": {}, "capabilities": [] } }))?;
    let mut commands = BufReader::new(stream);
    let mut line = String::new();
    while !state.ends.load(Ordering::Relaxed) {
        match commands.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                let command: Value = serde_json::from_str(&line)?;
                writeln!(stream, "{}", answer(&command, state))?;
                line.clear();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn answer(command: &Value, state: &State) -> Value {
    let id = &command["id"];
    if command["execute"] != "set_link" {
        return json!({ "return": {}, "id": id });
    }
    let name = command["arguments"]["name"].as_str().unwrap_or_default();
    match state.links.lock().unwrap_or_else(PoisonError::into_inner).get_mut(name) {
        Some(link) => {
            *link = command["arguments"]["up"].as_bool();
            json!({ "return": {}, "id": id })
        }
        None => {
            let why = format!("Device '{name}' not found");
            json!({ "error": { "class": "DeviceNotFound", "desc": why }, "id": id })
        }
    }
}
