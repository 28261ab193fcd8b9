//! Runs dlmp's programs in a namespace with files of their own: configuration, runtime directory,
//! pins.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::cleanup::Cleanup;
use crate::namespace::Namespace;
use crate::process;

/// Holds one directory for each environment, named like its namespace.
pub(crate) const DIRECTORY: &str = "/run/dlmp-testbed";

/// The programs that the build makes.
const PROGRAMS: [&str; 3] = ["dlmp", "dlmpd", "ldmd"];
/// The other names under which `dlmp` is called.
const NAMES: [&str; 4] = ["dladm", "dlstat", "ipadm", "ldm"];

/// Whether the daemon finds a bpffs at RUNTIME_DIR/bpf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pins {
    /// It does, mounted outside the namespace as it must be: a mount made inside `ip netns exec`
    /// ends with the process.
    Mounted,
    /// It does not: what the system itself offers is all there is.
    None,
}

/// dlmp as installed for one namespace. At most one exists for a namespace at a time.
///
/// Dropping it ends the namespace's daemons and removes its files.
#[derive(Debug)]
pub struct Environment {
    namespace: Namespace,
    directory: PathBuf,
    _cleanup: Cleanup,
}

impl Environment {
    /// Prepares a private directory for the programs that the running test or demo was built with
    /// (in the directory DLMP_BIN_DIR when that is set).
    ///
    /// # Errors
    /// When the programs are not built or the directory cannot be made.
    pub fn new(namespace: &Namespace, pins: Pins) -> Result<Self> {
        let programs = programs()?;
        let directory = Path::new(DIRECTORY).join(namespace.name());
        let name = namespace.name().to_owned();
        let ((), cleanup) = Cleanup::around(|| prepare(&directory, &programs, pins), {
            move || {
                process::end(|| [running("dlmpd", &name), running("ldmd", &name)].concat());
                remove(&name);
            }
        })?;
        Ok(Self { namespace: namespace.clone(), directory, _cleanup: cleanup })
    }

    /// The namespace that it belongs to.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The daemon's configuration file; it does not exist at first.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("dlmpd.toml")
    }

    /// The daemon's runtime directory.
    #[must_use]
    pub fn runtime_dir(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// Where the programs are, under all their names.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.directory.join("bin")
    }

    /// A command that runs in the namespace and finds these programs first.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.namespace.command(program);
        self.equip(&mut command);
        command
    }

    /// A line as a user types it, run by the shell in the namespace.
    #[must_use]
    pub fn line(&self, line: &str) -> Command {
        let mut command = self.command("sh");
        command.args(["-c", line]);
        command
    }

    /// Gives a command, started in whatever way, the environment variables of this environment.
    pub fn equip(&self, command: &mut Command) {
        let mut path = OsString::from(self.bin());
        if let Some(inherited) = std::env::var_os("PATH") {
            path.push(":");
            path.push(inherited);
        }
        command.env("PATH", path).env("DLMP_CONFIG", self.config()).env("DLMP_RUNTIME_DIR", self.runtime_dir());
    }

    /// Process ids of the namespace's `dlmpd`, at most one unless something is wrong.
    #[must_use]
    pub fn daemons(&self) -> Vec<u32> {
        running("dlmpd", self.namespace.name())
    }

    /// The same of `ldmd`.
    #[must_use]
    pub fn managers(&self) -> Vec<u32> {
        running("ldmd", self.namespace.name())
    }
}

/// Removes the files of the environment of the namespace `name`; bears a missing one.
pub(crate) fn remove(name: &str) {
    let directory = Path::new(DIRECTORY).join(name);
    if !directory.exists() {
        return;
    }
    // Fails where nothing is mounted, which is as well.
    let _ = umount2(&directory.join("run/bpf"), MntFlags::MNT_DETACH);
    if let Err(error) = fs::remove_dir_all(&directory) {
        eprintln!("cannot remove {}: {error}", directory.display());
    }
}

/// Makes the directory with the programs under all their names, and mounts the bpffs.
fn prepare(directory: &Path, programs: &Path, pins: Pins) -> Result<()> {
    let bin = directory.join("bin");
    let pin_directory = directory.join("run/bpf");
    for path in [&bin, &pin_directory] {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let links = PROGRAMS
        .map(|name| (programs.join(name), name))
        .into_iter()
        .chain(NAMES.map(|name| (PathBuf::from("dlmp"), name)));
    for (target, name) in links {
        symlink(&target, bin.join(name)).with_context(|| format!("cannot link {name}"))?;
    }
    match pins {
        Pins::Mounted => mount(Some("bpf"), &pin_directory, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount a bpffs at {}", pin_directory.display())),
        Pins::None => fs::remove_dir(&pin_directory).context("cannot remove an empty directory"),
    }
}

/// The directory of the built programs: DLMP_BIN_DIR, or cargo's target directory, which is the
/// nearest directory above this program that has them.
fn programs() -> Result<PathBuf> {
    let complete = |directory: &Path| PROGRAMS.iter().all(|name| directory.join(name).is_file());
    if let Some(directory) = std::env::var_os("DLMP_BIN_DIR").map(PathBuf::from) {
        if !complete(&directory) {
            bail!("DLMP_BIN_DIR is {} but {} are not there", directory.display(), PROGRAMS.join(", "));
        }
        return directory.canonicalize().context("cannot resolve DLMP_BIN_DIR");
    }
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    match this.ancestors().skip(1).find(|directory| complete(directory)) {
        Some(directory) => Ok(directory.to_owned()),
        None => {
            let (programs, this) = (PROGRAMS.join(", "), this.display());
            bail!("{programs} are not built: they are in no directory above {this}\n  try: cargo build")
        }
    }
}

/// Process ids of the namespace's processes with this name.
fn running(program: &str, namespace: &str) -> Vec<u32> {
    let is_it = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == program);
    process::in_namespace(namespace).into_iter().filter(is_it).collect()
}
