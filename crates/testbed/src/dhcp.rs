//! A real DHCP server (dnsmasq) in a namespace.

use std::fs;
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
}

impl DhcpServer {
    /// Serves `range` (`FIRST,LAST,NETMASK,LEASE`, as of dnsmasq's `--dhcp-range`) on `link`, which
    /// must have an address of that network, and returns once it listens. Leases are kept in
    /// memory, so every server starts afresh.
    ///
    /// # Errors
    /// When dnsmasq is missing or ends at once.
    pub fn start(namespace: &Namespace, link: &str, range: &str) -> Result<Self> {
        let process = namespace
            .command("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
            .args(["--user=root", "--pid-file=", "--leasefile-ro", "--no-ping"])
            .args(["--dhcp-authoritative", "--bind-interfaces", "--log-facility=-"])
            .arg(format!("--interface={link}"))
            .arg(format!("--dhcp-range={range}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run dnsmasq")?;
        let mut server = Self { process };
        server.wait_until_ready(namespace)?;
        Ok(server)
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
        // Without a lease file dnsmasq has nothing to write, so it needs no gentle end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
