//! What is promised, in words and as properties.

use stateright::Property;

use crate::setting::Setting;
use crate::world::{Case, Entry, Stage, World};

/// Two managers have the same address only if they were apart during the later claim.
pub fn nobody_else_has_it() -> Property<Setting> {
    Property::always("nobody else has it", |_, world: &World| {
        pairs(world).all(|(_, other, a, b)| !(a.is_held() && b.is_held() && a.excluded & 1 << other != 0))
    })
}

/// Of those that claim an address one gets it.
pub fn one_gets_it() -> Property<Setting> {
    Property::always("one gets it", |_, world: &World| {
        let claimed = |manager: &crate::world::Manager| manager.claims == 0;
        let holders = world.managers.iter().filter(|manager| manager.book[0].is_held()).count();
        !(world.is_settled() && world.managers.iter().all(claimed)) || holders == 1
    })
}

/// Once all hear each other again, and have asked again, whoever uses an address that another one uses too knows it.
pub fn duplicates_are_known() -> Property<Setting> {
    Property::always("duplicates are known", |_, world: &World| {
        !world.is_settled()
            || pairs(world).all(|(_, _, a, b)| match (a.stage, b.stage) {
                (Stage::Used(a), Stage::Used(b)) => (a, b) == (Case::Known, Case::Known),
                _ => true,
            })
    })
}

pub fn is_duplicate(world: &World) -> bool {
    pairs(world).any(|(_, _, a, b)| a.is_held() && b.is_held())
}

fn pairs(world: &World) -> impl Iterator<Item = (usize, usize, &Entry, &Entry)> {
    let managers = 0..world.managers.len();
    let pairs = managers.clone().flat_map(move |one| managers.clone().map(move |other| (one, other)));
    pairs.filter(|(one, other)| one != other).flat_map(|(one, other)| {
        let books = world.managers[one].book.iter().zip(&world.managers[other].book);
        books.map(move |(a, b)| (one, other, a, b))
    })
}
