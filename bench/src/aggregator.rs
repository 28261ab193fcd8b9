//! The systems that are compared, each joining the guest's two ports to the link `aggr0` with an address.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dlmp_testbed::{Environment, Namespace, Pins};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::network::{Network, OVER_AGGREGATION, PORTS, output};

/// Where Debian keeps the schema of Open vSwitch's configuration (package openvswitch-common).
const OVS_SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A system that joins links.
#[derive(Debug, Clone, Copy)]
pub enum System {
    /// This project, by link state alone.
    Dlmp,
    /// This project with probes and this failure detection time.
    DlmpProbing(&'static str),
    /// The kernel's bonding driver, watching link state.
    Bonding,
    /// The same asking the host by ARP every 10 ms, its fastest.
    BondingArp,
    /// teamd, which watches and decides for the kernel's team driver.
    Teamd,
    /// Open vSwitch with its datapath in the kernel.
    OpenVswitch,
}

/// A system at work. Dropping it ends it; a driver of the kernel ends with the guest.
#[derive(Default)]
pub struct Aggregator {
    _environment: Option<Environment>,
    // Ended before their files are removed.
    _daemons: Vec<Daemon>,
    _directory: Option<Directory>,
}

impl System {
    /// The name and the settings that matter.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dlmp => "dlmp, link state",
            Self::DlmpProbing("1s") => "dlmp, probe-fdt 1s (default)",
            Self::DlmpProbing(_) => "dlmp, probe-fdt 10ms (fastest)",
            Self::Bonding => "bonding, active-backup, miimon 100",
            Self::BondingArp => "bonding, active-backup, arp_interval 10",
            Self::Teamd => "teamd, activebackup, ethtool",
            Self::OpenVswitch => "Open vSwitch, active-backup",
        }
    }

    /// Sets it to work on the guest's ports and waits until the host can be reached.
    pub fn start(self, network: &Network) -> Result<Aggregator> {
        let guest = &network.guest;
        let aggregator = match self {
            Self::Dlmp => dlmp(guest, None),
            Self::DlmpProbing(fdt) => dlmp(guest, Some(fdt)),
            Self::Bonding => bonding(guest, "miimon 100"),
            Self::BondingArp => bonding(guest, &format!("arp_interval 10 arp_ip_target {}", OVER_AGGREGATION.host)),
            Self::Teamd => teamd(guest),
            Self::OpenVswitch => open_vswitch(guest),
        };
        let aggregator = aggregator.with_context(|| format!("cannot start {}", self.name()))?;
        network.wait_for(OVER_AGGREGATION).with_context(|| format!("over {}", self.name()))?;
        Ok(aggregator)
    }
}

fn dlmp(guest: &Namespace, fdt: Option<&str>) -> Result<Aggregator> {
    let environment = Environment::new(guest, Pins::Mounted)?;
    for line in [
        &format!("dladm create-aggr -l {} -l {} aggr0", PORTS[0], PORTS[1]),
        "ipadm create-ip aggr0",
        &format!("ipadm create-addr -T static -a {}/24 aggr0/v4", OVER_AGGREGATION.guest),
    ] {
        output(&mut environment.line(line))?;
    }
    if let Some(fdt) = fdt {
        let properties = format!("probe-ip=+{},probe-fdt={fdt}", OVER_AGGREGATION.host);
        output(&mut environment.line(&format!("dladm set-linkprop -p {properties} aggr0")))?;
        wait_until("probes decided", || {
            output(&mut environment.line("dladm show-aggr -j aggr0")).is_ok_and(|text| text.contains("link and probes"))
        })?;
    }
    Ok(Aggregator { _environment: Some(environment), ..Aggregator::default() })
}

fn bonding(guest: &Namespace, watch: &str) -> Result<Aggregator> {
    guest.ip(&format!("link add aggr0 type bond mode active-backup {watch}"))?;
    for port in PORTS {
        // The driver takes only ports that are down and brings them up itself.
        guest.ip(&format!("link set dev {port} down\nlink set dev {port} master aggr0"))?;
    }
    bring_up(guest)?;
    Ok(Aggregator::default())
}

