//! What virtual machines are told of their vnets: a frame into each tap, once a second and at each change
//! (`docs/protocol.md`). Guests in namespaces get the same text as the alias of their link.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use dlmp_wire::{MacAddr, vnet};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::VnetKey;
use crate::links::Links;

/// How often a machine is told what it knows: one that comes up, or the `dlmpd` in it, waits for it so long.
const PERIOD: Duration = Duration::from_secs(1);

/// What goes into the tap of a vnet.
#[derive(Debug, Clone)]
pub struct Line {
    /// The links of the namespace that the tap is in.
    pub links: Arc<Links>,
    /// Index of the tap there.
    pub index: u32,
    /// MAC address of the switch, which the frame comes from.
    pub mac: MacAddr,
    /// The text.
    pub text: String,
}

/// All taps that are told something, and the task that does it.
pub struct Channel {
    lines: Rc<RefCell<BTreeMap<VnetKey, Line>>>,
    task: AbortHandle,
}

impl Channel {
    /// Starts the task, inside a local set of tokio.
    pub fn start() -> Self {
        let lines = Rc::new(RefCell::new(BTreeMap::<VnetKey, Line>::new()));
        let told = Rc::clone(&lines);
        let task = tokio::task::spawn_local(async move {
            let mut periods = interval(PERIOD);
            periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                periods.tick().await;
                told.borrow().values().for_each(Line::send);
            }
        });
        Self { lines, task: task.abort_handle() }
    }

    /// Tells a machine this now, and again and again.
    pub fn tell(&self, key: &VnetKey, line: Line) {
        line.send();
        self.lines.borrow_mut().insert(key.clone(), line);
    }

    /// Tells it nothing more.
    pub fn forget(&self, key: &VnetKey) {
        self.lines.borrow_mut().remove(key);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    fn send(&self) {
        let mut buffer = [0; _];
        let Some(frame) = vnet::emit(self.mac, &self.text, &mut buffer) else {
            return tracing::warn!(text = self.text, "cannot be told to a machine");
        };
        // A tap that is down, or that no machine is attached to, takes nothing.
        if let Err(error) = self.links.send(self.index, frame) {
            tracing::debug!(index = self.index, %error, "the machine was not told");
        }
    }
}
