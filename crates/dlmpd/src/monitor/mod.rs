//! The monitor: a thread of its own that owns the running aggregations, watches their links and paths and
//! carries out what the engine decides, apart from requests and files.
//!
//! ```text
//!  requests (service thread) --Command--> +---------+ --writes--> datapath
//!  kernel's link events ----------------> | monitor | --frames--> announcements, transitive and ARP probes
//!  carrier thread (GLINK) --------------> | engine  | --ICMP----> echoes
//!  datapath's events, held reports -----> |         | --chores--> a thread for netlink (carrier of the link, filters)
//!  answers: sockets, map of pairs ------> |         | --news----> whoever watches
//!  addresses, routes, lists of groups --> +---------+
//! ```

mod asking;
mod carrier;
mod chores;
mod clients;
mod clock;
mod command;
mod excess;
mod filters;
mod following;
mod forward;
mod frames;
mod group_view;
mod handle;
mod limits;
mod lists;
mod measure;
mod multicast;
mod news;
mod ports;
mod probing;
mod recorded;
mod restoring;
mod running;
mod sweep;
mod tell;
mod view;
mod vlans;
mod vnet;
mod vnics;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dlmp_api::Error;
use dlmp_datapath::ALIVE;
use dlmp_datapath::bpf::{self, Attachment};
use dlmp_netlink::{Changes, GroupEvents, LinkEvent, LinkEvents, Netlink};
use tokio::sync::mpsc;

use crate::plan::ProbePlan;
use asking::Asker;
use carrier::{Seen, Watched};
use chores::Refusal;
use clock::Timer;
use command::not_running;
use following::Ground;
use frames::FrameSender;
use handle::Command;
pub use handle::Monitor;
use lists::{Looked, Looks};
use measure::Measured;
use news::News;
pub use running::Spec;
use running::{Observed, Reports, Running, Tools};
pub use vlans::put_card_back;
use vlans::{Cards, Outcome};
pub use vnics::VnicSpec;

/// How often it is checked that the programs still hang where they should.
const CHECK: Duration = Duration::from_secs(5);

/// How often the programs are told that reports which they hold are read: several times before they cease to
/// believe it ([`ALIVE`]).
const PULSE: Duration = Duration::from_millis(50);

/// What the monitor needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Cookie of the network namespace.
    pub cookie: u64,
    /// A bpffs that was there at the start, if there was one.
    pub bpffs: Option<PathBuf>,
    /// A new file to record the engines' inputs and actions in, if that is wanted.
    pub record: Option<PathBuf>,
    /// Links that are taken for cards with a filter of VLANs that cannot be switched off.
    pub vlan_filters: BTreeSet<String>,
}

impl Surroundings {
    /// How the programs of an aggregation are attached here.
    pub fn attachment(&self, aggregation: &str) -> Attachment {
        Attachment::choose(self.pins().map(|pins| pins.join(aggregation)))
    }

    /// The directory of this namespace's pins, one of each aggregation in it.
    pub fn pins(&self) -> Option<PathBuf> {
        self.bpffs.as_ref().map(|bpffs| bpffs.join("dlmp").join(self.cookie.to_string()))
    }
}

/// Real-time priority where it is allowed; elsewhere a busy machine delays us, and nothing else.
fn prefer_this_thread() {
    if let Err(error) = dlmp_daemon::run_before_ordinary_threads() {
        tracing::debug!(%error, "no real-time priority");
    }
}

