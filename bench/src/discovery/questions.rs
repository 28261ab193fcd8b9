//! Sends one `ldmd` questions of all kinds at a given rate.

use std::fmt;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dlmp_wire::MacAddr;
use dlmp_wire::manager::{Buffer, ByteOrder, LEN, Lookup, Message};

use super::link;

/// A sender sends what is due, then sleeps so long.
const TICK: Duration = Duration::from_millis(1);
/// A sender that was held up for longer goes on from there.
const LATE: Duration = Duration::from_millis(20);

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Questions for addresses that it has.
    Own,
    /// Questions for addresses that it does not have.
    Foreign,
    /// Questions for managers.
    Managers,
    /// 312 zeroes.
    Rubbish,
    /// That addresses which it has are taken: a forger's.
    Taken,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "is its address taken?",
            Self::Foreign => "is another address taken?",
            Self::Managers => "who is there?",
            Self::Rubbish => "rubbish",
            Self::Taken => "forged: its address is taken",
        })
    }
}

/// An address of the `ldmd` that is asked, given by hand, which counts from 0.
pub const fn own(number: u64) -> MacAddr {
    let [.., a, b] = number.to_be_bytes();
    MacAddr([0, 0x14, 0x4f, 0xfc, a, b])
}

const fn foreign(number: u64) -> MacAddr {
    let [.., a, b] = number.to_be_bytes();
    MacAddr([0, 0x14, 0x4f, 0xfd, a, b])
}

/// A flood of them.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    pub kind: Kind,
    /// Datagrams a second.
    pub rate: u32,
    /// Hosts that they come from in turn.
    pub sources: usize,
    /// Addresses that the one who is asked has.
    pub addresses: u64,
}

impl Flood {
    /// Sends through a socket of [`link::listen`] until it is told to stop, and counts what it has sent.
    pub fn run(self, socket: &UdpSocket, index: i32, stop: &AtomicBool, sent: &AtomicU64) {
        let (mut number, mut start, mut since) = (0, Instant::now(), 0);
        while !stop.load(Ordering::Relaxed) {
            let due = (start.elapsed().as_secs_f64() * f64::from(self.rate)) as u64;
            if (due.saturating_sub(since)) as f64 > LATE.as_secs_f64() * f64::from(self.rate) {
                (start, since) = (Instant::now(), 0);
                continue;
            }
            for _ in since..due {
                let host = number as usize % self.sources;
                if link::say(socket, index, link::address(host), &self.message(number, host)).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                number += 1;
            }
            since = due;
            thread::sleep(TICK);
        }
    }

    fn message(self, number: u64, host: usize) -> Buffer {
        let mut buffer = [0; LEN];
        let lookup = |mac| Lookup { mac, source: Some(link::address(host)) };
        let message = match self.kind {
            Kind::Own => Message::Lookup(lookup(own(number % self.addresses))),
            Kind::Foreign => Message::Lookup(lookup(foreign(number))),
            Kind::Managers => Message::Discover,
            Kind::Rubbish => return buffer,
            Kind::Taken => Message::Taken(lookup(own(number % self.addresses))),
        };
        message.emit(ByteOrder::Big, &mut buffer);
        buffer
    }
}
