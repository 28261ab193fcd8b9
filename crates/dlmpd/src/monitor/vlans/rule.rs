//! How a port is made to let in the VLANs that are wanted, when its card drops all others: which of the ways, and what is
//! to be done for it in which order. Pure.

use std::collections::BTreeSet;

/// So many VLANs are registered one by one, unless a card takes fewer: each is a link in the kernel, and is made alone.
pub(super) const MOST: usize = 64;

/// Of the most, so much must be free (a quarter) before one goes back from another way: who is at the limit does not
/// change ways with each VLAN that comes and goes.
const FREE: usize = 4;

/// How a port lets in the VLANs that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::monitor) enum Way {
    /// Nothing is done: none is wanted, or the card drops none.
    #[default]
    Nothing,
    /// Each is registered with the driver.
    Registered,
    /// The card's filter of VLANs is switched off.
    FilterOff,
    /// The card lets everything in.
    Promiscuous,
    /// None of that can be done: some do not come in.
    Refused,
}

/// What a card does and can, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Card {
    /// It drops frames in VLANs that are not registered, or would if we had not switched that off.
    pub(super) filters: bool,
    /// That can be switched off.
    pub(super) switchable: bool,
    /// It can be promiscuous.
    pub(super) promiscuous: bool,
    /// So many VLANs can be registered.
    pub(super) most: usize,
}

/// What is in force on a port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    /// VLANs that we have registered.
    pub(super) ours: BTreeSet<u16>,
    /// VLANs that somebody else has registered, such as an administrator by a VLAN device.
    pub(super) others: BTreeSet<u16>,
    /// We have switched the card's filter off.
    pub(super) filter_off: bool,
    /// We have made it promiscuous.
    pub(super) promiscuous: bool,
}

/// Something to do on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Register(u16),
    Unregister(u16),
    /// Switches the card's filter on or off.
    Filter(bool),
    Promiscuous(bool),
}

impl Step {
    /// Whether it lets frames in, rather than takes something back.
    pub(super) const fn opens(self) -> bool {
        matches!(self, Self::Register(_) | Self::Filter(false) | Self::Promiscuous(true))
    }
}

impl State {
    /// Whether all VLANs come in, by what we did.
    pub(super) const fn lets_all_in(&self) -> bool {
        self.filter_off || self.promiscuous
    }
}

/// The way for these VLANs, and what is left to do for it: first what lets frames in, then what takes back. Without
/// `take_back` only the former, and nothing while all VLANs come in by what we did.
pub(super) fn plan(wanted: &BTreeSet<u16>, state: &State, card: Card, take_back: bool) -> (Way, Vec<Step>) {
    if !take_back && !wanted.is_empty() && state.lets_all_in() {
        return (if state.filter_off { Way::FilterOff } else { Way::Promiscuous }, Vec::new());
    }
    let way = way(wanted, state, card);
    let mut steps = steps(way, wanted, state);
    steps.retain(|step| take_back || step.opens());
    (way, steps)
}

fn way(wanted: &BTreeSet<u16>, state: &State, card: Card) -> Way {
    if wanted.is_empty() || !card.filters {
        return Way::Nothing;
    }
    let new = wanted.difference(&state.others).count();
    let room = if state.lets_all_in() { card.most - card.most / FREE } else { card.most };
    match () {
        () if new <= room => Way::Registered,
        () if card.switchable => Way::FilterOff,
        () if card.promiscuous => Way::Promiscuous,
        () => Way::Refused,
    }
}

