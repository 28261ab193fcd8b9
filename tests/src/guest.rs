//! A guest with two ports, a switch that both are connected to, and a host behind it.
//!
//! ```text
//!   guest        switch           host
//!   net0 ------- p0 \
//!                    br0 - up --- net0 10.9.0.1
//!   net1 ------- p1 /
//! ```

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use dlmp_testbed::{End, Environment, Flow, Namespace, Pins, Record, bridge, up, veth, veth_down};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::command::{PATIENCE, ip_json, json, run, typed, wait_for};

/// The address of the host, in a /24.
pub const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
/// The address that the guest gets on its aggregation.
pub const GUEST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));

/// What the groups of IPv6 addresses begin with (RFC 4291, section 2.7.1).
const SOLICITED_NODE: &str = "33:33:ff:";

/// The guest's ports and the ports of the switch that they are connected to.
const CONNECTIONS: [(&str, &str); 2] = [("net0", "p0"), ("net1", "p1")];

/// How many echoes tell which port is busy, and their size in bytes with and without headers. So long, they
/// outweigh the probes, of which a slow machine sends as many meanwhile.
const ECHOES: u64 = 50;
const ECHO: u64 = 1442;
const ECHO_DATA: u64 = ECHO - 14 - 20 - 8;

/// The guest with all that is around it, and dlmp installed in it.
#[derive(Debug)]
pub struct Guest {
    /// The guest's namespace.
    pub namespace: Namespace,
    /// The switch's namespace.
    pub switch: Namespace,
    /// The host's namespace.
    pub host: Namespace,
    /// dlmp, as installed in the guest.
    pub dlmp: Environment,
}

impl Guest {
    /// Builds it, without an aggregation.
    pub fn new(pins: Pins) -> Self {
        let [namespace, switch, host] = ["guest", "switch", "host"].map(|name| Namespace::new("ee", name).unwrap());
        veth((&host, "net0"), (&switch, "up")).unwrap();
        host.ip(&format!("address add {HOST}/24 dev net0")).unwrap();
        bridge(&switch, "br0", &["up"]).unwrap();
        let dlmp = Environment::new(&namespace, pins).unwrap();
        let guest = Self { namespace, switch, host, dlmp };
        guest.connect_ports();
        guest
    }

    /// Builds it with the aggregation `aggr0` of both ports, which has the address [`GUEST`].
    pub fn with_aggregation(pins: Pins) -> Self {
        let guest = Self::new(pins);
        typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
        guest.give_address("");
        guest
    }

    /// Gives `aggr0` the address [`GUEST`] and waits until the host answers.
    pub fn give_address(&self, options: &str) {
        typed(&self.dlmp, &format!("ipadm create-ip {options} aggr0"));
        typed(&self.dlmp, &format!("ipadm create-addr {options} -T static -a {GUEST}/24 aggr0/v4"));
        self.wait_until_reachable();
    }

    /// Connects both ports to the switch, all up.
    pub fn connect_ports(&self) {
        for (port, _) in CONNECTIONS {
            self.connect_port(port);
        }
    }

    /// Makes the guest's port `net0` or `net1`, connected to the switch and up.
    pub fn connect_port(&self, port: &str) {
        let end = end_of(port);
        veth_down((&self.namespace, port), (&self.switch, end)).unwrap();
        self.namespace.ip(&format!("link set dev {port} up")).unwrap();
        self.switch.ip(&format!("link set dev {end} master br0")).unwrap();
        up(&self.switch, end).unwrap();
        up(&self.namespace, port).unwrap();
    }

    /// Takes a port's carrier away, as when its cable is pulled.
    pub fn unplug(&self, port: &str) {
        self.switch.ip(&format!("link set dev {} down", end_of(port))).unwrap();
    }

    /// Gives a port its carrier back.
    pub fn plug(&self, port: &str) {
        up(&self.switch, end_of(port)).unwrap();
    }

    /// Cuts a port off behind the switch's own port: both carriers stay up.
    pub fn cut_off(&self, port: &str) {
        self.switch.ip(&format!("link set dev {} nomaster", end_of(port))).unwrap();
    }

