//! Where it is measured: a guest on two switches and a host behind both.
//!
//! ```text
//!   guest: net0 ---- p0 \
//!          plain0 --- pp  switch 0 --- u0 \
//!                                          core --- host: net0
//!          net1 ---- p1   switch 1 --- u1 /
//! ```
//! Every box is a network namespace, every switch a bridge. `net0` and `net1` are for an aggregation;
//! `plain0` is what it is compared to: an ordinary veth on the same bridges.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dlmp_testbed::{End, Hardware, LinkControl, Namespace, PortFilter, bridge, veth};

/// The ports of the aggregation. The one at index N leads to switch N.
pub const PORTS: [&str; 2] = ["net0", "net1"];
/// The host's link.
pub const HOST_LINK: &str = "net0";

/// Two addresses in one /24: the guest's and the host's.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// The guest's end.
    pub guest: IpAddr,
    /// The host's end.
    pub host: IpAddr,
}

/// Over the aggregation.
pub const OVER_AGGREGATION: Path = path(9);
/// Over the plain veth.
pub const OVER_PLAIN: Path = path(8);

const fn path(subnet: u8) -> Path {
    let (guest, host) = (Ipv4Addr::new(10, subnet, 0, 1), Ipv4Addr::new(10, subnet, 0, 2));
    Path { guest: IpAddr::V4(guest), host: IpAddr::V4(host) }
}

/// The namespaces with their links. The aggregation is added by `aggregator`.
pub struct Network {
    /// The guest.
    pub guest: Namespace,
    /// The host.
    pub host: Namespace,
    switches: [Namespace; 2],
    /// What breaks and mends the switches' links.
    controls: [LinkControl; 2],
    core: Namespace,
}

impl Network {
    /// Builds it.
    pub fn new() -> Result<Self> {
        let namespace = |name| Namespace::new("bn", name);
        let [guest, host, core] = [namespace("guest")?, namespace("host")?, namespace("core")?];
        let switches = [namespace("switch0")?, namespace("switch1")?];
        veth((&host, HOST_LINK), (&core, "h0"))?;
        for (index, switch) in switches.iter().enumerate() {
            veth((switch, &format!("u{index}")), (&core, &format!("c{index}")))?;
            veth((&guest, PORTS[index]), (switch, &format!("p{index}")))?;
        }
        veth((&guest, "plain0"), (&switches[0], "pp"))?;
        bridge(&core, "br0", &["h0", "c0", "c1"])?;
        bridge(&switches[0], "br0", &["u0", "p0", "pp"])?;
        bridge(&switches[1], "br0", &["u1", "p1"])?;
        for path in [OVER_AGGREGATION, OVER_PLAIN] {
            host.ip(&format!("address add {}/24 dev {HOST_LINK}", path.host))?;
        }
        guest.ip(&format!("address add {}/24 dev plain0", OVER_PLAIN.guest))?;
        let [first, second] = &switches;
        let controls = [LinkControl::new(first)?, LinkControl::new(second)?];
        Ok(Self { guest, host, switches, controls, core })
    }

    /// Takes the carrier of the guest's port of this index away.
    pub fn cut(&self, port: usize) -> Result<()> {
        self.controls[port].down(&format!("p{port}"))
    }

    /// Gives it back.
    pub fn mend(&self, port: usize) -> Result<()> {
        self.controls[port].up(&format!("p{port}"))
    }

    /// Cuts the switch of the guest's port of this index off the rest: every carrier stays up.
    pub fn cut_silently(&self, port: usize) -> Result<()> {
        self.controls[port].leave("br0", &format!("u{port}"))
    }

    /// Joins it again.
    pub fn mend_silently(&self, port: usize) -> Result<()> {
        self.controls[port].join("br0", &format!("u{port}"))
    }

    /// Has every switch send groups only to ports that have asked for them; the core asks (ip-link(8)).
    pub fn snoop(&self) -> Result<()> {
        // Times in hundredths of a second. The other switches find the core, their router, by its questions.
        self.core.ip("link set dev br0 type bridge mcast_query_response_interval 100 mcast_query_interval 200 \
             mcast_startup_query_interval 100 mcast_snooping 1 mcast_querier 1")?;
        self.switches.iter().try_for_each(|switch| switch.ip("link set dev br0 type bridge mcast_snooping 1"))
    }

    /// Puts a filter before each port of the aggregation, as such a network card has one.
    pub fn filters(&self, hardware: Hardware) -> Result<[PortFilter; 2]> {
        let filter = |port: usize| {
            PortFilter::new((&self.guest, PORTS[port]), (&self.switches[port], &format!("p{port}")), hardware)
        };
        Ok([filter(0)?, filter(1)?])
    }

    /// The ends of a flow from the guest to the host over the aggregation.
    pub fn ends(&self) -> (End, End) {
        (End::new(&self.guest, OVER_AGGREGATION.guest), End::new(&self.host, OVER_AGGREGATION.host))
    }

    /// Waits until the host answers on this path; also settles what addresses have to be learned.
    pub fn wait_for(&self, path: Path) -> Result<()> {
        let host = path.host.to_string();
        let deadline = Instant::now() + Duration::from_secs(20);
        // An error ends it too, such as that nobody has answered ARP (ping(8), -w): then it asks again.
        loop {
            let ping = self.guest.run(&["ping", "-q", "-w", "5", "-c", "1", "-i", "0.2", &host])?;
            if ping.status.success() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{host} does not answer within 20 s");
        }
    }
}

/// Packets that a link has received and sent, without starting a program: a slow machine takes long for that.
pub fn packets(namespace: &Namespace, link: &str) -> Result<[u64; 2]> {
    let table = namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let row = table.lines().find_map(|line| line.trim().strip_prefix(link)?.strip_prefix(':'));
    let row = row.with_context(|| format!("there is no link {link}"))?;
    // Eight counters of each way, the packets second (proc_pid_net(5)).
    let counter = |at: usize| row.split_whitespace().nth(at).and_then(|text| text.parse().ok());
    let counters = [counter(1), counter(9)].map(|value| value.context("the kernel shows no packet counters"));
    let [received, sent] = counters;
    Ok([received?, sent?])
}

/// What a command prints on its standard output; it has to succeed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}
