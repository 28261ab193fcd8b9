//! Keeps an eye on one link, by its name.

use std::io;

use dlmp_netlink::{Link, LinkEvent, LinkEvents, Netlink};

/// The link of a name, as it is now.
pub(crate) struct Watch {
    name: String,
    netlink: Netlink,
    events: LinkEvents,
    link: Option<Link>,
    /// Events were lost, or none were read yet: the link must be looked up.
    stale: bool,
}

impl Watch {
    /// Watches the link `name` of the calling thread's namespace, inside a tokio runtime. Nothing
    /// is known of it before the first change.
    pub(crate) fn new(name: String) -> io::Result<Self> {
        let events = LinkEvents::open()?;
        Ok(Self { name, netlink: Netlink::connect()?, events, link: None, stale: true })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is such a link.
    pub(crate) fn exists(&self) -> bool {
        self.link.is_some()
    }

    /// The link, if frames can be sent through it, or else why not.
    pub(crate) fn usable(&self) -> Result<&Link, String> {
        match &self.link {
            Some(link) if link.lower_up => Ok(link),
            Some(link) if link.admin_up => Err(format!("{} has no carrier", link.name)),
            Some(link) => Err(format!("{0} is down; try: ip link set {0} up", link.name)),
            None => Err(format!("there is no link {}", self.name)),
        }
    }

    /// Waits until something about the link changes. Nothing is missed if the wait is given up.
    pub(crate) async fn changed(&mut self) {
        loop {
            if self.stale {
                match self.netlink.link(&self.name).await {
                    Ok(link) => self.link = link,
                    // What is known stays; the next event of the link tells more.
                    Err(error) => tracing::warn!(%error, "the link is not looked at again"),
                }
                self.stale = false;
                return;
            }
            let known = self.link.as_ref().map(|link| link.index);
            match self.events.next().await {
                LinkEvent::Changed(link) if link.name == self.name => {
                    self.link = Some(link);
                    return;
                }
                // It has another name now.
                LinkEvent::Changed(link) if Some(link.index) == known => {
                    self.link = None;
                    return;
                }
                LinkEvent::Removed { index, .. } if Some(index) == known => {
                    self.link = None;
                    return;
                }
                LinkEvent::Overrun => self.stale = true,
                LinkEvent::Changed(_) | LinkEvent::Removed { .. } | LinkEvent::NewPeers(_) => {}
            }
        }
    }
}
