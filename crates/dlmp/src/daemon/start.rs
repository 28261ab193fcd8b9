//! Starting `dlmpd` for the first command that needs it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dlmp_api::client::{Connection, Dlmpd};
use tokio::time::{Instant, sleep, timeout_at};

use super::{LOOK, PATIENCE};
use crate::failure::{Failure, Result};

/// Lines of its log that are shown when it ends instead.
const LOG_LINES: usize = 10;

/// Paths that the daemon takes from the environment. It runs in `/`, so they must be absolute.
const PATHS: [&str; 2] = ["DLMP_CONFIG", "DLMP_RUNTIME_DIR"];

/// Starts the daemon of this namespace and waits until it answers.
///
/// # Errors
/// The caller is not root, or the daemon cannot be started, ended at once or does not answer.
pub async fn start() -> Result<Connection> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::refused(
            "dlmpd is not running in this network namespace, and only root can start it",
            "the same command with sudo",
        ));
    }
    let mut command = Command::new(program()?);
    let mut log = Log::open(&runtime_dir()?)?;
    for variable in PATHS {
        if let Some(path) = std::env::var_os(variable) {
            command.env(variable, std::path::absolute(path)?);
        }
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(log.file.try_clone()?).stderr(log.file.try_clone()?);
    crate::sys::detach(&mut command);
    let mut child = command.spawn().map_err(|error| Failure::Refused(format!("cannot start {command:?}: {error}")))?;

    let deadline = Instant::now() + PATIENCE;
    loop {
        // Looked at before asking: if another command's daemon was first, ours ends and that one answers.
        let ended = child.try_wait()?;
        if let Ok(Some(connection)) = timeout_at(deadline, answering()).await {
            return Ok(connection);
        }
        if let Some(status) = ended {
            return Err(Failure::Refused(format!("dlmpd could not start ({status}):\n{}", log.last_lines())));
        }
        if Instant::now() >= deadline {
            return Err(Failure::refused(
                format!("dlmpd (process {}) does not answer after {} s", child.id(), PATIENCE.as_secs()),
                format!("tail {}", log.path.display()),
            ));
        }
        sleep(LOOK).await;
    }
}

/// A daemon that serves this namespace and answers.
async fn answering() -> Option<Connection> {
    let mut connection = super::find().ok()??;
    connection.get_info().await.ok()?.ok()?;
    Some(connection)
}

/// The daemon's program: beside this one, in `sbin` beside its folder as installed, else found in PATH.
fn program() -> Result<PathBuf> {
    const NAME: &str = "dlmpd";
    let own = std::env::current_exe()?;
    let installed = own.parent().and_then(Path::parent).map(|prefix| prefix.join("sbin").join(NAME));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(own.with_file_name(NAME))
        .chain(installed)
        .chain(std::env::split_paths(&path).map(|directory| directory.join(NAME)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            Failure::Refused("dlmpd is not running, and its program is neither beside this one nor in PATH".into())
        })
}

fn runtime_dir() -> Result<PathBuf> {
    let directory = super::runtime_dir()?;
    DirBuilder::new().recursive(true).mode(0o755).create(&directory).map_err(|error| {
        Failure::Refused(format!("cannot make the runtime directory {}: {error}", directory.display()))
    })?;
    Ok(directory)
}

/// The daemon's log, which earlier daemons have written to as well.
struct Log {
    path: PathBuf,
    file: File,
    /// Where this daemon's part starts.
    start: u64,
}

impl Log {
    fn open(directory: &Path) -> Result<Self> {
        let path = directory.join("dlmpd.log");
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path);
        let file = file.map_err(|error| Failure::Refused(format!("cannot write {}: {error}", path.display())))?;
        let start = file.metadata()?.len();
        Ok(Self { path, file, start })
    }

    fn last_lines(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.file.seek(SeekFrom::Start(self.start)).and_then(|_| self.file.read_to_end(&mut bytes));
        if let Err(error) = read {
            return format!("  (cannot read {}: {error})", self.path.display());
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| format!("  {line}\n")).collect::<String>()
            + &format!("  more in {}", self.path.display())
    }
}
