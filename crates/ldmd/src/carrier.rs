//! Link state of vnets: the carrier of a switch's uplink, shown by the ports of the guests.
//!
//! A vnet's switch end that is administratively down takes the carrier from the guest's end: the only way for a veth,
//! which has no carrier of its own to set. A virtual machine is told through its emulator besides. A thread looks at the uplinks, since the kernel may hold its own events back for a
//! second (net/core/link_watch.c).

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc as events, oneshot};

use crate::config::VnetKey;
use crate::links::Links;
use crate::machine::Machine;

/// How often the carrier of an uplink is looked at; it is to be shown within 5 ms. A look takes a microsecond or two, but waking up
/// for it up to 40 in a virtual machine: each millisecond that took 4 % of what a vnet carries.
const LOOK: Duration = Duration::from_millis(3);
/// With many uplinks each is looked at less often: so much time goes by for each.
const EACH: Duration = Duration::from_micros(100);

/// What a switch hangs on.
#[derive(Debug, Clone)]
pub enum Uplink {
    /// Nothing: an Ethernet stub, whose links are up.
    Stub,
    /// A link of the service domain.
    Link(String),
    /// What it should hang on is not to be had.
    Gone,
}

/// A vnet's link.
#[derive(Debug, Clone)]
pub struct End {
    /// Its switch end.
    pub name: String,
    /// It follows the uplink.
    pub phys_state: bool,
    /// Neither of its domains is stopped: else it is down.
    pub running: bool,
    /// The guest's end; absent while the guest is not there.
    pub guest: Option<GuestEnd>,
}

/// How a guest sees the link.
#[derive(Debug, Clone)]
pub enum GuestEnd {
    /// By the other end of the pair, in a namespace.
    Link(Arc<Links>, String),
    /// By the card of a virtual machine that is named like the vnet.
    Card(Arc<Machine>),
}

/// The carrier of a switch's uplink has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The switch.
    pub switch: String,
    /// Whether there is a carrier.
    pub carrier: bool,
}

/// A handle of the thread, which ends with it.
pub struct Carriers {
    orders: Sender<(Order, oneshot::Sender<()>)>,
    seen: Arc<Mutex<BTreeMap<String, bool>>>,
    _thread: JoinHandle<()>,
}

enum Order {
    Switch { name: String, links: Arc<Links>, uplink: Uplink },
    ForgetSwitch(String),
    End { switch: String, key: VnetKey, end: End },
    ForgetEnd(VnetKey),
}

/// A switch as the thread has it.
struct Watched {
    links: Arc<Links>,
    uplink: Uplink,
    carrier: bool,
    ends: BTreeMap<VnetKey, (End, Option<bool>)>,
}

impl Carriers {
    /// Starts the thread, and returns where it tells of changes.
    ///
    /// # Errors
    /// Those of making a thread.
    pub fn start() -> std::io::Result<(Self, events::UnboundedReceiver<Changed>)> {
        let (orders, receiver) = mpsc::channel();
        let (news, changes) = events::unbounded_channel();
        let seen = Arc::default();
        let watch = Watch { switches: BTreeMap::new(), seen: Arc::clone(&seen), news };
        let thread = thread::Builder::new().name("carriers".into()).spawn(move || watch.run(&receiver))?;
        Ok((Self { orders, seen, _thread: thread }, changes))
    }

    /// Follows the uplink of a switch from now on.
    pub async fn switch(&self, name: &str, links: Arc<Links>, uplink: Uplink) {
        self.order(Order::Switch { name: name.into(), links, uplink }).await;
    }

    /// Leaves a switch and its vnets as they are.
    pub async fn forget_switch(&self, name: &str) {
        self.order(Order::ForgetSwitch(name.into())).await;
    }

    /// Shows the state of a switch by the link of a vnet from now on; it does when this returns.
    pub async fn end(&self, switch: &str, key: &VnetKey, end: End) {
        self.order(Order::End { switch: switch.into(), key: key.clone(), end }).await;
    }

    /// Leaves the link of a vnet as it is.
    pub async fn forget_end(&self, key: &VnetKey) {
        self.order(Order::ForgetEnd(key.clone())).await;
    }

