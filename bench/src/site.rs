//! Where it is measured: a guest with an aggregation of two ports and, beside it, a plain veth, all on the
//! bridge of one switch, and a host behind it.
//!
//! ```text
//!   guest: aggr0 (net0, net1)  ---\
//!                                  br0 --- host
//!   guest: plain0              ---/
//! ```

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Context, ensure};
use dlmp_testbed::{End, Environment, Namespace, Pins, bridge, up, veth};

/// The host's address as the aggregation reaches it, and the guest's on the aggregation.
pub const OVER_AGGR: (IpAddr, IpAddr) =
    (IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)));
/// The same over the plain veth.
pub const OVER_PLAIN: (IpAddr, IpAddr) =
    (IpAddr::V4(Ipv4Addr::new(10, 8, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 8, 0, 2)));

/// The ports of the aggregation with the ends that they are connected to.
pub const PORTS: [(&str, &str); 2] = [("net0", "p0"), ("net1", "p1")];

/// The namespaces with everything in them.
pub struct Site {
    /// The guest.
    pub guest: Namespace,
    /// The switch.
    pub switch: Namespace,
    /// The host behind it.
    pub host: Namespace,
    dlmp: Environment,
}

impl Site {
    /// Builds it and makes the aggregation.
    pub fn new() -> anyhow::Result<Self> {
        let guest = Namespace::new("bn", "guest")?;
        let switch = Namespace::new("bn", "switch")?;
        let host = Namespace::new("bn", "host")?;
        veth((&host, "net0"), (&switch, "up"))?;
        for (port, end) in PORTS {
            veth((&guest, port), (&switch, end))?;
        }
        veth((&guest, "plain0"), (&switch, "plain"))?;
        bridge(&switch, "br0", &["up", "p0", "p1", "plain"])?;
        for (namespace, link) in [(&host, "net0"), (&guest, "net0"), (&guest, "net1"), (&guest, "plain0")] {
            up(namespace, link)?;
        }
        host.ip(&format!("address add {}/24 dev net0\naddress add {}/24 dev net0", OVER_AGGR.0, OVER_PLAIN.0))?;
        guest.ip(&format!("address add {}/24 dev plain0", OVER_PLAIN.1))?;
        let dlmp = Environment::new(&guest, Pins::Mounted)?;
        let site = Self { guest, switch, host, dlmp };
        site.typed("dladm create-aggr -l net0 -l net1 aggr0")?;
        site.typed("ipadm create-ip aggr0")?;
        site.typed(&format!("ipadm create-addr -T static -a {}/24 aggr0/v4", OVER_AGGR.1))?;
        for (host, _) in [OVER_AGGR, OVER_PLAIN] {
            let reached = site.guest.run(&["ping", "-q", "-c", "3", "-i", "0.2", "-W", "5", &host.to_string()])?;
            ensure!(reached.status.success(), "{host} does not answer");
        }
        Ok(site)
    }

    /// Runs a line of a user in the guest; returns what it prints.
    pub fn typed(&self, line: &str) -> anyhow::Result<String> {
        output(&mut self.dlmp.line(line))
    }

    /// The ends of a flow over the aggregation.
    pub fn ends(&self) -> (End, End) {
        (End::new(&self.guest, OVER_AGGR.1), End::new(&self.host, OVER_AGGR.0))
    }
}

/// What a command prints.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
