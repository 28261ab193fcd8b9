//! Other managers on the network: being found, and getting MAC addresses that nobody else has.
//!
//! `dlmp-manager` decides. A thread of its own carries it out, since addresses are to be defended also while the rest of the
//! daemon is busy.

mod interfaces;
mod socket;
mod thread;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Sender};

use dlmp_manager::{Collision, Counters, Interface, Refusal, Start};
use dlmp_wire::MacAddr;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc as events, oneshot};

pub use interfaces::follow as follow_interfaces;

/// What is set in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ManagerConfig {
    /// Interfaces that others are talked to by; none: all that can.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub interfaces: BTreeSet<String>,
    /// How many networks away others may be.
    #[serde(skip_serializing_if = "Hops::is_default")]
    pub hops: Hops,
    /// TCP port that others are told for management.
    #[serde(skip_serializing_if = "ManagementPort::is_default")]
    pub port: ManagementPort,
    /// Ask for all addresses at the start, rather than within half a minute.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mac_collision_check: bool,
    /// Automatic addresses that were freed, the last one first. They are used again before others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freed: Vec<MacAddr>,
}

/// Time to live of what is sent to the group, 1 to 32; 1, the own network, unless something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Hops(u32);

/// TCP port of the management interface, 6482 unless something else is said. Nothing of ours listens there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ManagementPort(u16);

impl Hops {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Hops {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u32> for Hops {
    type Error = &'static str;

    fn try_from(hops: u32) -> Result<Self, Self::Error> {
        if (1..=32).contains(&hops) { Ok(Self(hops)) } else { Err("hops is a number from 1 to 32") }
    }
}

impl From<Hops> for u32 {
    fn from(hops: Hops) -> Self {
        hops.0
    }
}

impl From<ManagementPort> for u16 {
    fn from(port: ManagementPort) -> Self {
        port.0
    }
}

impl ManagementPort {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for ManagementPort {
    fn default() -> Self {
        Self(6482)
    }
}

/// News for the control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A freed address is used elsewhere.
    Forget(MacAddr),
    /// An address is used elsewhere too.
    Collides(Collision),
    /// It is no more.
    Over(MacAddr),
}

/// The manager as lists show it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Interfaces by their name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Addresses that are claimed and wait to be used.
    pub pool: Vec<MacAddr>,
    /// What was heard and said.
    pub counters: Counters,
}

/// What the thread is told.
enum Order {
    Request { count: usize, reply: oneshot::Sender<Result<Vec<MacAddr>, Refusal>> },
    GiveBack(Vec<MacAddr>),
    Follow { used: BTreeSet<MacAddr>, freed: Vec<MacAddr> },
    Interfaces(BTreeMap<u32, (String, Interface)>),
    Report(oneshot::Sender<Report>),
}

/// A handle of the thread, which ends with its last clone.
#[derive(Clone)]
pub struct Allocator {
    orders: Sender<Order>,
    /// Wakes the thread: it waits for sockets.
    waker: std::sync::Arc<UnixStream>,
}

impl Allocator {
    /// Starts the thread, and returns where it tells of news.
    ///
    /// # Errors
    /// Those of making a thread and sockets, or there are no random numbers.
    pub fn start(
        config: &ManagerConfig,
        used: BTreeSet<MacAddr>,
    ) -> std::io::Result<(Self, events::UnboundedReceiver<Notice>)> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
        let start = Start {
            used,
            freed: config.freed.clone(),
            check: config.mac_collision_check,
            far: config.hops != Hops::default(),
            seed: u64::from_ne_bytes(seed),
        };
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (orders, receiver) = mpsc::channel();
        let (news, notices) = events::unbounded_channel();
        let socket = socket::Settings { hops: config.hops.into(), port: config.port.into() };
        let thread = thread::Thread::new(start, socket, news);
        std::thread::Builder::new().name("manager".into()).spawn(move || thread.run(&receiver, &woken))?;
        Ok((Self { orders, waker: std::sync::Arc::new(waker) }, notices))
    }

    /// Waits for so many addresses that nobody has, 30 seconds at most. They are this host's until what is returned is dropped, and
    /// those that are [used](Self::follow) then stay so.
    ///
    /// # Errors
    /// Who is to blame that there are none.
    pub async fn reserve(&self, count: usize) -> Result<Reserved, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Request { count, reply });
        let addresses = answer.await.unwrap_or_else(|_| Err(Refusal::default()))?;
        Ok(Reserved { addresses, allocator: self.clone() })
    }

    /// The addresses that are used, and those that were freed, have changed.
    pub fn follow(&self, used: BTreeSet<MacAddr>, freed: Vec<MacAddr>) {
        self.order(Order::Follow { used, freed });
    }

    /// The manager as it is now.
    pub async fn report(&self) -> Report {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Report(reply));
        answer.await.unwrap_or_default()
    }

    fn interfaces(&self, interfaces: BTreeMap<u32, (String, Interface)>) {
        self.order(Order::Interfaces(interfaces));
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!("the thread that talks to other managers has ended");
        }
        // It is awake already when there is no room.
        let _ = (&*self.waker).write(&[0]);
    }
}

/// Addresses that this host has for a purpose.
pub struct Reserved {
    addresses: Vec<MacAddr>,
    allocator: Allocator,
}

impl Reserved {
    /// The addresses.
    pub fn addresses(&self) -> &[MacAddr] {
        &self.addresses
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.allocator.order(Order::GiveBack(std::mem::take(&mut self.addresses)));
    }
}
