//! A filter of addresses before a veth, which has none of its own: with it the port receives what a network
//! card would let in, by the addresses that the kernel has for the port, and no more than the card has room for. It may
//! drop VLANs too that no device on the port registers.
//!
//! It follows the kernel by its own notifications, which come for filter entries that somebody sets (NTF_SELF)
//! and for all-multicast, by those of VLAN devices, and by looking at the whole list now and then for what is not notified.

mod kernel;
mod program;
mod table;

use std::fmt;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::namespace::{Namespace, output};
use crate::sys;
use kernel::{Event, Kernel, LinkState};
use program::{Mode, Program};
use table::{Change, Table};

/// A MAC address.
pub(crate) type Address = [u8; 6];

/// Time between two looks at the whole list, at the least.
const LOOK: Duration = Duration::from_millis(200);
/// A look at a long list takes time itself: the next one comes after so many times that.
const REST: u32 = 20;

/// What a card can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    /// For so many groups of the kernel's list, the first ones, it has room. Further ones are dropped in
    /// silence, as the driver ixgbevf does.
    pub slots: usize,
    /// Whether it can take all groups. An untrusted virtual function cannot, and says nothing.
    pub takes_all: bool,
    /// Whether it drops VLANs that are not registered, as virtio-net does; promiscuous it drops nothing.
    pub filters_vlans: bool,
}

/// What a card has dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Frames to groups that it does not hold.
    pub groups: u64,
    /// Frames to machines that it is not.
    pub others: u64,
    /// Frames in VLANs that are not registered.
    pub vlans: u64,
}

/// A port behind such a filter.
///
/// Dropping it takes the filter away. It panics then if the port was ever promiscuous: that is never what
/// its owner may do in place of a filter of addresses, and a card would take everything. Only with a filter of VLANs
/// there may be no other way.
pub struct PortFilter {
    name: String,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    follower: Option<JoinHandle<Result<()>>>,
}

impl Hardware {
    /// Room for so many groups, or all of them.
    #[must_use]
    pub const fn with_slots(slots: usize) -> Self {
        Self { slots, takes_all: true, filters_vlans: false }
    }
}

impl PortFilter {
    /// Puts a filter before a `port`, on the other end of its veth pair, `before`.
    ///
    /// # Errors
    /// When there is no such link, or the kernel refuses the program.
    pub fn new(port: (&Namespace, &str), before: (&Namespace, &str), hardware: Hardware) -> Result<Self> {
        let index = port.0.enter(|| if_nametoindex(port.1))?.with_context(|| format!("there is no {}", port.1))?;
        let kernel = port.0.enter(|| Kernel::open(index))??;
        let program = before.0.enter(|| Program::attach(before.1))??;
        let mut state = State::new(kernel, program, hardware)?;
        for address in own_entries(port)? {
            state.change(address, true)?;
        }
        state.look()?;
        let state = Arc::new(Mutex::new(state));
        let stop = Arc::new(AtomicBool::new(false));
        let follower = thread::Builder::new()
            .name(format!("filter {}", port.1))
            .spawn({
                let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
                move || follow(&state, &stop)
            })
            .context("cannot start the thread that follows the kernel")?;
        Ok(Self { name: port.1.to_owned(), state, stop, follower: Some(follower) })
    }

    /// Makes the filter what the kernel says at this moment. Without it the filter follows at once what is
    /// notified, and the rest within [`LOOK`] or, with 100,000 groups, a few seconds.
    ///
    /// # Errors
    /// When the port is gone.
    pub fn sync(&self) -> Result<()> {
        let mut state = lock(&self.state);
        state.catch_up()?;
        state.look()
    }

    /// What was dropped so far.
    ///
    /// # Errors
    /// When the kernel does not show it.
    pub fn dropped(&self) -> Result<Dropped> {
        lock(&self.state).program.dropped()
    }

    /// Whether it lets a group in, by itself or since it takes all.
    #[must_use]
    pub fn admits(&self, group: [u8; 6]) -> bool {
        let state = lock(&self.state);
        state.takes_all_now() || state.program.admits(group)
    }

    /// How many groups the kernel has for the port.
    #[must_use]
    pub fn groups(&self) -> usize {
        lock(&self.state).table.listed_groups()
    }

    /// Whether it takes all groups.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        lock(&self.state).takes_all_now()
    }

    /// Whether the port was to take everything at any time.
    #[must_use]
    pub fn was_promiscuous(&self) -> bool {
        lock(&self.state).was_promiscuous
    }
}

impl Drop for PortFilter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let followed = self.follower.take().map(JoinHandle::join);
        if thread::panicking() {
            return;
        }
        match followed {
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            Some(Ok(Err(error))) => panic!("the filter of {} could not follow the kernel: {error:#}", self.name),
            _ if lock(&self.state).hardware.filters_vlans => {}
            _ => assert!(!self.was_promiscuous(), "{} was promiscuous", self.name),
        }
    }
}

