//! Virtual machines: the link state of their network cards, shown through their emulators.
//!
//! A thread of its own speaks to the emulators. Whoever wants a link shown only leaves word, so that one that hangs, is
//! stopped or does not run holds nobody up.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::qmp::{Connection, Message, PATIENCE};

/// How often a machine that does not run, or a card that it does not have, is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The link states that the cards of a machine are to show, by the names of the vnets.
type Wanted = BTreeMap<String, bool>;

/// A handle of the thread, which ends with it.
pub struct Machines {
    thread: Handle,
    _ends: oneshot::Sender<()>,
}

impl Machines {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of making a thread.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = runtime.handle().clone();
        let (ends, end) = oneshot::channel::<()>();
        let run = move || {
            let _ = runtime.block_on(end);
        };
        std::thread::Builder::new().name("machines".into()).spawn(run)?;
        Ok(Self { thread, _ends: ends })
    }

    /// Follows the machine whose emulator has its control socket here, whenever it runs, until the result is dropped.
    pub fn follow(&self, socket: PathBuf) -> Arc<Machine> {
        let (wanted, receiver) = watch::channel(Wanted::new());
        let state = Arc::new(Mutex::new(State::default()));
        self.thread.spawn(follow(socket, receiver, Arc::clone(&state)));
        Arc::new(Machine { wanted, state })
    }
}

/// A virtual machine.
#[derive(Debug)]
pub struct Machine {
    wanted: watch::Sender<Wanted>,
    state: Arc<Mutex<State>>,
}

/// What is known of a machine.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Since when its emulator answers.
    pub since: Option<Instant>,
    /// Why it does not.
    pub problem: Option<String>,
    /// Why a vnet's link state is not shown, by the names of the vnets.
    pub refused: BTreeMap<String, String>,
}

impl Machine {
    /// Shows the state of a vnet's link by its card from now on, if the machine runs; without waiting for it.
    pub fn show(&self, vnet: &str, up: bool) {
        self.wanted.send_if_modified(|wanted| wanted.insert(vnet.into(), up) != Some(up));
    }

    /// Leaves the card of a vnet as it is.
    pub fn forget(&self, vnet: &str) {
        self.wanted.send_if_modified(|wanted| wanted.remove(vnet).is_some());
    }

    /// What is known of it now.
    pub fn state(&self) -> State {
        lock(&self.state).clone()
    }
}

