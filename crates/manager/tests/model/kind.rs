//! What a manager does about one address: ours by the rules that the daemon runs, an original one by those that are published
//! ("Automatic Assignment Algorithm" and "Duplicate MAC Address Detection" of Logical Domains).

use std::net::Ipv4Addr;
use std::time::Duration;

use dlmp_manager::claim::{BETWEEN, Claim, Heard, Standing, Step, Verdict, judge};

/// Whose rules a manager follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Ours,
    Original,
}

/// How far a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progress {
    Ours(Claim),
    /// Ticks since it asked; none before.
    Original(Option<u8>),
}

/// What is due in a claim.
pub enum Due {
    Ask(Progress),
    Wait(Progress),
    Hold,
}

/// How long an original manager waits for an answer, in ticks.
const PATIENCE: u8 = ticks(Duration::from_secs(1));

/// A time of the protocol, in ticks of the model.
pub const fn ticks(time: Duration) -> u8 {
    assert!(time.as_millis().is_multiple_of(BETWEEN.as_millis()), "no whole number of ticks");
    (time.as_millis() / BETWEEN.as_millis()) as u8
}

impl Kind {
    pub fn claim(self) -> Progress {
        match self {
            Self::Ours => Progress::Ours(Claim::default()),
            Self::Original => Progress::Original(None),
        }
    }

    pub fn judge(self, standing: Standing, heard: Heard, own: Ipv4Addr, other: Ipv4Addr) -> Verdict {
        match (self, standing, heard) {
            (Self::Ours, ..) => judge(standing, heard, own, other),
            (Self::Original, Standing::Claimed, Heard::Taken) => Verdict::GiveUp,
            (Self::Original, Standing::Held, Heard::Question) => Verdict::SayTaken,
            (Self::Original, ..) => Verdict::Ignore,
        }
    }
}

impl Progress {
    /// What is due when the claim begins, and at each tick from then on.
    pub fn step(self) -> Due {
        match self {
            Self::Ours(claim) => match claim.step() {
                Step::Ask(claim) => Due::Ask(Self::Ours(claim)),
                Step::Wait(claim) => Due::Wait(Self::Ours(claim)),
                Step::Hold => Due::Hold,
            },
            Self::Original(None) => Due::Ask(Self::Original(Some(0))),
            Self::Original(Some(passed)) if passed + 1 < PATIENCE => Due::Wait(Self::Original(Some(passed + 1))),
            Self::Original(Some(_)) => Due::Hold,
        }
    }
}
