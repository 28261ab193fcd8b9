//! How long a multicast stream stops beside a unicast one in the same fault, with switches that snoop.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use dlmp_testbed::{End, Environment, Flow, Groups, Hardware, Members, Pins, PortFilter, Record, Report};
use serde_json::Value;

use super::wait_until;
use crate::failover::{Fault, random_phase};
use crate::network::{Network, OVER_AGGREGATION, PORTS, output};
use crate::report::{Spread, Table};

const FAULTS: usize = 20;
/// Packets a second, each way, of each flow.
const RATE: u32 = 1000;
/// The fault comes after this time at the earliest.
const QUIET: Duration = Duration::from_millis(400);
/// From the fault to the repair, and from there to the end.
const FAULT: Duration = Duration::from_millis(1500);
const REPAIRED: Duration = Duration::from_millis(500);
/// More than what the two flows start apart.
const MARK: Duration = Duration::from_millis(100);
/// The group of the stream.
const GROUP: Groups = Groups::v4(0, 1);
/// What each port holds.
const SLOTS: usize = 64;

/// Measures and returns the table.
pub(super) fn measure() -> Result<String> {
    let mut table = Table::new(&[
        "fault",
        "multicast: outage, ms",
        "unicast: outage, ms",
        "difference, ms",
        "multicast lost without a fault",
        "duplicated",
        "sender late by at most, ms",
    ]);
    for (fault, name) in [(Fault::Carrier, "carrier loss"), (Fault::Silent, "silent fault")] {
        eprintln!("multicast: {FAULTS} faults, {fault:?}");
        let cells = outages(fault)?;
        table.row(&[&[name][..], &cells.each_ref().map(String::as_str)].concat());
    }
    Ok(format!(
        "A stream of {RATE} packets a second from the host to a group, beside one to the guest's own address, while the port that takes\n\
         both fails and comes back, {FAULTS} times. The ports hold {SLOTS} groups and drop others; the switches snoop, with a querier.\n\
         Probed at the default detection time. Aims: carrier loss 5 ms; silent fault no more than unicast plus 5 ms.\n\n{table}"
    ))
}

/// The cells of a row after its name.
fn outages(fault: Fault) -> Result<[String; 6]> {
    let (mut multicast, mut unicast, mut difference) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lost, mut duplicated, mut late) = (0, 0, Duration::ZERO);
    for number in 0..FAULTS {
        eprint!("\r{} of {FAULTS} ", number + 1);
        // A new one for each: a port that has failed before comes back late, and then both would be gone.
        let [of_group, of_guest] = Scene::new()?.one_fault(fault)?;
        let stop = |report: &Report| report.outage.map_or(0.0, |outage| outage.length.as_secs_f64() * 1e3);
        multicast.push(stop(&of_group.after));
        unicast.push(stop(&of_guest.after));
        difference.push(stop(&of_group.after) - stop(&of_guest.after));
        lost += of_group.before.lost + of_group.repaired.lost;
        duplicated += of_group.before.duplicated + of_group.after.duplicated + of_group.repaired.duplicated;
        late = late.max(of_group.after.held_up);
    }
    eprintln!();
    Ok([
        Spread::of(multicast).text(1),
        Spread::of(unicast).text(1),
        Spread::of(difference).text(1),
        lost.to_string(),
        duplicated.to_string(),
        late.as_millis().to_string(),
    ])
}

/// The guest with a member, on switches that snoop.
struct Scene {
    _members: Members,
    dlmp: Environment,
    _filters: [PortFilter; 2],
    network: Network,
}

/// One stream through one fault.
struct Stops {
    before: Report,
    after: Report,
    repaired: Report,
}