/// The thread's own state.
struct Task {
    surroundings: Surroundings,
    tools: Tools,
    events: LinkEvents,
    observed: mpsc::UnboundedReceiver<Observed>,
    reports: mpsc::UnboundedReceiver<Reports>,
    refusals: mpsc::UnboundedReceiver<Refusal>,
    chores: JoinHandle<()>,
    measured: mpsc::UnboundedReceiver<Measured>,
    /// What became of the ports' VLANs, by link.
    vlans: mpsc::UnboundedReceiver<(u32, Outcome)>,
    looks: Looks,
    looked: mpsc::UnboundedReceiver<Looked>,
    /// Absent where the kernel does not tell.
    group_events: Option<GroupEvents>,
    /// When the programs last heard that reports are read.
    pulse: Option<Instant>,
    seen: mpsc::UnboundedReceiver<Seen>,
    stop_carrier: Arc<AtomicBool>,
    running: BTreeMap<String, Running>,
    timer: Timer,
    changes: Changes,
    /// Looks at the ground: where to, and what came back.
    look: (mpsc::UnboundedSender<Ground>, mpsc::UnboundedReceiver<Ground>),
    looking: Looking,
}

/// Whether the ground is being looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looking {
    No,
    Yes,
    /// And it has changed since, so that it has to be looked at again.
    Again,
}

