//! Where the programs of a guard hang, so that they stay when the daemon goes.
//!
//! First as filters on clsact, which takes no time. Then, where the kernel has it, by tcx without bpf links (those would need a
//! bpffs to stay): that costs each frame less, but for each program the kernel waits until nobody can be using the old hook any
//! more, some 10 ms, with the lock on all links (`tcx_entry_sync` in kernel/bpf/tcx.c). For that moment both judge each frame.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dlmp_datapath::bpf as kernel;
use dlmp_netlink::{Direction, FilterPlace, Namespace, Netlink};

use crate::{Error, failed};

/// Where our filters are on clsact: at a priority that nobody else has, so that they are found again.
const PLACE: FilterPlace = FilterPlace { priority: 0xd2, handle: 0xd2 };
/// What the kernel shows as the name of the filters.
const NAME: &str = "dlmp_guard";

/// A link that a guard can be put on; the calling thread may be in any namespace.
#[derive(Debug, Clone, Copy)]
pub struct SwitchEnd<'a> {
    /// The namespace that it is in.
    pub namespace: &'a Namespace,
    /// A socket of that namespace.
    pub netlink: &'a Netlink,
    /// Its index there.
    pub index: u32,
}

/// A direction of a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook<'a> {
    pub(crate) end: SwitchEnd<'a>,
    pub(crate) direction: Direction,
    /// Name of the program that hangs here.
    pub(crate) program: &'static str,
}

impl Hook<'_> {
    /// Our program here, the one that frames reach.
    pub(crate) async fn find(&self) -> Result<Option<kernel::Program>, Error> {
        const WHAT: &str = "look for its programs";
        if let Some(program) = self.inside(WHAT, || self.find_tcx())? {
            return Ok(Some(program));
        }
        let filters = self.end.netlink.bpf_filters(self.end.index, self.direction).await;
        let filters = filters.map_err(|error| failed(WHAT, &error))?;
        let ours = filters.iter().find(|filter| filter.priority == PLACE.priority && filter.handle == PLACE.handle);
        match ours.and_then(|filter| filter.program_id) {
            Some(id) => kernel::program(id).map_err(|error| failed(WHAT, &error)),
            None => Ok(None),
        }
    }

    /// Hangs a program here, in place of an earlier one of ours: no frame sees neither or both.
    pub(crate) async fn hang(&self, program: BorrowedFd<'_>) -> Result<(), Error> {
        const WHAT: &str = "hang its programs on the link";
        let replaced = self.inside(WHAT, || match self.open_tcx()? {
            Some(old) => self.attach_tcx(program, Some(&old)).map(|()| true),
            None => Ok(false),
        })?;
        if replaced {
            return Ok(());
        }
        let hung = self.end.netlink.set_bpf_filter(self.end.index, self.direction, PLACE, NAME, program).await;
        hung.map_err(|error| failed(WHAT, &error))
    }

    /// Moves this program, which hangs here, from clsact to tcx, where the kernel has that.
    pub(crate) async fn settle(&self, program: BorrowedFd<'_>) -> Result<(), Error> {
        const WHAT: &str = "move its programs to tcx";
        if !kernel::kernel_has_tcx() {
            return Ok(());
        }
        self.inside(WHAT, || self.attach_tcx(program, self.open_tcx()?.as_ref()))?;
        self.clear_filter().await
    }

    /// Takes our program off; nothing to do where none hangs.
    pub(crate) async fn clear(&self) -> Result<(), Error> {
        self.inside("take its programs off the link", || match self.open_tcx()? {
            Some(program) => kernel::detach_program(program.as_fd(), self.end.index, self.direction),
            None => Ok(()),
        })?;
        self.clear_filter().await
    }

    async fn clear_filter(&self) -> Result<(), Error> {
        let cleared = self.end.netlink.delete_bpf_filter(self.end.index, self.direction, PLACE).await;
        cleared.map_err(|error| failed("take its filters off the link", &error))
    }

    fn attach_tcx(&self, program: BorrowedFd<'_>, old: Option<&OwnedFd>) -> io::Result<()> {
        kernel::attach_program(program, self.end.index, self.direction, old.map(AsFd::as_fd))
    }

    fn open_tcx(&self) -> io::Result<Option<OwnedFd>> {
        self.find_tcx()?.map_or(Ok(None), |program| kernel::open_program(program.id))
    }

    /// Ours is known by its name; who else attaches programs of that name without a link has to take what comes.
    fn find_tcx(&self) -> io::Result<Option<kernel::Program>> {
        for id in kernel::attached_programs(self.end.index, self.direction)? {
            if let Some(program) = kernel::program(id)?.filter(|program| program.name == self.program) {
                return Ok(Some(program));
            }
        }
        Ok(None)
    }

    /// tcx is asked for the links of the calling thread's namespace.
    fn inside<T: Send>(&self, what: &'static str, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T, Error> {
        let done = self.end.namespace.enter(work).map_err(|error| failed(what, &error))?;
        done.map_err(|error| failed(what, &error))
    }
}
