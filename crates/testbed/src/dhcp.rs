//! A real DHCP server (dnsmasq) in a namespace.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::namespace::Namespace;

/// How long dnsmasq may take from its start until it listens.
const START: Duration = Duration::from_secs(10);

/// A running dnsmasq that serves DHCP only; ended when dropped.
#[derive(Debug)]
pub struct DhcpServer {
    process: Child,
    leases: PathBuf,
}

impl DhcpServer {
    /// Serves `range` (`FIRST,LAST,NETMASK,LEASE`, as of dnsmasq's `--dhcp-range`) on `link`, which
    /// must have an address of that network, and returns once it listens. Every server starts
    /// without leases.
    ///
    /// # Errors
    /// When dnsmasq is missing or ends at once.
    pub fn start(namespace: &Namespace, link: &str, range: &str) -> Result<Self> {
        let leases = std::env::temp_dir().join(format!("{}-{link}.leases", namespace.name()));
        remove(&leases);
        let process = namespace
            .command("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
            .args(["--user=root", "--pid-file=", "--no-ping"])
            .args(["--dhcp-authoritative", "--bind-interfaces", "--log-facility=-"])
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .arg(format!("--interface={link}"))
            .arg(format!("--dhcp-range={range}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run dnsmasq")?;
        let mut server = Self { process, leases };
        server.wait_until_ready(namespace)?;
        Ok(server)
    }

    /// The addresses that are leased now.
    ///
    /// # Errors
    /// When the file of leases cannot be read.
    pub fn leases(&self) -> Result<Vec<IpAddr>> {
        let text = fs::read_to_string(&self.leases).context("cannot read the DHCP server's leases")?;
        // A line has the time of expiry, the MAC address, the address, the host name and the client's id.
        Ok(text.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok()).collect())
    }

    fn wait_until_ready(&mut self, namespace: &Namespace) -> Result<()> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                bail!(
                    "the DHCP server ended at once ({status}); is dnsmasq installed?\n  \
                     try: apt-get install dnsmasq-base"
                );
            }
            if namespace.enter(listens)?? {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("the DHCP server does not listen after {START:?}")
    }
}

/// Whether the DHCP server's port, UDP 67, is bound in the namespace of the calling thread.
fn listens() -> Result<bool> {
    let sockets = fs::read_to_string("/proc/thread-self/net/udp")?;
    // The local address is the second column, `ADDRESS:PORT` in hexadecimal (proc_net_udp(5)).
    Ok(sockets.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|local| local.ends_with(":0043")))
}

impl Drop for DhcpServer {
    fn drop(&mut self) {
        // Nobody reads what dnsmasq might still write, so it needs no gentle end.
        let _ = self.process.kill();
        let _ = self.process.wait();
        remove(&self.leases);
    }
}

/// Removes a file; bears a missing one.
fn remove(file: &Path) {
    let _ = fs::remove_file(file);
}
