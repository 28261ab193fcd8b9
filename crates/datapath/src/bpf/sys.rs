//! The bpf(2) calls about links that the loader does not offer, and a map seen as memory. All `unsafe`
//! of this back end is here.
//!
//! A tcx link stays attached while something holds it: a descriptor or a pin. Whoever may can get
//! a descriptor by the link's id, so that a daemon that does not see the bpffs of its predecessor
//! still takes its links over. Layouts: include/uapi/linux/bpf.h, `union bpf_attr`.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dlmp_netlink::Direction;

use super::attach::Hook;

const OBJ_PIN: libc::c_long = 6;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const LINK_GET_FD_BY_ID: libc::c_long = 30;
const LINK_DETACH: libc::c_long = 34;
const PROG_BIND_MAP: libc::c_long = 35;

const LINK_TYPE_TCX: u32 = 11;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
/// In place of another.
const F_REPLACE: u32 = 1 << 2;
/// Run before all others.
const F_BEFORE: u32 = 1 << 3;
/// Run after all others.
const F_AFTER: u32 = 1 << 4;
/// The most programs that a hook takes (BPF_MPROG_MAX, include/linux/bpf_mprog.h).
const PROGRAMS_MAX: usize = 64;

/// More maps than our programs have.
const MAPS_MAX: usize = 32;

/// Large enough for every command used here; the kernel takes zeroes behind what it knows.
#[repr(C, align(8))]
#[derive(Default)]
struct Attributes([u32; 32]);

impl Attributes {
    fn new(fields: &[u32]) -> Self {
        let mut attributes = Self::default();
        attributes.0[..fields.len()].copy_from_slice(fields);
        attributes
    }

    fn with_pointer<T: ?Sized>(mut self, at: usize, pointer: *const T) -> Self {
        let address = pointer.cast::<()>() as u64;
        self.0[at] = address as u32;
        self.0[at + 1] = (address >> 32) as u32;
        if cfg!(target_endian = "big") {
            self.0.swap(at, at + 1);
        }
        self
    }
}

fn bpf(command: libc::c_long, attributes: &mut Attributes) -> io::Result<i32> {
    // SAFETY: the attributes live through the call and are as large as said; pointers in them are
    // put there by the callers below, each to something that lives through the call too.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), std::mem::size_of::<Attributes>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel just made the descriptor for us and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// A tcx link on a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcxLink {
    /// Its id.
    pub(super) id: u32,
    /// Id of its program.
    pub(super) program: u32,
}

const fn attach_type(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => TCX_INGRESS,
        Direction::Egress => TCX_EGRESS,
    }
}

/// Attaches a program by tcx without a link, before all others or in place of one of them: no frame sees neither or both. It stays
/// as long as the interface, which is one of the calling thread's network namespace. Nothing to do where it is attached already.
///
/// # Errors
/// The kernel's refusal.
pub fn attach_program(
    program: BorrowedFd<'_>,
    ifindex: u32,
    direction: Direction,
    instead_of: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let (flags, old) = instead_of.map_or((F_BEFORE, 0), |old| (F_REPLACE, raw(old)));
    let mut attributes = Attributes::new(&[ifindex, raw(program), attach_type(direction), flags, old]);
    match bpf(PROG_ATTACH, &mut attributes) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result.map(drop),
    }
}

/// Detaches a program that was attached by [`attach_program`]; its absence is no error.
///
/// # Errors
/// The kernel's refusal.
pub fn detach_program(program: BorrowedFd<'_>, ifindex: u32, direction: Direction) -> io::Result<()> {
    match bpf(PROG_DETACH, &mut Attributes::new(&[ifindex, raw(program), attach_type(direction)])) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result.map(drop),
    }
}

/// Ids of the programs that are attached by tcx without a link; none when the interface is gone.
///
/// # Errors
/// The kernel's refusal.
pub fn attached_programs(ifindex: u32, direction: Direction) -> io::Result<Vec<u32>> {
    Ok(on_hook(ifindex, direction)?.into_iter().filter(|on| on.id == 0).map(|on| on.program).collect())
}

/// Attaches a program: on ingress before all others, on egress after all others.
pub(super) fn create_tcx_link(program: BorrowedFd<'_>, ifindex: u32, hook: Hook) -> io::Result<OwnedFd> {
    let order = match hook {
        Hook::Ingress | Hook::Lower | Hook::Vnic => F_BEFORE,
        Hook::Egress => F_AFTER,
    };
    let mut attributes = Attributes::new(&[raw(program), ifindex, attach_type(hook.direction()), order]);
    bpf(LINK_CREATE, &mut attributes).map(owned)
}

/// Replaces a link's program; no frame sees neither or both.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Attributes::new(&[raw(link), raw(program)]);
    bpf(LINK_UPDATE, &mut attributes).map(drop)
}

/// Detaches a link now, whatever still holds it.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_DETACH, &mut Attributes::new(&[raw(link)])).map(drop)
}

/// Pins an object of the kernel (a link, a map) to a path on a bpffs.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Attributes::new(&[0, 0, raw(object)]).with_pointer(0, path.as_ptr());
    bpf(OBJ_PIN, &mut attributes).map(drop)
}

/// Ties a map that a program does not use to it, so that it lives and is found with it.
pub(super) fn bind_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    bpf(PROG_BIND_MAP, &mut Attributes::new(&[raw(program), raw(map)])).map(drop)
}

