//! `dlmp monitor`: changes of state as they happen.

use clap::Args;
use dlmp_api::StateNews;
use dlmp_api::client::Dlmpd;
use futures_util::{StreamExt, pin_mut};
use serde_json::{Value, json};

use crate::command::Run;
use crate::daemon;
use crate::daemon::stream::{broken, ended, refuse_unknown, tell_missed};
use crate::failure::Result;
use crate::output;

/// Follow changes of state: ports that fail and recover, clients that move, and why
#[derive(Debug, Args)]
pub struct Monitor {
    /// Print JSON, an object a line
    #[arg(short)]
    json: bool,
    /// Only this aggregation
    link: Option<String>,
}

impl Run for Monitor {
    async fn run(self) -> Result<()> {
        let mut daemon = daemon::require()?;
        refuse_unknown(&mut daemon, self.link.as_deref()).await?;
        let changes = daemon.watch_states().await.map_err(broken)?;
        pin_mut!(changes);
        while let Some(reply) = changes.next().await {
            let reply = reply.map_err(broken)??;
            tell_missed(reply.missed);
            let wanted = |change: &StateNews| self.link.as_ref().is_none_or(|link| *link == change.aggregation);
            if let Some(change) = reply.change.filter(wanted) {
                let text = if self.json { state_json(&change) } else { state_text(&change) };
                output::print(&format!("{text}\n"))?;
            }
        }
        Err(ended())
    }
}

fn state_text(change: &StateNews) -> String {
    let StateNews { time, aggregation, port, state, reason } = change;
    let time = clock_time(*time);
    match port {
        Some(port) if state == "moved" => format!("{time} {aggregation} {port}: {reason}"),
        Some(port) => format!("{time} {aggregation} {port} {state}: {reason}"),
        None => format!("{time} {aggregation} {state}: {reason}"),
    }
}

fn state_json(change: &StateNews) -> String {
    let StateNews { time, aggregation, port, state, reason } = change;
    let value: Value =
        json!({"time": time, "aggregation": aggregation, "port": port, "state": state, "reason": reason});
    value.to_string()
}

/// Time of day in UTC, with milliseconds.
fn clock_time(nanoseconds: i64) -> String {
    let milliseconds = nanoseconds.div_euclid(1_000_000);
    let (seconds, rest) = (milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000));
    let day = seconds.rem_euclid(24 * 3600);
    format!("{:02}:{:02}:{:02}.{rest:03}Z", day / 3600, day / 60 % 60, day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_state_says_when_what_and_why() {
        let change = StateNews {
            time: 1_800_000_000_123_000_000,
            aggregation: "aggr0".into(),
            port: Some("net1".into()),
            state: "failed".into(),
            reason: "no target and no transitive peer for 48 ms".into(),
        };
        assert_eq!(state_text(&change), "08:00:00.123Z aggr0 net1 failed: no target and no transitive peer for 48 ms");
        assert_eq!(
            state_json(&change),
            r#"{"time":1800000000123000000,"aggregation":"aggr0","port":"net1","state":"failed","reason":"no target and no transitive peer for 48 ms"}"#
        );
    }
}
