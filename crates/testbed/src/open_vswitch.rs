//! Open vSwitch in a namespace, apart from the one that the machine itself may run.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::cleanup::Cleanup;
use crate::environment::{self, DIRECTORY};
use crate::namespace::{Namespace, output};

/// The schema of its configuration, where Debian keeps it (package openvswitch-common).
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// Open vSwitch at work, with its datapath in user space: it needs no module of the kernel.
///
/// Dropping it ends its two daemons and removes their files.
#[derive(Debug)]
pub struct OpenVswitch {
    directory: PathBuf,
    // Ended before their files are removed.
    _daemons: [Daemon; 2],
    _cleanup: Cleanup,
}

impl OpenVswitch {
    /// Starts it without any bridge.
    ///
    /// # Errors
    /// When a daemon does not start, for example since the package openvswitch-switch is missing.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let name = format!("{}-ovs", namespace.name());
        let directory = Path::new(DIRECTORY).join(&name);
        let create = || fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()));
        let ((), cleanup) = Cleanup::around(create, move || environment::remove(&name))?;

        let database = directory.join("conf.db");
        output(Command::new("ovsdb-tool").arg("create").arg(&database).arg(SCHEMA))?;
        let mut command = namespace.command("ovsdb-server");
        command.arg(&database).arg(format!("--remote=p{}", remote(&directory)));
        let server = Daemon::start(command, "ovsdb-server", &directory)?;
        configure(&directory, &["--no-wait", "init"])?;

        let mut command = namespace.command("ovs-vswitchd");
        command.arg(remote(&directory)).arg("--disable-system");
        let switch = Daemon::start(command, "ovs-vswitchd", &directory)?;
        Ok(Self { directory, _daemons: [server, switch], _cleanup: cleanup })
    }

    /// Changes the configuration as `ovs-vsctl` does, and waits until the switch has followed.
    ///
    /// # Errors
    /// When `ovs-vsctl` refuses, with its message.
    pub fn configure(&self, arguments: &[&str]) -> Result<()> {
        configure(&self.directory, arguments)
    }

    /// Adds an OpenFlow rule to a bridge, in the words of `ovs-ofctl`.
    ///
    /// # Errors
    /// When `ovs-ofctl` refuses, with its message.
    pub fn add_flow(&self, bridge: &str, flow: &str) -> Result<()> {
        let socket = self.directory.join(format!("{bridge}.mgmt"));
        output(Command::new("ovs-ofctl").arg("add-flow").arg(format!("unix:{}", socket.display())).arg(flow)).map(drop)
    }

    /// Has the switch carry out a command of `ovs-appctl` (ovs-vswitchd(8)) and returns its answer.
    ///
    /// Asks the socket itself, by JSON-RPC, since a process for each command would take most of a test's time.
    ///
    /// # Errors
    /// When the switch is gone or refuses, with its message.
    pub fn control(&self, command: &str, arguments: &[&str]) -> Result<String> {
        let mut stream = UnixStream::connect(control_socket(&self.directory, "ovs-vswitchd"))?;
        stream.write_all(json!({"id": 0, "method": command, "params": arguments}).to_string().as_bytes())?;
        let answer = serde_json::Deserializer::from_reader(stream).into_iter::<Value>().next();
        let answer = answer.context("Open vSwitch closed its control socket")??;
        match (&answer["error"], &answer["result"]) {
            (Value::Null, result) => Ok(result.as_str().unwrap_or_default().to_owned()),
            (error, _) => bail!("Open vSwitch refuses {command} {}: {error}", arguments.join(" ")),
        }
    }
}

fn configure(directory: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ovs-vsctl");
    command.arg(format!("--db={}", remote(directory))).arg("--timeout=20").args(arguments);
    output(&mut command).map(drop)
}

/// Where the database is asked.
fn remote(directory: &Path) -> String {
    format!("unix:{}", directory.join("db.sock").display())
}

fn control_socket(directory: &Path, program: &str) -> PathBuf {
    directory.join(format!("{program}.ctl"))
}

/// A daemon in the foreground; dropping it asks it to end and waits.
#[derive(Debug)]
struct Daemon(Child);

impl Daemon {
    /// Starts it with its sockets in the directory and waits until it can be controlled, at most 20 s.
    fn start(mut command: Command, program: &str, directory: &Path) -> Result<Self> {
        let log = fs::File::create(directory.join(format!("{program}.log")))?;
        let socket = control_socket(directory, program);
        command.arg(format!("--unixctl={}", socket.display())).env("OVS_RUNDIR", directory);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let daemon = Self(command.spawn().with_context(|| format!("cannot run {program}"))?);
        let deadline = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(&socket).is_err() {
            if Instant::now() > deadline {
                let said = fs::read_to_string(directory.join(format!("{program}.log"))).unwrap_or_default();
                bail!("{program} does not start (package openvswitch-switch): {}", said.trim());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; its process id is ours until it has been waited for.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}
