//! The client: a task that holds a lease whenever it can, and the handle to it.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use dlmp_netlink::Link;
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Lease;
use crate::watch::Watch;

/// How long to be without a lease before the reason is reported. The engine's first question is
/// answered within a second as a rule, its second one follows after three to five.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a server may take to confirm its offer. The engine asks twice in this time. It does not
/// see a refusal (DHCPNAK) and would ask for ever.
const CONFIRMATION: Duration = Duration::from_secs(12);

/// The pause before the engine is started anew.
const PAUSE: Duration = Duration::from_secs(1);

/// How to get a lease.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The host name to tell the server (option 12).
    pub hostname: Option<String>,
    /// The lease of an earlier client of this link. While it lasts, it stays in force without
    /// waiting for a server, and is renewed at once.
    pub previous: Option<Lease>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is a lease: a new one, a renewed one, or the previous one.
    Bound(Lease),
    /// The lease has ended, for this reason: the address must not be used any more. The client
    /// goes on to get another one.
    Lost(String),
    /// There has been no lease for a while, for this reason. Said once for each reason; the client
    /// goes on.
    Problem(String),
}

/// A running client. It ends when this is dropped, and keeps the lease then.
#[derive(Debug)]
pub struct Client {
    stop: oneshot::Sender<bool>,
    task: JoinHandle<()>,
}

impl Client {
    /// Starts a client on the link `interface`, which need not be there yet, as a task of the
    /// current tokio runtime. Its threads must be in the link's network namespace. `tell` is
    /// called with every event.
    ///
    /// # Errors
    /// Those of opening a netlink socket.
    pub fn start(interface: &str, options: Options, tell: impl Fn(Event) + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let worker = Worker {
            watch: Watch::new(interface.to_owned())?,
            options,
            tell,
            engine: None,
            lease: None,
            reported: None,
        };
        Ok(Self { stop, task: tokio::spawn(worker.run(stopped)) })
    }

    /// Ends the client. With `release` the server is told that the address is free; it must still
    /// be on the link then.
    pub async fn stop(self, release: bool) {
        // An error of either says that the task has ended already.
        let _ = self.stop.send(release);
        let _ = self.task.await;
    }
}

struct Worker<T> {
    watch: Watch,
    options: Options,
    tell: T,
    /// The protocol engine, while the link can be used.
    engine: Option<DhcpV4Client>,
    /// The lease in force.
    lease: Option<DhcpV4Lease>,
    /// The problem that was reported last.
    reported: Option<String>,
}

impl<T: Fn(Event)> Worker<T> {
    async fn run(mut self, stopped: oneshot::Receiver<bool>) {
        let release = tokio::select! {
            release = stopped => release.unwrap_or(false),
            never = self.hold_leases() => match never {},
        };
        if release
            && let (Some(mut engine), Some(lease)) = (self.engine, self.lease)
            && let Err(error) = engine.release(&lease).await
        {
            tracing::warn!(interface = self.watch.name(), %error, "the server was not told that the address is free");
        }
    }

    async fn hold_leases(&mut self) -> Infallible {
        loop {
            let link = self.wait_for_link().await;
            let reason = match self.engine(&link).await {
                Ok(engine) => self.hold_lease(engine, &link).await,
                Err(reason) => reason,
            };
            self.engine = None;
            if self.lease.take().is_some() {
                (self.tell)(Event::Lost(reason));
            } else {
                self.report(reason);
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits for the link to be there with a carrier, since the engine asks ever more rarely.
    async fn wait_for_link(&mut self) -> Link {
        loop {
            let obstacle = match self.watch.usable() {
                Ok(link) => return link.clone(),
                Err(obstacle) => obstacle,
            };
            tokio::select! {
                () = self.watch.changed() => {}
                () = sleep(PATIENCE), if self.reported.as_ref() != Some(&obstacle) => self.report(obstacle),
            }
        }
    }

    /// An engine for the link; where there is a previous lease, that is in force with it.
    async fn engine(&mut self, link: &Link) -> Result<DhcpV4Client, String> {
        let mac = link.mac.ok_or_else(|| format!("{} has no MAC address", link.name))?;
        let mut config = DhcpV4Config::new(&link.name);
        config.set_iface_index(link.index);
        config.set_iface_mac_raw(&mac.0).map_err(|error| error.to_string())?;
        config.use_mac_as_client_id();
        if let Some(hostname) = &self.options.hostname {
            config.set_host_name(hostname);
        }
        let mut engine = DhcpV4Client::init(config, None).await.map_err(|error| error.to_string())?;
        if let Some(previous) = self.options.previous.take()
            && let Some(resumed) = previous.resumed(SystemTime::now())
        {
            engine.done(resumed.clone()).map_err(|error| error.to_string())?;
            self.lease = Some(resumed);
            (self.tell)(Event::Bound(previous));
        }
        Ok(engine)
    }

    /// Gets a lease and renews it; returns why that has ended.
    async fn hold_lease(&mut self, engine: DhcpV4Client, link: &Link) -> String {
        let engine = self.engine.insert(engine);
        let patience = Instant::now() + PATIENCE;
        let silence = format!("no DHCP server answers on {}", link.name);
        let mut offered = None;
        loop {
            // Kept through the other events: to run it anew would ask the server anew.
            let mut run = pin!(engine.run());
            let state = loop {
                tokio::select! {
                    state = &mut run => break state,
                    () = self.watch.changed() => match self.watch.usable() {
                        Ok(now) if (now.index, now.mac) != (link.index, link.mac) => {
                            return format!("{} was replaced", link.name);
                        }
                        Ok(_) => {}
                        // A lease outlives the carrier, but not the link.
                        Err(_) if self.lease.is_some() && self.watch.exists() => {}
                        Err(obstacle) => return obstacle,
                    },
                    () = sleep_until(patience), if self.lease.is_none() && self.reported.as_ref() != Some(&silence) => {
                        report(&mut self.reported, &self.tell, silence.clone());
                    }
                    () = sleep_until(offered.unwrap_or(patience)), if offered.is_some() => {
                        return "the DHCP server does not confirm the address that it offered".to_owned();
                    }
                }
            };
            match state {
                Ok(DhcpV4State::Done(granted)) => {
                    offered = None;
                    self.reported = None;
                    (self.tell)(Event::Bound(Lease::from(&*granted)));
                    self.lease = Some(*granted);
                }
                Ok(DhcpV4State::Selecting) => offered = Some(Instant::now() + CONFIRMATION),
                Ok(DhcpV4State::InitReboot) if self.lease.is_some() => {
                    return "no DHCP server renewed the lease".to_owned();
                }
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
        }
    }

    fn report(&mut self, problem: String) {
        report(&mut self.reported, &self.tell, problem);
    }
}

/// Reports a problem, unless it was the last one reported.
fn report(reported: &mut Option<String>, tell: &impl Fn(Event), problem: String) {
    if reported.as_ref() != Some(&problem) {
        tell(Event::Problem(problem.clone()));
        *reported = Some(problem);
    }
}
