//! Transitive probes, and the answers to what the daemon asks.

use std::time::Duration;

use dlmp_wire::MacAddr;
use dlmp_wire::ethernet::{Frame, HEADER_LEN, ethertype};
use dlmp_wire::transitive::{Kind, Probe, Refused};

use super::{Model, Verdict};
use crate::{Answered, Counter, PortIndex, Probing};

/// An older transitive probe is played again.
const WINDOW: Duration = Duration::from_secs(1);

/// The newest of one port about another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pair {
    pub(super) asked: u32,
    pub(super) answered: Option<Answered>,
}

impl Model {
    /// What becomes of a transitive probe; nothing if the frame is none, or not for a port: a guest may probe too.
    pub(super) fn probe(&mut self, here: PortIndex, frame: &Frame<'_>, bytes: &[u8]) -> Option<Verdict> {
        let Probing { key, vlan } = self.probing.filter(|_| self.is_port(frame.destination()))?;
        // The kernel takes a tag out of the bytes before the program sees them.
        let body = bytes.get(HEADER_LEN..).filter(|_| bytes[12..14] == ethertype::EXPERIMENTAL.to_be_bytes())?;
        let mut probe = match Probe::parse(body, &key) {
            Ok(probe) => probe,
            Err(Refused::Foreign) => return None,
            Err(Refused::Malformed) => return Some(self.drop(here, Counter::RxProbeMalformed)),
            Err(Refused::Forged) => return Some(self.drop(here, Counter::RxProbeForged)),
        };
        let port_with = |mac: MacAddr| self.ports.iter().find(|(_, port)| port.mac == mac).map(|(&index, _)| index);
        let (local, other) = match probe.kind {
            Kind::Request => (port_with(probe.asked), port_with(probe.asking)),
            Kind::Response => (port_with(probe.asking), port_with(probe.asked)),
        };
        let ends = (frame.destination(), frame.source());
        let Some(other) = other.filter(|&other| {
            local == Some(here) && other != here && probe.ends() == ends && probe.vlan == vlan && frame.vlan() == vlan
        }) else {
            return Some(self.drop(here, Counter::RxProbeStray));
        };
        let sent = Duration::from_nanos(probe.sent);
        let pair = self.pairs.entry((here, other)).or_default();
        let last = match probe.kind {
            Kind::Request => pair.asked,
            Kind::Response => pair.answered.map_or(0, |answered| answered.sequence),
        };
        let newer = probe.sequence.wrapping_sub(last).cast_signed() > 0;
        if !newer || self.now.checked_sub(sent).is_none_or(|age| age > WINDOW) {
            return Some(self.drop(here, Counter::RxProbeStale));
        }
        match probe.kind {
            Kind::Request => {
                pair.asked = probe.sequence;
                self.count(here, Counter::RxProbeRequest, 1);
                probe.kind = Kind::Response;
                let mut buffer = [0; _];
                probe.emit(&key, &mut buffer).first_chunk().map(|answer| Verdict::Answer(*answer))
            }
            Kind::Response => {
                pair.answered = Some(Answered { sequence: probe.sequence, sent, at: self.now });
                self.count(here, Counter::RxProbeResponse, 1);
                Some(Verdict::Drop)
            }
        }
    }
}

/// Whether a frame is an ARP reply that names no address of the asker (RFC 5227) or a neighbour
/// advertisement: what answers the daemon's questions.
pub(super) fn is_probe_answer(bytes: &[u8]) -> bool {
    let field = |at: usize, wanted: &[u8]| bytes.get(at..at + wanted.len()) == Some(wanted);
    (field(12, &ethertype::ARP.to_be_bytes()) && field(HEADER_LEN + 6, &[0, 2]) && field(HEADER_LEN + 24, &[0; 4]))
        || (field(12, &ethertype::IPV6.to_be_bytes()) && field(HEADER_LEN + 6, &[58]) && field(HEADER_LEN + 40, &[136]))
}