impl Task {
    fn new(surroundings: Surroundings, news: News) -> std::io::Result<Self> {
        let recording = surroundings.record.as_deref().map(File::create_new).transpose()?;
        let recording = recording.map(|file| Rc::new(RefCell::new(file)));
        let (sender, seen) = mpsc::unbounded_channel();
        let (sender_of_events, observed) = mpsc::unbounded_channel();
        let (sender_of_reports, reports) = mpsc::unbounded_channel();
        let (sender_of_refusals, refusals) = mpsc::unbounded_channel();
        let (sender_of_findings, measured) = mpsc::unbounded_channel();
        let (sender_of_looks, looked) = mpsc::unbounded_channel();
        let (sender_of_outcomes, vlans) = mpsc::unbounded_channel();
        let cards = Cards::new(surroundings.vlan_filters.clone(), sender_of_outcomes);
        let (sender_of_chores, chores) = chores::start(sender_of_refusals, cards)?;
        let (watched, stop_carrier) = (Watched::default(), Arc::<AtomicBool>::default());
        carrier::watch(watched.clone(), sender, stop_carrier.clone())?;
        Ok(Self {
            surroundings,
            tools: Tools {
                netlink: Netlink::connect()?,
                watched,
                frames: Rc::new(FrameSender::open()?),
                asker: Rc::new(RefCell::new(None)),
                observed: sender_of_events,
                reports: sender_of_reports,
                chores: sender_of_chores,
                limits: Rc::default(),
                measured: sender_of_findings,
                news,
                recording,
                epoch: Instant::now(),
            },
            timer: Timer::new()?,
            changes: Changes::open()?,
            look: mpsc::unbounded_channel(),
            looking: Looking::No,
            events: LinkEvents::open()?,
            observed,
            reports,
            refusals,
            chores,
            measured,
            vlans,
            looks: Looks::new(sender_of_looks),
            looked,
            group_events: GroupEvents::open()?,
            pulse: None,
            seen,
            stop_carrier,
            running: BTreeMap::new(),
        })
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut check = tokio::time::interval(CHECK);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let asker = self.tools.asker.clone();
        loop {
            self.tools.frames.flush();
            self.give_pulse();
            let wake = self.running.values().filter_map(Running::poll_timeout).min();
            tokio::select! {
                // Input before timers, links before requests.
                biased;
                event = self.events.next() => self.link_event(event).await,
                Some(seen) = self.seen.recv() => self.seen(seen),
                () = answers(&asker) => self.read_answers(),
                Some((name, events)) = self.observed.recv() => self.observed(&name, &events),
                Some((name, frames)) = self.reports.recv() => self.held(&name, frames),
                Some(refusal) = self.refusals.recv() => self.refused(refusal),
                () = self.timer.until(wake) => self.timeout(),
                () = self.changes.next() => self.look_at_ground(),
                Some(ground) = self.look.1.recv() => self.follow(ground),
                Some(measured) = self.measured.recv() => self.measured(&measured),
                Some((link, outcome)) = self.vlans.recv() => self.vlans_open(link, &outcome),
                Some(looked) = self.looked.recv() => self.lists_seen(looked),
                () = group_change(&mut self.group_events) => self.looks.hasten([]),
                () = until(self.looks.due()) => self.look_at_lists(),
                _ = pulse.tick() => {}
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => break,
                },
                _ = check.tick() => self.check().await,
            }
        }
        self.stop_carrier.store(true, Ordering::Relaxed);
        // What was begun on links is finished; then the thread ends, its work being nobody's any more.
        let Self { chores, tools, running, .. } = self;
        drop((tools, running));
        if chores.join().is_err() {
            tracing::error!("the thread that changes links has failed");
        }
    }

    /// Tells the programs in good time that the reports which they hold are read.
    fn give_pulse(&mut self) {
        let now = Instant::now();
        if self.pulse.is_some_and(|last| now < last + PULSE) {
            return;
        }
        let before = self.pulse.replace(now);
        self.running.values().for_each(Running::sign_of_life);
        let mut fast = false;
        for running in self.running.values_mut() {
            fast |= running.find_too_fast(now);
        }
        if fast {
            self.looks.hasten([]);
        }
        // Reports went out past us meanwhile.
        if before.is_some_and(|last| now >= last + ALIVE) {
            self.running.values().for_each(Running::ask_for_reports);
        }
    }

    fn held(&mut self, name: &str, frames: Vec<Vec<u8>>) {
        if let Some(running) = self.running.get_mut(name) {
            let doubtful = running.reports(frames);
            self.looks.hasten(doubtful);
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        for running in self.running.values_mut() {
            running.group_refused(refusal.link, refusal.group);
        }
    }

    fn measured(&mut self, measured: &Measured) {
        for running in self.running.values_mut() {
            running.filter_measured(measured);
            // The next one.
            running.measure_filters();
        }
    }

    fn vlans_open(&mut self, link: u32, outcome: &Outcome) {
        for running in self.running.values_mut() {
            running.vlans_open(link, outcome);
        }
    }

    fn look_at_lists(&mut self) {
        self.looks.start(self.running.values().flat_map(Running::listed_links).collect());
    }

    fn lists_seen(&mut self, looked: Looked) {
        match self.looks.finish(looked) {
            Ok(changes) => {
                for (link, change) in changes {
                    if let Some(running) = self.running.values_mut().find(|running| running.lists(link)) {
                        running.list_changed(link, change);
                    }
                }
            }
            Err(error) => tracing::error!(%error, "cannot see the kernel's lists of groups"),
        }
    }

    fn timeout(&mut self) {
        let now = Instant::now();
        for running in self.running.values_mut().filter(|running| running.poll_timeout().is_some_and(|at| at <= now)) {
            running.hear(now);
            running.count_taken(now);
            running.handle_timeout(now);
            running.act();
        }
    }

    fn read_answers(&mut self) {
        let answers = self.tools.asker.borrow_mut().as_mut().map(Asker::read).unwrap_or_default();
        let mut new = false;
        for answer in answers {
            if let Some(running) = self.running.get_mut(&answer.asked.aggregation) {
                new |= running.answered(&answer);
                running.act();
            }
        }
        // By now the kernel knows where they are.
        if new {
            self.look_at_ground();
        }
    }

    /// Has addresses and routes looked at by a task, so that no probe waits for it.
    fn look_at_ground(&mut self) {
        if !self.running.values().any(Running::is_probed) {
            return;
        }
        self.looking = match self.looking {
            Looking::No => {
                let (netlink, ground) = (self.tools.netlink.clone(), self.look.0.clone());
                tokio::task::spawn_local(async move {
                    let _ = ground.send(look(&netlink).await);
                });
                Looking::Yes
            }
            Looking::Yes | Looking::Again => Looking::Again,
        };
    }

    fn follow(&mut self, ground: Ground) {
        for running in self.running.values_mut() {
            running.follow(&ground);
            running.act();
        }
        // A list of all links with all that the kernel tells of each is the daemon's largest use of memory.
        drop(ground);
        crate::sys::give_memory_back();
        if std::mem::replace(&mut self.looking, Looking::No) == Looking::Again {
            self.look_at_ground();
        }
    }

    /// Starts probing an aggregation, or stops it. The sockets are there while one is probed.
    fn probe(&mut self, name: &str, plan: Option<ProbePlan>) -> Result<(), Error> {
        let running = self.running.get_mut(name).ok_or_else(|| not_running(name))?;
        if plan.is_some() && self.tools.asker.borrow().is_none() {
            let asker =
                Asker::open().map_err(|error| Error::failed(format!("cannot open the probing sockets: {error}")))?;
            *self.tools.asker.borrow_mut() = Some(asker);
        }
        running.set_probing(plan)?;
        running.act();
        self.look_at_ground();
        self.forget_asker();
        Ok(())
    }

    fn forget_asker(&mut self) {
        if !self.running.values().any(Running::is_probed) {
            *self.tools.asker.borrow_mut() = None;
        }
    }

    async fn link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Changed(link) => {
                for running in self.running.values_mut() {
                    running.link_changed(&link, &self.tools.watched, &self.tools.netlink).await;
                    running.act();
                }
            }
            LinkEvent::Removed { index, name } => {
                for running in self.running.values_mut() {
                    running.link_removed(index, &name, &self.tools.watched, &self.tools.netlink).await;
                    running.act();
                }
            }
            LinkEvent::NewPeers(index) => {
                for running in self.running.values_mut() {
                    running.new_peers(index);
                    running.act();
                }
            }
            LinkEvent::Overrun => self.look_again().await,
        }
    }

    /// Events were lost: what the links are like now says what they said.
    async fn look_again(&mut self) {
        tracing::warn!("the kernel had more link events than fit: looking at every link again");
        let links = match self.tools.netlink.links().await {
            Ok(links) => links,
            Err(error) => return tracing::error!(%error, "cannot look at the links"),
        };
        for running in self.running.values_mut() {
            for (index, name) in running.vanished(&links) {
                running.link_removed(index, &name, &self.tools.watched, &self.tools.netlink).await;
            }
            for link in &links {
                running.link_changed(link, &self.tools.watched, &self.tools.netlink).await;
            }
            running.act();
        }
    }

    fn seen(&mut self, seen: Seen) {
        for running in self.running.values_mut() {
            running.carrier_seen(seen, &self.tools.watched);
            running.act();
        }
    }

    fn observed(&mut self, name: &str, events: &[bpf::Event]) {
        if let Some(running) = self.running.get_mut(name) {
            running.observed(events);
            running.act();
        }
    }

    async fn check(&mut self) {
        for running in self.running.values_mut() {
            running.check(&self.tools.netlink).await;
            running.age(Instant::now());
            running.measure_filters();
            running.try_vlans_again();
            running.act();
        }
    }
}

/// Waits until a host joins or leaves a group; forever where the kernel does not tell.
async fn group_change(events: &mut Option<GroupEvents>) {
    match events {
        Some(events) => drop(events.next().await),
        None => std::future::pending().await,
    }
}

/// Waits for a time; forever for none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for answers; forever while nothing is asked.
async fn answers(asker: &RefCell<Option<Asker>>) {
    let sockets = asker.borrow().as_ref().map(Asker::sockets);
    match sockets {
        Some(sockets) => sockets.readable().await,
        None => std::future::pending().await,
    }
}

/// What the kernel has now. What cannot be listed is taken for empty: the next change tells again.
async fn look(netlink: &Netlink) -> Ground {
    fn listed<T>(what: &str, list: dlmp_netlink::Result<Vec<T>>) -> Vec<T> {
        list.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot list the {what}");
            Vec::new()
        })
    }
    Ground {
        links: listed("links", netlink.links().await),
        addresses: listed("addresses", netlink.addresses().await),
        routes: listed("routes", netlink.routes().await),
        neighbours: listed("neighbours", netlink.neighbours().await),
    }
}
