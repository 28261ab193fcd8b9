//! `dlmpd`: the daemon of one network namespace. Links, failover and addresses of its aggregations.
//!
//! Two threads matter: this one serves requests and keeps the files; the [`monitor`] owns the running
//! aggregations. When the daemon ends, for whatever reason, the datapath stays in place.

mod addresses;
mod capabilities;
mod config;
mod control;
mod monitor;
mod object;
mod plan;
mod property;
mod server;
mod service;
mod state;
mod stores;
mod sys;
mod validate;
mod vnics;
mod watch;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use dlmp_netlink::{LinkEvent, LinkEvents};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify, mpsc};
use tracing_subscriber::EnvFilter;

use addresses::Addresses;
use control::{Control, Live};
use monitor::{Monitor, Surroundings};
use property::{Plans, Resolved};
use server::Server;
use stores::Stores;

/// How long a daemon that was killed may take to let go of the control socket.
const PREDECESSOR: Duration = Duration::from_secs(1);

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
    #[arg(long, env = "DLMP_RUNTIME_DIR", default_value = "/run/dlmp")]
    runtime_dir: PathBuf,
    /// Write every input of the failure detection, and what it did, to this new file
    #[arg(long, env = "DLMP_RECORD")]
    record: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,zlink_core=error")))
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dlmpd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("dlmpd changes the network: start it as root");
    }
    capabilities::check()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, serve(arguments));
    // Without waiting for name servers that are still being asked.
    runtime.shutdown_background();
    result
}

async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let cookie = dlmp_netlink::namespace::cookie()
        .context("cannot tell the network namespace (SO_NETNS_COOKIE needs Linux 5.14)")?;
    // The socket first: it is what keeps a second daemon out of this namespace.
    let listener = control_socket()?;
    let config = config::ConfigFile::open(&arguments.config)?;
    let state = state::StateFile::open(&arguments.runtime_dir, cookie)
        .with_context(|| format!("cannot use the runtime directory {}", arguments.runtime_dir.display()))?;
    let stores = Stores::new(config, state);
    let bpffs = find_bpffs(&arguments.runtime_dir);
    if let Some(bpffs) = &bpffs
        && let Err(error) = dlmp_datapath::bpf::clear_stale_pins(&bpffs.join("dlmp"))
    {
        tracing::warn!(%error, "stale pins stay");
    }
    let surroundings = Surroundings { cookie, bpffs, record: arguments.record.clone() };
    let attachment = surroundings.attachment("").name();

    let (monitor, thread) = Monitor::start(surroundings).context("cannot start the monitor")?;
    let idle = Arc::new(Notify::new());
    let (dhcp_sender, dhcp_events) = mpsc::unbounded_channel();
    let links = LinkEvents::open()?;
    let (name_sender, names) = mpsc::unbounded_channel();
    let live = Live { addresses: Addresses::new(dhcp_sender), plans: Plans::new(name_sender) };
    let mut control = Control::new(monitor.clone(), stores, live, idle.clone())?;
    control.restore().await;
    let control = Rc::new(Mutex::new(control));

    let mut server = Server::new(listener, control.clone(), monitor, attachment)?;
    // A task of its own: it waits for the control while a request has it.
    let events = tokio::task::spawn_local(follow(control.clone(), links, dhcp_events, names));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(config = %arguments.config.display(), attachment, "dlmpd {} is ready", env!("CARGO_PKG_VERSION"));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    loop {
        tokio::select! {
            never = server.run() => match never {},
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = idle.notified() => {
                // The answer to the request that emptied us is on its way, and another may follow.
                tokio::select! {
                    never = server.run() => match never {},
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
    drop(control);
    let _ = thread.join();
    Ok(())
}

/// Keeps addresses in line with what links and DHCP servers do.
async fn follow(
    control: Rc<Mutex<Control>>,
    mut links: LinkEvents,
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
        LinkEvent::Overrun => {
            control.look_at_vnics().await;
            control.look_at_links().await;
        }
    }
}

/// The socket that systemd hands over, else our own.
fn control_socket() -> anyhow::Result<UnixListener> {
    if let Some(fd) = sd_notify::listen_fds().ok().and_then(|mut fds| fds.next()) {
        return Ok(sys::listener_from_systemd(fd));
    }
    let start = std::time::Instant::now();
    loop {
        match dlmp_api::socket::bind() {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                return Err(error).context("cannot make the control socket");
            }
            // A daemon that was killed a moment ago holds the name until the kernel is done with it.
            Err(_) if start.elapsed() < PREDECESSOR => std::thread::sleep(PREDECESSOR / 50),
            Err(_) => bail!(
                "another dlmpd serves this network namespace already (@{}); a namespace has one\n  try: dladm show-aggr",
                dlmp_api::socket::NAME
            ),
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
