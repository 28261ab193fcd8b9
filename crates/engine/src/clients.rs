//! Who sits where: the clients, their ports, and what the datapath was last told about them.

use std::collections::BTreeMap;

use crate::{Placement, PortIndex, SlotIndex, spread};

/// The clients of an aggregation.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    rows: BTreeMap<SlotIndex, Client>,
}

#[derive(Debug, Default)]
struct Client {
    port: Option<PortIndex>,
    /// As last told to the datapath.
    told: Option<Placement>,
}

/// A client goes to another port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) slot: SlotIndex,
    pub(crate) from: Option<PortIndex>,
    pub(crate) to: PortIndex,
}

impl Clients {
    /// A client that wants a port; one that is there already stays as it is.
    pub(crate) fn add(&mut self, slot: SlotIndex) {
        self.rows.entry(slot).or_default();
    }

    /// A client that the datapath has on a port, without a backup.
    pub(crate) fn seat(&mut self, slot: SlotIndex, port: PortIndex) {
        self.rows.insert(slot, Client { port: Some(port), told: Some(Placement { port, backup: None }) });
    }

    pub(crate) fn remove(&mut self, slot: SlotIndex) {
        self.rows.remove(&slot);
    }

    /// Where a client sits.
    pub(crate) fn port(&self, slot: SlotIndex) -> Option<PortIndex> {
        self.rows.get(&slot).and_then(|client| client.port)
    }

