//! The three programs of an aggregation, as the kernel has them.
//!
//! What the loader read from the object file is let go of: kept for each aggregation, its copies would be
//! most of a daemon's memory.

use std::borrow::Cow;

use aya::Ebpf;
use aya::programs::SchedClassifier;

use super::attach::Hook;
use super::failed;
use crate::Error;

/// The programs, loaded.
pub(super) struct Programs {
    ingress: SchedClassifier,
    egress: SchedClassifier,
    vnic: SchedClassifier,
}

impl Programs {
    /// Loads them into the kernel.
    pub(super) fn load(object: &mut Ebpf) -> Result<Self, Error> {
        let mut load = |hook| load(object, hook);
        Ok(Self { ingress: load(Hook::Ingress)?, egress: load(Hook::Egress)?, vnic: load(Hook::Vnic)? })
    }

    /// The one for this hook.
    pub(super) const fn get(&mut self, hook: Hook) -> &mut SchedClassifier {
        match hook {
            Hook::Ingress => &mut self.ingress,
            Hook::Egress | Hook::Lower => &mut self.egress,
            Hook::Vnic => &mut self.vnic,
        }
    }

    /// Id of the one for this hook.
    pub(super) fn id(&self, hook: Hook) -> Result<u32, Error> {
        let program = match hook {
            Hook::Ingress => &self.ingress,
            Hook::Egress | Hook::Lower => &self.egress,
            Hook::Vnic => &self.vnic,
        };
        program.info().map(|info| info.id()).map_err(|error| failed("look at its program", &error))
    }
}

fn load(object: &mut Ebpf, hook: Hook) -> Result<SchedClassifier, Error> {
    let name = hook.program();
    let program: &mut SchedClassifier = (object.program_mut(name))
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| Error::new("find its program", name))?;
    program.load().map_err(|error| failed("load its programs", &error))?;
    (program.info())
        .and_then(|info| SchedClassifier::from_program_info(info, Cow::Borrowed(name)))
        .map_err(|error| failed("look at its program", &error))
}
