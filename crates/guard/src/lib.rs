//! The guard of a virtual network device: what its guest may send, how much, and as whom, held on the switch's side.
//!
//! A [`Guard`] is two programs on the vnet's switch end and their maps (`bpf/guard.bpf.c`; the rules
//! are in docs/datapath.md). They stay at work when the daemon goes. The next one takes them over by [`Guard::attach`].

mod abi;
mod counter;
mod hook;
mod maps;
mod programs;
mod settings;
mod test_run;
#[cfg(test)]
mod tests;

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use aya::{Ebpf, EbpfLoader};

pub use counter::{Counter, Counters};
pub use dlmp_netlink::Direction;
pub use hook::SwitchEnd;
use maps::Maps;
use programs::{Hanging, Programs};
pub use settings::{Limits, Priority, Protection, Settings};
pub use test_run::Outcome;

/// How many alternate MAC addresses a vnet can have.
pub const MAX_ALTERNATES: usize = abi::GUARD_MAX_ALTERNATES as usize;
/// How many IP addresses can be allowed.
pub const MAX_ALLOWED_IPS: usize = abi::GUARD_MAX_ALLOWED_IPS as usize;
/// The most MAC addresses of its own choice that a guest can be given.
pub const MAX_MACS: u32 = abi::GUARD_MAX_MACS;
/// The most VLANs of its own choice that a guest can be given.
pub const MAX_VLANS: u32 = abi::GUARD_MAX_VLANS;
/// The lowest limit of bandwidth, in bits a second.
pub const MIN_BANDWIDTH: u64 = 1_000;
/// The highest limit of bandwidth, in bits a second.
pub const MAX_BANDWIDTH: u64 = 10_000_000_000_000;
/// After how long a silence a MAC address or VLAN of a guest's own choice makes room for another one: as long as switches
/// and bridges remember an address by default.
pub const SILENCE: Duration = Duration::from_secs(300);

/// The guard of one vnet. Dropping it leaves the programs at work.
pub struct Guard {
    programs: Programs,
    maps: Maps,
    /// Maps of the programs that are at work until these are hung.
    earlier: Option<Maps>,
}

/// How many MAC addresses and VLANs of its own choice a guest uses. The vnet's own address and its alternates are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InUse {
    /// MAC addresses.
    pub macs: u64,
    /// VLANs.
    pub vlans: u64,
}

/// What was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something.
    #[error("the guard cannot {what}: {reason}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The refusal.
        reason: String,
    },
    /// A setting is out of its range.
    #[error("the guard does not take {0}")]
    Settings(String),
    /// A limit is lower than what the guest uses.
    #[error(
        "the guest uses {} MAC addresses and {} VLANs of its own choice: choose no lower limits, or stop it and try again in {} s",
        .0.macs, .0.vlans, SILENCE.as_secs()
    )]
    InUse(InUse),
}

impl Guard {
    /// Loads a guard that is at work nowhere yet.
    ///
    /// # Errors
    /// [`Error::Settings`]; what the kernel refused: often a missing capability.
    pub fn load(settings: &Settings) -> Result<Self, Error> {
        settings.check()?;
        let mut object = load_object(settings.judges())?;
        let programs = Programs::load(&mut object, settings.maxbw.is_some())?;
        let mut guard = Self { programs, maps: Maps::of_object(&mut object, settings.judges())?, earlier: None };
        guard.maps.write(settings)?;
        Ok(guard)
    }

    /// Puts a guard on a vnet's switch end.
    ///
    /// One that is at work there already goes on with these settings and all that it has heard, also where they
    /// are lower than what the guest uses: then nothing is admitted until enough was silent. Its programs are replaced
    /// in place if they are not exactly ours, and start empty if their maps have another layout.
    ///
    /// # Errors
    /// [`Error::Settings`]; what the kernel refused.
    pub async fn attach(end: SwitchEnd<'_>, settings: &Settings) -> Result<Self, Error> {
        settings.check()?;
        let mut guard = match Self::find(end).await? {
            None => Self::load(settings)?,
            Some((hanging, mut maps)) => {
                if maps.build() == abi::BUILD
                    && let Some(programs) = hanging.open()?
                    && can_do(&programs, &maps, settings)
                {
                    maps.forget(SILENCE)?;
                    maps.write(settings)?;
                    return Ok(Self { programs, maps, earlier: None });
                }
                let guard = Self::load_after(&maps, settings)?;
                Self { earlier: Some(maps), ..guard }
            }
        };
        guard.hang(end).await?;
        Ok(guard)
    }

