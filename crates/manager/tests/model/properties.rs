//! What is promised (`docs/protocol.md`, "What is promised"), as properties, and what shows that the model does something.

use stateright::Property;

use crate::setting::Setting;
use crate::world::{Case, Entry, Manager, Stage, World};

pub const SAFE: &str = "who claims an address gets none that somebody has whom it was never apart from meanwhile";
pub const ONE: &str = "of those that claim an address one gets it";
pub const KNOWN: &str = "once all hear each other again who uses a duplicate knows it";

/// Two managers have the same address only if they were apart during the later claim.
pub fn safe() -> Property<Setting> {
    Property::always(SAFE, |_, world: &World| {
        pairs(world).all(|pair| !(pair.a.is_held() && pair.b.is_held() && pair.a.excluded & 1 << pair.other != 0))
    })
}

/// When all have claimed the first address, and nothing is going on any more, exactly one has it.
pub fn one_gets_it() -> Property<Setting> {
    Property::always(ONE, |_, world: &World| {
        let over = world.is_settled() && world.managers.iter().all(|manager| manager.claims == 0);
        !over || holders(world) == 1
    })
}

/// Whoever uses an address that another one uses too knows it, once all hear each other and have asked again.
pub fn duplicates_are_known() -> Property<Setting> {
    Property::always(KNOWN, |_, world: &World| {
        !world.is_settled() || pairs(world).all(|pair| !pair.is_used_twice() || pair.is_known_to_both())
    })
}

/// The second of two claims is lost while the first one still goes on, and nobody has the address yet.
pub fn a_claim_is_lost_to_a_claim() -> Property<Setting> {
    Property::sometimes("a claim is lost to another one", |_, world: &World| {
        let lost = |manager: &Manager| manager.claims == 0 && manager.book[0].stage == Stage::Foreign;
        let goes_on = |manager: &Manager| matches!(manager.book[0].stage, Stage::Claimed(_));
        world.managers.iter().any(lost) && world.managers.iter().any(goes_on) && holders(world) == 0
    })
}

/// The manager of the highest IP address gets what the others want, too.
pub fn the_last_one_gets_it() -> Property<Setting> {
    Property::sometimes("the last one gets it", |_, world: &World| {
        let last = world.managers.last();
        let nobody_claims = world.managers.iter().all(|manager| manager.claims == 0) && world.is_settled();
        nobody_claims && last.is_some_and(|manager| manager.book[0].is_held())
    })
}

/// Duplicates do arise, and both sides learn of them.
pub fn a_duplicate_is_known() -> Property<Setting> {
    Property::sometimes("a duplicate is known to both", |_, world: &World| {
        pairs(world).any(|pair| pair.is_used_twice() && pair.is_known_to_both())
    })
}

/// Several addresses are in use.
pub fn all_have_one() -> Property<Setting> {
    Property::sometimes("two have an address each", |_, world: &World| {
        (0..world.managers[0].book.len()).all(|mac| world.managers.iter().any(|manager| manager.book[mac].is_held()))
    })
}

fn holders(world: &World) -> usize {
    world.managers.iter().filter(|manager| manager.book[0].is_held()).count()
}

/// An address in the books of two managers.
struct Pair<'a> {
    a: &'a Entry,
    b: &'a Entry,
    /// Number of the second one.
    other: usize,
}

impl Pair<'_> {
    fn is_used_twice(&self) -> bool {
        matches!((self.a.stage, self.b.stage), (Stage::Used(_), Stage::Used(_)))
    }

    fn is_known_to_both(&self) -> bool {
        (self.a.stage, self.b.stage) == (Stage::Used(Case::Known), Stage::Used(Case::Known))
    }
}

/// Each address in the books of each two managers, in both orders.
fn pairs(world: &World) -> impl Iterator<Item = Pair<'_>> {
    let numbered = || world.managers.iter().enumerate();
    let pairs = numbered().flat_map(move |one| numbered().map(move |other| (one, other)));
    pairs.filter(|((one, _), (other, _))| one != other).flat_map(|((_, one), (other, manager))| {
        one.book.iter().zip(&manager.book).map(move |(a, b)| Pair { a, b, other })
    })
}