fn steps(way: Way, wanted: &BTreeSet<u16>, state: &State) -> Vec<Step> {
    let wanted: BTreeSet<u16> = match way {
        Way::Registered => wanted - &state.others,
        // As many as are there already.
        Way::Refused => wanted & &state.ours,
        Way::Nothing | Way::FilterOff | Way::Promiscuous => BTreeSet::new(),
    };
    let (filter_off, promiscuous) = (way == Way::FilterOff, way == Way::Promiscuous);
    let mut steps: Vec<Step> = (&wanted - &state.ours).into_iter().map(Step::Register).collect();
    if filter_off != state.filter_off {
        steps.push(Step::Filter(!filter_off));
    }
    if promiscuous != state.promiscuous {
        steps.push(Step::Promiscuous(promiscuous));
    }
    steps.extend((&state.ours - &wanted).into_iter().map(Step::Unregister));
    steps.sort_by_key(|step| !step.opens());
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As virtio-net: what it filters cannot be switched off.
    const FIXED: Card = Card { filters: true, switchable: false, promiscuous: true, most: MOST };
    /// As ixgbe.
    const SWITCHABLE: Card = Card { switchable: true, ..FIXED };
    /// As a veth.
    const OPEN: Card = Card { filters: false, ..FIXED };

    fn vlans(count: u16) -> BTreeSet<u16> {
        (1..=count).collect()
    }

    fn state(ours: &[u16], others: &[u16]) -> State {
        let set = |vlans: &[u16]| vlans.iter().copied().collect();
        State { ours: set(ours), others: set(others), ..State::default() }
    }

    fn off() -> State {
        State { filter_off: true, ..State::default() }
    }

    fn promiscuous() -> State {
        State { promiscuous: true, ..State::default() }
    }

    #[test]
    fn the_mildest_way_that_the_card_and_the_kernel_have_is_taken() {
        let no_8021q = |card| Card { most: 0, ..card };
        let refuses = |card| Card { promiscuous: false, ..card };
        for (what, count, card, expected) in [
            ("no VLAN is wanted", 0, FIXED, Way::Nothing),
            ("a card that drops none", 4094, OPEN, Way::Nothing),
            ("one VLAN", 1, FIXED, Way::Registered),
            ("one where the filter could be switched off", 1, SWITCHABLE, Way::Registered),
            ("as many as are registered", 64, FIXED, Way::Registered),
            ("one more", 65, SWITCHABLE, Way::FilterOff),
            ("one more on a fixed filter", 65, FIXED, Way::Promiscuous),
            ("a whole trunk", 4094, SWITCHABLE, Way::FilterOff),
            ("a kernel without VLAN devices", 1, no_8021q(SWITCHABLE), Way::FilterOff),
            ("and a fixed filter", 1, no_8021q(FIXED), Way::Promiscuous),
            ("a card that takes 8, as a virtual function", 9, Card { most: 8, ..FIXED }, Way::Promiscuous),
            ("and as many as that", 8, Card { most: 8, ..FIXED }, Way::Registered),
            ("nothing goes", 1, refuses(no_8021q(FIXED)), Way::Refused),
        ] {
            assert_eq!(way(&vlans(count), &State::default(), card), expected, "{what}");
        }
    }

    #[test]
    fn it_goes_back_to_registering_when_a_quarter_is_free() {
        for (count, state, card, expected) in [
            (64, off(), SWITCHABLE, Way::FilterOff),
            (49, off(), SWITCHABLE, Way::FilterOff),
            (48, off(), SWITCHABLE, Way::Registered),
            (49, promiscuous(), FIXED, Way::Promiscuous),
            (48, promiscuous(), FIXED, Way::Registered),
            (7, promiscuous(), Card { most: 8, ..FIXED }, Way::Promiscuous),
            (6, promiscuous(), Card { most: 8, ..FIXED }, Way::Registered),
            (1, promiscuous(), Card { most: 0, ..FIXED }, Way::Promiscuous),
            (0, promiscuous(), FIXED, Way::Nothing),
        ] {
            assert_eq!(way(&vlans(count), &state, card), expected, "{count} {state:?}");
        }
    }

    #[test]
    fn what_an_administrator_has_registered_takes_no_place() {
        let card = Card { most: 2, ..FIXED };
        assert_eq!(way(&vlans(3), &state(&[], &[]), card), Way::Promiscuous);
        assert_eq!(way(&vlans(3), &state(&[], &[2, 9]), card), Way::Registered);
        assert_eq!(steps(Way::Registered, &vlans(3), &state(&[1], &[2, 9])), [Step::Register(3)]);
    }

    #[test]
    fn only_the_difference_is_changed_and_other_peoples_never() {
        use Step::{Register, Unregister};
        for (wanted, state, expected) in [
            (2, state(&[], &[]), vec![Register(1), Register(2)]),
            (2, state(&[1, 2], &[]), vec![]),
            (2, state(&[2, 3], &[4]), vec![Register(1), Unregister(3)]),
        ] {
            assert_eq!(steps(Way::Registered, &vlans(wanted), &state), expected, "{wanted} {state:?}");
        }
    }

    #[test]
    fn a_way_is_open_before_the_other_is_closed() {
        use Step::{Filter, Promiscuous, Register, Unregister};
        for (way, state, expected) in [
            (Way::FilterOff, state(&[1, 2], &[3]), vec![Filter(false), Unregister(1), Unregister(2)]),
            (Way::Promiscuous, state(&[1], &[]), vec![Promiscuous(true), Unregister(1)]),
            (Way::Registered, off(), vec![Register(1), Register(2), Filter(true)]),
            (Way::Registered, promiscuous(), vec![Register(1), Register(2), Promiscuous(false)]),
            (Way::FilterOff, promiscuous(), vec![Filter(false), Promiscuous(false)]),
            (Way::Promiscuous, off(), vec![Promiscuous(true), Filter(true)]),
            (Way::Refused, state(&[2, 7], &[]), vec![Unregister(7)]),
        ] {
            assert_eq!(steps(way, &vlans(2), &state), expected, "{way:?} {state:?}");
        }
    }

    #[test]
    fn what_is_not_needed_may_stay_for_a_while() {
        use Step::{Filter, Register};
        let fits = state(&[1, 2, 9], &[]);
        for (what, wanted, state, expected) in [
            ("more are let in, and none is taken out", 3, fits.clone(), (Way::Registered, vec![Register(3)])),
            ("the filter stays off", 3, off(), (Way::FilterOff, vec![])),
            ("until nothing is wanted, and then longer", 0, off(), (Way::Nothing, vec![])),
            ("it stays promiscuous", 3, promiscuous(), (Way::Promiscuous, vec![])),
            ("another way is opened", 65, fits, (Way::FilterOff, vec![Filter(false)])),
        ] {
            assert_eq!(plan(&vlans(wanted), &state, SWITCHABLE, false), expected, "{what}");
        }
        assert_eq!(plan(&vlans(0), &off(), SWITCHABLE, true), (Way::Nothing, vec![Filter(true)]));
    }

    #[test]
    fn when_nobody_needs_it_the_card_is_as_before() {
        use Step::{Filter, Promiscuous, Unregister};
        for (state, expected) in [
            (state(&[5, 6], &[7]), vec![Unregister(5), Unregister(6)]),
            (off(), vec![Filter(true)]),
            (promiscuous(), vec![Promiscuous(false)]),
            (State::default(), vec![]),
        ] {
            assert_eq!(steps(Way::Nothing, &BTreeSet::new(), &state), expected, "{state:?}");
        }
    }
}