async fn follow(socket: PathBuf, mut wanted: watch::Receiver<Wanted>, state: Arc<Mutex<State>>) {
    loop {
        let problem = match Connection::open(&socket).await {
            Ok(connection) => {
                *lock(&state) = State { since: Some(Instant::now()), ..State::default() };
                tracing::info!(socket = %socket.display(), "the machine runs");
                match show_links(connection, &mut wanted, &state).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let problem = match problem.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::UnexpectedEof => {
                format!("it does not run: no emulator is at {}", socket.display())
            }
            io::ErrorKind::TimedOut => format!(
                "the emulator at {} does not answer; it may hang, or another program has the socket",
                socket.display()
            ),
            _ => format!("the emulator at {}: {problem}", socket.display()),
        };
        let before =
            std::mem::replace(&mut *lock(&state), State { problem: Some(problem.clone()), ..State::default() });
        if before.problem.as_ref() != Some(&problem) {
            tracing::info!(problem, "the link state of a machine is not shown");
        }
        sleep(RETRY).await;
        // Only that nobody follows it any more can be told: what is wanted is looked at later.
        if wanted.has_changed().is_err() {
            return;
        }
    }
}

/// Shows what is wanted until nobody follows the machine any more.
async fn show_links(
    mut emulator: Connection,
    wanted: &mut watch::Receiver<Wanted>,
    state: &Mutex<State>,
) -> io::Result<()> {
    let mut told = Wanted::new();
    // Commands that are not answered yet: the vnet, and when the answer is late.
    let mut asked: BTreeMap<u64, (String, Instant)> = BTreeMap::new();
    let mut refused: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        told.retain(|vnet, _| now.contains_key(vnet));
        refused.retain(|vnet, _| now.contains_key(vnet));
        for (vnet, up) in now {
            if told.get(&vnet) != Some(&up) {
                asked.insert(emulator.set_link(&vnet, up).await?, (vnet.clone(), Instant::now() + PATIENCE));
                told.insert(vnet, up);
            }
        }
        let late = asked.values().next().map(|(_, late)| *late);
        let message = tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
            message = timeout_at(late.unwrap_or_else(|| Instant::now() + RETRY), emulator.message()) => message,
        };
        match message {
            Ok(message) => match message? {
                Message::Done(number) => drop(asked.remove(&number).and_then(|(vnet, _)| refused.remove(&vnet))),
                Message::Refused(number, why) => {
                    if let Some((vnet, _)) = asked.remove(&number) {
                        refused.insert(vnet, why);
                    }
                }
                // It has brought along the links of another host.
                Message::Resumed => told.clear(),
                Message::Other => {}
            },
            Err(_) if late.is_some() => return Err(io::ErrorKind::TimedOut.into()),
            // A card may be plugged in, of which nothing tells.
            Err(_) => told.retain(|vnet, _| !refused.contains_key(vnet)),
        }
        lock(state).refused.clone_from(&refused);
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
    use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#;

    /// An emulator that a test plays.
    struct Emulator {
        lines: Lines<BufReader<OwnedReadHalf>>,
        answers: OwnedWriteHalf,
    }

    impl Emulator {
        async fn accept(listener: &UnixListener) -> Self {
            let (stream, _) = listener.accept().await.unwrap();
            let mut emulator = Self::of(stream);
            emulator.say(GREETING).await;
            let line = emulator.asked().await;
            assert_eq!(line["execute"], "qmp_capabilities");
            emulator.answer(&line, r#""return": {}"#).await;
            emulator
        }

        fn of(stream: UnixStream) -> Self {
            let (reader, answers) = stream.into_split();
            Self { lines: BufReader::new(reader).lines(), answers }
        }

        async fn say(&mut self, line: &str) {
            self.answers.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        }

        async fn answer(&mut self, line: &serde_json::Value, what: &str) {
            self.say(&format!(r#"{{{what}, "id": {}}}"#, line["id"])).await;
        }

        async fn asked(&mut self) -> serde_json::Value {
            serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
        }

        /// The next command, which has to be about a link: its name and state, then answered with success.
        async fn link(&mut self) -> (String, bool) {
            let line = self.asked().await;
            assert_eq!(line["execute"], "set_link");
            self.answer(&line, r#""return": {}"#).await;
            (line["arguments"]["name"].as_str().unwrap().into(), line["arguments"]["up"].as_bool().unwrap())
        }
    }

    async fn until(machine: &Machine, wanted: impl Fn(&State) -> bool) -> State {
        loop {
            let state = machine.state();
            if wanted(&state) {
                return state;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn at(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("qmp")
    }

    fn listen(socket: &Path) -> UnixListener {
        let _ = std::fs::remove_file(socket);
        UnixListener::bind(socket).unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn states_are_shown_when_the_machine_comes_up_when_they_change_and_when_it_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let machines = Machines::start().unwrap();
        let machine = machines.follow(at(&directory));
        machine.show("vnet6", false);
        until(&machine, |state| state.problem.as_ref().is_some_and(|why| why.contains("it does not run"))).await;

        let listener = listen(&at(&directory));
        let mut emulator = Emulator::accept(&listener).await;
        assert_eq!(emulator.link().await, ("vnet6".into(), false));
        until(&machine, |state| state.since.is_some()).await;
        machine.show("vnet6", true);
        assert_eq!(emulator.link().await, ("vnet6".into(), true));
        // The same again is nothing to tell; the next thing that is told is another.
        machine.show("vnet6", true);
        machine.show("vnet1", false);
        assert_eq!(emulator.link().await, ("vnet1".into(), false));

        drop(emulator);
        until(&machine, |state| state.since.is_none()).await;
        machine.forget("vnet6");
        let mut emulator = Emulator::accept(&listener).await;
        assert_eq!(emulator.link().await, ("vnet1".into(), false));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_machine_that_has_migrated_here_is_told_everything_again() {
        let directory = tempfile::tempdir().unwrap();
        let listener = listen(&at(&directory));
        let machines = Machines::start().unwrap();
        let machine = machines.follow(at(&directory));
        machine.show("vnet6", true);
        let mut emulator = Emulator::accept(&listener).await;
        assert_eq!(emulator.link().await, ("vnet6".into(), true));
        emulator.say(r#"{"timestamp": {"seconds": 1, "microseconds": 0}, "event": "RESUME"}"#).await;
        assert_eq!(emulator.link().await, ("vnet6".into(), true));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_card_that_is_missing_is_a_problem_until_it_is_plugged_in() {
        let directory = tempfile::tempdir().unwrap();
        let listener = listen(&at(&directory));
        let machines = Machines::start().unwrap();
        let machine = machines.follow(at(&directory));
        machine.show("vnet6", true);
        let mut emulator = Emulator::accept(&listener).await;
        let line = emulator.asked().await;
        emulator.answer(&line, r#""error": {"class": "DeviceNotFound", "desc": "Device 'vnet6' not found"}"#).await;
        let state = until(&machine, |state| !state.refused.is_empty()).await;
        assert_eq!(state.refused["vnet6"], "Device 'vnet6' not found");
        // Asked again by and by.
        assert_eq!(emulator.link().await, ("vnet6".into(), true));
        until(&machine, |state| state.refused.is_empty()).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_emulator_that_hangs_or_talks_nonsense_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let (silent, confused) = (directory.path().join("silent"), directory.path().join("confused"));
        let (_silent_listener, listener) = (listen(&silent), listen(&confused));
        let machines = Machines::start().unwrap();
        let (silent, confused, sound) =
            (machines.follow(silent), machines.follow(confused), machines.follow(at(&directory)));
        silent.show("vnet6", true);
        let sound_listener = listen(&at(&directory));
        let mut emulator = Emulator::accept(&sound_listener).await;
        let (stream, _) = listener.accept().await.unwrap();
        Emulator::of(stream).say("220 mail.example.com ESMTP").await;
        until(&confused, |state| state.problem.as_ref().is_some_and(|why| why.contains("is not QMP"))).await;
        for up in [false, true, false] {
            sound.show("vnet6", up);
            assert_eq!(emulator.link().await, ("vnet6".into(), up));
        }
        until(&silent, |state| state.problem.as_ref().is_some_and(|why| why.contains("does not answer"))).await;
    }
}
