//! Echo requests to a machine, whose kernel answers them: traffic both ways that needs no program inside.

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dlmp_testbed::{Arrival, Event, Namespace, Record, Stream};
use dlmp_wire::icmp::Echo;
use socket2::{Domain, Protocol, Socket, Type};

/// Time between two requests; at most 65536 of them fit a sequence number.
const INTERVAL: Duration = Duration::from_millis(4);
/// How long after the last request an answer may still come in.
const LINGER: Duration = Duration::from_millis(500);
/// How often a silent receiver looks whether it should end.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(20);

/// Something that is to happen, and when, from the first request on.
pub type Planned<'a> = (Duration, &'static str, Box<dyn FnOnce() -> Result<()> + 'a>);

/// Sends requests to `target` for `duration` while the events happen, which are given in the order of time. The record has
/// the requests as the stream forth; one arrives when its answer does.
///
/// # Errors
/// When the namespace is gone, or an event's action fails.
pub fn run(from: &Namespace, target: Ipv4Addr, duration: Duration, events: Vec<Planned<'_>>) -> Result<Record> {
    let socket = from.enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)))?;
    let socket = socket.context("cannot open a raw socket")?;
    socket.set_read_timeout(Some(RECEIVE_TIMEOUT))?;
    let echo = Echo { id: std::process::id() as u16, sequence: 0, nonce: u64::from(std::process::id()) };
    let (start, stop) = (Instant::now(), AtomicBool::new(false));
    thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&socket, echo, start, &stop));
        let sender = scope.spawn(|| send(&socket, echo, target, start, duration));
        let events = carry_out(events, start);
        let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        thread::sleep(LINGER);
        stop.store(true, Ordering::Relaxed);
        let arrivals = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let forth = Stream { interval: INTERVAL, sent, arrivals: arrivals? };
        Ok(Record { forth, events: events?, ..Record::default() })
    })
}

/// Sends the requests and returns when each was sent. One that the network refuses counts as lost.
fn send(socket: &Socket, echo: Echo, target: Ipv4Addr, start: Instant, duration: Duration) -> Vec<Duration> {
    let to = SocketAddrV4::new(target, 0).into();
    let mut sent = Vec::new();
    while let (Ok(sequence), true) = (u16::try_from(sent.len()), start.elapsed() < duration) {
        let due = start + INTERVAL * u32::from(sequence);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        sent.push(start.elapsed());
        let _ = socket.send_to(&Echo { sequence, ..echo }.emit_v4(), &to);
    }
    sent
}

fn receive(mut socket: &Socket, echo: Echo, start: Instant, stop: &AtomicBool) -> Result<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    let mut packet = [0; 128];
    while !stop.load(Ordering::Relaxed) {
        match socket.read(&mut packet) {
            Ok(length) => arrivals.extend(
                Echo::parse_v4(&packet[..length])
                    .filter(|answer| (answer.id, answer.nonce) == (echo.id, echo.nonce))
                    .map(|answer| Arrival { sequence: answer.sequence.into(), at: start.elapsed() }),
            ),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
    Ok(arrivals)
}

fn carry_out(events: Vec<Planned<'_>>, start: Instant) -> Result<Vec<Event>> {
    let mut done = Vec::new();
    for (at, label, action) in events {
        thread::sleep((start + at).saturating_duration_since(Instant::now()));
        let began = start.elapsed();
        let result = action().with_context(|| format!("{label} failed"));
        done.push(result.map(|()| Event { label: label.to_owned(), began, done: start.elapsed() }));
    }
    done.into_iter().collect()
}
