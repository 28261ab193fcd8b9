//! Running the loaded programs over single frames, for tests and measurements.

use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions};

use super::attach::Hook;
use super::{Bpf, failed};
use crate::abi::{self, dlmp_port, dlmp_slot};
use crate::{Error, MAX_PORTS, PortIndex};

/// Where a frame enters the datapath.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Sent by the aggregation's own link.
    Link,
    /// Received by the port with this index of a link.
    Port(u32),
    /// Come to the lower end of the aggregation's link, with the mark of a report that was held or without.
    Lower {
        /// With the mark.
        marked: bool,
    },
    /// Sent by the VNIC whose lower end has this index.
    Vnic(u32),
}

impl Bpf {
    /// Runs a program once over a frame, as `BPF_PROG_TEST_RUN` does: for tests and measurements.
    ///
    /// Returns the program's verdict (`TC_ACT_*`), the frame as it left, and the mean duration of
    /// `repeat` runs.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn test_run(&mut self, entry: Entry, frame: &[u8], repeat: u32) -> Result<(u32, Vec<u8>, Duration), Error> {
        let (hook, ifindex) = match entry {
            Entry::Link => (Hook::Egress, self.served.ifindex),
            Entry::Port(ifindex) => (Hook::Ingress, ifindex),
            Entry::Lower { .. } => (Hook::Lower, self.served.lower),
            Entry::Vnic(ifindex) => (Hook::Vnic, ifindex),
        };
        // struct __sk_buff: the mark is its 3rd word and the interface's index its 11th (include/uapi/linux/bpf.h).
        let mut context = [0u8; 192];
        if let Entry::Lower { marked: true } = entry {
            context[8..12].copy_from_slice(&abi::DLMP_HELD_MARK.to_ne_bytes());
        }
        context[40..44].copy_from_slice(&ifindex.to_ne_bytes());
        let mut out = vec![0; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        options.repeat = repeat;
        let result = self.programs.get(hook).test_run(options).map_err(|error| failed("run its program", &error))?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out, result.duration))
    }

    /// Lets every client have moved, and been announced, this much earlier.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn age_moves(&mut self, by: Duration) -> Result<(), Error> {
        for index in 0..abi::DLMP_MAX_SLOTS {
            let slot = self.slots.get(&index, 0).map_err(|error| failed("read a slot", &error))?;
            if slot.moved_ns != 0 || slot.announce_ns != 0 {
                let earlier = |time: u64| time.saturating_sub(super::nanoseconds(by));
                let (moved_ns, announce_ns) = (earlier(slot.moved_ns), earlier(slot.announce_ns));
                let slot = dlmp_slot { moved_ns, announce_ns, ..slot };
                (self.slots.set(index, slot, 0)).map_err(|error| failed("age a slot", &error))?;
            }
        }
        Ok(())
    }

    /// Lets the daemon be alive for good, or long dead: whether reports are held, whatever the time.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn set_alive(&mut self, alive: bool) -> Result<(), Error> {
        const LONG: Duration = Duration::from_secs(3600);
        self.groups.set_alive(if alive { super::now()? + super::nanoseconds(LONG) } else { 0 });
        Ok(())
    }

    /// Lets the link of the aggregation stand for its own lower end in [`test_run`](Self::test_run), which takes only links
    /// that exist; or no longer.
    ///
    /// # Errors
    /// The write did not happen.
    pub fn swap_ends(&mut self) -> Result<(), Error> {
        std::mem::swap(&mut self.served.ifindex, &mut self.served.lower);
        self.write_aggregation()
    }

    /// Lets a link stand for a port in [`test_run`](Self::test_run), which takes only links that exist; for
    /// one port at a time.
    ///
    /// # Errors
    /// The write did not happen.
    pub fn alias_ifindex(&mut self, ifindex: u32, port: PortIndex) -> Result<(), Error> {
        for index in 0..MAX_PORTS as u32 {
            let known = self.port(PortIndex(index as u8))?;
            let wanted = match known.ifindex {
                _ if index == u32::from(port.0) => ifindex,
                // It stood for this one before: no link has the index that it gets now.
                old if old == ifindex => u32::MAX - index,
                old => old,
            };
            if known.ifindex != 0 && known.ifindex != wanted {
                let known = dlmp_port { ifindex: wanted, ..known };
                (self.ports.set(index, known, 0)).map_err(|error| failed("alias a port", &error))?;
            }
        }
        (self.port_by_ifindex.insert(ifindex, u32::from(port.0), 0)).map_err(|error| failed("alias a port", &error))
    }
}
