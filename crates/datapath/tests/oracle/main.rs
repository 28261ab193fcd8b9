//! The rules against those of Open vSwitch, from which they come: a balance-slb bond (datapath in user space)
//! and the model are fed the same frames, and must send the same out of every link but for the differences
//! that `differences.rs` lists.
//!
//! Needs root and the Debian package openvswitch-switch. Open vSwitch runs in a network namespace of its own
//! with files of its own; one that the machine runs is left alone. `rules.rs` and `clients.rs` hold the loaded
//! programs to the model.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test fails by panicking")]

mod differences;
mod frames;
mod ours;
mod sequences;
mod theirs;

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use differences::{Difference, Divergence, LISTED, Situation};
use ours::Ours;
use sequences::{Sequence, Step};
use theirs::Theirs;

const DOCUMENTATION: &str = include_str!("../../../../docs/datapath.md");
/// How many sequences are made up.
const SEQUENCES: u32 = 500;

#[test]
fn every_difference_from_open_vswitch_is_listed_and_occurs() {
    let theirs = RefCell::new(Theirs::start());
    let mut seen = BTreeSet::new();
    let mut wrong = String::new();
    for named in sequences::named() {
        let wanted = named.differences.iter().copied().collect();
        match play(&named.sequence(), &mut theirs.borrow_mut()) {
            Ok(shown) if shown == wanted => seen.extend(shown),
            Ok(shown) => wrong += &format!("{}: shows {shown:?} instead of {wanted:?}\n", named.name),
            Err(unlisted) => wrong += &format!("{}: {unlisted}\n", named.name),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let unseen: Vec<_> = LISTED.iter().map(|listed| listed.name).filter(|name| !seen.contains(name)).collect();
    assert!(unseen.is_empty(), "listed, but no longer so: {unseen:?}");

    // The same ones in every run, so that a failure can be repeated.
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&sequences::any(), |sequence| {
        play(&sequence, &mut theirs.borrow_mut()).map(drop).map_err(TestCaseError::fail)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn the_documentation_has_every_difference() {
    let rows: Vec<_> = DOCUMENTATION.lines().filter(|line| line.starts_with("| `")).collect();
    for Difference { name, rule, why, .. } in LISTED {
        let row = format!("| `{name}` | {rule} | {why} |");
        assert!(rows.contains(&row.as_str()), "docs/datapath.md lacks the row\n{row}");
    }
}

/// Plays a sequence to both sides; the names of the differences that it shows, or the first that is not listed.
fn play(sequence: &Sequence, theirs: &mut Theirs) -> Result<BTreeSet<&'static str>, String> {
    let mut ours = Ours::new(&sequence.seats, sequence.multicast_port);
    theirs.reset(&sequence.seats, sequence.multicast_port);
    let mut shown = BTreeSet::new();
    for step in &sequence.steps {
        let sent = match *step {
            Step::Send(sent) => sent,
            Step::Later => {
                ours.later();
                continue;
            }
            Step::Move(address) => {
                theirs.seat(address, ours.move_away(address));
                continue;
            }
        };
        let (clients, table) = (ours.clients(), theirs.table());
        let done = ours.send(&sent);
        let out = theirs.send(&sent);
        let learned = theirs.table();
        let situation = Situation { sent, clients, table, learned, refused: done.refused, released: done.released };
        for divergence in Divergence::all(&done.outputs, &out) {
            let Some(difference) = Difference::of(&situation, &divergence) else {
                let (ours, theirs) = (done.outputs, out);
                return Err(format!(
                    "not listed: {divergence:?} of {situation:#?}\nours {ours:02x?}\ntheirs {theirs:02x?}"
                ));
            };
            shown.insert(difference.name);
        }
    }
    Ok(shown)
}
