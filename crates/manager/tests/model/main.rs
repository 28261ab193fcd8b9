//! The protocol of managers, model-checked.
mod kind;
mod properties;
mod setting;
mod world;

use kind::Kind::{self, Original, Ours};
use setting::Setting;
use stateright::{Checker, Model, Property};
use world::Budget;

fn check(name: &str, setting: Setting) {
    let start = std::time::Instant::now();
    let checker = setting.checker().threads(1).spawn_bfs().join();
    println!("{name}: {} states, depth {}, {:?}", checker.unique_state_count(), checker.max_depth(), start.elapsed());
    for (name, path) in checker.discoveries() {
        println!("-- {name}");
        for (state, action) in path.into_vec() {
            let stages: Vec<_> = state.managers.iter().map(|m| m.book.iter().map(|e| format!("{:?}", e.stage)).collect::<Vec<_>>().join(",")).collect();
            println!("     {stages:?}\n  {action:?}");
        }
    }
}

#[test]
fn explore() {
    let all = || vec![properties::nobody_else_has_it(), properties::one_gets_it(), properties::duplicates_are_known(),
        Property::sometimes("dup", |_, w| properties::is_duplicate(w))];
    let setting = |kinds: &[Kind], delay, budget| Setting { kinds: kinds.to_vec(), addresses: 1, claims: 1, delay, budget, properties: all() };
    let none = Budget::default();
    check("2", setting(&[Ours, Ours], false, none));
    check("2 delay", setting(&[Ours, Ours], true, none));
    check("2 orig", setting(&[Original, Ours], false, none));
    check("2 orig", setting(&[Ours, Original], false, none));
    check("2 orig delay", setting(&[Original, Ours], true, none));
    check("2 orig delay", setting(&[Ours, Original], true, none));
    check("2 both orig", setting(&[Original, Original], false, none));
    check("2 losses 4", setting(&[Ours, Ours], false, Budget { losses: 4, ..none }));
    check("2 losses 5", setting(&[Ours, Ours], false, Budget { losses: 5, ..none }));
    check("2 losses 3 delay", setting(&[Ours, Ours], true, Budget { losses: 3, ..none }));
    check("2 losses 4 delay", setting(&[Ours, Ours], true, Budget { losses: 4, ..none }));
    check("2 split", setting(&[Ours, Ours], true, Budget { splits: 1, ..none }));
    check("3", setting(&[Ours, Ours, Ours], false, none));
}
