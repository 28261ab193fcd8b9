//! Telling people what changes in a running aggregation: in the log, and whoever watches.

use dlmp_api::StateNews;
use dlmp_datapath::PortIndex;
use dlmp_engine::Notice;

use super::clock;
use super::probing::nanoseconds;
use super::running::Running;
use super::view::{detection, reason};

impl Running {
    /// Tells what the engine noticed.
    pub(super) fn tell(&self, notice: Notice) {
        let name = |port: PortIndex| self.ports.get(&port).map_or("?", |port| &port.name);
        let (port, state, reason) = match notice {
            Notice::Health(port, health) => {
                (Some(port), if health.is_active() { "active" } else { "failed" }, reason(health))
            }
            Notice::Detection(now) => (None, "detection", detection(now, name)),
            Notice::Moved { slot, from, to } => {
                let from = from.map_or("nowhere", name);
                let Some(client) = self.client_name(slot) else {
                    // There can be thousands, moving at once.
                    let client = self.client_address(slot);
                    return tracing::debug!(aggregation = self.name, ?client, port = name(to), from, "moved");
                };
                (Some(to), "moved", format!("{client} moved here from {from}"))
            }
        };
        tracing::info!(aggregation = self.name, port = port.map(name), state, "{reason}");
        self.publish(port.map(name), state, reason);
    }

    /// Tells whoever watches of a change of state: of a port, or of the whole aggregation.
    pub(super) fn publish(&self, port: Option<&str>, state: &str, reason: String) {
        self.news.state(|| StateNews {
            time: nanoseconds(clock::realtime()),
            aggregation: self.name.clone(),
            port: port.map(str::to_owned),
            state: state.to_owned(),
            reason,
        });
    }
}
