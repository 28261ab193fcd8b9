//! What takes the kernel's RTNL lock and may wait for it: done in order by a task of its own, so that a
//! failover never waits.

use dlmp_netlink::Netlink;
use tokio::sync::mpsc;

/// Something to do on an aggregation's own link.
#[derive(Debug)]
pub(super) enum Chore {
    Carrier { lower: u32, up: bool },
    Mtu { link: u32, lower: u32, mtu: u32 },
}

/// Starts the task; it ends when the sender is dropped.
pub(super) fn start(netlink: Netlink) -> mpsc::UnboundedSender<Chore> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(chore) = receiver.recv().await {
            let done = match chore {
                Chore::Carrier { lower, up } => netlink.set_up(lower, up).await,
                Chore::Mtu { link, lower, mtu } => match netlink.set_mtu(lower, mtu).await {
                    Ok(()) => netlink.set_mtu(link, mtu).await,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = done {
                tracing::error!(%error, ?chore, "not done");
            }
        }
    });
    sender
}
