//! Plays hundreds of managers behind one link: each answers a question for managers to the group, from its own address.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use dlmp_testbed::Namespace;
use dlmp_wire::manager::{Buffer, ByteOrder, LEN, Manager, Message};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::link;

/// How often it looks whether it should end.
const LOOK: Duration = Duration::from_millis(20);

/// The managers. They are gone when it is dropped.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// As many managers as there are, with the first addresses of the namespace, which it must have. Each answers at a random
    /// moment within that time, and once to all who ask until then, as `ldmd` does.
    pub fn start(namespace: &Namespace, managers: usize, within: Duration) -> Result<Self> {
        let (socket, index) = (link::listen(namespace)?, link::index(namespace)?);
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut players = Players { socket, index, within, due: BTreeSet::new(), waits: vec![false; managers] };
        let thread = thread::Builder::new().name("crowd".into()).spawn({
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    players.wait();
                    players.hear();
                    answers.fetch_add(players.answer(), Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self { stop, answers, thread: Some(thread) })
    }

    /// Answers that have been sent so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If it has panicked that was printed.
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Players {
    socket: UdpSocket,
    /// Of the link.
    index: i32,
    within: Duration,
    /// Answers, by when they are due.
    due: BTreeSet<(Instant, usize)>,
    /// Whether a manager's answer is due.
    waits: Vec<bool>,
}

impl Players {
    /// Until something comes or is due.
    fn wait(&self) {
        let next = self.due.first().map_or(LOOK, |(due, _)| due.saturating_duration_since(Instant::now()).min(LOOK));
        // An interrupted call is repeated by the caller.
        let _ = ppoll(
            &mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)],
            Some(TimeSpec::from_duration(next)),
            None,
        );
    }

    fn hear(&mut self) {
        let mut buffer = [0; LEN + 1];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            if !matches!(Message::parse(&buffer[..length]), Ok((Message::Discover, _))) {
                continue;
            }
            for manager in 0..self.waits.len() {
                if !std::mem::replace(&mut self.waits[manager], true) {
                    self.due.insert((Instant::now() + self.within.mul_f64(chance()), manager));
                }
            }
        }
    }

    /// Sends what is due, and returns how many answers that were.
    fn answer(&mut self) -> u64 {
        let mut sent = 0;
        while let Some(&(due, manager)) = self.due.first()
            && due <= Instant::now()
        {
            self.due.pop_first();
            self.waits[manager] = false;
            let source = link::address(manager);
            if link::say(&self.socket, self.index, source, &introduction(manager)).is_ok() {
                sent += 1;
            }
        }
        sent
    }
}

fn introduction(manager: usize) -> Buffer {
    let mut message = [0; LEN];
    let host = format!("host{manager}");
    let address = link::address(manager);
    Message::Here(Manager { version: "1", host: &host, address, port: 6482 }).emit(ByteOrder::Big, &mut message);
    message
}

/// A random number from 0 to 1: each state of the standard library's hash has keys of its own.
fn chance() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}
