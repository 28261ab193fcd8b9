//! Probing of one running aggregation: carrying out the engine's questions, handing it the answers, and
//! following sources and routers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dlmp_api::{Error, ProbeNews};
use dlmp_datapath::{Counter, Datapath, PortIndex, Probing};
use dlmp_engine::{Event, Question, Way};
use dlmp_wire::transitive::{Key, Kind, Probe};

use super::asking::{Answer, Asked};
use super::clock;
use super::following::{Followed, Ground, follow};
use super::running::{Running, failed};
use crate::plan::ProbePlan;

/// How often it is looked at what ports have taken in.
const TAKEN: Duration = Duration::from_millis(250);

/// What an aggregation needs to be probed.
#[derive(Debug, Default)]
pub(super) struct Probed {
    plan: Option<ProbePlan>,
    key: Key,
    followed: Followed,
    /// Ports that an earlier daemon had marked unusable: they have to prove themselves first.
    pub(super) failed_before: Vec<PortIndex>,
    /// The newest answer that the engine was told of, by asking and asked port.
    heard: BTreeMap<(PortIndex, PortIndex), u32>,
    /// Who has answered an echo since hosts were last looked for: it was seen whether that is ourselves.
    answered: BTreeSet<IpAddr>,
    /// Frames for clients alone that each port has taken in, and when that is looked at again.
    taken: BTreeMap<PortIndex, u64>,
    next_taken: Option<Instant>,
}

impl Running {
    /// Probes by this plan from now on, or not any more. Sources and targets come with the next look at
    /// the ground.
    ///
    /// # Errors
    /// What failed; the aggregation is probed as before.
    pub fn set_probing(&mut self, plan: Option<ProbePlan>) -> Result<(), Error> {
        // A new key each time: whatever was recorded before is worth nothing.
        let mut key = Key::default();
        getrandom::fill(&mut key).map_err(|error| Error::failed(format!("no random numbers for a key: {error}")))?;
        let probing = plan.as_ref().map(|plan| Probing { key, vlan: plan.vlan });
        self.bpf.set_probing(probing).map_err(failed)?;
        self.vlans.change();
        let (fdt, now) = (plan.as_ref().map(|plan| plan.fdt), Instant::now());
        let before = std::mem::replace(&mut self.probed, Probed { plan, key, ..Probed::default() });
        self.engine.handle_event(Event::Probing(fdt), now);
        for port in before.failed_before {
            self.engine.handle_event(Event::FailureRestored(port), now);
        }
        Ok(())
    }

    /// Whether it is probed.
    pub const fn is_probed(&self) -> bool {
        self.probed.plan.is_some()
    }

    /// The VLAN that it is probed in, 0 for none.
    pub(super) fn probed_vlan(&self) -> u16 {
        self.probed.plan.as_ref().map_or(0, |plan| plan.vlan)
    }

    /// Takes sources and routers from what the kernel has now.
    pub fn follow(&mut self, ground: &Ground) {
        let Some(plan) = &self.probed.plan else { return };
        let followed = follow(plan, &self.client_links(&ground.links, plan.vlan), &self.client_macs(), ground);
        if followed == self.probed.followed {
            return;
        }
        let news = followed.ignored.iter().filter(|address| !self.probed.followed.ignored.contains(address));
        for address in news {
            tracing::warn!(aggregation = self.name, %address, "not probed: only link-local IPv6 addresses are");
        }
        for address in followed.given.iter().filter(|address| followed.own.contains(address)) {
            if !self.probed.followed.own.contains(address) || !self.probed.followed.given.contains(address) {
                tracing::warn!(aggregation = self.name, %address, "no target any more: this host has the address itself");
            }
        }
        let now = Instant::now();
        self.engine.handle_event(Event::OwnAddresses(followed.own.iter().copied().collect()), now);
        self.engine.handle_event(Event::Sources(followed.sources.clone()), now);
        let (given, routers) = (followed.given.clone(), followed.routers.clone());
        self.engine.handle_event(Event::Targets { given, routers }, now);
        self.probed.followed = followed;
    }

    /// Tells the engine which transitive probes were answered since the last time.
    pub fn hear(&mut self, now: Instant) {
        for (&(from, to), heard) in &mut self.probed.heard {
            let Some(answered) = self.bpf.answered(from, to).filter(|answered| answered.sequence != *heard) else {
                continue;
            };
            *heard = answered.sequence;
            let (sequence, rtt) = (answered.sequence, answered.at.saturating_sub(answered.sent));
            self.engine.handle_event(Event::PortAnswered { from, to, sequence, rtt }, now);
            let (Some(port), Some(target)) = (self.ports.get(&from), self.ports.get(&to)) else { continue };
            self.news.probe(|| ProbeNews {
                time: nanoseconds(answered.sent),
                aggregation: self.name.clone(),
                port: port.name.clone(),
                local: port.name.clone(),
                target: target.name.clone(),
                probe: format!("t{sequence}"),
                netrtt: Some(nanoseconds(rtt)),
                rtt: Some(nanoseconds(clock::now().saturating_sub(answered.sent))),
            });
        }
    }

