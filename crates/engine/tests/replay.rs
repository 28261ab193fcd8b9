//! Plays recordings of `dlmpd --record` again: the engine must want what it wanted then. Put a recording
//! of a bug into `recordings/`, correct the actions in it to what is right, and it is a test.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;

use dlmp_engine::record::{Line, What, replay};

#[test]
fn every_recording_gives_the_same_actions_again() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings");
    let mut played = 0;
    for entry in fs::read_dir(folder).expect("there are recordings") {
        let path = entry.unwrap().path();
        let mut aggregations: BTreeMap<String, Vec<What>> = BTreeMap::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let line: Line = serde_json::from_str(line).unwrap();
            aggregations.entry(line.aggregation).or_default().push(line.what);
        }
        for (aggregation, lines) in aggregations {
            let result = replay(lines);
            assert!(result.is_ok(), "{} of {aggregation}: {result:?}", path.display());
        }
        played += 1;
    }
    assert!(played > 0);
}