    /// Has nobody answer an echo to all hosts (`echo_ignore_multicast` in ip-sysctl; for IPv4 that is the default).
    pub fn ignore_multicast_echoes(&self) {
        for namespace in [&self.host, &self.switch] {
            let file = "/proc/sys/net/ipv6/icmp/echo_ignore_multicast";
            namespace.enter(|| fs::write(file, "1")).unwrap().unwrap();
        }
    }

    /// Undoes [`cut_off`](Self::cut_off).
    pub fn reconnect(&self, port: &str) {
        self.switch.ip(&format!("link set dev {} master br0", end_of(port))).unwrap();
    }

    /// What `dladm show-aggr -S` says of a port.
    pub fn probe_state(&self, port: &str) -> Value {
        let rows = json(&self.dlmp, "dladm show-aggr -nS -j aggr0");
        let row = rows.as_array().unwrap().iter().find(|row| row["port"] == port);
        row.unwrap_or_else(|| panic!("{port} is not in {rows}")).clone()
    }

    /// Which detection is in force.
    pub fn detection(&self) -> String {
        json(&self.dlmp, "dladm show-aggr -nS -j aggr0")[0]["detection"].as_str().unwrap().to_owned()
    }

    /// Has `aggr0` probed like this and waits until probes decide.
    pub fn probe(&self, properties: &str) {
        typed(&self.dlmp, &format!("dladm set-linkprop -p {properties} aggr0"));
        wait_for("probes decide", || self.detection() == "link and probes");
    }

