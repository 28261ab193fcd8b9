//! The thread that hears other managers and answers them.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use dlmp_manager::{Action, Interface, Manager, Origin, Refusal, RequestId, Start};
use dlmp_wire::MacAddr;
use dlmp_wire::manager::LEN;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::{mpsc, oneshot};

use super::socket::{Settings, Socket};
use super::{Notice, Order, Report};

/// A flood costs the work of so many datagrams from an interface ...
const READ_MAX: usize = 200;
/// ... in so long a time, 20,000 a second, and no more. Later ones wait for the next such time.
const WINDOW: Duration = Duration::from_millis(10);

/// How long datagrams are taken for a burst whose end is worth waiting for.
const BURST: Duration = Duration::from_secs(1);

type Reply = oneshot::Sender<Result<Vec<MacAddr>, Refusal>>;

/// The manager and its sockets.
pub struct Thread {
    manager: Manager,
    settings: Settings,
    /// By the index of the interface.
    sockets: BTreeMap<u32, (String, Interface, Socket)>,
    /// When the present [`WINDOW`] began, and how many datagrams each interface has had in it.
    window: (Instant, BTreeMap<u32, usize>),
    /// Since when there was always more to read.
    flooded_since: Option<Instant>,
    requests: BTreeMap<RequestId, Reply>,
    next_request: u64,
    news: mpsc::UnboundedSender<Notice>,
}

impl Thread {
    pub fn new(start: Start, settings: Settings, news: mpsc::UnboundedSender<Notice>) -> Self {
        Self {
            manager: Manager::new(start, Instant::now()),
            settings,
            sockets: BTreeMap::new(),
            window: (Instant::now(), BTreeMap::new()),
            flooded_since: None,
            requests: BTreeMap::new(),
            next_request: 0,
            news,
        }
    }

    /// Goes on until nobody can give orders any more.
    pub fn run(mut self, orders: &Receiver<Order>, woken: &UnixStream) {
        loop {
            // What has arrived comes before what time makes due: it may be the answer that is waited for.
            let flooded = self.receive();
            let now = Instant::now();
            self.flooded_since = flooded.then(|| self.flooded_since.unwrap_or(now));
            // Behind a burst there may be an answer that is waited for, too; behind a flood nothing can be.
            if self.flooded_since.is_none_or(|since| now >= since + BURST) {
                self.manager.handle_timeout(now);
            }
            loop {
                match orders.try_recv() {
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.act();
            if flooded {
                std::thread::sleep(WINDOW.saturating_sub(self.window.0.elapsed()));
            } else {
                self.wait(woken);
            }
        }
    }

    /// Reads the sockets. Whether one of them has had all that it may until the window ends.
    fn receive(&mut self) -> bool {
        if self.window.0.elapsed() >= WINDOW {
            self.window = (Instant::now(), BTreeMap::new());
        }
        let mut buffer = [0; LEN + 1];
        let mut flooded = false;
        for (index, (_, _, socket)) in &self.sockets {
            let read = self.window.1.entry(*index).or_default();
            while *read < READ_MAX
                && let Some((datagram, from)) = socket.receive(&mut buffer)
            {
                self.manager.hear(Origin { interface: *index, from }, datagram, Instant::now());
                *read += 1;
            }
            flooded |= *read == READ_MAX;
        }
        flooded
    }

    fn obey(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Request { count, reply } => {
                let request = RequestId(self.next_request);
                self.next_request += 1;
                self.requests.insert(request, reply);
                self.manager.request(request, count, now);
            }
            Order::GiveBack(addresses) => self.manager.give_back(&addresses, now),
            Order::Follow { used, freed } => self.manager.follow(&used, &freed, now),
            Order::Interfaces(interfaces) => self.set_interfaces(interfaces),
            Order::Report(reply) => {
                let interfaces = self.sockets.values().map(|(name, interface, _)| (name.clone(), interface.clone()));
                let report = Report {
                    interfaces: interfaces.collect(),
                    pool: self.manager.pool().collect(),
                    counters: self.manager.counters(),
                };
                // Whoever asked may have gone.
                let _ = reply.send(report);
            }
        }
    }

    /// Listens on these interfaces. A socket stays as long as its interface does, with its membership of the group.
    fn set_interfaces(&mut self, interfaces: BTreeMap<u32, (String, Interface)>) {
        self.sockets.retain(|index, (name, ..)| interfaces.get(index).is_some_and(|(kept, _)| kept == name));
        for (index, (name, interface)) in interfaces {
            if let Some((_, known, _)) = self.sockets.get_mut(&index) {
                *known = interface;
                continue;
            }
            match Socket::open(index, &name, self.settings) {
                Ok(socket) => {
                    tracing::info!(interface = name, address = %interface.address, "other managers are heard");
                    self.sockets.insert(index, (name, interface, socket));
                }
                Err(error) => tracing::warn!(interface = name, %error, "other managers are not heard"),
            }
        }
        let known = self.sockets.iter().map(|(index, (_, interface, _))| (*index, interface.clone()));
        self.manager.set_interfaces(known.collect(), Instant::now());
    }

    /// Does what the manager wants done.
    fn act(&mut self) {
        while let Some(action) = self.manager.poll_action() {
            match action {
                Action::Send { interface, to, message, order } => {
                    if let Some((_, _, socket)) = self.sockets.get(&interface) {
                        socket.send(to, &message, order);
                    }
                }
                Action::Introduce { interface, to, order } => {
                    if let Some((_, interface, socket)) = self.sockets.get(&interface) {
                        socket.introduce(interface.address, to, order);
                    }
                }
                Action::Grant { request, addresses } => {
                    let reply = self.requests.remove(&request);
                    if let Some(Err(Ok(addresses))) = reply.map(|reply| reply.send(Ok(addresses))) {
                        // Whoever asked has gone meanwhile.
                        self.manager.give_back(&addresses, Instant::now());
                    }
                }
                Action::Refuse { request, refusal } => {
                    if let Some(reply) = self.requests.remove(&request) {
                        let _ = reply.send(Err(refusal));
                    }
                }
                Action::Forget(mac) => self.tell(Notice::Forget(mac)),
                Action::Collides(collision) => self.tell(Notice::Collides(collision)),
                Action::Over(mac) => self.tell(Notice::Over(mac)),
            }
        }
    }

    fn tell(&self, notice: Notice) {
        // At the daemon's end nobody listens any more.
        let _ = self.news.send(notice);
    }

    /// Waits for a datagram, an order or the time.
    fn wait(&self, woken: &UnixStream) {
        let now = Instant::now();
        let timeout = self.manager.poll_timeout(now).map(|due| due.saturating_duration_since(now));
        // To the next millisecond: at the one before nothing would be due yet.
        let timeout = timeout
            .map_or(PollTimeout::NONE, |time| PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX));
        let sockets = self.sockets.values().map(|(_, _, socket)| socket.as_fd());
        let waited = sockets.chain([woken.as_fd()]).map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let mut waited: Vec<PollFd> = waited.collect();
        if let Err(error) = poll(&mut waited, timeout) {
            tracing::debug!(%error, "waiting for other managers");
        }
        let mut wakes = [0; 64];
        while let Ok(1..) = (&*woken).read(&mut wakes) {}
    }
}
