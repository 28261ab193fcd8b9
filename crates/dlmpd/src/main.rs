//! `dlmpd`: the daemon of one network namespace. Links, failover and addresses of its aggregations.
//!
//! Two threads matter: this one serves requests and keeps the files; the [`monitor`] owns the running
//! aggregations. When the daemon ends, for whatever reason, the datapath stays in place.

mod addresses;
mod config;
mod control;
mod foreign;
mod monitor;
mod object;
mod pair;
mod plan;
mod property;
mod service;
mod state;
mod stores;
mod sys;
mod unfinished;
mod validate;
mod vnet;
mod vnics;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use dlmp_daemon::capabilities::{self, Capability};
use dlmp_daemon::{ControlSocket, Server, Stream};
use dlmp_netlink::{LinkEvent, LinkEvents};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify, mpsc};

use addresses::Addresses;
use control::{Control, Live};
use monitor::{Monitor, Surroundings};
use property::{Plans, Resolved};
use service::Service;
use stores::Stores;
use vnet::Listener;

/// The capabilities without which no datapath can be made.
const NEEDED: [Capability; 3] = [
    Capability { number: 12, name: "CAP_NET_ADMIN", purpose: "making and changing links" },
    Capability { number: 13, name: "CAP_NET_RAW", purpose: "sending announcements" },
    // CAP_BPF loads programs, but finding those of an earlier daemon by their ids takes this one.
    Capability { number: 21, name: "CAP_SYS_ADMIN", purpose: "loading and taking over the datapath's programs" },
];

/// The socket that commands reach the daemon by.
const SOCKET: ControlSocket = ControlSocket {
    name: dlmp_api::socket::DLMPD,
    daemon: "dlmpd",
    interface: "io.dlmp.Aggregation",
    remedy: "dladm show-aggr",
};

/// How long the daemon stays when its last object is gone.
const IDLE: Duration = Duration::from_millis(200);

/// The daemon of datalink multipathing, one for each network namespace.
#[derive(Debug, Parser)]
#[command(name = "dlmpd", version)]
struct Arguments {
    /// Configuration file; a missing one is an empty configuration
    #[arg(long, env = "DLMP_CONFIG", default_value = "/etc/dlmp/dlmpd.toml")]
    config: PathBuf,
    /// Directory for what lasts until the next boot; a bpffs at RUNTIME_DIR/bpf is used if there is one
    #[arg(long, env = "DLMP_RUNTIME_DIR", default_value = dlmp_api::socket::RUNTIME_DIR)]
    runtime_dir: PathBuf,
    /// Write every input of the failure detection, and what it did, to this new file
    #[arg(long, env = "DLMP_RECORD")]
    record: Option<PathBuf>,
    /// Take these links, joined by commas, for cards with a filter of VLANs that cannot be switched off: for tests
    #[arg(long, env = "DLMP_VLAN_FILTERS", value_delimiter = ',', hide = true)]
    vlan_filters: Vec<String>,
}

fn main() -> ExitCode {
    dlmp_daemon::outlive_terminal();
    let arguments = Arguments::parse();
    dlmp_daemon::start_log();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            dlmp_daemon::complain("dlmpd", format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("dlmpd changes the network: start it as root");
    }
    capabilities::check("dlmpd", &NEEDED)?;
    dlmp_daemon::raise_limit_of_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, serve(arguments));
    // Without waiting for name servers that are still being asked.
    runtime.shutdown_background();
    result
}

