//! Hanging the programs on links, so that they stay when the daemon goes.
//!
//! tcx where the kernel has it and a bpffs is there to pin its links on; else clsact, whose filters
//! stay by themselves. A program that hangs there already is replaced in place, so no frame is lost.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{fs, io};

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{SchedClassifier, TcAttachType};
use dlmp_netlink::{Direction, Netlink};

use super::sys::{self, Program};
use crate::Error;

/// Priority of our filters on clsact: nobody else's, so that ours is found again.
const PRIORITY: u16 = 0xd1;
/// Handle of our filters on clsact.
const HANDLE: u32 = 0xd1;

/// Which side of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// Frames that it received.
    Ingress,
    /// Frames that it is about to send.
    Egress,
    /// Frames that the aggregation's link sent past the program on its egress: received by the link's lower end.
    Lower,
    /// Frames that a VNIC sent: received by the lower end of its pair.
    Vnic,
}

impl Hook {
    /// Name of the program that hangs there, in the object and in the kernel.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Ingress => "dlmp_ingress",
            Self::Egress | Self::Lower => "dlmp_egress",
            Self::Vnic => "dlmp_vnic",
        }
    }

    pub(super) const fn direction(self) -> Direction {
        match self {
            Self::Ingress | Self::Lower | Self::Vnic => Direction::Ingress,
            Self::Egress => Direction::Egress,
        }
    }

    const fn attach_type(self) -> TcAttachType {
        match self {
            Self::Ingress | Self::Lower | Self::Vnic => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }
}

/// How the programs of an aggregation are attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// By tcx links, pinned in this directory.
    Tcx(PathBuf),
    /// By filters on the clsact qdisc.
    Clsact,
}

impl Attachment {
    /// Chooses for this kernel: `pins` is a directory on a bpffs that exists, if there is one.
    pub fn choose(pins: Option<PathBuf>) -> Self {
        match pins {
            Some(pins) if kernel_has_tcx() => Self::Tcx(pins),
            _ => Self::Clsact,
        }
    }

    /// `tcx` or `clsact`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tcx(_) => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// Whether the kernel has tcx, which came with Linux 6.6.
pub fn kernel_has_tcx() -> bool {
    aya::util::KernelVersion::current().is_ok_and(|version| version >= aya::util::KernelVersion::new(6, 6, 0))
}

/// A link to hang a program on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) ifindex: u32,
    pub(super) name: &'a str,
    pub(super) hook: Hook,
}

impl Place<'_> {
    pub(super) fn pin(&self, pins: &Path) -> PathBuf {
        match self.hook {
            Hook::Ingress => pins.join(format!("ingress-{}", self.ifindex)),
            Hook::Egress => pins.join("egress"),
            Hook::Lower => pins.join("lower"),
            Hook::Vnic => pins.join(format!("vnic-{}", self.ifindex)),
        }
    }

    /// Whether a path is one that [`pin`](Self::pin) makes.
    fn is_pin(path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "egress" || name == "lower" || name.starts_with("ingress-") || name.starts_with("vnic-")
    }
}

/// Hangs the program there, in place of one of an earlier daemon.
pub(super) async fn attach(
    program: &mut SchedClassifier,
    place: Place<'_>,
    attachment: &Attachment,
    netlink: &Netlink,
) -> Result<(), Error> {
    let failed = |reason: &dyn std::fmt::Display| {
        Error::new("attach its program", format!("{} ({}): {reason}", place.name, attachment.name()))
    };
    // A tcx link that is there is taken over even when its pin is out of sight.
    let link = find_link(place).map_err(|error| failed(&error))?;
    let fd = program.fd().map_err(|error| failed(&error))?;
    match (link, attachment) {
        (Some((link, _)), _) => sys::update_link(link.as_fd(), fd.as_fd()).map_err(|error| failed(&error)),
        (None, Attachment::Tcx(pins)) => {
            create_pinned(fd.as_fd(), place, pins).map_err(|error| failed(&error))?;
            // Runs behind ours by now, if an earlier daemon left one.
            drop_filter(place, netlink).await
        }
        (None, Attachment::Clsact) => attach_filter(program, place, netlink).await.map_err(|error| failed(&error)),
    }
}

/// Takes our program off a link; nothing to do when none hangs there.
pub(super) async fn detach(place: Place<'_>, attachment: &Attachment, netlink: &Netlink) -> Result<(), Error> {
    let failed = |error: io::Error| Error::new("detach its program", format!("{}: {error}", place.name));
    if let Attachment::Tcx(pins) = attachment {
        remove_file(&place.pin(pins)).map_err(failed)?;
    }
    if let Some((link, _)) = find_link(place).map_err(failed)? {
        sys::detach_link(link.as_fd()).map_err(failed)?;
    }
    drop_filter(place, netlink).await
}

