//! Spreading clients over ports: where clients that want a port go, and who moves to even the load.
//! Both are pure: the same state always gives the same answer.

use std::collections::BTreeMap;
use std::iter;

use crate::{PortIndex, SlotIndex};

/// Seats clients that want a port, each with the port it would rather have, on the usable ports, of
/// which `load` says how many clients they have.
///
/// Each goes to the port with the fewest clients then, and of several to the lowest index. That says how
/// many each port gets; who gets which is chosen so that as many as possible have what they wish, and the
/// others fill the ports in order. The result is empty when no port is usable.
pub(crate) fn assign(
    wanting: &[(SlotIndex, Option<PortIndex>)],
    load: &BTreeMap<PortIndex, usize>,
) -> BTreeMap<SlotIndex, PortIndex> {
    let mut room = shares(wanting.len(), load);
    let mut seats = BTreeMap::new();
    let mut others = Vec::new();
    for &(slot, wish) in wanting {
        match wish.and_then(|port| Some((port, room.get_mut(&port).filter(|left| **left > 0)?))) {
            Some((port, left)) => {
                *left -= 1;
                seats.insert(slot, port);
            }
            None => others.push(slot),
        }
    }
    let left = room.into_iter().flat_map(|(port, left)| iter::repeat_n(port, left));
    seats.extend(others.into_iter().zip(left));
    seats
}

/// The moves that even the load of the usable ports: at most so many, none once no port has two
/// clients more than another. `seats` are the clients of each, in order of their slots.
///
/// Each goes from the fullest port to the emptiest, of several the lowest index, and the highest slot
/// leaves. Nobody moves twice: a port that was filled never becomes one that gives.
pub(crate) fn balance(
    mut seats: BTreeMap<PortIndex, Vec<SlotIndex>>,
    at_most: usize,
) -> BTreeMap<SlotIndex, PortIndex> {
    let mut moves = BTreeMap::new();
    while moves.len() < at_most {
        let emptiest = seats.iter().map(|(&port, slots)| (slots.len(), port)).min();
        let fullest = seats.iter_mut().min_by_key(|(port, slots)| (usize::MAX - slots.len(), **port));
        let (Some((fewest, to)), Some((_, most))) = (emptiest, fullest) else { break };
        if most.len() < fewest + 2 {
            break;
        }
        moves.extend(most.pop().map(|slot| {
            seats.entry(to).or_default().push(slot);
            (slot, to)
        }));
    }
    moves
}

/// How many of so many new clients each port gets.
fn shares(count: usize, load: &BTreeMap<PortIndex, usize>) -> BTreeMap<PortIndex, usize> {
    let mut shares: BTreeMap<PortIndex, usize> = load.keys().map(|&port| (port, 0)).collect();
    for _ in 0..count {
        if let Some((_, share)) = shares.iter_mut().min_by_key(|(port, share)| (load[*port] + **share, **port)) {
            *share += 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NET0: PortIndex = PortIndex(0);
    const NET1: PortIndex = PortIndex(1);
    const NET2: PortIndex = PortIndex(2);

    fn seats(of: &[u16]) -> BTreeMap<PortIndex, Vec<SlotIndex>> {
        let mut next = (0..).map(SlotIndex);
        (0..).map(PortIndex).zip(of.iter().map(|&count| next.by_ref().take(count.into()).collect())).collect()
    }

    #[test]
    fn who_wants_a_port_gets_the_emptiest_one() {
        let load = BTreeMap::from([(NET0, 2), (NET1, 1), (NET2, 1)]);
        let wanting = [(SlotIndex(7), None), (SlotIndex(8), None)];
        assert_eq!(assign(&wanting, &load), BTreeMap::from([(SlotIndex(7), NET1), (SlotIndex(8), NET2)]));
    }

    #[test]
    fn a_wish_is_granted_unless_it_makes_the_load_uneven() {
        let load = BTreeMap::from([(NET0, 0), (NET1, 0)]);
        let wanting = [(SlotIndex(1), Some(NET1)), (SlotIndex(2), Some(NET1)), (SlotIndex(3), Some(NET2))];
        let wanted = [(SlotIndex(1), NET1), (SlotIndex(2), NET0), (SlotIndex(3), NET0)];
        assert_eq!(assign(&wanting, &load), BTreeMap::from(wanted));
    }

    #[test]
    fn without_a_usable_port_nobody_is_seated_and_nobody_moves() {
        assert_eq!(assign(&[(SlotIndex(0), Some(NET0))], &BTreeMap::new()), BTreeMap::new());
        assert_eq!(balance(BTreeMap::new(), 32), BTreeMap::new());
    }

    #[test]
    fn a_single_client_is_as_well_on_one_port_as_on_another() {
        assert_eq!(balance(seats(&[0, 1]), 32), BTreeMap::new());
    }

    proptest! {
        #[test]
        fn new_clients_even_the_load_as_far_as_they_can(
            load in proptest::collection::btree_map((0u8..6).prop_map(PortIndex), 0usize..20, 1..6),
            wishes in proptest::collection::vec(proptest::option::of((0u8..6).prop_map(PortIndex)), 0..60),
        ) {
            let wanting: Vec<_> = (0..).map(SlotIndex).zip(wishes).collect();
            let seated = assign(&wanting, &load);
            prop_assert_eq!(seated.len(), wanting.len());
            let got = |port: PortIndex| seated.values().filter(|&&seat| seat == port).count();
            let lowest = load.iter().map(|(&port, had)| had + got(port)).min().unwrap();
            for (&port, had) in &load {
                prop_assert!(got(port) == 0 || had + got(port) <= lowest + 1, "{:?} {:?}", port, seated);
            }
            // Granted as far as the share of the port goes.
            for &port in load.keys() {
                let wished = wanting.iter().filter(|&&(_, wish)| wish == Some(port)).count();
                let granted = wanting.iter().filter(|&&(slot, wish)| wish == Some(port) && seated[&slot] == port).count();
                prop_assert_eq!(granted, wished.min(got(port)));
            }
        }

        #[test]
        fn balancing_in_batches_evens_the_load_and_moves_no_more_than_needed(
            counts in proptest::collection::vec(0u16..50, 1..6),
            batch in 1usize..10,
        ) {
            let (before, mut after, mut moved) = (seats(&counts), seats(&counts), Vec::new());
            loop {
                let moves = balance(after.clone(), batch);
                prop_assert!(moves.len() <= batch);
                if moves.is_empty() {
                    break;
                }
                for (slot, to) in moves {
                    after.values_mut().for_each(|slots| slots.retain(|&other| other != slot));
                    after.entry(to).or_default().push(slot);
                    after.entry(to).or_default().sort();
                    moved.push(slot);
                }
            }
            let loads: Vec<usize> = after.values().map(Vec::len).collect();
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
            // A port that gave has no less than its even share, and one that got no more than that.
            let share = before.values().map(Vec::len).sum::<usize>() / before.len();
            for (port, had) in &before {
                prop_assert!(after[port].len() >= had.len().min(share) && after[port].len() <= had.len().max(share + 1));
                let left = had.iter().filter(|slot| !after[port].contains(slot)).count();
                prop_assert_eq!(left, had.len().saturating_sub(after[port].len()), "nobody is exchanged");
            }
            let count = moved.len();
            moved.sort();
            moved.dedup();
            prop_assert_eq!(moved.len(), count, "nobody moves twice");
        }
    }
}