    /// The clients of a port.
    pub(crate) fn on(&self, port: PortIndex) -> impl Iterator<Item = SlotIndex> + '_ {
        self.rows.iter().filter(move |(_, client)| client.port == Some(port)).map(|(&slot, _)| slot)
    }

    /// The clients of each port that has some, in order of their slots.
    pub(crate) fn seats(&self) -> BTreeMap<PortIndex, Vec<SlotIndex>> {
        let mut seats: BTreeMap<PortIndex, Vec<SlotIndex>> = BTreeMap::new();
        for (&slot, client) in &self.rows {
            if let Some(port) = client.port {
                seats.entry(port).or_default().push(slot);
            }
        }
        seats
    }

    /// Moves all clients without a usable port to one: to the backup, where the datapath itself has sent
    /// them since the port was marked unusable, unless that makes the load uneven, as it can when several
    /// ports fail together. Without a usable port nobody moves.
    pub(crate) fn house(&mut self, usable: &[PortIndex]) -> Vec<Move> {
        let (seats, load) = self.on_usable(usable);
        if self.rows.len() == seats.values().map(Vec::len).sum::<usize>() {
            return Vec::new();
        }
        let homeless = |client: &Client| client.port.is_none_or(|port| !load.contains_key(&port));
        let wanting: Vec<_> = (self.rows.iter())
            .filter(|(_, client)| homeless(client))
            .map(|(&slot, client)| (slot, client.told.and_then(|told| told.backup)))
            .collect();
        self.carry_out(spread::assign(&wanting, &load))
    }

    /// Seats a client on a port for a while, whatever that is like: nobody else moves for it.
    pub(crate) fn lend(&mut self, slot: SlotIndex, port: PortIndex) {
        if let Some(client) = self.rows.get_mut(&slot) {
            client.port = Some(port);
        }
    }

    /// Moves clients whose port is fine to even the load, at most so many.
    pub(crate) fn balance(&mut self, usable: &[PortIndex], at_most: usize) -> Vec<Move> {
        let (seats, _) = self.on_usable(usable);
        self.carry_out(spread::balance(seats, at_most))
    }

    /// The placements that the datapath has to be told: those that lost their port or have none yet first.
    /// They count as told then.
    ///
    /// The backup is where [`house`](Self::house) would move the client if its port failed alone. It is kept
    /// as long as it fits, so that one client more or less does not change those of all others.
    pub(crate) fn changes(&mut self, usable: &[PortIndex]) -> Vec<(SlotIndex, Placement)> {
        let (_, load) = self.on_usable(usable);
        let (mut moved, mut stayed) = (Vec::new(), Vec::new());
        for (port, slots) in self.seats() {
            let mut others = load.clone();
            others.remove(&port);
            let before = |slot| self.rows.get(&slot).and_then(|client| client.told);
            let wanting: Vec<_> = slots.iter().map(|&slot| (slot, before(slot).and_then(|told| told.backup))).collect();
            let backups = spread::assign(&wanting, &others);
            for slot in slots {
                let placement = Placement { port, backup: backups.get(&slot).copied() };
                match before(slot) {
                    Some(told) if told == placement => {}
                    Some(told) if told.port == port => stayed.push((slot, placement)),
                    _ => moved.push((slot, placement)),
                }
            }
        }
        moved.sort_by_key(|&(slot, _)| slot);
        stayed.sort_by_key(|&(slot, _)| slot);
        moved.append(&mut stayed);
        for &(slot, placement) in &moved {
            if let Some(client) = self.rows.get_mut(&slot) {
                client.told = Some(placement);
            }
        }
        moved
    }

    /// The clients of each usable port, and how many they are.
    fn on_usable(&self, usable: &[PortIndex]) -> (BTreeMap<PortIndex, Vec<SlotIndex>>, BTreeMap<PortIndex, usize>) {
        let mut all = self.seats();
        let seats: BTreeMap<_, _> = usable.iter().map(|&port| (port, all.remove(&port).unwrap_or_default())).collect();
        let load = seats.iter().map(|(&port, slots)| (port, slots.len())).collect();
        (seats, load)
    }

    fn carry_out(&mut self, seats: BTreeMap<SlotIndex, PortIndex>) -> Vec<Move> {
        let change = |(slot, to)| {
            let from = self.rows.get_mut(&slot)?.port.replace(to);
            Some(Move { slot, from, to })
        };
        seats.into_iter().filter_map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ports(of: impl IntoIterator<Item = u8>) -> Vec<PortIndex> {
        of.into_iter().map(PortIndex).collect()
    }

    /// So many clients on these ports, their backups told.
    fn settled(count: u16, usable: &[PortIndex]) -> Clients {
        let mut clients = Clients::default();
        (0..count).for_each(|slot| clients.add(SlotIndex(slot)));
        clients.house(usable);
        clients.changes(usable);
        clients
    }

    fn backups(clients: &Clients, port: PortIndex) -> BTreeMap<SlotIndex, PortIndex> {
        clients.on(port).filter_map(|slot| Some((slot, clients.rows[&slot].told?.backup?))).collect()
    }

    #[test]
    fn of_a_lost_port_the_clients_are_told_first_and_then_new_backups() {
        let mut clients = settled(9, &ports(0..3));
        let lost: Vec<_> = clients.on(PortIndex(0)).collect();
        clients.house(&ports(1..3));
        let told: Vec<_> = clients.changes(&ports(1..3)).into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(told[..lost.len()], lost);
        assert!(told[lost.len()..].iter().all(|slot| !lost.contains(slot)));
        assert_eq!(clients.changes(&ports(1..3)), [], "nothing is told twice");
    }

    #[test]
    fn a_client_more_changes_few_backups() {
        let mut clients = settled(400, &ports(0..4));
        for slot in 400..500 {
            let port = PortIndex((slot % 4) as u8);
            clients.seat(SlotIndex(slot), port);
            let told = clients.changes(&ports(0..4));
            assert!(told.len() <= 1 + 4, "{slot}: {told:?}");
        }
    }

    proptest! {
        #[test]
        fn a_port_that_fails_sends_its_clients_exactly_to_their_backups_and_all_others_stay(
            usable in proptest::collection::btree_set(0u8..8, 2..6),
            steps in proptest::collection::vec((0u16..100, proptest::option::of(0u8..8)), 1..150),
            fails in any::<prop::sample::Index>(),
        ) {
            let usable = ports(usable);
            let mut clients = Clients::default();
            for (slot, port) in steps {
                match port {
                    Some(port) if clients.port(SlotIndex(slot)).is_none() => clients.seat(SlotIndex(slot), PortIndex(port)),
                    Some(_) => clients.remove(SlotIndex(slot)),
                    None => clients.add(SlotIndex(slot)),
                }
                clients.house(&usable);
                clients.changes(&usable);
            }
            let lost = *fails.get(&usable);
            let left: Vec<_> = usable.iter().copied().filter(|&port| port != lost).collect();
            let wanted = backups(&clients, lost);
            prop_assert_eq!(wanted.len(), clients.on(lost).count(), "everybody has a backup");
            prop_assert!(wanted.values().all(|backup| left.contains(backup)));
            let moves = clients.house(&left);
            prop_assert!(moves.iter().all(|step| step.from == Some(lost)));
            prop_assert_eq!(moves.into_iter().map(|step| (step.slot, step.to)).collect::<BTreeMap<_, _>>(), wanted);
        }

        #[test]
        fn whatever_fails_together_everybody_has_one_usable_port_and_the_load_is_even(
            count in 0u16..200,
            left in proptest::collection::btree_set(0u8..8, 1..8),
        ) {
            let mut clients = settled(count, &ports(0..8));
            let left = ports(left);
            clients.house(&left);
            let seats = clients.seats();
            prop_assert!(seats.keys().all(|port| left.contains(port)));
            prop_assert_eq!(seats.values().map(Vec::len).sum::<usize>(), usize::from(count));
            prop_assert_eq!(clients.balance(&left, usize::MAX), [], "nothing is left to balance");
        }
    }
}
