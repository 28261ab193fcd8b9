//! Where the programs of a guard hang, so that they stay when the daemon goes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

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
    /// How programs hang there.
    pub(crate) way: Way,
}

/// How programs hang on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By tcx without bpf links, which would need a bpffs to stay. Cheaper for each frame than a filter.
    Tcx,
    /// By filters on clsact.
    Clsact,
}

/// A direction of a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook<'a> {
    pub(crate) end: SwitchEnd<'a>,
    pub(crate) direction: Direction,
    /// Name of the program that hangs here.
    pub(crate) program: &'static str,
}

impl<'a> SwitchEnd<'a> {
    /// The link of this index.
    #[must_use]
    pub fn new(namespace: &'a Namespace, netlink: &'a Netlink, index: u32) -> Self {
        let way = if kernel::kernel_has_tcx() { Way::Tcx } else { Way::Clsact };
        Self { namespace, netlink, index, way }
    }
}

impl Hook<'_> {
    /// Our program here.
    pub(crate) async fn find(&self) -> Result<Option<kernel::Program>, Error> {
        match self.end.way {
            Way::Tcx => self.inside("look for its programs", || self.find_tcx()),
            Way::Clsact => {
                let filters = self.end.netlink.bpf_filters(self.end.index, self.direction).await;
                let filters = filters.map_err(|error| failed("look for its programs", &error))?;
                let ours =
                    filters.iter().find(|filter| filter.priority == PLACE.priority && filter.handle == PLACE.handle);
                match ours.and_then(|filter| filter.program_id) {
                    Some(id) => kernel::program(id).map_err(|error| failed("look at its programs", &error)),
                    None => Ok(None),
                }
            }
        }
    }

    /// Hangs a program here, in place of an earlier one of ours: no frame sees neither or both.
    pub(crate) async fn hang(&self, program: BorrowedFd<'_>) -> Result<(), Error> {
        const WHAT: &str = "hang its programs on the link";
        match self.end.way {
            Way::Tcx => self.inside(WHAT, || {
                let old = self.find_tcx()?.map(|old| kernel::open_program(old.id)).transpose()?.flatten();
                kernel::attach_program(program, self.end.index, self.direction, old.as_ref().map(AsFd::as_fd))
            }),
            Way::Clsact => {
                let hung = self.end.netlink.set_bpf_filter(self.end.index, self.direction, PLACE, NAME, program).await;
                hung.map_err(|error| failed(WHAT, &error))
            }
        }
    }

    /// Takes our program off; nothing to do where none hangs.
    pub(crate) async fn clear(&self) -> Result<(), Error> {
        const WHAT: &str = "take its programs off the link";
        match self.end.way {
            Way::Tcx => {
                self.inside(WHAT, || match self.find_tcx()?.map(|old| kernel::open_program(old.id)).transpose()? {
                    Some(Some(program)) => kernel::detach_program(program.as_fd(), self.end.index, self.direction),
                    _ => Ok(()),
                })
            }
            Way::Clsact => {
                let cleared = self.end.netlink.delete_bpf_filter(self.end.index, self.direction, PLACE).await;
                cleared.map_err(|error| failed(WHAT, &error))
            }
        }
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