/// The tcx links on a hook of an interface of the calling thread's network namespace; none when the
/// interface is gone or the kernel has no tcx.
///
/// The interface is asked, not the list of all links: that one has the links of every namespace, and
/// a link tells its interface's index, which another namespace has too, but not its namespace.
pub(super) fn tcx_links(ifindex: u32, hook: Hook) -> io::Result<Vec<TcxLink>> {
    Ok(on_hook(ifindex, hook.direction())?.into_iter().filter(|on| on.id != 0).collect())
}

/// What is on a hook; a program attached without a link has the link id 0.
fn on_hook(ifindex: u32, direction: Direction) -> io::Result<Vec<TcxLink>> {
    let (mut programs, mut links) = ([0u32; PROGRAMS_MAX], [0u32; PROGRAMS_MAX]);
    // Interface, attach type, two kinds of flags, array of program ids, its length; at 10 of link ids.
    let mut attributes = Attributes::new(&[ifindex, attach_type(direction), 0, 0, 0, 0, PROGRAMS_MAX as u32])
        .with_pointer(4, programs.as_mut_ptr())
        .with_pointer(10, links.as_mut_ptr());
    match bpf(PROG_QUERY, &mut attributes) {
        Ok(_) => {}
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::EINVAL)) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    }
    let count = attributes.0[6] as usize;
    Ok(links.iter().zip(programs).take(count).map(|(&id, program)| TcxLink { id, program }).collect())
}

/// A loaded program, as far as a daemon wants to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its id.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Ids of the maps that it uses or that are bound to it.
    pub maps: Vec<u32>,
}

/// A descriptor of the program of this id; `None` when there is none any more.
///
/// # Errors
/// The kernel's refusal.
pub fn open_program(id: u32) -> io::Result<Option<OwnedFd>> {
    match bpf(PROG_GET_FD_BY_ID, &mut Attributes::new(&[id])) {
        Ok(fd) => Ok(Some(owned(fd))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The program of this id; `None` when there is none any more. It is asked for by its id, since a walk
/// over all programs of the machine can miss it while others come and go.
///
/// # Errors
/// The kernel's refusal.
pub fn program(id: u32) -> io::Result<Option<Program>> {
    let Some(fd) = open_program(id)? else { return Ok(None) };
    let mut maps = [0u32; MAPS_MAX];
    // struct bpf_prog_info: at word 13 the number of map ids, at 14 a pointer to them, at 16 the name.
    // The kernel takes and gives as many of its bytes as we have.
    let mut info = Attributes::default().with_pointer(14, maps.as_mut_ptr());
    info.0[13] = MAPS_MAX as u32;
    let mut attributes =
        Attributes::new(&[raw(fd.as_fd()), std::mem::size_of::<Attributes>() as u32]).with_pointer(2, &raw mut info);
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    let name = info.0[16..20].iter().flat_map(|word| word.to_ne_bytes()).take_while(|&byte| byte != 0).collect();
    let count = (info.0[13] as usize).min(MAPS_MAX);
    Ok(Some(Program { id, name: String::from_utf8(name).unwrap_or_default(), maps: maps[..count].to_vec() }))
}

/// A descriptor of a link; `None` when there is none of that id any more.
pub(super) fn open_link(id: u32) -> io::Result<Option<OwnedFd>> {
    match bpf(LINK_GET_FD_BY_ID, &mut Attributes::new(&[id])) {
        Ok(fd) => Ok(Some(owned(fd))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the interface of a pinned tcx link still exists, in whatever namespace.
pub(super) fn is_live(pin: &Path) -> io::Result<bool> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let link = bpf(OBJ_GET, &mut Attributes::default().with_pointer(0, path.as_ptr())).map(owned)?;
    // struct bpf_link_info: type, id, prog_id, padding, then for tcx ifindex, 0 when that is gone.
    let mut info = [0u32; 32];
    let len = std::mem::size_of_val(&info) as u32;
    let mut attributes = Attributes::new(&[raw(link.as_fd()), len]).with_pointer(2, info.as_mut_ptr());
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info[0] == LINK_TYPE_TCX && info[4] != 0)
}

/// The size of a page of memory in bytes.
pub(super) fn page_size() -> usize {
    // SAFETY: asks for a number and touches no memory.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// A map whose entries are seen as memory (BPF_F_MMAPABLE), without a system call.
#[derive(Debug)]
pub(super) struct Words {
    start: std::ptr::NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory is the kernel's, stays mapped as long as the value lives, and is only touched by
// atomic operations.
unsafe impl Send for Words {}

impl Words {
    /// Maps so many bytes of a map's entries from this offset, a multiple of [`page_size`].
    pub(super) fn map(map: BorrowedFd<'_>, at: usize, bytes: usize) -> io::Result<Self> {
        let at = libc::off_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, map.as_raw_fd(), at) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = std::ptr::NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, bytes })
    }

    /// How much is seen.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The word at this offset in bytes, which the programs may write at any time.
    pub(super) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.bytes, "an entry of the map");
        // SAFETY: inside the mapping and aligned, as just asserted; the kernel writes whole words.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    /// The value of the word at this offset in bytes.
    pub(super) fn u64(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    /// The value of the half word at this offset in bytes.
    pub(super) fn u32(&self, at: usize) -> u32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.bytes, "an entry of the map");
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) }.load(Ordering::Acquire)
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
