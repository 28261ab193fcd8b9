//! The health of a port: its link first, then what probing says.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::probe::{Cause, Detection, Standing, View};
use crate::{PortIndex, SlotIndex};

/// What is known of a port's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum LinkState {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// There is a carrier.
    Up,
    /// There is no carrier, or the link was brought down.
    Down,
    /// The link does not exist (hot-unplugged, its namespace deleted).
    Absent,
}

/// A port's health, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Its link is up, and nothing else decides about it: no probing is configured, there is no target
    /// that vouches, or nothing is known against it yet.
    LinkUp,
    /// A target answers it.
    IcmpActive,
    /// It reaches a port that a target answers.
    L2Active,
    /// No target answers any port, but all ports reach each other: the targets died.
    TargetsSilent,
    /// Its link has not been looked at yet.
    LinkUnknown,
    /// Its link is down.
    LinkDown,
    /// Its link does not exist.
    LinkAbsent,
    /// Its link is back, and it has to prove itself.
    Returning,
    /// Probing has found it dead.
    Failed(Cause),
}

impl Health {
    /// Whether the port may carry traffic.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::LinkUp | Self::IcmpActive | Self::L2Active | Self::TargetsSilent)
    }

    pub(crate) fn of(link: LinkState, view: &View, detection: Detection) -> Self {
        match (link, view.standing) {
            (LinkState::Unknown, _) => Self::LinkUnknown,
            (LinkState::Down, _) => Self::LinkDown,
            (LinkState::Absent, _) => Self::LinkAbsent,
            (LinkState::Up, Some(Standing::Failed(cause))) => Self::Failed(cause),
            (LinkState::Up, Some(Standing::Returning)) => Self::Returning,
            (LinkState::Up, Some(Standing::Good)) => match detection {
                Detection::Link | Detection::NoTargets => Self::LinkUp,
                Detection::TargetsSilent => Self::TargetsSilent,
                Detection::Probes | Detection::Prober(_) if view.icmp => Self::IcmpActive,
                Detection::Probes | Detection::Prober(_) if view.joined => Self::L2Active,
                Detection::Probes | Detection::Prober(_) => Self::LinkUp,
            },
            (LinkState::Up, None) => Self::LinkUp,
        }
    }
}

/// A port, for displays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortView {
    /// Its place.
    pub port: PortIndex,
    /// What is known of its link.
    pub link: LinkState,
    /// Its health.
    pub health: Health,
    /// Who sits on it.
    pub slots: Vec<SlotIndex>,
    /// It is the one that looks for a target while all have failed.
    pub prober: bool,
    /// A target has answered it lately.
    pub icmp: bool,
    /// It reaches a port that carries traffic.
    pub joined: bool,
    /// The targets that it asks.
    pub targets: Vec<IpAddr>,
    /// The ports that it exchanges transitive probes with.
    pub peers: Vec<PortIndex>,
}