fn teamd(guest: &Namespace) -> Result<Aggregator> {
    // The driver takes only ports that are down.
    for port in PORTS {
        guest.ip(&format!("link set dev {port} down"))?;
    }
    let directory = Directory::new("teamd")?;
    let config = format!(
        r#"{{"device": "aggr0", "runner": {{"name": "activebackup"}}, "link_watch": {{"name": "ethtool"}},
            "ports": {{"{}": {{}}, "{}": {{}}}}}}"#,
        PORTS[0], PORTS[1]
    );
    let mut command = guest.command("teamd");
    command.args(["-c", &config, "-u", "-p"]).arg(directory.path("teamd.pid"));
    let daemon = Daemon::start(&mut command, &directory)?;
    wait_until("teamd made its link", || guest.ip("link show dev aggr0").is_ok())?;
    bring_up(guest)?;
    Ok(Aggregator { _daemons: vec![daemon], _directory: Some(directory), ..Aggregator::default() })
}

fn open_vswitch(guest: &Namespace) -> Result<Aggregator> {
    let directory = Directory::new("ovs")?;
    let (database, socket) = (directory.path("conf.db"), directory.path("db.sock"));
    let remote = format!("unix:{}", socket.display());
    output(Command::new("ovsdb-tool").arg("create").arg(&database).arg(OVS_SCHEMA))?;

    let mut command = guest.command("ovsdb-server");
    command.arg(&database).arg(format!("--remote=p{remote}")).arg(unixctl(&directory, "db.ctl"));
    let mut daemons = vec![Daemon::start(&mut command, &directory)?];
    wait_until("ovsdb-server made its socket", || socket.exists())?;
    let vsctl = |arguments: &[&str]| {
        output(Command::new("ovs-vsctl").arg(format!("--db={remote}")).arg("--timeout=20").args(arguments))
    };
    vsctl(&["--no-wait", "init"])?;

    let mut command = guest.command("ovs-vswitchd");
    command.arg(&remote).arg(unixctl(&directory, "switch.ctl")).arg(format!("--dummy-numa={}", processors()));
    daemons.push(Daemon::start(&mut command, &directory)?);
    let [first, second] = PORTS;
    vsctl(&["add-br", "aggr0", "--", "add-bond", "aggr0", "bond0", first, second, "bond_mode=active-backup"])?;
    bring_up(guest)?;
    Ok(Aggregator { _daemons: daemons, _directory: Some(directory), ..Aggregator::default() })
}

/// The processors, each by its NUMA node, 0. A kernel in user mode shows none in /sys, and then ovs-vswitchd starts no
/// thread for the frames that its datapath passes up, so that nothing is forwarded.
fn processors() -> String {
    vec!["0"; thread::available_parallelism().map_or(1, NonZero::get)].join(",")
}

/// The control socket of a daemon of Open vSwitch, which would otherwise be where the machine's own is.
fn unixctl(directory: &Directory, name: &str) -> String {
    format!("--unixctl={}", directory.path(name).display())
}

/// Gives the link its address and brings it and its ports up.
fn bring_up(guest: &Namespace) -> Result<()> {
    guest.ip(&format!("address add {}/24 dev aggr0\nlink set dev aggr0 up", OVER_AGGREGATION.guest))?;
    for port in PORTS {
        guest.ip(&format!("link set dev {port} up"))?;
    }
    Ok(())
}

/// Waits until something is so, at most 20 s.
fn wait_until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        if Instant::now() > deadline {
            bail!("20 s have passed before {what}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A daemon in the foreground; dropping it asks it to end and waits.
pub struct Daemon(Child);

impl Daemon {
    /// Starts it, what it prints going into the directory's log.
    fn start(command: &mut Command, directory: &Directory) -> Result<Self> {
        let log = fs::File::options().create(true).append(true).open(directory.path("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn().with_context(|| format!("cannot run {command:?}"))?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; its process id is ours until it has been waited for.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        for _ in 0..100 {
            match self.0.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(50)),
                _ => return,
            }
        }
        // It does not listen, and nobody is to wait for it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A new directory for the files of one run; dropping it removes it.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes it in /run, readable by root alone.
    pub fn new(name: &str) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = Path::new("/run").join(format!("dlmp-bench-{}-{name}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(Self(path))
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
