//! Reaching the daemon of this network namespace, and starting it for the commands that need one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dlmp_api::client::{Connection, Dlmpd, connect};
use tokio::time::{Instant, sleep, timeout_at};

use crate::failure::Failure;
use crate::sys;

/// How long a daemon that was just started may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often to look whether it answers.
const START_POLL: Duration = Duration::from_millis(20);
/// Lines of the log that are shown when it does not.
const LOG_LINES: usize = 10;

/// What to say when nobody answers.
const NOT_RUNNING: &str = "dlmpd is not running in this network namespace";

/// Connects to the daemon if one runs.
///
/// # Errors
/// Something other than root's daemon is at the socket, or the system failed.
pub fn find() -> Result<Option<Connection>, Failure> {
    match connect() {
        Ok(connection) => Ok(Some(connection)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Failure::Request(error.to_string())),
        Err(error) => Err(Failure::Request(format!("cannot reach dlmpd: {error}"))),
    }
}

/// Connects to the daemon, which must be running: there is nothing to change without one.
///
/// # Errors
/// As [`find`], or no daemon runs.
pub fn running() -> Result<Connection, Failure> {
    find()?.ok_or_else(|| Failure::Request(format!("{NOT_RUNNING}; start it with: dlmpd")))
}

/// Connects to the daemon and starts one if none runs.
///
/// # Errors
/// As [`find`], or the daemon could not be started.
pub async fn started() -> Result<Connection, Failure> {
    match find()? {
        Some(connection) => Ok(connection),
        None => start().await,
    }
}

/// What is missing while an aggregation exists and no daemon answers.
pub fn not_running_beside(aggregation: &str) -> Failure {
    Failure::Request(format!(
        "{NOT_RUNNING}, so not all is known about {aggregation}; the datapath keeps forwarding; start it with: dlmpd"
    ))
}

/// Takes the daemon's answer out of the connection's.
///
/// # Errors
/// The connection broke, or the daemon refused.
pub fn answer<T>(reply: zlink::Result<Result<T, dlmp_api::Error>>) -> Result<T, Failure> {
    let reply = reply.map_err(|error| {
        Failure::Request(format!("dlmpd did not answer: {error}; whether the request was carried out is not known"))
    })?;
    reply.map_err(Failure::from)
}

async fn start() -> Result<Connection, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::Request(format!("{NOT_RUNNING}, and only root can start it: run this command as root")));
    }
    let runtime = runtime_dir().map_err(|error| failed("use the runtime directory of dlmpd", &error))?;
    let log = Log::open(&runtime.join("dlmpd.log"))?;
    let mut child = spawn(&runtime, &log)?;

    let limit = Instant::now() + START_LIMIT;
    loop {
        if let Some(mut connection) = find()?
            && let Ok(Ok(Ok(_))) = timeout_at(limit, connection.get_info()).await
        {
            return Ok(connection);
        }
        // Ended while nobody has the socket: not merely outrun by a daemon that another command started.
        let ended = child.try_wait().map_err(|error| failed("watch dlmpd", &error))?;
        if let Some(status) = ended
            && find()?.is_none()
        {
            return Err(Failure::Request(format!("dlmpd did not start: {status}{}", log.tail())));
        }
        if Instant::now() >= limit {
            let seconds = START_LIMIT.as_secs();
            return Err(Failure::Request(format!(
                "dlmpd does not answer within {seconds} s of its start{}",
                log.tail()
            )));
        }
        sleep(START_POLL).await;
    }
}

/// The daemon's runtime directory as an absolute path, made if it is missing.
fn runtime_dir() -> io::Result<PathBuf> {
    let path = std::env::var_os("DLMP_RUNTIME_DIR").map_or_else(|| PathBuf::from("/run/dlmp"), PathBuf::from);
    let path = std::path::absolute(path)?;
    if !path.is_dir() {
        fs::create_dir_all(&path)?;
        // Whatever the umask: commands of other users find their way through it.
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    }
    Ok(path)
}

fn spawn(runtime: &Path, log: &Log) -> Result<Child, Failure> {
    let program = program();
    let mut command = Command::new(&program);
    command.current_dir("/").env("DLMP_RUNTIME_DIR", runtime).stdin(Stdio::null());
    if let Some(config) = std::env::var_os("DLMP_CONFIG") {
        let config = std::path::absolute(config).map_err(|error| failed("use DLMP_CONFIG", &error))?;
        command.env("DLMP_CONFIG", config);
    }
    command.stdout(log.writer()?).stderr(log.writer()?);
    sys::detach(&mut command);
    command.spawn().map_err(|error| failed(&format!("start {}", program.display()), &error))
}

/// The daemon beside this program, else the one in PATH.
fn program() -> PathBuf {
    let beside = std::env::current_exe().and_then(fs::canonicalize).map(|own| own.with_file_name("dlmpd"));
    beside.ok().filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("dlmpd"))
}

/// The file that a daemon started by a command logs to, and what it held before.
struct Log {
    path: PathBuf,
    file: File,
    before: u64,
}

impl Log {
    fn open(path: &Path) -> Result<Self, Failure> {
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            let before = file.metadata()?.len();
            Ok((file, before))
        };
        let (file, before) = open().map_err(|error| failed(&format!("write {}", path.display()), &error))?;
        Ok(Self { path: path.to_owned(), file, before })
    }

    fn writer(&self) -> Result<Stdio, Failure> {
        let copy = self.file.try_clone().map_err(|error| failed("hand the log to dlmpd", &error))?;
        Ok(copy.into())
    }

    /// The last lines that were written since, with where they are.
    fn tail(&self) -> String {
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.before))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        if last.is_empty() {
            return format!("; its log {} is silent", self.path.display());
        }
        format!("; its log {} says:\n  {}", self.path.display(), last.join("\n  "))
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::Request(format!("cannot {what}: {error}"))
}
