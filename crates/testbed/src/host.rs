//! A host that offers virtual networks: `ldmd` in a namespace, with a configuration file of its own.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::environment::{Environment, Pins};
use crate::namespace::Namespace;
use crate::process;

/// How long `ldmd` may take until it is ready, with hundreds of vnets to build, or has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace with dlmp installed, for `ldmd` to run in.
///
/// Dropping it ends the daemon and removes its files. What the daemon built stays where it was built; the namespaces
/// that it is to make are best named by [`Namespace::reserve`], which removes them too.
#[derive(Debug)]
pub struct Host {
    dlmp: Environment,
}

impl Host {
    /// Installs dlmp for the namespace. Nothing runs yet.
    ///
    /// # Errors
    /// As [`Environment::new`].
    pub fn new(namespace: &Namespace) -> Result<Self> {
        Ok(Self { dlmp: Environment::new(namespace, Pins::None)? })
    }

    /// dlmp as installed there, to type lines.
    #[must_use]
    pub fn dlmp(&self) -> &Environment {
        &self.dlmp
    }

    /// The configuration file of `ldmd`; it does not exist at first.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dlmp.config().with_file_name("ldmd.toml")
    }

    /// What `ldmd` has logged so far, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Starts `ldmd` as systemd would and waits until it says that it is ready (sd_notify(3)), so has built everything.
    ///
    /// # Errors
    /// When it does not get ready within a minute, with its log.
    pub fn start(&self) -> Result<()> {
        let notify = self.dlmp.runtime_dir().join("notify-ldmd");
        let _ = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).context("cannot make the socket for readiness")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let log = File::options().create(true).append(true).open(self.log_file()).context("cannot open the log")?;
        let mut command = self.command();
        command.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null()).stderr(log).spawn().context("cannot run ldmd")?;
        let mut message = [0; 64];
        match socket.recv(&mut message) {
            Ok(length) if message[..length].starts_with(b"READY=1") => Ok(()),
            other => bail!("ldmd does not get ready ({other:?}):\n{}", self.log()),
        }
    }

    /// The command that starts `ldmd` with this host's configuration. `ip netns exec` would give it mounts of its own, and
    /// nobody else would see the namespaces that it makes.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        let namespace = process::namespace_file(self.dlmp.namespace().name());
        command.arg(format!("--net={}", namespace.display())).arg(self.dlmp.bin().join("ldmd"));
        command.arg("--config").arg(self.config()).arg("--runtime-dir").arg(self.dlmp.runtime_dir());
        command
    }

    /// Sends `ldmd` a signal that ends it, and waits until it has.
    ///
    /// # Errors
    /// When it does not run, or goes on for a minute.
    pub fn end(&self, signal: Signal) -> Result<()> {
        let daemons = self.dlmp.managers();
        let [pid] = daemons[..] else { bail!("not one ldmd but {daemons:?}") };
        kill(Pid::from_raw(pid.try_into()?), signal).context("cannot send the signal")?;
        let deadline = Instant::now() + PATIENCE;
        while !self.dlmp.managers().is_empty() {
            ensure!(Instant::now() < deadline, "ldmd (process {pid}) goes on after {signal}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.dlmp.runtime_dir().join("ldmd.log")
    }
}
