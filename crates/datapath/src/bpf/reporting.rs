//! Who reports group membership faster than the daemon is to read (the group rule), and what the daemon leaves word of for the
//! next one about groups.

use std::sync::atomic::Ordering;

use super::{Bpf, failed, nanoseconds, now};
use crate::abi::{DLMP_REPORTER_ALL, DLMP_REPORTER_LINK, dlmp_port};
use crate::{Above, Error, PortIndex, REPORT_BURST, VnicIndex};

impl Bpf {
    /// What is above whose reports have come so fast that two thirds of what it may send at once is used up: soon, or
    /// already, its reports leave without being held, so that nobody reads them. Everything, if all together are too
    /// fast.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn too_fast(&self) -> Result<Vec<Above>, Error> {
        let now = now()?;
        let hurries = |index: u32| {
            let paid = self.reporting.u64(index as usize * 8);
            paid != 0 && now < paid.saturating_add(nanoseconds(REPORT_BURST / 3))
        };
        let all = hurries(DLMP_REPORTER_ALL);
        let vnics = self.known_vnics.keys().copied();
        let link = (all || hurries(DLMP_REPORTER_LINK)).then_some(Above::Link);
        let vnics = vnics.filter(|index| all || hurries(index.0.into())).map(Above::Vnic);
        Ok(link.into_iter().chain(vnics).collect())
    }

    /// Forgets what was reported through a VNIC that is no more.
    pub(super) fn forget_reporting(&self, index: VnicIndex) {
        self.reporting.word(usize::from(index.0) * 8).store(0, Ordering::Release);
    }

    /// Leaves word for the next daemon how many groups the filter of a port was found to hold, up to 65534; nothing: it
    /// is not known.
    ///
    /// # Errors
    /// The write did not happen.
    pub fn note_room(&mut self, port: PortIndex, groups: Option<usize>) -> Result<(), Error> {
        let known = self.port(port)?;
        let room = groups.map_or(0, |groups| u16::try_from(groups).unwrap_or(u16::MAX).saturating_add(1));
        let known = dlmp_port { room, ..known };
        (self.ports.set(port.0.into(), known, 0)).map_err(|error| failed("note the room of a port", &error))
    }

    /// Lets what is above have reported so much that nothing more of it is held for long, for tests.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn exhaust_reports(&self, above: Option<Above>) -> Result<(), Error> {
        const LONG: u64 = 3600 * 1_000_000_000;
        let index = match above {
            None => DLMP_REPORTER_ALL,
            Some(Above::Link) => DLMP_REPORTER_LINK,
            Some(Above::Vnic(index)) => index.0.into(),
        };
        self.reporting.word(index as usize * 8).store(now()? + LONG, Ordering::Release);
        Ok(())
    }
}
