//! Hosts and routers outside: they answer ARP and echoes, and exchange data with the host under test.

use std::net::Ipv4Addr;
use std::time::Duration;

use dlmp_wire::MacAddr;
use dlmp_wire::ethernet::{Frame, ethertype};

use crate::link::LinkId;

/// How a host answers.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// It answers ARP.
    pub arp: bool,
    /// It answers ARP from 0.0.0.0 too. Some routers, and switches that inspect ARP, take that for forged.
    pub strangers: bool,
    /// It answers echoes.
    pub echo: bool,
    /// It answers echoes to all hosts too.
    pub multicast: bool,
    /// How long it takes to answer.
    pub delay: Duration,
    /// Answers a second at most, with as many saved up.
    pub limit: Option<u32>,
}

impl Behaviour {
    /// Answers everything at once.
    pub const GOOD: Self =
        Self { arp: true, strangers: true, echo: true, multicast: true, delay: Duration::ZERO, limit: None };
    /// Answers ARP only to who has an address, and all else at once.
    pub const WARY: Self = Self { strangers: false, ..Self::GOOD };
    /// Answers nothing.
    pub const DEAD: Self = Self { arp: false, echo: false, multicast: false, ..Self::GOOD };
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) link: LinkId,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: MacAddr,
    pub(crate) behaviour: Behaviour,
    /// Answers that a rate limit has left, and when they were counted.
    saved: (f64, Duration),
    /// When each echo of its own came in.
    pub(crate) echoes: Vec<Duration>,
    /// When each question came in, of whatever kind.
    pub(crate) questions: Vec<Duration>,
}

/// The first byte of what we send as IPv4: no real packet, the simulator reads it.
pub(crate) const ECHO: u8 = b'E';
pub(crate) const REPLY: u8 = b'R';
pub(crate) const DATA: u8 = b'D';

/// All hosts: 224.0.0.1.
pub(crate) const ALL_HOSTS: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 1]);

impl Host {
    pub(crate) fn new(link: LinkId, number: u8) -> Self {
        Self {
            link,
            address: Ipv4Addr::new(10, 0, 0, number),
            mac: MacAddr([2, 0, 0, 0, 9, number]),
            behaviour: Behaviour::GOOD,
            saved: (f64::INFINITY, Duration::ZERO),
            echoes: Vec::new(),
            questions: Vec::new(),
        }
    }

    /// The answer to a frame, if it has one.
    pub(crate) fn answer(&mut self, bytes: &[u8], now: Duration) -> Option<Vec<u8>> {
        let frame = Frame::parse(bytes).ok()?;
        let payload = frame.payload();
        let answer = match frame.ethertype() {
            ethertype::ARP if payload.get(24..28)? == self.address.octets() => {
                self.questions.push(now);
                let stranger = payload[14..18] == [0; 4];
                if !self.behaviour.arp || (stranger && !self.behaviour.strangers) {
                    return None;
                }
                let head = [0, 1, 8, 0, 6, 4, 0, 2];
                let body = [&head[..], &self.mac.0, &self.address.octets(), &payload[8..14], &payload[14..18]].concat();
                self::frame(frame.source(), self.mac, ethertype::ARP, &body)
            }
            ethertype::IPV4 if payload.first() == Some(&ECHO) && frame.destination() == self.mac => {
                self.echoes.push(now);
                self.questions.push(now);
                if !self.behaviour.echo {
                    return None;
                }
                self::frame(frame.source(), self.mac, ethertype::IPV4, &[&[REPLY], &payload[1..]].concat())
            }
            ethertype::IPV4 if payload.first() == Some(&ECHO) && frame.destination() == ALL_HOSTS => {
                if !self.behaviour.multicast {
                    return None;
                }
                let body = [&[REPLY][..], &payload[1..9], &self.address.octets()].concat();
                self::frame(frame.source(), self.mac, ethertype::IPV4, &body)
            }
            _ => return None,
        };
        self.is_allowed(now).then_some(answer)
    }

    fn is_allowed(&mut self, now: Duration) -> bool {
        let Some(limit) = self.behaviour.limit else { return true };
        let (saved, since) = self.saved;
        let saved = (saved + (now - since).as_secs_f64() * f64::from(limit)).min(f64::from(limit));
        self.saved = ((saved - 1.0).max(0.0), now);
        saved >= 1.0
    }
}

/// An Ethernet frame, padded to its least length.
pub(crate) fn frame(to: MacAddr, from: MacAddr, kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &kind.to_be_bytes(), body].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// What we send as IPv4: its kind and a number.
pub(crate) fn numbered(kind: u8, number: u64) -> Vec<u8> {
    // Byte 9 would be the protocol: never that of IGMP.
    [&[kind][..], &number.to_be_bytes(), &[0; 8]].concat()
}

/// The number in such a packet of this kind.
pub(crate) fn number(payload: &[u8], kind: u8) -> Option<u64> {
    let (first, rest) = payload.split_first()?;
    (*first == kind).then(|| rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)))?
}
