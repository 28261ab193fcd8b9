//! A port with a quarter of all clients fails and comes back: how long its clients' frames stop, when everybody
//! is announced, and whether the rebalancing loses or duplicates anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dlmp_datapath::MAX_LEARNED;
use dlmp_testbed::{Namespace, Stream};
use dlmp_wire::MacAddr;

use super::scene::{Load, Record, Scene, TICK, guest_address};
use crate::report::{Spread, Table};

const WAYS: [&str; 2] = ["guests to host", "host to guests"];
const PORTS: usize = 4;
const FAULTS: usize = 10;
/// Frames a second each way.
const RATE: u32 = 20_000;
/// The fault comes so long after the first frame, and the frames go on so long after it.
const QUIET: Duration = Duration::from_millis(200);
const AFTER: Duration = Duration::from_millis(1000);

/// What was found: vectors have a value for each fault, times are in milliseconds, pairs are the two ways.
#[derive(Default)]
struct Found {
    /// Clients of the port.
    clients: Vec<f64>,
    lost: [Vec<f64>; 2],
    /// From the first frame that was lost to the last.
    stopped: [Vec<f64>; 2],
    /// Until each client of the port was announced once.
    announced: Vec<f64>,
    unannounced: usize,
    /// Clients whose last frame was lost.
    silent: usize,
    /// Clients that moved when the port came back, and until the last of them was announced.
    moved: Vec<f64>,
    even: Vec<f64>,
    /// Frames sent, lost and duplicated, each way.
    returning: [(usize, u64, u64); 2],
}

/// Measures and returns the tables.
pub fn measure() -> Result<String> {
    let scene = Scene::new(PORTS)?;
    scene.learn(u16::try_from(MAX_LEARNED)?)?;
    let mut found = Found::default();
    for fault in 0..FAULTS {
        eprintln!("fault {} of {FAULTS} with {MAX_LEARNED} clients", fault + 1);
        fail(&scene, fault % PORTS, &mut found)?;
        come_back(&scene, fault % PORTS, &mut found)?;
    }
    Ok(found.text())
}

/// Takes the carrier of a port under the traffic of its clients.
fn fail(scene: &Scene, port: usize, found: &mut Found) -> Result<()> {
    let name = format!("net{port}");
    let guests: Vec<u16> =
        scene.seats()?.into_iter().filter(|(_, seat)| *seat == name).map(|(guest, _)| guest).collect();
    ensure!(!guests.is_empty(), "nobody sits on {name}");
    let mut cut = Prepared::new(&scene.switch, &format!("link set dev p{port} down"))?;
    let load = Load { guests, rate: RATE, length: 60 };
    let (record, at) = scene.load(&load, |start| {
        thread::sleep(QUIET);
        let at = start.elapsed();
        cut.carry_out()?;
        thread::sleep(AFTER);
        Ok(at)
    })?;
    for (way, stream) in [&record.forth, &record.back].into_iter().enumerate() {
        found.lost[way].push(lost(stream).count() as f64);
        found.stopped[way].push(stopped(stream).as_secs_f64() * 1e3);
    }
    let firsts = first_announcements(&record, at);
    let addresses: BTreeSet<MacAddr> = load.guests.iter().copied().map(guest_address).collect();
    let announced: Vec<Duration> = addresses.iter().filter_map(|address| firsts.get(address)).copied().collect();
    let last = announced.iter().max().context("nobody was announced")?;
    found.clients.push(addresses.len() as f64);
    found.unannounced += addresses.len() - announced.len();
    found.announced.push(last.saturating_sub(event(&record.forth, at)).as_secs_f64() * 1e3);
    // In the last round of turns everybody is heard.
    let turns = record.forth.sent.len().saturating_sub(addresses.len())..record.forth.sent.len();
    let fates = record.forth.fates();
    found.silent += turns.filter(|&number| fates[number].copies == 0).count();
    Ok(())
}

