//! Programs of others on a link, beside ours: for tests of what becomes of frames then.

use anyhow::{Context, Result};
use aya::programs::links::LinkOrder;
use aya::programs::tc::{self, NlOptions, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use nix::net::if_::if_nametoindex;

use crate::namespace::Namespace;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/foreign.o"));
/// Priority of the filter: before those of nearly everybody.
const PRIORITY: u16 = 1;

/// A program of somebody else's on a link. It is at work until it is dropped.
pub struct Foreign {
    /// Owns the attachment, except for a filter's.
    _object: Ebpf,
    filter: Option<(Namespace, String)>,
}

impl Foreign {
    /// A tcx program that runs before all that are there, and lets every frame pass with `TC_ACT_OK`, after which the
    /// kernel asks no other program.
    ///
    /// # Errors
    /// What the kernel refuses: before Linux 6.6 it has no tcx.
    pub fn tcx(namespace: &Namespace, link: &str) -> Result<Self> {
        namespace.enter(|| {
            let mut object = Ebpf::load(OBJECT).context("the kernel refuses the program")?;
            let options = TcAttachOptions::TcxOrder(LinkOrder::first());
            classifier(&mut object)?.attach_with_options(link, TcAttachType::Egress, options)?;
            Ok(Self { _object: object, filter: None })
        })?
    }

    /// The same as a filter on clsact, of priority 1.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn clsact(namespace: &Namespace, link: &str) -> Result<Self> {
        namespace.enter(|| {
            let mut object = Ebpf::load(OBJECT).context("the kernel refuses the program")?;
            let _ = tc::qdisc_add_clsact(link);
            let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, ..NlOptions::default() });
            let program = classifier(&mut object)?;
            let id = program.attach_with_options(link, TcAttachType::Egress, options)?;
            // Dropping it here would look for the link in the namespace of whoever drops it.
            std::mem::forget(program.take_link(id)?);
            Ok(Self { _object: object, filter: Some((namespace.clone(), link.to_owned())) })
        })?
    }

    /// An XDP program that sends whatever `from` receives through `to`: `XDP_REDIRECT`, as the kernel has it for links
    /// without a driver of their own for it.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn redirect(namespace: &Namespace, from: &str, to: &str) -> Result<Self> {
        namespace.enter(|| {
            let through = if_nametoindex(to)?;
            let mut object = EbpfLoader::new()
                .override_global("through", &through, true)
                .load(OBJECT)
                .context("the kernel refuses the program")?;
            let program: &mut Xdp = object.program_mut("onward").context("the object has no program")?.try_into()?;
            program.load()?;
            program.attach(from, XdpMode::Skb)?;
            Ok(Self { _object: object, filter: None })
        })?
    }
}

fn classifier(object: &mut Ebpf) -> Result<&mut SchedClassifier> {
    let program: &mut SchedClassifier =
        object.program_mut("passes").context("the object has no program")?.try_into()?;
    program.load()?;
    Ok(program)
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Some((namespace, link)) = &self.filter {
            let priority = PRIORITY.to_string();
            // Gone with its link, if that is gone.
            let _ = namespace.run(&["tc", "filter", "del", "dev", link, "egress", "prio", &priority]);
        }
    }
}
