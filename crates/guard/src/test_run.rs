//! Running the loaded programs over single frames, for tests and measurements.

use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions};
use dlmp_netlink::Direction;

use crate::programs::Programs;
use crate::{Error, Guard, failed};

/// Where the fields are in struct __sk_buff, in bytes (include/uapi/linux/bpf.h).
const PRIORITY: usize = 32;
const GSO_SEGS: usize = 164;
const CONTEXT: usize = 192;

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it passed.
    pub passed: bool,
    /// The frame as it left, without a tag that is in the kernel's metadata.
    pub frame: Vec<u8>,
    /// Its priority (linux/pkt_sched.h).
    pub priority: u32,
    /// Mean duration of a run.
    pub duration: Duration,
}

impl Guard {
    /// Runs a program over a frame as `BPF_PROG_TEST_RUN` does, `repeat` times. The frame is a super-frame of so many
    /// segments, 1 for a plain one. `Ingress` is what the guest sends. Only for a guard whose programs this process loaded, and `Egress` for
    /// one that limits the bandwidth.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn test_run(&self, direction: Direction, frame: &[u8], segments: u32, repeat: u32) -> Result<Outcome, Error> {
        let Programs::Loaded { sent, received } = &self.programs else {
            return Err(Error::Kernel { what: "run its programs", reason: "an earlier process loaded them".into() });
        };
        let program = if direction == Direction::Ingress { Some(sent) } else { received.as_ref() };
        let program = program
            .ok_or_else(|| Error::Kernel { what: "run its program", reason: "no bandwidth is limited".into() })?;
        let (mut context, mut context_out) = ([0u8; CONTEXT], [0u8; CONTEXT]);
        context[GSO_SEGS..GSO_SEGS + 4].copy_from_slice(&segments.to_ne_bytes());
        let mut out = vec![0; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        options.ctx_out = Some(&mut context_out);
        options.repeat = repeat;
        let result = program.test_run(options).map_err(|error| failed("run its programs", &error))?;
        out.truncate(result.data_size_out as usize);
        let [a, b, c, d] = [0, 1, 2, 3].map(|byte| context_out[PRIORITY + byte]);
        Ok(Outcome {
            passed: result.return_value.cast_signed() == -1, // TC_ACT_UNSPEC (linux/pkt_cls.h)
            frame: out,
            priority: u32::from_ne_bytes([a, b, c, d]),
            duration: result.duration,
        })
    }
}
