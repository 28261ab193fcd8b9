//! The link's true state, its speed, its driver and what that can be told to leave, by ethtool ioctls.
//!
//! `ETHTOOL_GLINK` of one device returns the carrier as it is now and makes the kernel send a
//! change that its rate limit still holds back (net/core/link_watch.c); RTM_GETLINK dumps do not.
//! Every call takes the kernel's RTNL lock, which others can hold for long.

use std::io;

use crate::sys::{self, Interface};

/// `ETHTOOL_GLINK`: is there a carrier.
const GLINK: u32 = 0x0000_000a;
/// `ETHTOOL_GDRVINFO`: name of the driver.
const GDRVINFO: u32 = 0x0000_0003;
/// `ETHTOOL_GLINKSETTINGS`: speed and duplex.
const GLINKSETTINGS: u32 = 0x0000_004c;
/// `ETHTOOL_SLINKSETTINGS`: sets them.
const SLINKSETTINGS: u32 = 0x0000_004d;

/// `ETHTOOL_GSTRINGS`: the names of a set.
const GSTRINGS: u32 = 0x0000_001b;
/// `ETHTOOL_GSSET_INFO`: how many there are.
const GSSET_INFO: u32 = 0x0000_0037;
/// `ETHTOOL_GFEATURES`: the state of all features.
const GFEATURES: u32 = 0x0000_003a;
/// `ETHTOOL_SFEATURES`: changes some.
const SFEATURES: u32 = 0x0000_003b;
/// `ETH_SS_FEATURES`: the set of features.
const FEATURES: u32 = 4;

/// `SPEED_UNKNOWN`.
const SPEED_UNKNOWN: u32 = u32::MAX;
/// `DUPLEX_HALF`.
const HALF: u8 = 0;
/// `DUPLEX_FULL`.
const FULL: u8 = 1;
/// `DUPLEX_UNKNOWN`.
const DUPLEX_UNKNOWN: u8 = 0xff;

/// Both directions at once, or one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplex {
    /// Both directions at once.
    Full,
    /// One direction at a time.
    Half,
    /// The device does not say.
    Unknown,
}

impl Duplex {
    /// As Solaris prints it: `full`, `half` or `unknown`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Half => "half",
            Self::Unknown => "unknown",
        }
    }

    /// The duplex that [`as_str`](Self::as_str) names so; any other word is [`Unknown`](Self::Unknown).
    pub fn named(word: &str) -> Self {
        [Self::Full, Self::Half].into_iter().find(|duplex| duplex.as_str() == word).unwrap_or(Self::Unknown)
    }
}

/// Speed and duplex of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Mb/s; absent when the device does not say, as most do without a carrier.
    pub speed: Option<u32>,
    /// Duplex.
    pub duplex: Duplex,
}

/// The feature of a card that drops frames in VLANs which nobody has registered (`NETIF_F_HW_VLAN_CTAG_FILTER`), as
/// `ethtool -k` names it.
pub const VLAN_FILTER: &str = "rx-vlan-filter";

/// A feature of a device, as `ethtool -k` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feature {
    /// It is on.
    pub on: bool,
    /// It can be switched, which `ethtool -k` denies by `[fixed]`.
    pub switchable: bool,
}

/// A socket to ask through; it asks about the namespace that it was made in.
#[derive(Debug)]
pub struct Ethtool(std::net::UdpSocket);

impl Ethtool {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open() -> io::Result<Self> {
        sys::datagram_socket().map(Self)
    }

