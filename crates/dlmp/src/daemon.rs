//! Reaching the daemon of this network namespace, and starting it when something is to be made.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dlmp_api::client::{self, Connection, Dlmpd};
use dlmp_netlink::Link;

use crate::failure::Failure;

/// How long a daemon may take to answer after its start.
const START: Duration = Duration::from_secs(10);
/// How often it is looked whether it answers.
const POLL: Duration = Duration::from_millis(20);
/// How many lines of its log are shown when it does not start.
const LOG_LINES: usize = 5;

/// The daemon, for a change. It must run.
///
/// # Errors
/// Nobody answers.
pub fn connect() -> Result<Connection, Failure> {
    reach()?.ok_or_else(|| Failure::Refused(not_running("")))
}

/// The daemon, for a look: `None` when none runs and none is needed, since there is no aggregation.
///
/// # Errors
/// There is an aggregation, and nobody answers for it.
pub fn look(links: &[Link]) -> Result<Option<Connection>, Failure> {
    let connection = reach()?;
    if connection.is_none()
        && let Some(link) = links.iter().find(|link| crate::link::is_aggregation(link))
    {
        let there = format!("; the aggregation {} goes on forwarding, but nobody watches its ports", link.name);
        return Err(Failure::Refused(not_running(&there)));
    }
    Ok(connection)
}

/// The daemon, started if none runs here.
///
/// # Errors
/// It could not be started.
pub async fn start() -> Result<Connection, Failure> {
    let deadline = Instant::now() + START;
    while let Some(mut connection) = reach()? {
        // One that is about to end, having nothing left to do, does not answer any more.
        match connection.get_info().await {
            Ok(answer) => return answer.map(|_| connection).map_err(Failure::from),
            Err(_) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            Err(error) => return Err(error.into()),
        }
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::Refused(
            "dlmpd is not running in this network namespace, and only root can start it\n  try: sudo".into(),
        ));
    }
    let runtime = std::env::var_os("DLMP_RUNTIME_DIR").map_or_else(|| PathBuf::from("/run/dlmp"), PathBuf::from);
    let log = runtime.join("dlmpd.log");
    let child = spawn(&runtime, &log).map_err(|error| Failure::Refused(format!("cannot start dlmpd: {error}")))?;
    wait(child, &log).await
}

/// Refused connections mean that nobody listens; anything else is an error.
fn reach() -> Result<Option<Connection>, Failure> {
    match client::connect() {
        Ok(connection) => Ok(Some(connection)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(Failure::Refused(error.to_string())),
    }
}

fn not_running(more: &str) -> String {
    format!("dlmpd is not running in this network namespace{more}\n  try: dlmpd &")
}

/// Starts the program beside our own, else the one in PATH, on its own: it outlives us.
fn spawn(runtime: &Path, log: &Path) -> io::Result<Child> {
    fs::create_dir_all(runtime)?;
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let beside = std::env::current_exe()?.with_file_name("dlmpd");
    let program = if beside.exists() { beside } else { PathBuf::from("dlmpd") };
    Command::new(program)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        // Not a member of our terminal's foreground group, whose signals are meant for us.
        .process_group(0)
        .spawn()
}

async fn wait(mut child: Child, log: &Path) -> Result<Connection, Failure> {
    let deadline = Instant::now() + START;
    loop {
        if let Some(mut connection) = reach()? {
            // It listens before it has restored everything; the answer comes after.
            connection.get_info().await??;
            return Ok(connection);
        }
        if let Some(status) = child.try_wait()? {
            return Err(Failure::Refused(format!("dlmpd did not start ({status}):\n{}", tail(log))));
        }
        if Instant::now() > deadline {
            return Err(Failure::Refused(format!(
                "dlmpd was started but does not answer; its log is {}",
                log.display()
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn tail(log: &Path) -> String {
    let text = File::open(log).and_then(io::read_to_string).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