impl fmt::Debug for PortFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortFilter").field("port", &self.name).finish_non_exhaustive()
    }
}

/// The filter, the kernel whose wishes it follows, and the program that does the work.
struct State {
    kernel: Kernel,
    program: Program,
    hardware: Hardware,
    table: Table,
    link: LinkState,
    was_promiscuous: bool,
    next_look: Instant,
}

impl State {
    fn new(mut kernel: Kernel, mut program: Program, hardware: Hardware) -> Result<Self> {
        let link = kernel.link_state()?;
        program.admit([0xff; 6], true)?;
        program.admit(link.address, true)?;
        program.set(Mode::FilterVlans, hardware.filters_vlans)?;
        let mut state = Self {
            kernel,
            program,
            hardware,
            table: Table::new(hardware.slots),
            link,
            was_promiscuous: false,
            next_look: Instant::now(),
        };
        state.set_link(link, true)?;
        Ok(state)
    }

    fn takes_all_now(&self) -> bool {
        self.link.all_groups && self.hardware.takes_all
    }

    /// Does what the kernel has told since.
    fn catch_up(&mut self) -> Result<()> {
        while let Some(event) = self.kernel.next()? {
            match event {
                Event::Added(address) => self.change(address, true)?,
                Event::Removed(address) => self.change(address, false)?,
                Event::Vlan(vlan, registered) => self.program.register(vlan, registered)?,
                Event::Link(link) => self.set_link(link, self.table.has_others())?,
                Event::Lost => self.next_look = Instant::now(),
            }
        }
        Ok(())
    }

    fn change(&mut self, address: Address, listed: bool) -> Result<()> {
        let changes = if listed { self.table.add(address).into_iter().collect() } else { self.table.remove(address) };
        self.carry_out(&changes)
    }

    /// Reads everything anew.
    fn look(&mut self) -> Result<()> {
        let begin = Instant::now();
        let link = self.kernel.link_state()?;
        // Whether there are other addresses was perhaps different when the link was asked.
        let had_others = self.table.has_others();
        self.catch_up()?;
        self.set_link(link, had_others || self.table.has_others())?;
        let groups = self.kernel.groups()?;
        let changes = self.table.replace_groups(&groups);
        self.carry_out(&changes)?;
        self.next_look = Instant::now() + LOOK.max(begin.elapsed() * REST);
        Ok(())
    }

    fn carry_out(&mut self, changes: &[Change]) -> Result<()> {
        changes.iter().try_for_each(|change| self.program.admit(change.address, change.admitted))
    }

    /// The kernel makes a link without a filter for other addresses, such as a veth, promiscuous itself while it has
    /// some (`__dev_set_rx_mode` in net/core/dev.c): this one filters them.
    fn set_link(&mut self, link: LinkState, has_others: bool) -> Result<()> {
        if link.address != self.link.address {
            self.program.admit(self.link.address, false)?;
            self.program.admit(link.address, true)?;
        }
        self.link = link;
        let promiscuous = link.promiscuity > u32::from(has_others);
        self.was_promiscuous |= promiscuous;
        self.program.set(Mode::Everything, promiscuous)?;
        self.program.set(Mode::AllGroups, self.takes_all_now())
    }
}

/// Follows the kernel until it is to stop.
fn follow(state: &Mutex<State>, stop: &AtomicBool) -> Result<()> {
    sys::prefer_this_thread();
    let events = lock(state).kernel.events().as_fd().try_clone_to_owned()?;
    while !stop.load(Ordering::Relaxed) {
        let patience = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLIN)], patience)?;
        let mut state = lock(state);
        state.catch_up()?;
        if Instant::now() >= state.next_look {
            state.look()?;
        }
    }
    Ok(())
}

/// The addresses in a link's own filter that are not groups: only netlink shows them.
fn own_entries((namespace, link): (&Namespace, &str)) -> Result<Vec<Address>> {
    let listing = output(namespace.command("bridge").args(["-j", "fdb", "show", "dev", link]))?;
    let entries: Value = serde_json::from_str(&listing).context("bridge prints no JSON")?;
    let is_own = |entry: &&Value| entry["flags"].as_array().is_some_and(|flags| flags.contains(&"self".into()));
    let entries = entries.as_array().context("bridge prints no list")?.iter().filter(is_own);
    let addresses = entries.map(|entry| {
        let text = entry["mac"].as_str().unwrap_or_default();
        address_of(text).ok_or_else(|| anyhow!("bridge prints the address {text:?}"))
    });
    Ok(addresses.collect::<Result<Vec<_>>>()?.into_iter().filter(|address| address[0] & 1 == 0).collect())
}

/// An address in colon notation.
fn address_of(text: &str) -> Option<Address> {
    let bytes: Vec<u8> = text.split(':').map(|digits| u8::from_str_radix(digits, 16)).collect::<Result<_, _>>().ok()?;
    bytes.try_into().ok()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
