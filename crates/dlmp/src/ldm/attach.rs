//! Hands the tap of a vnet to an emulator. QEMU runs it as the helper of a network device (`-netdev tap,helper=`, qemu(1)).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};

use clap::Args;
use dlmp_api::ldm::Ldmd;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::command::Run;
use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};

/// Attach an emulator to a virtual network device of its machine
///
/// QEMU runs this itself, and appends the options: -netdev tap,id=VNET,helper='ldm attach-vnet VNET DOMAIN'
#[derive(Debug, Args)]
pub struct Attach {
    /// The device, whose name is also the id of the netdev
    name: String,
    /// The domain of the machine
    domain: String,
    /// The socket over which QEMU wants the tap, inherited from it
    #[arg(long)]
    fd: RawFd,
    /// Frames have a virtio_net_hdr in front, as they always have
    #[arg(long)]
    use_vnet: bool,
    /// A bridge, which is not asked for: the device has its switch
    #[arg(long)]
    br: Option<String>,
}

impl Run for Attach {
    async fn run(self) -> Result<()> {
        let reply = daemon::ldmd()?.attach_vnet(&self.name, &self.domain).await;
        let (fd, descriptors) = match reply {
            Ok((reply, descriptors)) => (answer(Ok(reply))?.fd, descriptors),
            Err(error) => return answer(Err::<std::result::Result<(), dlmp_api::ldm::Error>, _>(error)),
        };
        let tap = usize::try_from(fd).ok().and_then(|fd| descriptors.get(fd));
        let tap = tap.ok_or_else(|| Failure::Refused("ldmd sent no tap with its answer".into()))?;
        // One byte of data, without which no control message is sent (unix(7)).
        let rights = [tap.as_raw_fd()];
        sendmsg::<()>(self.fd, &[IoSlice::new(&[0])], &[ControlMessage::ScmRights(&rights)], MsgFlags::empty(), None)
            .map_err(|error| {
            Failure::refused(
                format!("descriptor {} is no socket that takes the tap: {error}", self.fd),
                format!(
                    "qemu-system-x86_64 -netdev tap,id={0},helper='ldm attach-vnet {0} {1}' ...",
                    self.name, self.domain
                ),
            )
        })?;
        Ok(())
    }
}
