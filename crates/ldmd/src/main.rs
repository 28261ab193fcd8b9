//! `ldmd`: the daemon of a host. Domains, virtual switches, and virtual network devices that show the physical link's state.
//!
//! One thread serves requests and builds what they ask for; another one ([`carrier`]) carries link state, a third one
//! ([`machine`]) carries it on to virtual machines, a fourth one ([`manager`]) talks to other hosts' managers. When the daemon ends, for whatever reason, all that it built goes on.

mod build;
mod carrier;
mod channel;
mod check;
mod config;
mod control;
mod domains;
mod links;
mod machine;
mod manager;
mod place;
mod property;
mod qmp;
mod service;
mod switches;
mod sys;
mod view;
mod vnets;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use dlmp_daemon::capabilities::{self, Capability};
use dlmp_daemon::{ConfigError, ControlSocket, Server, Stream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};

use carrier::{Carriers, Changed};
use control::{Control, Seen};
use machine::Machines;
use manager::{Allocator, Notice};
use service::Service;
use watch::Watcher;

/// The capabilities without which nothing can be built.
const NEEDED: [Capability; 4] = [
    Capability { number: 12, name: "CAP_NET_ADMIN", purpose: "making and changing links" },
    Capability { number: 13, name: "CAP_NET_RAW", purpose: "telling virtual machines of their links" },
    Capability { number: 19, name: "CAP_SYS_PTRACE", purpose: "opening the network namespaces of processes" },
    Capability { number: 21, name: "CAP_SYS_ADMIN", purpose: "entering network namespaces" },
];

/// The socket that commands reach the daemon by.
const SOCKET: ControlSocket = ControlSocket {
    name: dlmp_api::socket::LDMD,
    daemon: "ldmd",
    interface: "io.dlmp.VirtualNetwork",
    remedy: "ldm list",
};

/// The daemon of virtual networks, one for each host.
#[derive(Debug, Parser)]
#[command(name = "ldmd", version)]
struct Arguments {
    /// Configuration file; a missing one is an empty configuration
    #[arg(long, env = "LDMD_CONFIG", default_value = "/etc/dlmp/ldmd.toml")]
    config: PathBuf,
    /// Directory for what lasts until the next boot
    #[arg(long, env = "DLMP_RUNTIME_DIR", default_value = dlmp_api::socket::RUNTIME_DIR)]
    runtime_dir: PathBuf,
}

fn main() -> ExitCode {
    dlmp_daemon::outlive_terminal();
    let arguments = Arguments::parse();
    dlmp_daemon::start_log();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            dlmp_daemon::complain("ldmd", format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("ldmd changes the network: start it as root");
    }
    capabilities::check("ldmd", &NEEDED)?;
    dlmp_daemon::raise_limit_of_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, serve(arguments));
    // Without waiting for name services that are still being asked.
    runtime.shutdown_background();
    result
}

async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    dlmp_daemon::tell_of_hang_ups("ldmd")?;
    let cookie = dlmp_netlink::namespace::cookie()
        .context("cannot tell the network namespace (SO_NETNS_COOKIE needs Linux 5.14)")?;
    // The sockets first: they are what keeps a second daemon out of this namespace.
    let listeners = SOCKET.listen(&arguments.runtime_dir, cookie)?;
    let config = config::ConfigFile::open(&arguments.config)?;
    let damaged = |reason| ConfigError::Damaged { path: arguments.config.clone(), reason };
    config.1.check().map_err(damaged)?;
    for twins in config.1.twins() {
        tracing::error!(file = %arguments.config.display(), "{twins}");
    }
    let state = config::StateFile::open(&arguments.runtime_dir, cookie, "ldmd.toml")
        .with_context(|| format!("cannot use the runtime directory {}", arguments.runtime_dir.display()))?;
    let (carriers, changes) = Carriers::start()?;
    let (seen_sender, seen) = mpsc::unbounded_channel();
    let (allocator, notices) = Allocator::start(&config.1.manager, config.1.addresses())?;
    let interfaces = config.1.manager.interfaces.clone();
    let interfaces = tokio::task::spawn_local({
        let allocator = allocator.clone();
        async move {
            if let Err(error) = manager::follow_interfaces(interfaces, allocator).await {
                tracing::error!(%error, "other managers are not heard");
            }
        }
    });
    let mut control = Control::new(config, state, allocator, carriers, Machines::start()?, seen_sender)?;
    control.restore().await;
    let control = Rc::new(Mutex::new(control));

    let mut server = Server::new(listeners);
    let serve = {
        let control = control.clone();
        move |stream: Stream| Service::serve(stream, control.clone())
    };
    // Tasks of their own: they wait for the control while a request has it.
    let events = [
        tokio::task::spawn_local(follow(control.clone(), seen, changes, notices)),
        tokio::task::spawn_local(watch_domains(control.clone())),
        tokio::task::spawn_local(settle_guards(control.clone())),
    ];
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(config = %arguments.config.display(), "ldmd {} is ready", env!("CARGO_PKG_VERSION"));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        never = server.run(&serve) => match never {},
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("ldmd ends; what it built stays");
    events.iter().for_each(tokio::task::JoinHandle::abort);
    interfaces.abort();
    server.end().await;
    Ok(())
}

/// Keeps switches and vnets in line with what happens to links.
async fn follow(
    control: Rc<Mutex<Control>>,
    mut seen: mpsc::UnboundedReceiver<Seen>,
    mut changes: mpsc::UnboundedReceiver<Changed>,
    mut notices: mpsc::UnboundedReceiver<Notice>,
) {
    let mut ageing = tokio::time::interval(build::AGEING);
    loop {
        tokio::select! {
            Some((domain, event)) = seen.recv() => control.lock().await.link_seen(&domain, event).await,
            Some(Changed { switch, carrier }) = changes.recv() => {
                tracing::info!(switch, carrier, "the uplink's carrier");
                control.lock().await.describe(&switch).await;
            }
            Some(notice) = notices.recv() => control.lock().await.heard(notice),
            _ = ageing.tick() => control.lock().await.age_guards(),
        }
    }
}

/// Lets go of domains that go, and takes up those that come.
async fn watch_domains(control: Rc<Mutex<Control>>) {
    let mut watcher = Watcher::new();
    loop {
        watcher.watch(control.lock().await.files().into_iter());
        watcher.changed().await;
        let mut control = control.lock().await;
        let difference = control.compare();
        for domain in &difference.gone {
            control.domain_went(domain, "its network namespace was removed").await;
        }
        for domain in &difference.come {
            control.domain_came(domain).await;
        }
    }
}

/// Has guards settle one by one, so that links can be changed in between.
async fn settle_guards(control: Rc<Mutex<Control>>) {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        tokio::time::sleep(build::CALM).await;
        while control.lock().await.settle_guard().await {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
