//! News for people who watch: nobody has to, and a slow watcher misses some rather than filling the
//! memory.

use dlmp_api::{ProbeNews, StateNews};
use tokio::sync::broadcast;

/// News that a watcher may be behind before it misses some.
const BACKLOG: usize = 1024;

/// Where news go.
#[derive(Debug, Clone)]
pub struct News {
    probes: broadcast::Sender<ProbeNews>,
    states: broadcast::Sender<StateNews>,
}

impl Default for News {
    fn default() -> Self {
        Self { probes: broadcast::Sender::new(BACKLOG), states: broadcast::Sender::new(BACKLOG) }
    }
}

impl News {
    /// Every probe from now on.
    pub fn probes(&self) -> broadcast::Receiver<ProbeNews> {
        self.probes.subscribe()
    }

    /// Every change of state from now on.
    pub fn states(&self) -> broadcast::Receiver<StateNews> {
        self.states.subscribe()
    }

    /// Tells of a probe; it is put together only if somebody watches.
    pub fn probe(&self, news: impl FnOnce() -> ProbeNews) {
        if self.probes.receiver_count() > 0 {
            // Fails when the last watcher has just gone.
            let _ = self.probes.send(news());
        }
    }

    /// Tells of a change of state.
    pub fn state(&self, news: impl FnOnce() -> StateNews) {
        if self.states.receiver_count() > 0 {
            let _ = self.states.send(news());
        }
    }
}
