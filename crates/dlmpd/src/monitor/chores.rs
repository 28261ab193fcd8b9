//! What takes the kernel's RTNL lock and may wait for it: done in order by a thread of its own, so that neither a
//! failover nor a probe waits.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::thread::JoinHandle;
use std::time::Instant;

use dlmp_netlink::{MulticastFilter, Netlink, ipv6};
use dlmp_wire::MacAddr;
use tokio::sync::{mpsc, oneshot};

use super::frames::FrameSender;
use super::running::undo;
use super::sweep::Sweeps;
use super::vlans::{Cards, Wish};
use crate::state::Before;

/// At most so many chores are looked at together: what they change in the filters is written in few system calls.
const TOGETHER: usize = 4096;

/// Something to do on links.
#[derive(Debug)]
pub(super) enum Chore {
    /// Gives a pair of links a carrier or takes it away, by its lower end.
    Carrier { lower: u32, up: bool },
    /// Gives a pair of links an MTU in bytes: the lower end, and the upper one if it is in this namespace.
    Mtu { lower: u32, mtu: u32 },
    /// Makes a port receive frames for a client.
    AddFilter { link: u32, mac: MacAddr },
    /// Takes that back.
    DeleteFilter { link: u32, mac: MacAddr },
    /// Puts a group into a port's filter, or takes it out.
    Group { link: u32, group: MacAddr, wanted: bool },
    /// Makes a port receive all groups, or those in its filter. The latter is not done if it has refused a group
    /// since the former.
    AllGroups { link: u32, all: bool },
    /// Has a port let in VLANs.
    Vlans { link: u32, wish: Wish },
    /// Tells that everything before it is done.
    Tell(oneshot::Sender<()>),
    /// These groups are in a port's filter, put there by an earlier daemon, by the host or by links above it: of them only
    /// those are taken out again that were added to the filter itself.
    Inherit { link: u32, groups: Vec<MacAddr> },
    /// Takes out of a port's filter what an earlier daemon left there, a bit at a time.
    Sweep { link: u32 },
    /// Sends a report of membership through a port, now that everything before it is done.
    Report { link: u32, frame: Vec<u8> },
    /// Makes a link that was a port what it was before: IPv6, and up or down. Last of all, since IPv6 joins groups of its own.
    PutBack { link: u32, name: String, before: Before },
}

/// A port did not take a group into its filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The port's link.
    pub(super) link: u32,
    /// The group.
    pub(super) group: MacAddr,
}

/// Starts the thread, which ends when the sender is dropped and everything is done. It tells of refusals, and `cards` of VLANs.
///
/// # Errors
/// Those of making sockets and threads.
pub(super) fn start(
    refusals: mpsc::UnboundedSender<Refusal>,
    cards: Cards,
) -> io::Result<(mpsc::UnboundedSender<Chore>, JoinHandle<()>)> {
    let (sender, chores) = mpsc::unbounded_channel();
    let filters = Filters {
        socket: MulticastFilter::open()?,
        changes: BTreeMap::new(),
        foreign: BTreeSet::new(),
        refusing: BTreeSet::new(),
        inherited: BTreeSet::new(),
        refusals,
    };
    let frames = FrameSender::open()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("chores".into()).spawn(move || {
        runtime.block_on(async move {
            match Netlink::connect() {
                Ok(netlink) => {
                    let sweeps = Sweeps::default();
                    Worker { netlink, frames, filters, sweeps, cards, done: Vec::new() }.run(chores).await;
                }
                Err(error) => tracing::error!(%error, "nothing will be changed on links"),
            }
        });
    })?;
    Ok((sender, thread))
}

struct Worker {
    netlink: Netlink,
    frames: FrameSender,
    filters: Filters,
    sweeps: Sweeps,
    cards: Cards,
    /// Who waits for everything so far.
    done: Vec<oneshot::Sender<()>>,
}

impl Worker {
    async fn run(mut self, mut chores: mpsc::UnboundedReceiver<Chore>) {
        let mut waiting = Vec::new();
        loop {
            let due = self.sweeps.due();
            tokio::select! {
                biased;
                count = chores.recv_many(&mut waiting, TOGETHER) => if count == 0 { return },
                () = until(due) => self.sweeps.go_on(&mut self.filters.socket),
            }
            for chore in waiting.drain(..) {
                self.carry_out(chore).await;
            }
            self.filters.write(&mut self.sweeps);
            self.cards.write(&self.netlink).await;
            for done in self.done.drain(..) {
                // Who waited may have gone.
                let _ = done.send(());
            }
        }
    }

