//! What takes the kernel's RTNL lock and may wait for it: done in order by a task of its own, so that a
//! failover never waits.

use dlmp_netlink::Netlink;
use dlmp_wire::MacAddr;
use tokio::sync::mpsc;

/// Something to do on the links of an aggregation.
#[derive(Debug)]
pub(super) enum Chore {
    /// Gives a pair of links a carrier or takes it away, by its lower end.
    Carrier { lower: u32, up: bool },
    /// Gives a pair of links an MTU in bytes: the lower end, and the upper one if it is in this namespace.
    Mtu { lower: u32, mtu: u32 },
    /// Makes a port receive frames for a client.
    AddFilter { link: u32, mac: MacAddr },
    /// Takes that back.
    DeleteFilter { link: u32, mac: MacAddr },
}

/// Starts the task; it ends when the sender is dropped.
pub(super) fn start(netlink: Netlink) -> mpsc::UnboundedSender<Chore> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(chore) = receiver.recv().await {
            let done = match chore {
                Chore::Carrier { lower, up } => netlink.set_up(lower, up).await,
                Chore::Mtu { lower, mtu } => set_mtu(&netlink, lower, mtu).await,
                Chore::AddFilter { link, mac } => netlink.add_filter(link, mac).await,
                Chore::DeleteFilter { link, mac } => netlink.delete_filter(link, mac).await,
            };
            match done {
                // A link that has gone since then needs nothing any more.
                Err(error) if error.errno() == Some(libc::ENODEV) => tracing::debug!(%error, ?chore, "not done"),
                Err(error) => tracing::error!(%error, ?chore, "not done"),
                Ok(()) => {}
            }
        }
    });
    sender
}

async fn set_mtu(netlink: &Netlink, lower: u32, mtu: u32) -> dlmp_netlink::Result<()> {
    let Some(link) = netlink.link_by_index(lower).await? else { return Ok(()) };
    netlink.set_mtu(lower, mtu).await?;
    match link.peer_index {
        Some(upper) => netlink.set_mtu(upper, mtu).await,
        None => Ok(()),
    }
}
