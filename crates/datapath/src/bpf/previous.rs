//! Taking over from an earlier daemon: what its programs were doing, read from their maps.

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};

use super::clients::client_address;
use super::sys::Program;
use super::{Bpf, failed};
use crate::abi::{self, dlmp_address, dlmp_aggregation, dlmp_client, dlmp_counters, dlmp_port, dlmp_slot};
use crate::{ClientAddress, Counters, Error, MAX_PORTS, SlotIndex};

/// What the datapath of an earlier daemon was doing, read from its maps.
pub struct Previous {
    /// The clients.
    pub clients: BTreeMap<ClientAddress, PreviousClient>,
    /// The port that group-addressed frames are taken from, by ifindex.
    pub multicast_port: Option<u32>,
    /// The ports that were marked unusable, by ifindex.
    pub unusable: Vec<u32>,
    /// How many groups ports' own filters were found to hold, by ifindex.
    pub rooms: BTreeMap<u32, usize>,
    pub(super) groups: MapData,
    ports: BTreeMap<u32, u32>,
    counters: PerCpuArray<MapData, dlmp_counters>,
    carried: Array<MapData, dlmp_counters>,
}

/// A client of an earlier daemon's datapath.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousClient {
    /// Its slot.
    pub slot: SlotIndex,
    /// Where it sits, by ifindex of the port; absent if it has no port.
    pub port: Option<u32>,
    /// Whether the programs have learned it.
    pub learned: bool,
    /// The lower end of the VNIC that it is behind, by ifindex; absent on the aggregation's own link.
    pub vnic: Option<u32>,
}

impl Previous {
    /// Reads the maps that a running program uses; `None` when they are of another layout.
    pub(super) fn read(program: &Program) -> Option<Self> {
        let mut maps = named_maps(program)?;
        let aggregation: Array<_, dlmp_aggregation> = open(&mut maps, "aggregation")?;
        let aggregation = aggregation.get(&0, 0).ok()?;
        if aggregation.abi != abi::DLMP_ABI {
            return None;
        }
        let port_map: Array<_, dlmp_port> = open(&mut maps, "ports")?;
        let by_index = |index: u32| port_map.get(&index, 0).ok().map(|p: dlmp_port| p.ifindex).filter(|&i| i != 0);
        let slots: Array<_, dlmp_slot> = open(&mut maps, "slots")?;
        let addresses: HashMap<_, dlmp_address, dlmp_client> = open(&mut maps, "addresses")?;
        let clients = (addresses.iter().flatten())
            .filter(|(_, client)| u32::from(client.owner) != abi::DLMP_OWNER_PORT)
            .map(|(address, client)| {
                let seat = slots.get(&client.place.into(), 0).ok();
                let client = PreviousClient {
                    slot: SlotIndex(client.place),
                    port: seat.and_then(|slot| by_index(slot.port)),
                    learned: u32::from(client.owner) == abi::DLMP_OWNER_LEARNED,
                    vnic: (client.link != 0).then_some(client.link),
                };
                (client_address(address), client)
            })
            .collect();
        Some(Self {
            clients,
            multicast_port: by_index(aggregation.multicast_port),
            unusable: (0..MAX_PORTS as u32)
                .filter_map(|index| port_map.get(&index, 0).ok())
                .filter(|port: &dlmp_port| port.ifindex != 0 && port.flags & abi::DLMP_PORT_USABLE == 0)
                .map(|port| port.ifindex)
                .collect(),
            rooms: (0..MAX_PORTS as u32)
                .filter_map(|index| port_map.get(&index, 0).ok())
                .filter(|port: &dlmp_port| port.ifindex != 0 && port.room != 0)
                .map(|port| (port.ifindex, usize::from(port.room) - 1))
                .collect(),
            groups: maps.remove("groups")?,
            ports: (0..MAX_PORTS as u32).filter_map(|index| Some((by_index(index)?, index))).collect(),
            counters: open(&mut maps, "counters")?,
            carried: open(&mut maps, "carried")?,
        })
    }
}

impl Bpf {
    /// Adds the counts of an earlier daemon's programs, once those no longer run.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn carry_counters(&mut self, previous: &Previous) -> Result<(), Error> {
        let mut rows = vec![(abi::DLMP_ROW_AGGREGATION, abi::DLMP_ROW_AGGREGATION)];
        for (&ifindex, &old) in &previous.ports {
            if let Ok(new) = self.port_by_ifindex.get(&ifindex, 0) {
                rows.push((old, new));
            }
        }
        for (old, new) in rows {
            let sum = read_row(&previous.counters, &previous.carried, old)?;
            let row = dlmp_counters { count: sum.0 };
            (self.carried.set(new, row, 0)).map_err(|error| failed("carry its counters over", &error))?;
        }
        Ok(())
    }
}

/// One row of counters, over all CPUs and over restarts of the daemon.
pub(super) fn read_row(
    counters: &PerCpuArray<MapData, dlmp_counters>,
    carried: &Array<MapData, dlmp_counters>,
    row: u32,
) -> Result<Counters, Error> {
    let failed = |error| failed("read its counters", &error);
    let mut sum = Counters(carried.get(&row, 0).map_err(failed)?.count);
    for value in counters.get(&row, 0).map_err(failed)?.iter() {
        sum.add(&Counters(value.count));
    }
    Ok(sum)
}

/// The maps that a running program uses, by name.
pub(super) fn named_maps(program: &Program) -> Option<BTreeMap<String, MapData>> {
    let mut maps = BTreeMap::new();
    for &id in &program.maps {
        let data = MapData::from_id(id).ok()?;
        maps.insert(data.info().ok()?.name_as_str()?.to_owned(), data);
    }
    Some(maps)
}

/// Takes a map out of those of a running program and gives it its type.
pub(super) fn open<M: TryFrom<Map>>(maps: &mut BTreeMap<String, MapData>, name: &str) -> Option<M> {
    M::try_from(Map::from_map_data(maps.remove(name)?).ok()?).ok()
}
