//! What the host of a virtual machine tells of the machine's virtual network devices (`docs/protocol.md`), kept as the
//! alias of each link: where a guest in a namespace finds it too, and everybody looks for it.

use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use dlmp_api::VnetAlias;
use dlmp_netlink::ethtool::Ethtool;
use dlmp_netlink::{Link, LinkEvent, LinkEvents, Netlink};
use dlmp_wire::ethernet::Frame;
use dlmp_wire::vnet;
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};

use crate::sys;

/// The driver of the links that a host may tell of.
const DRIVER: &str = "virtio_net";
/// How long a host may take: it tells once a second.
const PATIENCE: Duration = Duration::from_millis(1200);
/// How often it is looked whether it has told.
const LOOK: Duration = Duration::from_millis(20);

/// Listens to the host.
pub struct Listener {
    netlink: Netlink,
    ethtool: Ethtool,
    socket: AsyncFd<Socket>,
}

impl Listener {
    /// Listens from now on, in the calling thread's namespace and inside a local set of tokio, until the daemon ends.
    ///
    /// # Errors
    /// Those of making sockets.
    pub fn listen() -> io::Result<Rc<Self>> {
        let socket = sys::wait_on(sys::host_socket()?)?;
        let vnets = Rc::new(Self { netlink: Netlink::connect()?, ethtool: Ethtool::open()?, socket });
        let events = LinkEvents::open()?;
        tokio::task::spawn_local(Rc::clone(&vnets).follow(events));
        Ok(vnets)
    }

    /// Waits a little for what the host tells of these links, as far as it has not told and may do so. A link that is
    /// down is up meanwhile, or it would not hear.
    pub async fn hear_of(&self, names: &[String]) {
        let mut silent = Vec::new();
        for name in names {
            if let Ok(Some(link)) = self.netlink.link(name).await
                && link.alias.is_none()
                && self.may_be_told(&link)
            {
                silent.push(link);
            }
        }
        let down: Vec<&Link> = silent.iter().filter(|link| !link.admin_up).collect();
        for link in &down {
            self.set_up(link, true).await;
        }
        let until = Instant::now() + PATIENCE;
        for link in &silent {
            while Instant::now() < until
                && matches!(self.netlink.link_by_index(link.index).await, Ok(Some(link)) if link.alias.is_none())
            {
                sleep(LOOK).await;
            }
        }
        for link in &down {
            self.set_up(link, false).await;
        }
    }

    async fn set_up(&self, link: &Link, up: bool) {
        if let Err(error) = self.netlink.set_up(link.index, up).await {
            tracing::warn!(link = link.name, %error, "the host cannot tell of the link");
        }
    }

    async fn follow(self: Rc<Self>, mut events: LinkEvents) {
        let mut joined = BTreeSet::new();
        self.join_all(&mut joined).await;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    LinkEvent::Changed(link) => self.join(&link, &mut joined),
                    LinkEvent::Removed { index, .. } => drop(joined.remove(&index)),
                    LinkEvent::NewPeers(_) => {}
                    LinkEvent::Overrun => self.join_all(&mut joined).await,
                },
                ready = self.socket.readable() => {
                    let Ok(mut ready) = ready else { return tracing::error!("the host is not heard any more") };
                    match ready.try_io(|socket| sys::receive(socket.get_ref())) {
                        Ok(Ok(received)) => self.told(&received).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a frame of the host was not received"),
                        Err(_would_block) => {}
                    }
                }
            }
        }
    }

    async fn join_all(&self, joined: &mut BTreeSet<u32>) {
        match self.netlink.links().await {
            Ok(links) => links.iter().for_each(|link| self.join(link, joined)),
            Err(error) => tracing::error!(%error, "cannot look for virtual network devices"),
        }
    }

    /// Has the card of a link take the frames of the host: it filters addresses by itself.
    fn join(&self, link: &Link, joined: &mut BTreeSet<u32>) {
        if joined.contains(&link.index) || !self.may_be_told(link) {
            return;
        }
        match sys::join_group(self.socket.get_ref(), link.index, vnet::GROUP) {
            Ok(()) => drop(joined.insert(link.index)),
            Err(error) => tracing::warn!(link = link.name, %error, "what the host tells of the link is not heard"),
        }
    }

    fn may_be_told(&self, link: &Link) -> bool {
        link.ethernet && self.ethtool.driver(&link.name).is_ok_and(|driver| driver == DRIVER)
    }

    /// Writes down what the host says. An alias that somebody else gave the link stays.
    async fn told(&self, received: &sys::Received) {
        let frame = Frame::parse(&received.bytes).ok();
        let Some(text) = frame.as_ref().and_then(vnet::parse).filter(|text| is_vnet(text)) else { return };
        let Ok(Some(link)) = self.netlink.link_by_index(received.ifindex).await else { return };
        let ours = link.alias.as_deref().is_none_or(is_vnet);
        if !ours || link.alias.as_deref() == Some(text) || !self.may_be_told(&link) {
            return;
        }
        match self.netlink.set_alias(link.index, text).await {
            Ok(()) => tracing::info!(link = link.name, text, "the host tells of a virtual network device"),
            Err(error) => tracing::warn!(link = link.name, %error, "what the host tells of the link is not kept"),
        }
    }
}

fn is_vnet(text: &str) -> bool {
    text.parse::<VnetAlias>().is_ok()
}