    /// Whether the link has a carrier now; `None` when its driver cannot say.
    ///
    /// # Errors
    /// Those of ioctl(2), `ENODEV` when the link does not exist.
    pub fn carrier(&self, name: &str) -> io::Result<Option<bool>> {
        let mut value = sys::EthtoolValue { cmd: GLINK, data: 0 };
        match sys::ethtool(&self.0, &Interface::new(name)?, &mut value) {
            Ok(()) => Ok(Some(value.data != 0)),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Speed and duplex.
    ///
    /// # Errors
    /// Those of ioctl(2), `ENODEV` when the link does not exist.
    pub fn settings(&self, name: &str) -> io::Result<Settings> {
        match self.link_settings(&Interface::new(name)?) {
            Ok(settings) => Ok(Settings {
                speed: (settings.speed != 0 && settings.speed != SPEED_UNKNOWN).then_some(settings.speed),
                duplex: match settings.duplex {
                    HALF => Duplex::Half,
                    FULL => Duplex::Full,
                    _ => Duplex::Unknown,
                },
            }),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Ok(Settings { speed: None, duplex: Duplex::Unknown })
            }
            Err(error) => Err(error),
        }
    }

    /// Sets speed and duplex. A tap takes any, and only says them again; so that is how to tell what is behind it.
    ///
    /// # Errors
    /// Those of ioctl(2): `ENODEV` when the link does not exist, `EOPNOTSUPP` when its driver cannot be told (veth).
    pub fn set_settings(&self, name: &str, settings: Settings) -> io::Result<()> {
        let interface = Interface::new(name)?;
        let mut request = self.link_settings(&interface)?;
        request.cmd = SLINKSETTINGS;
        request.speed = settings.speed.unwrap_or(SPEED_UNKNOWN);
        request.duplex = match settings.duplex {
            Duplex::Half => HALF,
            Duplex::Full => FULL,
            Duplex::Unknown => DUPLEX_UNKNOWN,
        };
        sys::ethtool(&self.0, &interface, &mut request)
    }

    fn link_settings(&self, interface: &Interface) -> io::Result<sys::LinkSettings> {
        let mut request = sys::LinkSettings::new(GLINKSETTINGS);
        // Two steps: the first answer says how many words the link modes take, as a negative number
        // (include/uapi/linux/ethtool.h, struct ethtool_link_settings).
        sys::ethtool(&self.0, interface, &mut request)?;
        let words = request.link_mode_masks_nwords;
        request = sys::LinkSettings::new(GLINKSETTINGS);
        request.link_mode_masks_nwords = words.saturating_neg();
        sys::ethtool(&self.0, interface, &mut request)?;
        Ok(request)
    }

    /// Name of the driver, such as `igb`, `virtio_net` or `veth`.
    ///
    /// # Errors
    /// Those of ioctl(2), `EOPNOTSUPP` when the device has no name to give.
    pub fn driver(&self, name: &str) -> io::Result<String> {
        let mut info = sys::DriverInfo::new(GDRVINFO);
        sys::ethtool(&self.0, &Interface::new(name)?, &mut info)?;
        let end = info.driver.iter().position(|&b| b == 0).unwrap_or(info.driver.len());
        Ok(String::from_utf8_lossy(&info.driver[..end]).into_owned())
    }

    /// A feature by the name that `ethtool -k` gives it.
    ///
    /// # Errors
    /// Those of ioctl(2), `ENODEV` when the link does not exist; `EOPNOTSUPP` when the kernel has no such feature.
    pub fn feature(&self, name: &str, feature: &str) -> io::Result<Feature> {
        let interface = Interface::new(name)?;
        let (word, bit) = self.find(&interface, feature)?;
        let mut features = sys::Features::new(GFEATURES);
        sys::ethtool(&self.0, &interface, &mut features)?;
        let word = features.features[word];
        Ok(Feature { on: word.active & bit != 0, switchable: word.available & !word.never_changed & bit != 0 })
    }

    /// Switches a feature on or off.
    ///
    /// # Errors
    /// As [`feature`](Self::feature), and `EOPNOTSUPP` when the device leaves it as it was.
    pub fn set_feature(&self, name: &str, feature: &str, on: bool) -> io::Result<()> {
        let interface = Interface::new(name)?;
        let (word, bit) = self.find(&interface, feature)?;
        let mut features = sys::Features::new(GFEATURES);
        sys::ethtool(&self.0, &interface, &mut features)?;
        let mut changes = sys::FeatureChanges::new(SFEATURES, features.words);
        changes.changes[word] = sys::FeatureChange { valid: bit, requested: if on { bit } else { 0 } };
        // What the device does not do is no error here, only noted in a number that says nothing of which.
        sys::ethtool(&self.0, &interface, &mut changes)?;
        if self.feature(name, feature)?.on == on {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
    }

    /// Where a feature is: the word of 32, and its bit.
    fn find(&self, interface: &Interface, feature: &str) -> io::Result<(usize, u32)> {
        let unknown = || io::Error::from_raw_os_error(libc::EOPNOTSUPP);
        let mut info = sys::StringSetInfo::new(GSSET_INFO, FEATURES);
        sys::ethtool(&self.0, interface, &mut info)?;
        if info.count as usize > sys::STRINGS {
            return Err(unknown());
        }
        let mut names = Box::new(sys::Strings::new(GSTRINGS, FEATURES));
        sys::ethtool(&self.0, interface, &mut *names)?;
        let is_it = |name: &[u8; 32]| name.split(|&byte| byte == 0).next() == Some(feature.as_bytes());
        let at = names.strings[..info.count as usize].iter().position(is_it).ok_or_else(unknown)?;
        Ok((at / 32, 1 << (at % 32)))
    }
}
