//! A named network namespace that is removed, with its processes, when it is no longer needed.

use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::cleanup::{self, Cleanup};
use crate::{environment, process};

/// A network namespace as `ip netns add` makes it, so `ip netns exec` works on it.
///
/// Clones are the same namespace. Dropping the last one ends the processes in it, each by its
/// process id, and removes it.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: Arc<str>,
    _cleanup: Arc<Cleanup>,
}

impl Namespace {
    /// Makes the namespace `PREFIX-PID-COUNT-NAME`, with its loopback up. The first call in a
    /// process also removes what killed earlier processes left with the same prefix.
    ///
    /// # Errors
    /// When `ip` is missing or fails, for example without root.
    pub fn new(prefix: &str, name: &str) -> Result<Self> {
        let namespace = Self::reserve(prefix, name)?;
        namespace.boot()?;
        Ok(namespace)
    }

    /// Only the name: for a namespace that somebody else is to make, and that is removed all the same.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn reserve(prefix: &str, name: &str) -> Result<Self> {
        static STALE: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        STALE.call_once(|| remove_stale(prefix));
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{}-{count}-{name}", std::process::id());
        let ((), cleanup) = Cleanup::around(|| Ok(()), {
            let name = name.clone();
            move || remove(&name)
        })?;
        Ok(Self { name: name.into(), _cleanup: Arc::new(cleanup) })
    }

    /// Its full name, for `ip netns exec`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs inside, by `ip netns exec`.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name(), program]);
        command
    }

    /// Runs a program with arguments inside and returns what it printed and how it ended.
    ///
    /// # Errors
    /// When it cannot be started, not when it fails.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let (program, rest) = arguments.split_first().context("no program to run")?;
        self.command(program).args(rest).output().with_context(|| format!("cannot run {program} in {}", self.name))
    }

    /// Has `ip` carry out commands in the namespace, one a line (`ip -batch`), such as
    /// `link set dev net0 up`.
    ///
    /// # Errors
    /// When `ip` refuses a line, with its message; the lines after it are not carried out.
    pub fn ip(&self, commands: &str) -> Result<()> {
        let mut ip = Command::new("ip")
            .args(["-n", self.name(), "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run ip")?;
        if let Some(mut input) = ip.stdin.take() {
            // When ip has ended already its message says more than a broken pipe.
            let _ = input.write_all(commands.as_bytes());
        }
        let output = ip.wait_with_output().context("cannot wait for ip")?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            bail!("ip in {}: {commands}: {}", self.name, message.trim());
        }
        Ok(())
    }

    /// The global IPv4 or IPv6 addresses of a link, in the kernel's order.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn addresses(&self, link: &str) -> Result<Vec<IpAddr>> {
        let mut ip = Command::new("ip");
        ip.args(["-n", self.name(), "-o", "address", "show"]).args(["dev", link, "scope", "global"]);
        let listing = output(&mut ip)?;
        Ok(listing.lines().filter_map(address_of).collect())
    }

    /// Runs `work` in a thread of its own inside the namespace and returns its result.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.move_thread()?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into the namespace for good.
    pub(crate) fn move_thread(&self) -> Result<()> {
        let file = process::namespace_file(self.name());
        let namespace = File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the network namespace {}", self.name))
    }

    /// Switches IPv6 off for all its links, present and future, where a test needs quiet: neighbour
    /// discovery and multicast reports otherwise add frames of their own.
    ///
    /// # Errors
    /// When the kernel refuses. One without IPv6 has nothing to switch off.
    pub fn without_ipv6(&self) -> Result<()> {
        self.enter(|| {
            if !Path::new("/proc/sys/net/ipv6").exists() {
                return Ok(());
            }
            for scope in ["all", "default"] {
                let file = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
                fs::write(&file, "1").with_context(|| format!("cannot write {file}"))?;
            }
            Ok(())
        })?
    }

    /// Process ids of all processes inside.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        process::in_namespace(self.name())
    }

    /// Takes the namespace away with its links and processes, as when a machine goes down. It
    /// stays registered: [`boot`](Self::boot) makes it again under the same name.
    pub fn shut_down(&self) {
        remove(&self.name);
    }

    /// Makes it, empty, when it was only reserved, or again after [`shut_down`](Self::shut_down).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn boot(&self) -> Result<()> {
        cleanup::unless_interrupted(|| create(&self.name))
    }
}

fn create(name: &str) -> Result<()> {
    succeed(Command::new("ip").args(["netns", "add", name]))?;
    succeed(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]))
}

/// Ends what runs in the namespace and removes it; bears one that does not exist.
fn remove(name: &str) {
    process::end(|| process::in_namespace(name));
    if process::namespace_file(name).exists()
        && let Err(error) = succeed(Command::new("ip").args(["netns", "del", name]))
    {
        eprintln!("{error:#}");
    }
}

/// Removes what a process left that was killed before it could clean up: namespaces named with
/// `prefix` and the id of a process that is gone, and the directories that belong to them.
fn remove_stale(prefix: &str) {
    for name in stale(Path::new(environment::DIRECTORY), prefix) {
        process::end(|| process::in_namespace(&name));
        environment::remove(&name);
    }
    for name in stale(Path::new("/run/netns"), prefix) {
        remove(&name);
    }
}

/// The entries of a directory that are named `PREFIX-PID-...` after a process that is gone.
fn stale(directory: &Path, prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| owner(name, prefix).is_some_and(|pid| !Path::new("/proc").join(pid).exists()))
        .collect()
}

/// The process id in `PREFIX-PID-COUNT-NAME`.
fn owner<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (pid, _) = name.strip_prefix(prefix)?.strip_prefix('-')?.split_once('-')?;
    pid.parse::<u32>().is_ok().then_some(pid)
}

/// The address in a line of `ip -o address`: the word after `inet` or `inet6`, without the prefix.
fn address_of(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    words.find(|word| matches!(*word, "inet" | "inet6"))?;
    words.next()?.split('/').next()?.parse().ok()
}

/// Runs a command that has to succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs a command that has to succeed and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        bail!(
            "{} {}: {}: {}",
            command.get_program().display(),
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_name_is_the_number_after_the_prefix() {
        assert_eq!(owner("tb-12-0-ldg6", "tb"), Some("12"));
        assert_eq!(owner("tb-x-0-ldg6", "tb"), None);
        assert_eq!(owner("tbx-12-0-ldg6", "tb"), None);
        assert_eq!(owner("tb", "tb"), None);
    }

    #[test]
    fn addresses_are_read_from_the_listing_of_ip() {
        let line = "7: net0    inet 192.168.84.10/24 metric 1 brd 192.168.84.255 scope global net0";
        assert_eq!(address_of(line), Some(IpAddr::from([192, 168, 84, 10])));
        assert_eq!(address_of("7: net0    link/ether 00:14:4f:f9:cf:47"), None);
    }
}