/// Our program on a link, if one hangs there: its description in the kernel.
pub(super) async fn attached_program(place: Place<'_>, netlink: &Netlink) -> Result<Option<Program>, Error> {
    let failed = |reason: String| Error::new("look for its program", format!("{}: {reason}", place.name));
    if let Some((_, program)) = find_link(place).map_err(|error| failed(error.to_string()))? {
        return Ok(Some(program));
    }
    let filters = (netlink.bpf_filters(place.ifindex, place.hook.direction()).await)
        .map_err(|error| failed(error.to_string()))?;
    let ours = filters.iter().find(|filter| filter.priority == PRIORITY && filter.handle == HANDLE);
    match ours.and_then(|filter| filter.program_id) {
        Some(id) => sys::program(id).map_err(|error| failed(error.to_string())),
        None => Ok(None),
    }
}

/// Removes the pins of aggregations whose links are all gone: their namespace was deleted while no
/// daemon ran, or the daemon was killed after its link. Those without a pinned link stay: another
/// daemon may be about to pin the first.
pub fn clear_stale_pins(root: &Path) -> io::Result<()> {
    for namespace in read_dir(root)? {
        for aggregation in read_dir(&namespace)? {
            let links: Vec<_> = read_dir(&aggregation)?.into_iter().filter(|pin| Place::is_pin(pin)).collect();
            // One that cannot be looked at any more was removed just now, by its daemon.
            if !links.is_empty() && !links.iter().any(|pin| sys::is_live(pin).unwrap_or(true)) {
                fs::remove_dir_all(&aggregation)?;
            }
        }
        // Fails while there is an aggregation left in it, which is as it should be.
        let _ = fs::remove_dir(&namespace);
    }
    Ok(())
}

pub(super) fn read_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Our tcx link at this place, if there is one, and its program, which is ours by name.
fn find_link(place: Place<'_>) -> io::Result<Option<(OwnedFd, Program)>> {
    for link in sys::tcx_links(place.ifindex, place.hook)? {
        if let Some(program) = sys::program(link.program)?.filter(|program| program.name == place.hook.program()) {
            return Ok(sys::open_link(link.id)?.map(|link| (link, program)));
        }
    }
    Ok(None)
}

fn create_pinned(program: BorrowedFd<'_>, place: Place<'_>, pins: &Path) -> io::Result<()> {
    fs::create_dir_all(pins)?;
    let pin = place.pin(pins);
    remove_file(&pin)?; // of a link whose device is gone
    let link = sys::create_tcx_link(program, place.ifindex, place.hook)?;
    sys::pin(link.as_fd(), &pin)
}

async fn attach_filter(
    program: &mut SchedClassifier,
    place: Place<'_>,
    netlink: &Netlink,
) -> Result<(), Box<dyn std::error::Error>> {
    let filters = netlink.bpf_filters(place.ifindex, place.hook.direction()).await;
    let handle = TcHandle::from(HANDLE);
    let link = if filters.is_ok_and(|all| all.iter().any(|f| f.priority == PRIORITY && f.handle == HANDLE)) {
        let link = SchedClassifierLink::attached(place.name, place.hook.attach_type(), PRIORITY, handle, None)?;
        program.attach_to_link(link)?
    } else {
        // An error here is that it exists already; if not, attaching fails and says so.
        let _ = qdisc_add_clsact(place.name);
        let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle, classid: None });
        program.attach_with_options(place.name, place.hook.attach_type(), options)?
    };
    // Dropping the link would remove the filter, which is to outlive us.
    std::mem::forget(program.take_link(link)?);
    Ok(())
}

/// Removes our filter from clsact, and clsact with it when nobody else uses it.
async fn drop_filter(place: Place<'_>, netlink: &Netlink) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::new("detach its program", format!("{}: {error}", place.name));
    let here = (netlink.bpf_filters(place.ifindex, place.hook.direction()).await).map_err(|error| failed(&error))?;
    if !here.iter().any(|f| f.priority == PRIORITY && f.handle == HANDLE) {
        return Ok(());
    }
    let link =
        SchedClassifierLink::attached(place.name, place.hook.attach_type(), PRIORITY, TcHandle::from(HANDLE), None)
            .map_err(|error| failed(&error))?;
    drop(link); // which detaches it
    let left = netlink.filter_count(place.ifindex).await.map_err(|error| failed(&error))?;
    if left == 0 {
        netlink.delete_clsact(place.ifindex).await.map_err(|error| failed(&error))?;
    }
    Ok(())
}

pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