/// Gives it back under the traffic of all clients.
fn come_back(scene: &Scene, port: usize, found: &mut Found) -> Result<()> {
    let before = scene.seats()?;
    let load = Load { guests: before.keys().copied().collect(), rate: RATE, length: 60 };
    let (record, at) = scene.load(&load, |start| {
        thread::sleep(QUIET);
        let at = start.elapsed();
        scene.mend(port)?;
        scene.wait_until_even()?;
        thread::sleep(AFTER);
        Ok(at)
    })?;
    let after = scene.seats()?;
    let moved: BTreeSet<MacAddr> = after
        .iter()
        .filter(|(guest, seat)| before.get(guest) != Some(seat))
        .map(|(&guest, _)| guest_address(guest))
        .collect();
    let firsts = first_announcements(&record, at);
    let last = moved.iter().filter_map(|address| firsts.get(address)).max();
    found.even.extend(last.map(|last| last.saturating_sub(at).as_secs_f64() * 1e3));
    found.moved.push(moved.len() as f64);
    for ((sent, lost, duplicated), (way, stream)) in
        found.returning.iter_mut().zip(WAYS.iter().zip([&record.forth, &record.back]))
    {
        let total = stream.total();
        if total.lost + total.duplicated > 0 {
            eprintln!("net{port} comes back: {way} {total:?}, {} clients moved", moved.len());
        }
        *sent += stream.sent.len();
        *lost += total.lost;
        *duplicated += total.duplicated;
    }
    Ok(())
}

/// From the first frame that was lost to the last.
fn stopped(stream: &Stream) -> Duration {
    let first = lost(stream).next();
    first.zip(lost(stream).last()).map_or(Duration::ZERO, |(first, last)| last - first + stream.interval)
}

/// When the fault met the first frame; when it was asked for, if it met none.
fn event(stream: &Stream, asked: Duration) -> Duration {
    lost(stream).next().unwrap_or(asked)
}

fn lost(stream: &Stream) -> impl Iterator<Item = Duration> {
    stream.sent.iter().zip(stream.fates()).filter(|(_, fate)| fate.copies == 0).map(|(&sent, _)| sent)
}

/// When each address was first announced after this time.
fn first_announcements(record: &Record, after: Duration) -> BTreeMap<MacAddr, Duration> {
    let mut firsts = BTreeMap::new();
    for &(at, address) in record.announcements.iter().filter(|(at, _)| *at >= after) {
        firsts.entry(address).or_insert(at);
    }
    firsts
}

impl Found {
    fn text(self) -> String {
        let mut table = Table::new(&["the port fails", "median (least to greatest)"]);
        let spread = |values: Vec<f64>, digits| Spread::of(values).text(digits);
        table.row(&["its clients", &spread(self.clients, 0)]);
        for (way, (lost, stopped)) in WAYS.iter().zip(self.lost.into_iter().zip(self.stopped)) {
            table.row(&[&format!("{way}: lost frames"), &spread(lost, 0)]);
            table.row(&[&format!("{way}: first to last lost frame, ms"), &spread(stopped, 1)]);
        }
        table.row(&["every client announced once, ms", &spread(self.announced, 0)]);
        table.row(&["clients not announced", &self.unannounced.to_string()]);
        table.row(&["clients not forwarded at the end", &self.silent.to_string()]);
        let mut returning = Table::new(&["the port comes back", ""]);
        returning.row(&["clients that moved", &spread(self.moved, 0)]);
        returning.row(&["until the last of them was announced, ms", &spread(self.even, 0)]);
        for (way, (sent, lost, duplicated)) in WAYS.iter().zip(self.returning) {
            returning
                .row(&[&format!("{way}: frames sent, lost, duplicated"), &format!("{sent}, {lost}, {duplicated}")]);
        }
        format!(
            "{MAX_LEARNED} learned clients on {PORTS} ports, link state alone. A port loses its carrier and gets it back, {FAULTS} times, under {RATE} frames a\nsecond each way: when it fails those of its clients in turn, when it returns those of all clients. The frames leave at intervals\nof {} ms at the least, so shorter stops are not seen. Aims: 5 ms; nothing lost or duplicated on return.\n\n{table}\n{returning}",
            TICK.as_secs_f64() * 1e3
        )
    }
}

/// A command of ip(8) that waits to be carried out, so that no process has to start then.
struct Prepared {
    ip: Child,
    input: Option<ChildStdin>,
    command: String,
}

impl Prepared {
    fn new(namespace: &Namespace, command: &str) -> Result<Self> {
        let mut ip = Command::new("ip")
            .args(["-n", namespace.name(), "-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot run ip")?;
        let input = ip.stdin.take();
        Ok(Self { ip, input, command: format!("{command}\n") })
    }

    fn carry_out(&mut self) -> Result<()> {
        let mut input = self.input.take().context("it was carried out already")?;
        input.write_all(self.command.as_bytes())?;
        drop(input);
        let status = self.ip.wait()?;
        ensure!(status.success(), "ip: {}: {status}", self.command.trim());
        Ok(())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // It ends when its input does.
        self.input = None;
        let _ = self.ip.wait();
    }
}
