//! Spreading clients over ports: every client on exactly one usable port, fewest clients first,
//! moving no more than needed.

use std::collections::BTreeMap;

use crate::{PortIndex, SlotIndex};

/// Where clients should go: those without a usable port first, then enough of the others that no
/// port has two clients more than another.
///
/// Among ports with as few clients, the lowest index is taken, and of a full port the highest slot
/// leaves: the same state always gives the same moves. Returns the moves in the order to make them;
/// none when no port is usable.
pub(crate) fn moves(
    places: &BTreeMap<SlotIndex, Option<PortIndex>>,
    usable: &[PortIndex],
) -> Vec<(SlotIndex, PortIndex)> {
    let mut load: BTreeMap<PortIndex, Vec<SlotIndex>> = usable.iter().map(|&port| (port, Vec::new())).collect();
    let mut homeless = Vec::new();
    for (&slot, place) in places {
        match place.and_then(|port| load.get_mut(&port)) {
            Some(slots) => slots.push(slot),
            None => homeless.push(slot),
        }
    }
    let mut moves = Vec::new();
    for slot in homeless {
        let Some(port) = emptiest(&load) else {
            return Vec::new();
        };
        load.entry(port).or_default().push(slot);
        moves.push((slot, port));
    }
    loop {
        let (Some(from), Some(to)) = (fullest(&load), emptiest(&load)) else {
            return moves;
        };
        if load[&from].len() < load[&to].len() + 2 {
            return moves;
        }
        let Some(slot) = load.entry(from).or_default().pop() else {
            return moves;
        };
        load.entry(to).or_default().push(slot);
        moves.retain(|&(moved, _)| moved != slot);
        moves.push((slot, to));
    }
}

/// The usable port that takes over a client of `port` when that fails: the emptiest other one.
pub(crate) fn backup(
    places: &BTreeMap<SlotIndex, Option<PortIndex>>,
    usable: &[PortIndex],
    port: PortIndex,
) -> Option<PortIndex> {
    (usable.iter().copied())
        .filter(|&other| other != port)
        .min_by_key(|&other| (places.values().filter(|&&place| place == Some(other)).count(), other))
}

fn emptiest(load: &BTreeMap<PortIndex, Vec<SlotIndex>>) -> Option<PortIndex> {
    load.iter().min_by_key(|&(&port, slots)| (slots.len(), port)).map(|(&port, _)| port)
}

fn fullest(load: &BTreeMap<PortIndex, Vec<SlotIndex>>) -> Option<PortIndex> {
    (load.iter()).max_by_key(|&(&port, slots)| (slots.len(), std::cmp::Reverse(port))).map(|(&port, _)| port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places(of: &[Option<u8>]) -> BTreeMap<SlotIndex, Option<PortIndex>> {
        (0..).zip(of).map(|(slot, port)| (SlotIndex(slot), port.map(PortIndex))).collect()
    }

    #[test]
    fn a_client_whose_port_is_fine_stays() {
        assert_eq!(moves(&places(&[Some(1)]), &[PortIndex(0), PortIndex(1)]), []);
    }

    #[test]
    fn without_a_usable_port_nobody_moves() {
        assert_eq!(moves(&places(&[Some(1), None]), &[]), []);
    }

    #[test]
    fn clients_of_a_lost_port_go_to_the_emptiest_ones() {
        let moved = moves(&places(&[Some(0), Some(0), Some(1), Some(2)]), &[PortIndex(1), PortIndex(2)]);
        assert_eq!(moved, [(SlotIndex(0), PortIndex(1)), (SlotIndex(1), PortIndex(2))]);
    }

    proptest! {
        #[test]
        fn everybody_sits_on_a_usable_port_evenly_and_no_more_move_than_needed(
            before in proptest::collection::vec(proptest::option::of(0u8..5), 0..40),
            usable in proptest::collection::btree_set(0u8..5, 1..5),
        ) {
            let usable: Vec<PortIndex> = usable.into_iter().map(PortIndex).collect();
            let mut after = places(&before);
            let made = moves(&after, &usable);
            for &(slot, port) in &made {
                after.insert(slot, Some(port));
            }
            let load = |port: &PortIndex, of: &BTreeMap<SlotIndex, Option<PortIndex>>|
                of.values().filter(|&&place| place == Some(*port)).count();
            prop_assert!(after.values().all(|place| place.is_some_and(|port| usable.contains(&port))));
            let loads: Vec<usize> = usable.iter().map(|port| load(port, &after)).collect();
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
            // Each client moves at most once, and a move away from a usable port was needed: that
            // port was above what an even spread leaves on it.
            let mut slots: Vec<_> = made.iter().map(|&(slot, _)| slot).collect();
            slots.sort();
            slots.dedup();
            prop_assert_eq!(slots.len(), made.len());
            for port in &usable {
                let left = made.iter().filter(|(slot, _)| before[usize::from(slot.0)] == Some(port.0)).count();
                let had = load(port, &places(&before));
                prop_assert!(left == 0 || had - left >= before.len() / usable.len());
            }
            prop_assert_eq!(moves(&after, &usable), []);
        }
    }
}
