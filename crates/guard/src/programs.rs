//! The two programs of a guard: loaded, found on a link, and hung there.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::programs::{ProgramError, SchedClassifier};
use dlmp_datapath::bpf as kernel;
use dlmp_netlink::Direction;

use crate::hook::{Hook, SwitchEnd};
use crate::{Error, failed};

/// Their names, in the object and in the kernel. The switch end receives what the guest sends.
const SENT: &str = "guard_sent";
const RECEIVED: &str = "guard_received";

/// The programs. The second one is there where the bandwidth is limited.
pub(crate) enum Programs {
    /// Loaded by this process.
    Loaded { sent: Box<SchedClassifier>, received: Option<Box<SchedClassifier>> },
    /// Loaded by an earlier one.
    Found { sent: OwnedFd, received: Option<OwnedFd> },
}

/// The programs that hang on a link, by what the kernel says of them.
pub(crate) struct Hanging {
    pub(crate) sent: kernel::Program,
    /// Absent where the bandwidth is not limited, or when somebody has taken it off.
    received: Option<kernel::Program>,
}

impl Programs {
    /// Loads those of an object. What the loader read from the object file is let go of with that.
    pub(crate) fn load(object: &mut Ebpf, limits: bool) -> Result<Self, Error> {
        let mut load = |name| load(object, name).map(Box::new);
        Ok(Self::Loaded { sent: load(SENT)?, received: limits.then(|| load(RECEIVED)).transpose()? })
    }

    /// Whether they can limit the bandwidth.
    pub(crate) const fn limit(&self) -> bool {
        match self {
            Self::Loaded { received, .. } => received.is_some(),
            Self::Found { received, .. } => received.is_some(),
        }
    }

    /// Hangs the first of them on a link, in place of an earlier one; whether there was one.
    pub(crate) async fn hang_sent(&self, end: SwitchEnd<'_>) -> Result<bool, Error> {
        let [hook, _] = hooks(end);
        let was_there = hook.find().await?.is_some();
        hook.hang(self.descriptors()?.0).await?;
        Ok(was_there)
    }

    /// The same with the second, if there is one.
    pub(crate) async fn hang_received(&self, end: SwitchEnd<'_>) -> Result<(), Error> {
        let [_, hook] = hooks(end);
        match self.descriptors()?.1 {
            Some(received) => hook.hang(received).await,
            None => hook.clear().await,
        }
    }

    /// Moves them to where they cost each frame less.
    pub(crate) async fn settle(&self, end: SwitchEnd<'_>) -> Result<(), Error> {
        let [sent_hook, received_hook] = hooks(end);
        let (sent, received) = self.descriptors()?;
        sent_hook.settle(sent).await?;
        match received {
            Some(received) => received_hook.settle(received).await,
            None => Ok(()),
        }
    }

    fn descriptors(&self) -> Result<(BorrowedFd<'_>, Option<BorrowedFd<'_>>), Error> {
        match self {
            Self::Found { sent, received } => Ok((sent.as_fd(), received.as_ref().map(AsFd::as_fd))),
            Self::Loaded { sent, received } => {
                Ok((descriptor(sent)?, received.as_deref().map(descriptor).transpose()?))
            }
        }
    }
}

impl Hanging {
    /// Our programs on a link, if they are there.
    pub(crate) async fn find(end: SwitchEnd<'_>) -> Result<Option<Self>, Error> {
        let [sent, received] = hooks(end);
        let Some(sent) = sent.find().await? else { return Ok(None) };
        Ok(Some(Self { sent, received: received.find().await? }))
    }

    /// Descriptors of them; `None` if the second does not share all its maps with the first.
    pub(crate) fn open(&self) -> Result<Option<Programs>, Error> {
        let open = |id| kernel::open_program(id).map_err(|error| failed("open its programs", &error));
        let received = match &self.received {
            Some(received) if received.maps.iter().all(|map| self.sent.maps.contains(map)) => open(received.id)?,
            Some(_) => return Ok(None),
            None => None,
        };
        Ok(open(self.sent.id)?.map(|sent| Programs::Found { sent, received }))
    }
}

/// Takes our programs off a link; nothing to do where none hang.
pub(crate) async fn remove(end: SwitchEnd<'_>) -> Result<(), Error> {
    for hook in hooks(end) {
        hook.clear().await?;
    }
    Ok(())
}

/// Where what the guest sends is met, and where what it is to receive.
pub(crate) const fn hooks(end: SwitchEnd<'_>) -> [Hook<'_>; 2] {
    [
        Hook { end, direction: Direction::Ingress, program: SENT },
        Hook { end, direction: Direction::Egress, program: RECEIVED },
    ]
}

fn descriptor(program: &SchedClassifier) -> Result<BorrowedFd<'_>, Error> {
    let fd = program.fd().map_err(|error: ProgramError| failed("use its program", &error))?;
    Ok(fd.as_fd())
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
