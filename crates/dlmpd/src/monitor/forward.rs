//! Tasks that hand on what comes out of an aggregation's datapath: its events, and the reports that it holds.

use dlmp_api::Error;
use dlmp_datapath::bpf::Events;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::running::{Observed, Reports, failed};

/// Reports that are read at a time; more have to wait for their turn among everything else.
const REPORTS: usize = 64;

/// Starts a task that hands the datapath's events on until it is aborted.
pub(super) fn forward(
    events: Events,
    name: String,
    observed: mpsc::UnboundedSender<Observed>,
) -> Result<AbortHandle, Error> {
    let mut events = crate::sys::wait_on(events).map_err(failed)?;
    let task = tokio::task::spawn_local(async move {
        while let Ok(mut guard) = events.readable_mut().await {
            guard.clear_ready();
            let all = std::iter::from_fn(|| events.get_mut().poll()).collect();
            if observed.send((name.clone(), all)).is_err() {
                return;
            }
        }
    });
    Ok(task.abort_handle())
}

/// Starts a task that hands the reports that the datapath holds on until it is aborted.
pub(super) fn forward_reports(
    lower: u32,
    name: String,
    reports: mpsc::UnboundedSender<Reports>,
) -> Result<AbortHandle, Error> {
    let socket = crate::sys::held_report_socket(lower).and_then(crate::sys::wait_on).map_err(failed)?;
    let task = tokio::task::spawn_local(async move {
        let mut buffer = Box::new([0; crate::sys::FRAME_MAX]);
        while let Ok(mut guard) = socket.readable().await {
            let mut frames = Vec::new();
            while let Ok(frame) = crate::sys::receive_frame(socket.get_ref(), &mut buffer) {
                frames.push(frame);
                if frames.len() == REPORTS {
                    break;
                }
            }
            if frames.len() < REPORTS {
                guard.clear_ready();
            }
            if reports.send((name.clone(), frames)).is_err() {
                return;
            }
        }
    });
    Ok(task.abort_handle())
}
