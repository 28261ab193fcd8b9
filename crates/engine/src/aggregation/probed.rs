//! What an aggregation tells its probing: that there is one, what probes have brought, and where sources sit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Aggregation;
use crate::probe::Probing;
use crate::{Event, LinkState, PortIndex, Source};

impl Aggregation {
    pub(super) fn set_probing(&mut self, fdt: Option<Duration>, now: Instant) {
        let failed_before = std::mem::take(&mut self.failed_before);
        match (&mut self.probing, fdt) {
            (probing, None) => {
                self.last_probe = probing.take().map_or(self.last_probe, |probing| probing.last());
            }
            (Some(probing), Some(fdt)) => {
                let counted = probing.arrive(now);
                probing.set_fdt(fdt, now, counted);
            }
            (probing @ None, Some(fdt)) => {
                let mut new = Probing::new(fdt, self.last_probe, self.epoch, now);
                for (&port, known) in self.ports.iter().filter(|(_, known)| known.link != LinkState::Unknown) {
                    new.link(port, known.link == LinkState::Up, now);
                }
                for port in failed_before {
                    new.restore_failed(port, now);
                }
                *probing = Some(new);
            }
        }
    }

    /// Hands what probes have brought to probing. Says whether places may have to change: never.
    pub(super) fn probe_event(&mut self, event: Event, counted: Instant) -> bool {
        if let Some(probing) = &mut self.probing {
            match event {
                Event::Targets { given, routers } => probing.set_targets(&given, &routers, counted),
                Event::OwnAddresses(own) => probing.set_own(&own, counted),
                Event::Found(host) => probing.found(host, counted),
                Event::Answered { question, rtt } => probing.answered(question, rtt, counted),
                Event::NotSent(question) => probing.not_sent(question),
                _ => {}
            }
        }
        false
    }

    /// Tells probing which sources sit where now.
    pub(super) fn seat_sources(&mut self, now: Instant) {
        let Some(probing) = &mut self.probing else { return };
        let mut seats: BTreeMap<PortIndex, Vec<Source>> = BTreeMap::new();
        for source in &self.sources {
            if let Some(port) = self.clients.port(source.slot) {
                seats.entry(port).or_default().push(*source);
            }
        }
        let counted = probing.arrive(now);
        probing.set_seats(seats, now, counted);
    }
}