    /// Puts this guard, with all that it has heard, on another link: the switch end that was made anew, or that
    /// went to another namespace, where clsact does not go along.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn hang(&mut self, end: SwitchEnd<'_>) -> Result<(), Error> {
        let was_there = self.programs.hang_sent(end).await?;
        if let Some(earlier) = self.earlier.take() {
            self.maps.carry_counters(&earlier)?;
        }
        let result = self.programs.hang_received(end).await;
        if result.is_err() && !was_there {
            // The first refusal is the one to tell.
            let _ = Self::remove(end).await;
        }
        result
    }

    /// Has the programs, which hang on this link, cost each frame less: takes some 10 ms, during which the kernel changes no
    /// link. To be called once in a while after [`attach`](Self::attach) and [`hang`](Self::hang), when nothing urgent is to be
    /// done.
    ///
    /// # Errors
    /// What the kernel refused: the guard goes on as it is.
    pub async fn settle(&self, end: SwitchEnd<'_>) -> Result<(), Error> {
        self.programs.settle(end).await
    }

    /// Takes the guard off a link; nothing to do where none is.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn remove(end: SwitchEnd<'_>) -> Result<(), Error> {
        programs::remove(end).await
    }

    /// Goes on with other settings, from the next frame on. Where they ask for what the programs were not loaded for, programs
    /// that can do it take their place with the next [`hang`](Self::hang), and not before.
    ///
    /// # Errors
    /// [`Error::Settings`], [`Error::InUse`]; what the kernel refused.
    pub fn set(&mut self, settings: &Settings) -> Result<(), Error> {
        settings.check()?;
        let in_use = self.in_use()?;
        if let Some(limits) = settings.custom
            && (u64::from(limits.macs) < in_use.macs || u64::from(limits.vlans) < in_use.vlans)
        {
            return Err(Error::InUse(in_use));
        }
        if can_do(&self.programs, &self.maps, settings) {
            return self.maps.write(settings);
        }
        let next = Self::load_after(self.maps_at_work(), settings)?;
        let this = std::mem::replace(self, next);
        // One that never was at work has counted nothing.
        self.earlier = Some(this.earlier.unwrap_or(this.maps));
        Ok(())
    }

    /// How many MAC addresses and VLANs of its own choice the guest uses.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn in_use(&self) -> Result<InUse, Error> {
        self.maps_at_work().in_use()
    }

    /// How many frames were dropped since the guard was put on its link, also by earlier programs.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.maps_at_work().counters()
    }

    /// Forgets the MAC addresses and VLANs of the guest's own choice that have been silent for so long, to the
    /// second: [`SILENCE`]. To be called every few seconds.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn age(&mut self, silence: Duration) -> Result<(), Error> {
        self.earlier.as_mut().unwrap_or(&mut self.maps).forget(silence)
    }

    fn maps_at_work(&self) -> &Maps {
        self.earlier.as_ref().unwrap_or(&self.maps)
    }

    /// The programs on a link with maps of our layout.
    async fn find(end: SwitchEnd<'_>) -> Result<Option<(Hanging, Maps)>, Error> {
        let hanging = Hanging::find(end).await?;
        Ok(hanging.and_then(|hanging| {
            let maps = Maps::of_program(&hanging.sent.maps)?;
            Some((hanging, maps))
        }))
    }

    /// Loads one that goes on with what another has heard.
    fn load_after(earlier: &Maps, settings: &Settings) -> Result<Self, Error> {
        let mut guard = Self::load(settings)?;
        if settings.custom.is_some() {
            guard.maps.learn_from(earlier)?;
        }
        Ok(guard)
    }
}

/// Whether these programs were loaded for all that the settings ask for.
const fn can_do(programs: &Programs, maps: &Maps, settings: &Settings) -> bool {
    (maps.judges() || !settings.judges()) && (programs.limit() || settings.maxbw.is_none())
}

/// Reads the object and makes its maps. A loader begins with the kernel's own type information, some 5 MB, which these
/// programs have no use for: so one is made for all guards, and lets go of that.
fn load_object(judges: bool) -> Result<Ebpf, Error> {
    static LOADER: LazyLock<Mutex<EbpfLoader<'static>>> = LazyLock::new(|| {
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        Mutex::new(loader)
    });
    let judges: &'static u32 = if judges { &1 } else { &0 };
    let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
    loader.override_global("guard_judges", judges, true);
    loader.load(abi::OBJECT).map_err(|error| failed("load its programs", &error))
}

/// The error with its causes: aya's say what the kernel refused only in those.
fn failed(what: &'static str, error: &dyn std::error::Error) -> Error {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !reason.contains(&more) {
            reason = format!("{reason}: {more}");
        }
        cause = error.source();
    }
    Error::Kernel { what, reason }
}