impl Scene {
    fn new() -> Result<Self> {
        let network = Network::new()?;
        let filters = network.filters(Hardware::with_slots(64))?;
        let dlmp = Environment::new(&network.guest, Pins::Mounted)?;
        for line in [
            &format!("dladm create-aggr -l {} -l {} aggr0", PORTS[0], PORTS[1]),
            &format!("dladm set-linkprop -p mcast-limit=64 {}", PORTS[0]),
            &format!("dladm set-linkprop -p mcast-limit=64 {}", PORTS[1]),
            "ipadm create-ip aggr0",
            &format!("ipadm create-addr -T static -a {}/24 aggr0/v4", OVER_AGGREGATION.guest),
            &format!("dladm set-linkprop -p probe-ip=+{} aggr0", OVER_AGGREGATION.host),
        ] {
            output(&mut dlmp.line(line))?;
        }
        network.wait_for(OVER_AGGREGATION)?;
        wait_until("probes decided", || {
            Ok(output(&mut dlmp.line("dladm show-aggr -p -o detection aggr0"))?.trim() == "link and probes")
        })?;
        network.snoop()?;
        let members = Members::join(&network.guest, "aggr0", &[GROUP])?;
        Ok(Self { _members: members, dlmp, _filters: filters, network })
    }

    /// The index of the port that takes multicast and the guest's own address, once both ports are ready.
    fn busy_port(&self) -> Result<usize> {
        let (mut seat, mut active) = (String::new(), String::new());
        wait_until("both ports are ready", || {
            let ports = self.json("dladm show-mcast -P -j aggr0")?;
            let ports = ports.as_array().context("show-mcast prints no list")?;
            let clients = self.json("dladm show-aggr -C -j aggr0")?;
            seat = port_of(&clients[0]);
            active = ports.iter().find(|row| row["role"] == "active").map(port_of).unwrap_or_default();
            Ok(ports.len() == PORTS.len() && ports.iter().all(|row| row["role"].is_string()))
        })?;
        let index = |name: &str| PORTS.iter().position(|port| *port == name).context("no such port");
        if seat != active {
            // When its own port fails the address comes to the other one, and stays there.
            let port = index(&seat)?;
            self.network.cut(port)?;
            thread::sleep(QUIET);
            self.network.mend(port)?;
            return self.busy_port();
        }
        index(&active)
    }

    /// The multicast stream and the unicast one through one fault.
    fn one_fault(&self, fault: Fault) -> Result<[Stops; 2]> {
        let port = self.busy_port()?;
        let at = QUIET + random_phase()?;
        let (repair, end) = (at + FAULT, at + FAULT + REPAIRED);
        let group = GROUP.addresses().next().context("no group")?;
        let ((guest, host), member) = (self.network.ends(), End::new(&self.network.guest, group));
        let (of_group, of_guest) = thread::scope(|scope| {
            // It starts within a moment of the other one: the fault comes after its mark.
            let of_group = scope.spawn(|| {
                Flow::new(member, host.clone(), RATE, end + MARK)
                    .event(at - MARK, "fault", || Ok(()))
                    .event(repair - MARK, "repair", || Ok(()))
                    .run()
            });
            let of_guest = Flow::new(guest, host.clone(), RATE, end)
                .event(at, "fault", || match fault {
                    Fault::Carrier => self.network.cut(port),
                    Fault::Silent => self.network.cut_silently(port),
                })
                .event(repair, "repair", || match fault {
                    Fault::Carrier => self.network.mend(port),
                    Fault::Silent => self.network.mend_silently(port),
                })
                .run();
            (of_group.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), of_guest)
        });
        // The host sends both.
        let stops = |record: &Record| Stops {
            before: record.back.report(Duration::ZERO..record.events[0].began),
            after: record.back.report(record.after_event(0)),
            repaired: record.back.report(record.after_event(1)),
        };
        Ok([stops(&of_group?), stops(&of_guest?)])
    }

    fn json(&self, line: &str) -> Result<Value> {
        Ok(serde_json::from_str(&output(&mut self.dlmp.line(line))?)?)
    }
}

/// The port in a row that a command prints.
fn port_of(row: &Value) -> String {
    row["port"].as_str().unwrap_or_default().to_owned()
}