    /// A flow between the guest and the host, 1000 packets a second each way.
    pub fn flow(&self, duration: Duration) -> Flow<'_> {
        Flow::new(End::new(&self.namespace, GUEST), End::new(&self.host, HOST), 1000, duration)
            .watch(&self.namespace, &["net0", "net1"])
    }

    /// The port that the guest's traffic leaves through, and the other one.
    pub fn busy_and_idle_port(&self) -> (&'static str, &'static str) {
        let sent = || CONNECTIONS.map(|(port, _)| bytes_sent(&self.namespace, port));
        let before = sent();
        let host = HOST.to_string();
        let (count, size) = (ECHOES.to_string(), ECHO_DATA.to_string());
        let ping = ["-q", "-c", &count, "-l", &count, "-s", &size, "-W", "5", &host];
        let outcome = run(self.namespace.command("ping").args(ping));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let after = sent();
        let [net0, net1] = [after[0] - before[0], after[1] - before[1]];
        assert_eq!(net0 > net1, net0 >= ECHOES * ECHO, "both ports were busy: net0 {net0}, net1 {net1} bytes");
        if net0 > net1 { ("net0", "net1") } else { ("net1", "net0") }
    }

    /// What `dladm show-aggr -x` says of a port's state and port state.
    pub fn port_state(&self, port: &str) -> (String, String) {
        let rows = json(&self.dlmp, "dladm show-aggr -x -j aggr0");
        let row = rows.as_array().unwrap().iter().find(|row| row["port"] == port);
        let row = row.unwrap_or_else(|| panic!("{port} is not in {rows}"));
        (row["state"].as_str().unwrap().to_owned(), row["portstate"].as_str().unwrap().to_owned())
    }

    /// Waits until `dladm show-aggr -x` says this of a port's state.
    pub fn wait_for_state(&self, port: &str, state: &str) {
        wait_for(&format!("{port} is {state}"), || self.port_state(port).0 == state);
    }

    /// Whether the kernel shows a carrier on a link of the guest.
    pub fn has_carrier(&self, link: &str) -> bool {
        let links = ip_json(&self.namespace, &format!("link show dev {link}"));
        let flags = links[0]["flags"].as_array().unwrap_or_else(|| panic!("there is no {link}"));
        flags.contains(&Value::from("LOWER_UP"))
    }

    /// Starts the daemon as systemd would and waits until it says that it is ready (sd_notify(3)).
    pub fn start_daemon(&self) {
        self.start_daemon_with(&[]);
    }

    /// The same with further arguments.
    #[expect(clippy::zombie_processes, reason = "it runs until the environment or a signal ends it")]
    pub fn start_daemon_with(&self, arguments: &[&str]) {
        let directory = self.dlmp.runtime_dir();
        let notify = directory.join("notify");
        let _ = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let path = directory.join("dlmpd.log");
        let log = File::options().create(true).append(true).open(&path).unwrap();
        let mut command = self.dlmp.command("dlmpd");
        command.args(arguments);
        command.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let mut message = [0; 64];
        let length = loop {
            match socket.recv(&mut message) {
                // The end of another child.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(length) => break length,
                Err(error) => {
                    panic!("dlmpd does not get ready: {error}\n{}", fs::read_to_string(path).unwrap_or_default())
                }
            }
        };
        assert!(message[..length].starts_with(b"READY=1"), "{:?}", &message[..length]);
    }

    /// Sends a signal to the guest's daemon and waits until it has ended.
    pub fn end_daemon(&self, signal: Signal) {
        let daemons = self.dlmp.daemons();
        let [pid] = daemons[..] else { panic!("not one daemon but {daemons:?}") };
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
        wait_for("the daemon ends", || has_ended(pid));
    }

    /// Takes everything of the guest away but its files, and starts its daemon anew.
    pub fn reboot(&self) {
        self.namespace.shut_down();
        wait_for("the ports are gone", || {
            CONNECTIONS.iter().all(|(_, end)| ip_json(&self.switch, &format!("link show dev {end}")).is_null())
        });
        self.namespace.boot().unwrap();
        self.connect_ports();
        self.start_daemon();
    }

    /// What a link is like, as far as an aggregation might change it; lists in alphabetical order. Without the groups of its
    /// IPv6 addresses: the kernel makes and drops those addresses in its own time.
    pub fn look_of(&self, link: &str) -> Vec<String> {
        let file = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
        [
            format!("ip -o link show dev {link}"),
            format!("tc qdisc show dev {link}"),
            format!("tc filter show dev {link} ingress"),
            format!("bridge fdb show dev {link}"),
            format!("cat {file}"),
        ]
        .iter()
        .flat_map(|line| {
            let output = run(&mut self.dlmp.line(line)).output;
            let mut lines: Vec<_> =
                output.lines().filter(|line| !line.starts_with(SOLICITED_NODE)).map(str::to_owned).collect();
            lines.sort();
            lines
        })
        .collect()
    }

    /// Whether a daemon runs in the guest.
    pub fn daemon_runs(&self) -> bool {
        !self.dlmp.daemons().is_empty()
    }

    /// Waits until the host answers the guest.
    pub fn wait_until_reachable(&self) {
        let host = HOST.to_string();
        wait_for("the host answers", || {
            run(self.namespace.command("ping").args(["-q", "-c", "1", "-W", "1", &host])).code == 0
        });
    }
}

/// The port of the switch that a port of the guest is connected to.
fn end_of(port: &str) -> &'static str {
    CONNECTIONS.iter().find(|(name, _)| *name == port).unwrap().1
}

/// Whether nothing of a process is left but perhaps its exit status. A killed process keeps its
/// sockets and locks until the last of its threads has gone, while the first is a zombie already.
fn has_ended(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // The state follows the name, which is in parentheses (proc_pid_stat(5)).
    let zombie = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'));
    zombie && fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) <= 1
}

fn bytes_sent(namespace: &Namespace, link: &str) -> u64 {
    let links = ip_json(namespace, &format!("-s link show dev {link}"));
    // A link that is gone has sent nothing.
    links[0]["stats64"]["tx"]["bytes"].as_u64().unwrap_or(0)
}

/// Asserts that a flow arrived whole, each packet once, both ways.
pub fn assert_whole(record: &Record) {
    for (way, stream) in [("to the host", &record.forth), ("to the guest", &record.back)] {
        let report = stream.total();
        assert_eq!((report.lost, report.duplicated), (0, 0), "{way}: {report:?}");
    }
}
