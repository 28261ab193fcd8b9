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
    let checker = setting.checker().threads(2).spawn_bfs().join();
    println!("{name}: {} states, depth {}, {:?}", checker.unique_state_count(), checker.max_depth(), start.elapsed());
    for (name, path) in checker.discoveries() {
        println!("-- {name}");
        let mut line = String::new();
        for (state, action) in path.into_vec() {
            let stages: Vec<_> = state.managers.iter().map(|m| m.book.iter().map(|e| format!("{:?}", e.stage)).collect::<Vec<_>>().join(",")).collect();
            use setting::Event::*;
            let a = match action { Some(Tick) => format!("| {stages:?}\n    TICK"), None => format!("END {stages:?}"), Some(Claim{manager, ..}) => format!("claim{manager}"), Some(Due{manager,..}) => format!("due{manager}"),
              Some(Arrives(m)) => format!("{}>{}{}{}", m.from, m.to, if m.heard == dlmp_manager::claim::Heard::Taken {"TAKEN"} else {"?"}, if m.old {"'"} else {""}), Some(a) => format!("{a:?}") };
            line += &a; line += " ";
        }
        println!("    {line}");
    }
}

#[test]
fn explore() {
    let all = || vec![properties::nobody_else_has_it(), properties::one_gets_it(), properties::duplicates_are_known(),
        Property::sometimes("dup", |_, w| properties::is_duplicate(w))];
    let setting = |kinds: &[Kind], delay, budget| Setting { kinds: kinds.to_vec(), addresses: 1, claims: 1, delay, rounds: false, budget, properties: all() };
    let none = Budget::default();
    let o3 = [Ours, Ours, Ours];
    let props = |s: Setting| Setting { properties: vec![properties::nobody_else_has_it(), properties::duplicates_are_known()], ..s };
    check("3 2 loss1", props(Setting { addresses: 2, ..setting(&o3, false, Budget { losses: 1, ..none }) }));
    check("3 split", props(Setting { rounds: true, ..setting(&o3, false, Budget { splits: 1, ..none }) }));
    check("3 crash", props(Setting { rounds: true, ..setting(&o3, false, Budget { crashes: 1, splits: 0, ..none }) }));
    check("3 orig delay", props(Setting { ..setting(&[Ours, Original, Ours], true, none) }));
    check("3 delay", props(setting(&o3, true, none) ));
    check("3 crash split", props(Setting { rounds: true, ..setting(&o3, false, Budget { crashes: 1, splits: 1, ..none }) }));
}