    /// Tells the engine through which ports others reach our clients.
    pub fn count_taken(&mut self, now: Instant) {
        if !self.is_probed() || self.probed.next_taken.is_some_and(|next| now < next) {
            return;
        }
        self.probed.next_taken = Some(now + TAKEN);
        for &port in self.ports.keys() {
            let Ok(counters) = self.bpf.counters(port) else { continue };
            let taken = counters.get(Counter::RxPackets).saturating_sub(counters.get(Counter::RxGroup));
            if self.probed.taken.insert(port, taken).is_some_and(|before| before < taken) {
                self.engine.handle_event(Event::Received(port), now);
            }
        }
    }

    /// A question of ours was answered. Says whether by somebody who has not answered by echo before.
    pub fn answered(&mut self, answer: &Answer) -> bool {
        let now = Instant::now();
        let asked = &answer.asked;
        let rtt = answer.at.saturating_sub(asked.sent);
        let Some(question) = asked.question else {
            self.engine.handle_event(Event::Found(answer.from), now);
            return false;
        };
        self.engine.handle_event(Event::Answered { question, rtt }, now);
        self.tell_question(asked, Some(rtt));
        asked.source.is_some() && self.probed.answered.insert(asked.target)
    }

    /// Asks a target.
    pub(super) fn ask(&mut self, question: Question) {
        let device = self.ports.get(&question.port).and_then(|port| port.device);
        let asked = {
            let mut asker = self.asker.borrow_mut();
            let Some(asker) = asker.as_mut() else { return };
            match (question.way, device) {
                (Way::Echo { source }, _) => asker.echo(&self.name, question, (source, self.link_of(source))),
                (Way::Address, Some(device)) => {
                    let from = (device.ifindex, device.mac, self.probed.plan.as_ref().map_or(0, |plan| plan.vlan));
                    asker.address(&self.frames, &self.name, question, from)
                }
                (Way::Address, None) => Err(std::io::ErrorKind::NotFound.into()),
            }
        };
        match asked {
            Ok(asked) => self.tell_question(&asked, None),
            Err(error) => {
                tracing::debug!(aggregation = self.name, ?question, %error, "a question could not be sent");
                self.engine.handle_event(Event::NotSent(question.id), Instant::now());
            }
        }
    }

    /// The link that a source is on.
    fn link_of(&self, source: IpAddr) -> u32 {
        self.probed.followed.links.get(&source).copied().unwrap_or(self.link)
    }

    /// Looks for hosts.
    pub(super) fn discover(&mut self, source: IpAddr) {
        self.probed.answered.clear();
        if let Some(asker) = self.asker.borrow_mut().as_mut()
            && let Err(error) = asker.discover(&self.name, source, self.link_of(source))
        {
            tracing::debug!(aggregation = self.name, %source, %error, "hosts could not be looked for");
        }
    }

    /// Sends a transitive probe.
    pub(super) fn ask_port(&mut self, from: PortIndex, to: PortIndex, sequence: u32) {
        let (Some(port), Some(other)) = (self.ports.get(&from), self.ports.get(&to)) else { return };
        let (Some(asking), Some(asked)) = (port.device, other.device) else { return };
        let sent = clock::now();
        let probe = Probe {
            kind: Kind::Request,
            vlan: self.probed.plan.as_ref().map_or(0, |plan| plan.vlan),
            sequence,
            sent: u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX),
            asked: asked.mac,
            asking: asking.mac,
        };
        self.frames.send_probe(&probe, &self.probed.key, asking.ifindex);
        self.probed.heard.entry((from, to)).or_default();
        self.news.probe(|| ProbeNews {
            time: nanoseconds(sent),
            aggregation: self.name.clone(),
            port: port.name.clone(),
            local: port.name.clone(),
            target: other.name.clone(),
            probe: format!("t{sequence}"),
            netrtt: None,
            rtt: None,
        });
    }

    fn tell_question(&self, asked: &Asked, netrtt: Option<Duration>) {
        self.news.probe(|| {
            let kind = if asked.source.is_some() { 'i' } else { 'a' };
            let port = asked.port.and_then(|port| self.ports.get(&port)).map_or("", |port| &port.name);
            ProbeNews {
                time: nanoseconds(asked.sent),
                aggregation: self.name.clone(),
                port: port.to_owned(),
                // A question from a port's own address has no other source than the port.
                local: asked.source.map_or_else(|| port.to_owned(), |source| source.to_string()),
                target: asked.target.to_string(),
                probe: format!("{kind}{}", asked.sequence),
                netrtt: netrtt.map(nanoseconds),
                rtt: netrtt.map(|_| nanoseconds(clock::now().saturating_sub(asked.sent))),
            }
        });
    }
}

pub(super) fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
