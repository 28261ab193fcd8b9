//! The two programs of a guard: loaded, found on a link, and hung there so that they outlive the daemon.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::programs::{ProgramError, SchedClassifier};
use dlmp_datapath::bpf as kernel;
use dlmp_netlink::{Direction, FilterPlace, Netlink};

use crate::{Error, failed};

/// Where our filters are on clsact: at a priority that nobody else has, so that they are found again.
const PLACE: FilterPlace = FilterPlace { priority: 0xd2, handle: 0xd2 };
/// What the kernel shows as the name of the filters.
const NAME: &str = "dlmp_guard";
/// The switch end receives what the guest sends.
const SENT: Direction = Direction::Ingress;
const RECEIVED: Direction = Direction::Egress;

/// The programs.
pub(crate) enum Programs {
    /// Loaded by this process.
    Loaded { sent: Box<SchedClassifier>, received: Box<SchedClassifier> },
    /// Loaded by an earlier one.
    Found { sent: OwnedFd, received: OwnedFd },
}

/// The programs that hang on a link, by what the kernel says of them.
pub(crate) struct Hanging {
    pub(crate) sent: kernel::Program,
    /// Absent when somebody has taken it off.
    received: Option<kernel::Program>,
}

impl Programs {
    /// Loads those of an object. What the loader read from the object file is let go of with that.
    pub(crate) fn load(object: &mut Ebpf) -> Result<Self, Error> {
        let mut load = |name| load(object, name).map(Box::new);
        Ok(Self::Loaded { sent: load("guard_sent")?, received: load("guard_received")? })
    }

    /// Hangs them on a link, in place of earlier ones. Where that is refused the link is as before, but for
    /// earlier ones that are replaced by then.
    pub(crate) async fn hang(&self, netlink: &Netlink, index: u32) -> Result<(), Error> {
        let failed = |error| failed("hang its programs on the link", &error);
        let was_there = is_there(netlink, index, SENT).await.map_err(failed)?;
        let (sent, received) = self.descriptors()?;
        netlink.set_bpf_filter(index, SENT, PLACE, NAME, sent).await.map_err(failed)?;
        let result = netlink.set_bpf_filter(index, RECEIVED, PLACE, NAME, received).await;
        if result.is_err() && !was_there {
            // The first refusal is the one to tell.
            let _ = netlink.delete_bpf_filter(index, SENT, PLACE).await;
        }
        result.map_err(failed)
    }

    fn descriptors(&self) -> Result<(BorrowedFd<'_>, BorrowedFd<'_>), Error> {
        match self {
            Self::Found { sent, received } => Ok((sent.as_fd(), received.as_fd())),
            Self::Loaded { sent, received } => {
                let fd = |program: &'static str, error| failed(program, &error);
                Ok((
                    sent.fd().map_err(|error: ProgramError| fd("use its program", error))?.as_fd(),
                    received.fd().map_err(|error: ProgramError| fd("use its program", error))?.as_fd(),
                ))
            }
        }
    }
}

impl Hanging {
    /// Our programs on a link, if they are there.
    pub(crate) async fn find(netlink: &Netlink, index: u32) -> Result<Option<Self>, Error> {
        let Some(sent) = find(netlink, index, SENT).await? else { return Ok(None) };
        Ok(Some(Self { sent, received: find(netlink, index, RECEIVED).await? }))
    }

    /// Descriptors of them; `None` unless both are there and share all the maps of the second.
    pub(crate) fn open(&self) -> Result<Option<Programs>, Error> {
        let Some(received) = &self.received else { return Ok(None) };
        if !received.maps.iter().all(|map| self.sent.maps.contains(map)) {
            return Ok(None);
        }
        let open = |id| kernel::open_program(id).map_err(|error| failed("open its programs", &error));
        let (sent, received) = (open(self.sent.id)?, open(received.id)?);
        Ok(sent.zip(received).map(|(sent, received)| Programs::Found { sent, received }))
    }
}

/// Takes our programs off a link; nothing to do where none hang.
pub(crate) async fn remove(netlink: &Netlink, index: u32) -> Result<(), Error> {
    for direction in [SENT, RECEIVED] {
        (netlink.delete_bpf_filter(index, direction, PLACE).await)
            .map_err(|error| failed("take its programs off the link", &error))?;
    }
    Ok(())
}

async fn is_there(netlink: &Netlink, index: u32, direction: Direction) -> Result<bool, dlmp_netlink::Error> {
    Ok(program_id(netlink, index, direction).await?.is_some())
}

async fn find(netlink: &Netlink, index: u32, direction: Direction) -> Result<Option<kernel::Program>, Error> {
    let id = (program_id(netlink, index, direction).await).map_err(|error| failed("look for its programs", &error))?;
    match id {
        Some(id) => kernel::program(id).map_err(|error| failed("look at its programs", &error)),
        None => Ok(None),
    }
}

async fn program_id(netlink: &Netlink, index: u32, direction: Direction) -> Result<Option<u32>, dlmp_netlink::Error> {
    let filters = netlink.bpf_filters(index, direction).await?;
    let ours = filters.iter().find(|filter| filter.priority == PLACE.priority && filter.handle == PLACE.handle);
    Ok(ours.and_then(|filter| filter.program_id))
}

fn load(object: &mut Ebpf, name: &'static str) -> Result<SchedClassifier, Error> {
    let program: &mut SchedClassifier = (object.program_mut(name))
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| Error::Kernel { what: "find its program", reason: name.into() })?;
    program.load().map_err(|error| failed("load its programs", &error))?;
    (program.info())
        .and_then(|info| SchedClassifier::from_program_info(info, Cow::Borrowed(name)))
        .map_err(|error| failed("look at its program", &error))
}