    async fn carry_out(&mut self, chore: Chore) {
        let netlink = &self.netlink;
        let done = match chore {
            Chore::Carrier { lower, up } => netlink.set_up(lower, up).await,
            Chore::Mtu { lower, mtu } => set_mtu(netlink, lower, mtu).await,
            Chore::AddFilter { link, mac } => netlink.add_filter(link, mac).await,
            Chore::DeleteFilter { link, mac } => netlink.delete_filter(link, mac).await,
            Chore::Vlans { link, wish } => return self.cards.wish(link, wish),
            Chore::Tell(done) => return self.done.push(done),
            Chore::Group { link, group, wanted } => return self.filters.change(link, group, wanted),
            Chore::AllGroups { link, all } => {
                self.filters.write(&mut self.sweeps);
                if !self.filters.may_take_all(link, all) {
                    return;
                }
                netlink.set_all_multicast(link, all).await
            }
            Chore::Inherit { link, groups } => {
                return self.filters.inherited.extend(groups.into_iter().map(|group| (link, group)));
            }
            Chore::Sweep { link } => return self.sweeps.begin(link),
            Chore::Report { link, ref frame } => {
                self.filters.write(&mut self.sweeps);
                if let Err(error) = self.frames.send(frame, link) {
                    tracing::debug!(%error, link, "report not sent");
                }
                return;
            }
            Chore::PutBack { link, ref name, ref before } => {
                self.filters.write(&mut self.sweeps);
                undo(ipv6::set_disabled(name, before.ipv6_disabled));
                if before.up {
                    return;
                }
                netlink.set_up(link, false).await
            }
        };
        match done {
            // A link that has gone since then needs nothing any more.
            Err(error) if error.errno() == Some(libc::ENODEV) => tracing::debug!(%error, ?chore, "not done"),
            Err(error) => tracing::error!(%error, ?chore, "not done"),
            Ok(()) => {}
        }
    }
}

/// The groups in the ports' filters.
struct Filters {
    socket: MulticastFilter,
    /// What is to be written; of a group that comes and goes the last word.
    changes: BTreeMap<u32, BTreeMap<MacAddr, bool>>,
    /// Groups that were in a filter before they were to be put there: somebody else's, who still wants them.
    foreign: BTreeSet<(u32, MacAddr)>,
    /// Links that have refused a group since they were told to take all.
    refusing: BTreeSet<u32>,
    /// Groups that were in a filter already when this daemon began.
    inherited: BTreeSet<(u32, MacAddr)>,
    refusals: mpsc::UnboundedSender<Refusal>,
}

impl Filters {
    fn change(&mut self, link: u32, group: MacAddr, wanted: bool) {
        self.changes.entry(link).or_default().insert(group, wanted);
    }

    fn may_take_all(&mut self, link: u32, all: bool) -> bool {
        if all {
            self.refusing.remove(&link);
        }
        all || !self.refusing.contains(&link)
    }

    fn write(&mut self, sweeps: &mut Sweeps) {
        for (link, mut changes) in std::mem::take(&mut self.changes) {
            sweeps.note(link, &changes);
            self.take_out_inherited(link, &mut changes);
            // Out first: the filter may be full.
            let mut changes: Vec<(MacAddr, bool)> = changes.into_iter().collect();
            changes.retain(|&(group, wanted)| wanted || !self.foreign.remove(&(link, group)));
            changes.sort_by_key(|&(_, wanted)| wanted);
            let outcome = match self.socket.change(link, &changes) {
                Ok(outcome) => outcome,
                Err(error) if error.errno() == Some(libc::ENODEV) => {
                    self.foreign.retain(|&(of, _)| of != link);
                    tracing::debug!(%error, link, "groups not written");
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, link, groups = changes.len(), "groups not written");
                    continue;
                }
            };
            if !sweeps.is_under_way(link) {
                self.foreign.extend(outcome.present.into_iter().map(|group| (link, group)));
            }
            for (group, error) in outcome.refused {
                tracing::debug!(%error, link, %group, "the port refuses a group");
                self.refusing.insert(link);
                let _ = self.refusals.send(Refusal { link, group });
            }
        }
    }
}

impl Filters {
    /// Does those of the changes that take out what was there before this daemon.
    fn take_out_inherited(&mut self, link: u32, changes: &mut BTreeMap<MacAddr, bool>) {
        let inherited = changes.extract_if(.., |&group, &mut wanted| !wanted && self.inherited.remove(&(link, group)));
        let groups: Vec<MacAddr> = inherited.map(|(group, _)| group).collect();
        if !groups.is_empty()
            && let Err(error) = self.socket.take_out_added(link, &groups)
        {
            tracing::debug!(%error, link, "groups of an earlier daemon stay in the port's filter");
        }
    }
}

/// Waits for a time; forever for none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn set_mtu(netlink: &Netlink, lower: u32, mtu: u32) -> dlmp_netlink::Result<()> {
    let Some(link) = netlink.link_by_index(lower).await? else { return Ok(()) };
    netlink.set_mtu(lower, mtu).await?;
    match link.peer_index {
        Some(upper) => netlink.set_mtu(upper, mtu).await,
        None => Ok(()),
    }
}
