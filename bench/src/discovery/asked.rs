//! How much of a flood one `ldmd` answers, and what that takes.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dlmp_testbed::{Host, Namespace, veth};
use dlmp_wire::manager::{LEN, Message};
use serde_json::Value;

use super::link::{self, ALONE, Datagrams, LINK};
use super::questions::{Flood, Kind, own};
use crate::cost::{processor_time, resident_mebibytes};
use crate::network::output;
use crate::report::Table;

const VNETS: u64 = 16;
/// Alternate addresses of each: as many as a vnet may have.
const ALTERNATES: u64 = 64;
/// Hosts that ask, at most.
const SOURCES: usize = 1000;
const RATES: [u32; 4] = [1_000, 5_000, 20_000, 100_000];
/// A source may have more answers at first.
const WARM_UP: Duration = Duration::from_millis(2500);
const LENGTH: Duration = Duration::from_secs(5);
/// Between two floods. What was left has been read then.
const PAUSE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);

/// What has happened so far.
struct Count {
    at: Instant,
    /// Of the process, in seconds.
    processor: f64,
    datagrams: Datagrams,
    sent: u64,
    answers: u64,
}

/// The `ldmd` and those who ask it.
struct Scene {
    host: Host,
    askers: Namespace,
    pid: u32,
    _guest: Namespace,
}

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let scene = Scene::new()?;
    let before = resident_mebibytes(scene.pid)?;
    let mut table = Table::new(&[
        "what is sent",
        "from hosts",
        "a second",
        "answered a second",
        "read a second",
        "dropped unread, %",
        "% of one core",
        "memory after, MiB",
    ]);
    for (kind, sources) in [
        (Kind::Own, 1),
        (Kind::Own, SOURCES),
        (Kind::Foreign, SOURCES),
        (Kind::Managers, SOURCES),
        (Kind::Rubbish, SOURCES),
        (Kind::Taken, SOURCES),
    ] {
        for rate in RATES {
            eprintln!("discovery: {rate} a second, {kind}");
            let [start, end] = scene.flood(Flood { kind, rate, sources, addresses: VNETS * ALTERNATES })?;
            let length = (end.at - start.at).as_secs_f64();
            let a_second = |count: fn(&Count) -> u64| format!("{:.0}", (count(&end) - count(&start)) as f64 / length);
            let dropped = (end.datagrams.dropped - start.datagrams.dropped) as f64 / (end.sent - start.sent) as f64;
            table.row(&[
                &kind.to_string(),
                &sources.to_string(),
                &a_second(|count| count.sent),
                &a_second(|count| count.answers),
                &a_second(|count| count.datagrams.read),
                &format!("{:.1}", dropped * 100.0),
                &format!("{:.1}", (end.processor - start.processor) / length * 100.0),
                &format!("{:.1}", resident_mebibytes(scene.pid)?),
            ]);
        }
    }
    Ok(format!(
        "One `ldmd` with {} addresses, and floods of 1000 to 100,000 datagrams a second, or as many as can be sent, from the hosts\n\
         on its link in turn, each for {} s after {} s that are not measured. Read is what it reads, its own answers included, which\n\
         come back from the group. The processor time is the process's own; on this veth that of a sent answer includes its delivery\n\
         to who asked. Memory before: {before:.1} MiB.\n\
         Limits (docs/protocol.md): 500 answers a second to a source, 5000 in all, 20,000 datagrams read.\n\n{table}",
        VNETS * ALTERNATES,
        LENGTH.as_secs(),
        WARM_UP.as_secs_f64()
    ))
}

impl Scene {
    fn new() -> Result<Self> {
        let [namespace, askers, guest] = ["host", "askers", "guest"].map(|name| Namespace::new("bd", name));
        let (namespace, askers, guest) = (namespace?, askers?, guest?);
        [&namespace, &askers].into_iter().try_for_each(Namespace::without_ipv6)?;
        veth((&namespace, LINK), (&askers, LINK))?;
        namespace.ip(&format!("address add {ALONE}/16 dev {LINK}"))?;
        link::settle(&askers, 0..SOURCES)?;
        let host = Host::new(&namespace)?;
        host.start()?;
        let ldm = |line: String| output(&mut host.dlmp().line(&line));
        ldm("ldm add-vsw vsw0 primary".into())?;
        ldm(format!("ldm add-domain --netns {} g0", guest.name()))?;
        for vnet in 0..VNETS {
            let numbers = vnet * ALTERNATES..(vnet + 1) * ALTERNATES;
            let alternates: Vec<_> = numbers.map(|number| own(number).to_string()).collect();
            ldm(format!("ldm add-vnet alt-mac-addrs={} vnet{vnet} vsw0 g0", alternates.join(",")))?;
        }
        let [pid] = host.dlmp().managers()[..] else { bail!("not one ldmd") };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let manager: Value = serde_json::from_str(&ldm("ldm list-manager -j".into())?)?;
            if manager["interfaces"].as_array().is_some_and(|interfaces| !interfaces.is_empty()) {
                return Ok(Self { host, askers, pid, _guest: guest });
            }
            ensure!(Instant::now() < deadline, "ldmd hears nobody");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The counts at the start and at the end of a flood.
    fn flood(&self, flood: Flood) -> Result<[Count; 2]> {
        let (socket, index) = (link::listen(&self.askers)?, link::index(&self.askers)?);
        let (stop, sent, answers) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let counts = thread::scope(|scope| {
            scope.spawn(|| flood.run(&socket, index, &stop, &sent));
            scope.spawn(|| count_answers(&socket, &stop, &answers));
            let count = || self.count(&sent, &answers);
            thread::sleep(WARM_UP);
            let start = count();
            thread::sleep(LENGTH);
            let counts = [start, count()];
            stop.store(true, Ordering::Relaxed);
            counts
        });
        thread::sleep(PAUSE);
        let [start, end] = counts;
        Ok([start.context("at the start")?, end.context("at the end")?])
    }

    fn count(&self, sent: &AtomicU64, answers: &AtomicU64) -> Result<Count> {
        let (user, kernel) = processor_time(self.pid)?;
        Ok(Count {
            at: Instant::now(),
            processor: user + kernel,
            datagrams: Datagrams::of(self.host.dlmp().namespace())?,
            sent: sent.load(Ordering::Relaxed),
            answers: answers.load(Ordering::Relaxed),
        })
    }
}

/// Counts what the `ldmd` answers, as those hear it who asked.
fn count_answers(socket: &UdpSocket, stop: &AtomicBool, answers: &AtomicU64) {
    let mut buffer = [0; LEN + 1];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) if from.ip() == ALONE => {
                if let Ok((Message::Taken(_) | Message::Here(_), _)) = Message::parse(&buffer[..length]) {
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(_) => {}
            // Nothing is there yet.
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}
