//! The system calls that no safe crate offers. All `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd};

/// Name of an interface as the kernel takes it: at most 15 bytes and a zero.
pub(crate) struct Interface([libc::c_char; libc::IFNAMSIZ]);

impl Interface {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        if name.len() >= libc::IFNAMSIZ || name.bytes().any(|b| b == 0) {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let mut bytes = [0; libc::IFNAMSIZ];
        for (to, from) in bytes.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        Ok(Self(bytes))
    }

    pub(crate) fn name(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// `struct ethtool_value`.
#[repr(C)]
pub(crate) struct EthtoolValue {
    pub(crate) cmd: u32,
    pub(crate) data: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
pub(crate) struct DriverInfo {
    cmd: u32,
    pub(crate) driver: [u8; 32],
    rest: [u8; 160],
}

impl DriverInfo {
    pub(crate) fn new(cmd: u32) -> Self {
        Self { cmd, driver: [0; 32], rest: [0; 160] }
    }
}

/// `struct ethtool_link_settings` with room for three masks of 127 words, its largest number.
#[repr(C)]
pub(crate) struct LinkSettings {
    pub(crate) cmd: u32,
    pub(crate) speed: u32,
    pub(crate) duplex: u8,
    middle: [u8; 6],
    pub(crate) link_mode_masks_nwords: i8,
    rest: [u8; 32],
    masks: [u32; 3 * 127],
}

/// Strings of one set that [`Strings`] has room for; features are 64 now (linux/netdev_features.h).
pub(crate) const STRINGS: usize = 256;
/// Words of 32 features that [`Features`] has room for.
pub(crate) const FEATURE_WORDS: usize = STRINGS / 32;

/// `struct ethtool_sset_info` for one set.
#[repr(C)]
pub(crate) struct StringSetInfo {
    cmd: u32,
    reserved: u32,
    sets: u64,
    pub(crate) count: u32,
}

impl StringSetInfo {
    pub(crate) fn new(cmd: u32, set: u32) -> Self {
        Self { cmd, reserved: 0, sets: 1 << set, count: 0 }
    }
}

/// `struct ethtool_gstrings`. The kernel writes all strings of the set, whatever room there is: ask for their number first.
#[repr(C)]
pub(crate) struct Strings {
    cmd: u32,
    set: u32,
    pub(crate) count: u32,
    pub(crate) strings: [[u8; 32]; STRINGS],
}

impl Strings {
    pub(crate) fn new(cmd: u32, set: u32) -> Self {
        Self { cmd, set, count: 0, strings: [[0; 32]; STRINGS] }
    }
}

/// `struct ethtool_get_features_block`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct FeatureWord {
    pub(crate) available: u32,
    requested: u32,
    pub(crate) active: u32,
    pub(crate) never_changed: u32,
}

/// `struct ethtool_gfeatures`.
#[repr(C)]
pub(crate) struct Features {
    cmd: u32,
    pub(crate) words: u32,
    pub(crate) features: [FeatureWord; FEATURE_WORDS],
}

impl Features {
    pub(crate) fn new(cmd: u32) -> Self {
        Self { cmd, words: FEATURE_WORDS as u32, features: [FeatureWord::default(); FEATURE_WORDS] }
    }
}

/// `struct ethtool_set_features_block`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct FeatureChange {
    pub(crate) valid: u32,
    pub(crate) requested: u32,
}

/// `struct ethtool_sfeatures`.
#[repr(C)]
pub(crate) struct FeatureChanges {
    cmd: u32,
    words: u32,
    pub(crate) changes: [FeatureChange; FEATURE_WORDS],
}

impl FeatureChanges {
    /// `words`: as many as the kernel has features for, or it refuses.
    pub(crate) fn new(cmd: u32, words: u32) -> Self {
        Self { cmd, words, changes: [FeatureChange::default(); FEATURE_WORDS] }
    }
}

const _: () = assert!(std::mem::size_of::<DriverInfo>() == 196);
const _: () = assert!(std::mem::offset_of!(StringSetInfo, count) == 16);
const _: () = assert!(std::mem::offset_of!(Strings, strings) == 12);
const _: () = assert!(std::mem::size_of::<Features>() == 8 + 16 * FEATURE_WORDS);
const _: () = assert!(std::mem::size_of::<FeatureChanges>() == 8 + 8 * FEATURE_WORDS);
const _: () = assert!(std::mem::offset_of!(LinkSettings, link_mode_masks_nwords) == 15);
const _: () = assert!(std::mem::offset_of!(LinkSettings, masks) == 48);

impl LinkSettings {
    pub(crate) fn new(cmd: u32) -> Self {
        Self { cmd, speed: 0, duplex: 0, middle: [0; 6], link_mode_masks_nwords: 0, rest: [0; 32], masks: [0; 3 * 127] }
    }
}

/// What an ethtool request may point to: a structure that starts with its command and is as large
/// as the kernel may write.
pub(crate) trait EthtoolRequest {}
impl EthtoolRequest for EthtoolValue {}
impl EthtoolRequest for DriverInfo {}
impl EthtoolRequest for LinkSettings {}
impl EthtoolRequest for StringSetInfo {}
impl EthtoolRequest for Strings {}
impl EthtoolRequest for Features {}
impl EthtoolRequest for FeatureChanges {}

/// One `SIOCETHTOOL`.
pub(crate) fn ethtool<R: EthtoolRequest>(socket: &UdpSocket, interface: &Interface, request: &mut R) -> io::Result<()> {
    // SAFETY: ifreq is plain data, for which zeroes are valid.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    ifreq.ifr_name = interface.0;
    ifreq.ifr_ifru.ifru_data = std::ptr::from_mut(request).cast();
    // SAFETY: the socket is open, ifreq lives through the call, and it points to a request that is
    // exclusively ours and at least as large as the kernel writes for its command.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as libc::Ioctl, &raw mut ifreq) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// `SIOCDELMULTI`: takes a group out of the filter of an interface if it was added there by hand.
pub(crate) fn delete_multicast(socket: &UdpSocket, interface: &Interface, mac: [u8; 6]) -> io::Result<()> {
    // SAFETY: ifreq is plain data, for which zeroes are valid.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    ifreq.ifr_name = interface.0;
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().zip(mac) {
        *to = from as libc::c_char;
    }
    ifreq.ifr_ifru.ifru_hwaddr = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: data };
    // SAFETY: the socket is open, and ifreq, all that the kernel reads here, lives through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCDELMULTI as libc::Ioctl, &raw mut ifreq) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A UDP socket that is bound to nothing: std makes only bound ones, for which an address must be up.
pub(crate) fn datagram_socket() -> io::Result<UdpSocket> {
    // SAFETY: no pointers are involved.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { UdpSocket::from_raw_fd(fd) })
}

/// `SO_NETNS_COOKIE` of a socket.
pub(crate) fn netns_cookie(socket: &UdpSocket) -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let mut cookie = 0u64;
    let mut len = std::mem::size_of::<u64>() as libc::socklen_t;
    // SAFETY: both pointers are to live variables, and `len` is the size of the first.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, (&raw mut cookie).cast(), &raw mut len)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}

/// `TUNSETIFF` of a tap on an open `/dev/net/tun`, of a new one only if said so; the kernel writes back the name that it got.
pub(crate) fn attach_tap(tun: &File, interface: &mut Interface, new: bool) -> io::Result<()> {
    const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let exclusive = if new { libc::IFF_TUN_EXCL } else { 0 };
    // SAFETY: ifreq is plain data, for which zeroes are valid.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    ifreq.ifr_name = interface.0;
    ifreq.ifr_ifru.ifru_flags = (FLAGS | exclusive) as libc::c_short;
    // SAFETY: the file is open, and ifreq, all that the kernel reads and writes here, lives through the call.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &raw mut ifreq) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    interface.0 = ifreq.ifr_name;
    Ok(())
}

/// `TUNSETPERSIST`: the tap outlives the file that it is attached to.
pub(crate) fn keep_tap(tun: &File) -> io::Result<()> {
    // SAFETY: the file is open, and the argument is a number.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETPERSIST as libc::Ioctl, 1) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