async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    dlmp_daemon::tell_of_hang_ups("dlmpd")?;
    let cookie = dlmp_netlink::namespace::cookie()
        .context("cannot tell the network namespace (SO_NETNS_COOKIE needs Linux 5.14)")?;
    // The sockets first: they are what keeps a second daemon out of this namespace.
    let listeners = SOCKET.listen(&arguments.runtime_dir, cookie)?;
    let config = config::ConfigFile::open(&arguments.config)?;
    let state = state::StateFile::open(&arguments.runtime_dir, cookie, state::FILE)
        .with_context(|| format!("cannot use the runtime directory {}", arguments.runtime_dir.display()))?;
    let stores = Stores::new(config, state);
    let bpffs = find_bpffs(&arguments.runtime_dir);
    if let Some(bpffs) = &bpffs
        && let Err(error) = dlmp_datapath::bpf::clear_stale_pins(&bpffs.join("dlmp"))
    {
        tracing::warn!(%error, "stale pins stay");
    }
    let vlan_filters = arguments.vlan_filters.iter().cloned().collect();
    let surroundings = Surroundings { cookie, bpffs, record: arguments.record.clone(), vlan_filters };
    let (attachment, pins) = (surroundings.attachment("").name(), surroundings.pins());

    let (monitor, thread) = Monitor::start(surroundings).context("cannot start the monitor")?;
    let idle = Arc::new(Notify::new());
    let (dhcp_sender, dhcp_events) = mpsc::unbounded_channel();
    let links = LinkEvents::open()?;
    let looks = foreign::Looks::open()?;
    let vnets = Listener::listen().context("cannot listen to the host of this machine")?;
    let (name_sender, names) = mpsc::unbounded_channel();
    let live = Live { addresses: Addresses::new(dhcp_sender), plans: Plans::new(name_sender), pins };
    let mut control = Control::new(monitor.clone(), stores, live, idle.clone())?;
    control.restore().await;
    let control = Rc::new(Mutex::new(control));

    let mut server = Server::new(listeners);
    let serve = {
        let control = control.clone();
        move |stream: Stream| Service::serve(stream, control.clone(), monitor.clone(), attachment, vnets.clone())
    };
    // A task of its own: it waits for the control while a request has it.
    let events = tokio::task::spawn_local(follow(control.clone(), (links, looks), dhcp_events, names));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(config = %arguments.config.display(), attachment, "dlmpd {} is ready", env!("CARGO_PKG_VERSION"));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    loop {
        tokio::select! {
            never = server.run(&serve) => match never {},
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = idle.notified() => {
                // The answer to the request that emptied us is on its way, and another may follow.
                tokio::select! {
                    never = server.run(&serve) => match never {},
                    () = tokio::time::sleep(IDLE) => {}
                }
                let control = control.lock().await;
                if control.is_empty() {
                    tracing::info!("nothing is left to do");
                    // Before the lock is given back: a request that waits for it is not carried out, and
                    // the command that sent it starts another daemon.
                    server.stop();
                    break;
                }
            }
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("dlmpd ends; the datapath stays in place");
    // With the tasks go the last handles of the monitor, which ends its thread.
    events.abort();
    let _ = events.await;
    server.end().await;
    drop(serve);
    drop(control);
    let _ = thread.join();
    Ok(())
}

/// Keeps addresses in line with what links and DHCP servers do.
async fn follow(
    control: Rc<Mutex<Control>>,
    (mut links, mut looks): (LinkEvents, foreign::Looks),
    mut dhcp_events: mpsc::UnboundedReceiver<(String, dlmp_dhcp::Event)>,
    mut names: mpsc::UnboundedReceiver<Resolved>,
) {
    loop {
        tokio::select! {
            Some((object, event)) = dhcp_events.recv() => {
                let mut control = control.lock().await;
                control.dhcp_event(&object, event).await;
                control.refresh_plans().await;
            }
            Some(resolved) = names.recv() => control.lock().await.resolved(resolved).await,
            event = links.next() => link_event(&control, event).await,
            () = looks.due() => {
                let mut control = control.lock().await;
                let began = Instant::now();
                let next = control.tidy_ports().await;
                control.route_leases().await;
                looks.done(began, next);
            }
        }
    }
}

/// A link that came back gets its addresses again, and a VNIC that vanished is made anew.
async fn link_event(control: &Rc<Mutex<Control>>, event: LinkEvent) {
    let mut control = control.lock().await;
    match event {
        LinkEvent::Changed(link) => control.link_seen(&link).await,
        LinkEvent::Removed { index, name } => {
            control.link_gone(&name);
            control.vnic_gone(index, &name).await;
        }
        LinkEvent::NewPeers(_) => {}
        LinkEvent::Overrun => {
            control.look_at_vnics().await;
            control.look_at_links().await;
        }
    }
}

/// A bpffs that exists: mounting one here would be no use, since one in a private mount namespace goes
/// with it, and every link that is pinned there.
fn find_bpffs(runtime: &Path) -> Option<PathBuf> {
    [runtime.join("bpf"), PathBuf::from("/sys/fs/bpf")].into_iter().find(|path| {
        nix::sys::statfs::statfs(path).is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC)
    })
}
