//! A way to a fault, as a table for the documentation.

use std::fmt::Write;

use dlmp_manager::claim::{BETWEEN, Heard};
use stateright::Path;

use crate::setting::Event;
use crate::world::{Message, Stage, World};

/// The steps of a path as a table: when, and what happens. What changes nothing is left out.
pub fn table(path: Path<World, Event>) -> String {
    let steps = path.into_vec();
    let mut table = String::from("| ms | what happens |\n|---|---|\n");
    let mut ticks = 0;
    for step in steps.windows(2) {
        let [(before, Some(event)), (after, _)] = step else { continue };
        if *event == Event::Tick {
            ticks += 1;
        } else if let Some(words) = words(before, *event, after) {
            let millis = (BETWEEN * ticks).as_millis();
            let _ = writeln!(table, "| {millis} | {words} |");
        }
    }
    table
}

fn words(before: &World, event: Event, after: &World) -> Option<String> {
    match event {
        Event::Claim { manager, .. } => Some(format!("{} asks whether the address is taken", name(manager))),
        Event::Arrives(Message { heard: Heard::Question, from, to, .. }) => {
            let answers = after.air.iter().any(|message| message.from == to && message.heard == Heard::Taken);
            let answer = if answers { "says that it is" } else { "says nothing: it does not have it" };
            Some(format!("{} hears {}'s question and {answer}", name(to), name(from)))
        }
        Event::Due { manager, mac }
            if before.managers[manager].book[mac].is_held() != after.managers[manager].book[mac].is_held() =>
        {
            Some(format!("{} has heard no answer for a second, and takes the address", name(manager)))
        }
        Event::Due { manager, mac } if matches!(after.managers[manager].book[mac].stage, Stage::Claimed(_)) => None,
        other => Some(format!("{other:?}")),
    }
}

fn name(manager: usize) -> char {
    char::from(b'A' + manager as u8)
}