    /// Whether the uplink of a switch has a carrier; absent while the switch is not followed.
    pub fn carrier(&self, switch: &str) -> Option<bool> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(switch).copied()
    }

    /// Has an order carried out.
    async fn order(&self, order: Order) {
        let (done, carried_out) = oneshot::channel();
        if self.orders.send((order, done)).is_err() || carried_out.await.is_err() {
            tracing::error!("the thread that follows the carriers has ended");
        }
    }
}

struct Watch {
    switches: BTreeMap<String, Watched>,
    /// What lists show.
    seen: Arc<Mutex<BTreeMap<String, bool>>>,
    news: events::UnboundedSender<Changed>,
}

impl Watch {
    fn run(mut self, orders: &Receiver<(Order, oneshot::Sender<()>)>) {
        if let Err(error) = dlmp_daemon::run_before_ordinary_threads() {
            tracing::warn!(%error, "no real-time priority: busy programs delay link state");
        }
        loop {
            match self.next(orders) {
                Ok((order, done)) => {
                    self.carry_out(order);
                    // Who does not wait any more does not need to know.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits for an order, and with an uplink to look at no longer than until the next look.
    fn next(
        &self,
        orders: &Receiver<(Order, oneshot::Sender<()>)>,
    ) -> Result<(Order, oneshot::Sender<()>), RecvTimeoutError> {
        match self.switches.values().filter(|switch| matches!(switch.uplink, Uplink::Link(_))).count() {
            0 => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            count => orders.recv_timeout(LOOK.max(EACH * u32::try_from(count).unwrap_or(u32::MAX))),
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Switch { name, links, uplink } => {
                let ends = self.switches.remove(&name).map(|old| old.ends).unwrap_or_default();
                let mut switch = Watched { links, uplink, carrier: false, ends };
                switch.carrier = switch.look();
                switch.show();
                self.tell(&name, switch.carrier);
                self.switches.insert(name, switch);
            }
            Order::ForgetSwitch(name) => {
                self.switches.remove(&name);
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            }
            Order::End { switch, key, end } => {
                self.switches.values_mut().for_each(|switch| drop(switch.ends.remove(&key)));
                if let Some(switch) = self.switches.get_mut(&switch) {
                    switch.ends.insert(key, (end, None));
                    switch.show();
                }
            }
            Order::ForgetEnd(key) => {
                self.switches.values_mut().for_each(|switch| drop(switch.ends.remove(&key)));
            }
        }
    }

    fn look(&mut self) {
        let mut changed = Vec::new();
        for (name, switch) in &mut self.switches {
            let carrier = switch.look();
            if carrier != switch.carrier {
                switch.carrier = carrier;
                switch.show();
                changed.push((name.clone(), carrier));
            }
        }
        for (name, carrier) in changed {
            self.tell(&name, carrier);
        }
    }

    fn tell(&self, switch: &str, carrier: bool) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(switch.into(), carrier);
        let _ = self.news.send(Changed { switch: switch.into(), carrier });
    }
}

impl Watched {
    /// The carrier now: of a driver that cannot tell there always is one, of a link that is gone never.
    fn look(&self) -> bool {
        match &self.uplink {
            Uplink::Stub => true,
            Uplink::Gone => false,
            Uplink::Link(name) => self.links.carrier(name).is_ok_and(|carrier| carrier.unwrap_or(true)),
        }
    }

    /// Brings the ends into the state that they are to show.
    fn show(&mut self) {
        for (key, (end, shown)) in &mut self.ends {
            let up = end.running && (self.carrier || !end.phys_state);
            if *shown == Some(up) {
                continue;
            }
            if let Some(GuestEnd::Card(machine)) = &end.guest {
                machine.show(&key.name, up);
            }
            match self.links.set_up(&end.name, up) {
                Ok(()) => *shown = Some(up),
                Err(error) => {
                    tracing::warn!(vnet = %key, link = end.name, %error, "the link state cannot be shown");
                    continue;
                }
            }
            // Asked for the carrier the kernel acts on it, which would take it up to a second by itself: until then
            // the bridge forwards nothing to the link, and nobody hears of the change.
            let _ = self.links.carrier(&end.name);
            if let Some(GuestEnd::Link(links, name)) = &end.guest {
                let _ = links.carrier(name);
            }
        }
    }
}
