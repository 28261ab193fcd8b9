//! Outage after carrier loss of the port that carries the traffic, and what is lost when it returns.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dlmp_testbed::{Flow, up};
use serde_json::Value;

use crate::report::Spread;
use crate::site::{PORTS, Site};

const FAULTS: u32 = 20;
const RATE: u32 = 1000;

/// Measures and returns the table.
pub fn measure(site: &Site) -> anyhow::Result<String> {
    let (mut outages, mut lost, mut duplicated, mut on_repair) = ([vec![], vec![]], [0; 2], [0; 2], [0; 2]);
    for _ in 0..FAULTS {
        let end = busy_end(site)?;
        let (first, second) = site.ends();
        // A random phase against the carrier thread's looks and the packets.
        let phase = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos() % 50_000_000;
        let fault = Duration::from_millis(400) + Duration::from_nanos(phase.into());
        let repair = fault + Duration::from_millis(1100);
        let record = Flow::new(first, second, RATE, repair + Duration::from_millis(700))
            .event(fault, "fault", || site.switch.ip(&format!("link set {end} down")))
            .event(repair, "repair", || up(&site.switch, end))
            .run()?;
        for (way, stream) in [&record.forth, &record.back].into_iter().enumerate() {
            let report = stream.report(record.after_event(0));
            outages[way].push(report.outage.map_or(0.0, |outage| outage.length.as_secs_f64() * 1e3));
            lost[way] += report.lost;
            on_repair[way] += stream.report(record.after_event(1)).lost;
            duplicated[way] += stream.total().duplicated;
        }
    }
    let mut table = format!(
        "\n## Failover\n\nCarrier loss of the busy port and its return, {FAULTS} times, {RATE} packets a second each way. Aim: a median outage of\n1 ms or less, nothing lost on return.\n\n| direction | outage, ms | lost, all faults | lost on return | duplicated |\n|---|---|---|---|---|\n"
    );
    for (way, name) in ["guest to host", "host to guest"].into_iter().enumerate() {
        let outage = Spread::of(outages[way].clone()).text(1);
        table += &format!("| {name} | {outage} | {} | {} | {} |\n", lost[way], on_repair[way], duplicated[way]);
    }
    Ok(table)
}

/// The switch's end of the port that the client sits on.
fn busy_end(site: &Site) -> anyhow::Result<&'static str> {
    let rows: Value = serde_json::from_str(&site.typed("dladm show-aggr -x -j aggr0")?)?;
    let busy =
        rows.as_array().into_iter().flatten().find(|row| row["clients"].as_array().is_some_and(|all| !all.is_empty()));
    let busy = busy.and_then(|row| row["port"].as_str()).unwrap_or_default();
    PORTS
        .iter()
        .find(|(port, _)| *port == busy)
        .map(|(_, end)| *end)
        .ok_or_else(|| anyhow::anyhow!("no port carries the client: {rows}"))
}
