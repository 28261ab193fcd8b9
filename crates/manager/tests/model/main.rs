//! The protocol of managers, model-checked: every order in which messages can arrive, be lost or come twice, in which managers can
//! crash and restart, and in which the network can fall apart and be whole again, within the bounds of each setting.
//!
//! The managers of the model run the rules that the daemon runs (`dlmp_manager::claim`). `docs/protocol.md`, "What is
//! promised", says in words what is checked here.

mod kind;
mod properties;
mod setting;
mod trace;
mod world;

use dlmp_manager::claim::QUESTIONS;
use stateright::{Checker, Model, Property, UniformChooser};

use kind::Kind::{self, Original, Ours};
use properties::{
    ONE, SAFE, a_claim_is_lost_to_a_claim, a_duplicate_is_known, all_have_one, duplicates_are_known, one_gets_it, safe,
    the_last_one_gets_it,
};
use setting::Setting;
use world::Budget;

/// Lost messages that a claim bears: all questions but one.
const BORNE: u8 = QUESTIONS - 1;

/// Nothing may go wrong.
const PEACE: Budget = Budget { losses: 0, duplicates: 0, crashes: 0, splits: 0, releases: 0 };

/// Managers that claim one address once, whose messages take up to a tick.
fn setting<const N: usize>(kinds: [Kind; N], budget: Budget, properties: Vec<Property<Setting>>) -> Setting {
    Setting { kinds: kinds.to_vec(), addresses: 1, claims: 1, delay: true, rounds: false, budget, properties }
}

/// Checks all that can happen.
fn check(setting: Setting) {
    setting.checker().threads(2).spawn_bfs().join().assert_properties();
}

#[test]
fn of_two_that_claim_the_same_address_one_gets_it() {
    let budget = Budget { duplicates: 2, ..PEACE };
    let shown = vec![safe(), one_gets_it(), a_claim_is_lost_to_a_claim(), the_last_one_gets_it()];
    check(setting([Ours, Ours], budget, shown));
}

#[test]
fn of_ours_and_an_original_one_that_claim_the_same_address_one_gets_it() {
    for kinds in [[Ours, Original], [Original, Ours]] {
        let budget = Budget { duplicates: 2, ..PEACE };
        let shown = vec![safe(), one_gets_it(), a_claim_is_lost_to_a_claim(), the_last_one_gets_it()];
        check(setting(kinds, budget, shown));
    }
}

#[test]
fn among_original_managers_ours_get_nothing_that_is_taken() {
    for kinds in [[Ours, Original, Ours], [Original, Ours, Ours]] {
        check(setting(kinds, PEACE, vec![safe(), a_claim_is_lost_to_a_claim(), the_last_one_gets_it()]));
    }
}

#[test]
fn all_questions_but_one_may_be_lost() {
    let budget = Budget { losses: BORNE, duplicates: 1, ..PEACE };
    check(setting([Ours, Ours], budget, vec![safe(), one_gets_it(), a_claim_is_lost_to_a_claim()]));
}

#[test]
fn the_number_of_losses_that_is_borne_is_the_greatest() {
    let budget = Budget { losses: BORNE + 1, ..PEACE };
    let checker = setting([Ours, Ours], budget, vec![safe()]).checker().spawn_bfs().join();
    checker.assert_any_discovery(SAFE);
}

#[test]
fn losses_are_borne_among_three() {
    let budget = Budget { losses: BORNE, ..PEACE };
    check(Setting { delay: false, ..setting([Ours, Ours, Ours], budget, vec![safe(), a_claim_is_lost_to_a_claim()]) });
}

#[test]
fn three_that_claim_two_addresses_get_none_twice() {
    let shown = vec![safe(), a_claim_is_lost_to_a_claim(), all_have_one()];
    check(Setting { addresses: 2, ..setting([Ours, Ours, Ours], PEACE, shown) });
}

#[test]
fn of_three_that_claim_the_same_address_perhaps_none_gets_it() {
    let checker = setting([Ours, Ours, Ours], PEACE, vec![one_gets_it()]).checker().spawn_bfs().join();
    checker.assert_any_discovery(ONE);
}

#[test]
fn duplicates_that_arise_while_the_network_is_split_become_known_to_both() {
    let budget = Budget { splits: 1, ..PEACE };
    let shown = vec![safe(), duplicates_are_known(), a_duplicate_is_known()];
    check(Setting { delay: false, ..setting([Ours, Ours, Ours], budget, shown) });
}

#[test]
fn duplicates_that_arise_while_a_manager_is_down_become_known_to_both() {
    let budget = Budget { crashes: 1, ..PEACE };
    let shown = vec![safe(), duplicates_are_known(), a_duplicate_is_known()];
    check(Setting { delay: false, ..setting([Ours, Ours, Ours], budget, shown) });
}

#[test]
fn two_bear_a_crash_and_a_split_and_messages_that_are_late_and_devices_that_go() {
    let budget = Budget { splits: 1, crashes: 1, releases: 1, ..PEACE };
    let shown = vec![safe(), duplicates_are_known(), a_duplicate_is_known(), a_claim_is_lost_to_a_claim()];
    check(setting([Ours, Ours], budget, shown));
}

/// More than can be visited whole: random ways through it.
#[test]
fn three_bear_everything_at_once() {
    let budget = Budget { losses: BORNE, duplicates: 2, crashes: 2, splits: 1, releases: 1 };
    let everything =
        Setting { addresses: 2, claims: 2, rounds: true, ..setting([Ours, Ours, Ours], budget, vec![safe()]) };
    let walks = everything.checker().target_state_count(1_000_000).spawn_simulation(7, UniformChooser).join();
    walks.assert_properties();
}

#[test]
fn questions_for_what_is_held_harm_no_claim() {
    let budget = Budget { duplicates: 1, releases: 1, ..PEACE };
    let shown = vec![safe(), duplicates_are_known(), a_claim_is_lost_to_a_claim()];
    check(Setting { rounds: true, claims: 2, ..setting([Ours, Ours], budget, shown) });
}

/// The way is in `docs/protocol.md`. `UPDATE_DOCS=1 cargo test -p dlmp-manager --test model` writes it anew.
#[test]
fn two_original_managers_get_the_same_address_by_the_documented_way() {
    let original = Setting { delay: false, ..setting([Original, Original], PEACE, vec![safe()]) };
    // By one thread breadth-first: the first way that is found is a shortest one, and always the same.
    let checker = original.checker().threads(1).spawn_bfs().join();
    let table = trace::table(checker.assert_any_discovery(SAFE));
    println!("{table}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let header = table.lines().next().unwrap();
    let begin = docs.find(header).expect("the table is in the document");
    let end = docs[begin..].find("\n\n").map_or(docs.len(), |length| begin + length + 1);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, [&docs[..begin], &table, &docs[end..]].concat()).unwrap();
    } else {
        assert_eq!(docs[begin..end], table);
    }
}
