//! A DHCP client for one address object, around mozim: it never gives up, and says what happens.

use std::net::Ipv4Addr;
use std::time::Duration;

use dlmp_netlink::Netlink;
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use tokio::sync::{mpsc, oneshot};

/// First and longest pause after a failed attempt.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long one attempt to get a lease lasts before it is reported as a problem and made anew.
const ATTEMPT_SECONDS: u32 = 20;

/// A lease, as far as it is put to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Prefix length in bits.
    pub prefix_len: u8,
    /// Default gateways, best first.
    pub gateways: Vec<Ipv4Addr>,
    /// How long it lasts from now.
    pub duration: Duration,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is a lease, or it was renewed.
    Bound(Lease),
    /// The lease has ended; the address must not be used any more.
    Lost,
    /// No lease for now, and why. The client goes on.
    Problem(String),
}

/// A running client.
#[derive(Debug)]
pub struct Client {
    stop: Option<oneshot::Sender<bool>>,
    task: tokio::task::JoinHandle<()>,
}

impl Client {
    /// Starts a client for `object` on a link; its events come with the object's name.
    pub fn start(
        object: String,
        interface: String,
        hostname: Option<String>,
        netlink: Netlink,
        events: mpsc::UnboundedSender<(String, Event)>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let worker = Worker { object, interface, hostname, netlink, events, bound: false };
        Self { stop: Some(stop), task: tokio::task::spawn_local(worker.run(stopped)) }
    }

    /// Ends the client; with `release` the server is told that the address is free.
    pub async fn stop(mut self, release: bool) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(release);
        }
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the DHCP client did not end well");
        }
    }
}

struct Worker {
    object: String,
    interface: String,
    hostname: Option<String>,
    netlink: Netlink,
    events: mpsc::UnboundedSender<(String, Event)>,
    bound: bool,
}

impl Worker {
    async fn run(mut self, mut stopped: oneshot::Receiver<bool>) {
        let mut pause = PAUSE.0;
        loop {
            match self.hold_lease(&mut stopped).await {
                Ok(()) => return,
                Err(problem) => {
                    if self.bound {
                        self.bound = false;
                        pause = PAUSE.0;
                        self.tell(Event::Lost);
                    }
                    tracing::warn!(object = self.object, problem, "no DHCP lease");
                    self.tell(Event::Problem(problem));
                }
            }
            tokio::select! {
                _ = &mut stopped => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
            }
        }
    }

    /// Gets a lease and renews it until told to stop.
    async fn hold_lease(&mut self, stopped: &mut oneshot::Receiver<bool>) -> Result<(), String> {
        let mut client = self.client().await?;
        let mut lease = None;
        loop {
            tokio::select! {
                release = &mut *stopped => {
                    if let (Ok(true), Some(lease)) = (release, &lease)
                        && let Err(error) = client.release(lease).await
                    {
                        tracing::warn!(object = self.object, %error, "the server was not told that the address is free");
                    }
                    return Ok(());
                }
                state = client.run() => match state.map_err(|error| error.to_string())? {
                    DhcpV4State::Done(new) => {
                        self.bound = true;
                        self.tell(Event::Bound(Lease::from(&*new)));
                        lease = Some(*new);
                    }
                    DhcpV4State::InitReboot if lease.is_some() => return Err("the lease ended and no server renewed it".into()),
                    _ => {}
                },
            }
        }
    }

    async fn client(&self) -> Result<DhcpV4Client, String> {
        let link = self.netlink.link(&self.interface).await.map_err(|error| error.to_string())?;
        let link = link.ok_or_else(|| format!("there is no link {}", self.interface))?;
        let mac = link.mac.ok_or_else(|| format!("{} has no MAC address", self.interface))?;
        let mut config = DhcpV4Config::new(&self.interface);
        config.set_iface_index(link.index).set_timeout_sec(ATTEMPT_SECONDS);
        (config.set_iface_mac_raw(&mac.0)).map_err(|error| error.to_string())?;
        config.use_mac_as_client_id();
        if let Some(hostname) = &self.hostname {
            config.set_host_name(hostname);
        }
        DhcpV4Client::init(config, None).await.map_err(|error| error.to_string())
    }

    fn tell(&self, event: Event) {
        // Nobody listens only while the daemon ends.
        let _ = self.events.send((self.object.clone(), event));
    }
}

impl From<&DhcpV4Lease> for Lease {
    fn from(lease: &DhcpV4Lease) -> Self {
        Self {
            address: lease.yiaddr,
            prefix_len: lease.prefix_length(),
            gateways: lease.gateways.clone().unwrap_or_default(),
            duration: Duration::from_secs(lease.lease_time_sec.into()),
        }
    }
}
