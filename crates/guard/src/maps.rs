//! The maps of one guard: those of programs just loaded, or of a guard that is at work already.

use std::collections::BTreeMap;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use aya::{Ebpf, Pod};
use nix::time::{ClockId, clock_gettime};

use crate::abi::{
    self, guard_buckets, guard_counters, guard_heard, guard_ip, guard_ledger, guard_settings, guard_state,
};
use crate::settings::{ip_key, word};
use crate::{Counters, Error, InUse, Settings, failed};

/// The entries of what was heard from a guest, by MAC address or VLAN.
type Heard = HashMap<MapData, u64, guard_heard>;

/// The maps, and of the ledger what only we write.
pub(crate) struct Maps {
    settings: Array<MapData, guard_settings>,
    state: Array<MapData, guard_state>,
    buckets: Array<MapData, guard_buckets>,
    counters: PerCpuArray<MapData, guard_counters>,
    alternates: HashMap<MapData, u64, u32>,
    allowed_ips: HashMap<MapData, guard_ip, u32>,
    macs: Heard,
    vlans: Heard,
    ledger_map: Array<MapData, guard_ledger>,
    ledger: guard_ledger,
}

impl Maps {
    /// The empty ones of a loaded object.
    pub(crate) fn of_object(object: &mut Ebpf, judges: bool) -> Result<Self, Error> {
        let maps = ["settings", "state", "buckets", "ledger", "counters", "alternates", "allowed_ips", "macs", "vlans"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), object.take_map(name)?)))
            .collect();
        let mut maps = Self::typed(maps)
            .ok_or_else(|| Error::Kernel { what: "find its maps", reason: "they are not there".into() })?;
        maps.ledger =
            guard_ledger { abi: abi::GUARD_ABI, judges: judges.into(), build: abi::BUILD, ..Default::default() };
        maps.write_ledger()?;
        Ok(maps)
    }

    /// Those of a program at work, by their ids; `None` when they are of another layout.
    pub(crate) fn of_program(ids: &[u32]) -> Option<Self> {
        let mut maps = BTreeMap::new();
        for &id in ids {
            let data = MapData::from_id(id).ok()?;
            let name = data.info().ok()?.name_as_str()?.to_owned();
            maps.insert(name, Map::from_map_data(data).ok()?);
        }
        let maps = Self::typed(maps)?;
        (maps.ledger.abi == abi::GUARD_ABI).then_some(maps)
    }

    fn typed(mut maps: BTreeMap<String, Map>) -> Option<Self> {
        fn take<M: TryFrom<Map>>(maps: &mut BTreeMap<String, Map>, name: &str) -> Option<M> {
            M::try_from(maps.remove(name)?).ok()
        }
        let ledger_map: Array<_, guard_ledger> = take(&mut maps, "ledger")?;
        Some(Self {
            settings: take(&mut maps, "settings")?,
            state: take(&mut maps, "state")?,
            buckets: take(&mut maps, "buckets")?,
            counters: take(&mut maps, "counters")?,
            alternates: take(&mut maps, "alternates")?,
            allowed_ips: take(&mut maps, "allowed_ips")?,
            macs: take(&mut maps, "macs")?,
            vlans: take(&mut maps, "vlans")?,
            ledger: ledger_map.get(&0, 0).ok()?,
            ledger_map,
        })
    }

    /// Which compilation of the programs uses them.
    pub(crate) const fn build(&self) -> u64 {
        self.ledger.build
    }

    /// Whether those programs can judge what the guest says in IP and DHCP.
    pub(crate) const fn judges(&self) -> bool {
        self.ledger.judges != 0
    }

    /// Has the programs act by these settings. What is allowed before and after is allowed all the time.
    pub(crate) fn write(&mut self, settings: &Settings) -> Result<(), Error> {
        let alternates: Vec<_> = settings.alternates.iter().map(|&mac| word(mac)).collect();
        let allowed_ips: Vec<_> = settings.allowed_ips.iter().map(|&ip| ip_key(ip)).collect();
        replace(&mut self.alternates, &alternates)?;
        replace(&mut self.allowed_ips, &allowed_ips)?;
        let failed_to_set = |error| failed("set what it is to do", &error);
        let (before, now) = (self.settings.get(&0, 0).map_err(failed_to_set)?, settings.encode());
        self.settings.set(0, now, 0).map_err(failed_to_set)?;
        if now.price != before.price {
            // What is owed at a low limit would be minutes at a higher one.
            self.buckets.set(0, guard_buckets::default(), 0).map_err(failed_to_set)?;
        }
        if settings.custom.is_none() {
            self.forget(Duration::ZERO)?;
        }
        Ok(())
    }

    /// How many of its own choice the guest uses.
    pub(crate) fn in_use(&self) -> Result<InUse, Error> {
        let made = self.state()?;
        Ok(InUse {
            macs: made.macs.saturating_sub(self.ledger.macs_forgotten),
            vlans: made.vlans.saturating_sub(self.ledger.vlans_forgotten),
        })
    }

    /// Forgets what has been silent for so long, and counts anew what is in use. So what was counted wrongly is put right:
    /// a daemon may have died between a deletion and the ledger, and the programs make entries meanwhile.
    pub(crate) fn forget(&mut self, silence: Duration) -> Result<(), Error> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(|error| failed("read the clock", &error))?;
        let now = Duration::from(now);
        let was_heard = |heard: guard_heard| now.saturating_sub(Duration::from_nanos(heard.last_ns)) < silence;
        let made = self.state()?;
        self.ledger.macs_forgotten = made.macs.saturating_sub(retain(&mut self.macs, was_heard)?);
        self.ledger.vlans_forgotten = made.vlans.saturating_sub(retain(&mut self.vlans, was_heard)?);
        self.write_ledger()
    }

    /// Takes over what another guard has heard, before the programs of these maps are at work.
    pub(crate) fn learn_from(&mut self, other: &Self) -> Result<(), Error> {
        let state = guard_state { macs: copy(&mut self.macs, &other.macs), vlans: copy(&mut self.vlans, &other.vlans) };
        self.state.set(0, state, 0).map_err(|error| failed("take over what was heard", &error))
    }

    /// Adds the counts of another guard, whose programs are no longer at work.
    pub(crate) fn carry_counters(&mut self, other: &Self) -> Result<(), Error> {
        self.ledger.carried = guard_counters { count: other.counters()?.0 };
        self.write_ledger()
    }

    /// What was dropped, over all CPUs and over replacements of the programs.
    pub(crate) fn counters(&self) -> Result<Counters, Error> {
        let mut sum = self.ledger.carried.count;
        for row in self.counters.get(&0, 0).map_err(|error| failed("read its counters", &error))?.iter() {
            for (sum, value) in sum.iter_mut().zip(row.count) {
                *sum += value;
            }
        }
        Ok(Counters(sum))
    }

    /// Makes them look like those of programs of another compilation or layout.
    #[cfg(test)]
    pub(crate) fn disguise(&mut self, build: u64, abi: u32) {
        self.ledger = guard_ledger { build, abi, ..self.ledger };
        assert!(self.write_ledger().is_ok());
    }

    /// Makes the ledger as if nothing had been written down of what was deleted.
    #[cfg(test)]
    pub(crate) fn unwrite_ledger(&mut self) {
        self.ledger = guard_ledger { macs_forgotten: 0, vlans_forgotten: 0, ..self.ledger };
        assert!(self.write_ledger().is_ok());
    }

    fn state(&self) -> Result<guard_state, Error> {
        self.state.get(&0, 0).map_err(|error| failed("read its state", &error))
    }

    fn write_ledger(&mut self) -> Result<(), Error> {
        self.ledger_map.set(0, self.ledger, 0).map_err(|error| failed("write its ledger", &error))
    }
}

/// Makes these the keys of a map. Those that are there before and after are there all the time.
fn replace<K: Pod + PartialEq>(map: &mut HashMap<MapData, K, u32>, wanted: &[K]) -> Result<(), Error> {
    let failed = |error| failed("set the addresses of the guest", &error);
    let unwanted: Vec<K> = map.keys().flatten().filter(|key| !wanted.contains(key)).collect();
    // The unwanted ones first: there may be no room for both.
    for key in unwanted {
        map.remove(&key).map_err(failed)?;
    }
    wanted.iter().try_for_each(|key| map.insert(key, 0, 0).map_err(failed))
}

/// Deletes the entries that do not fit, and says how many are left.
fn retain(map: &mut Heard, fits: impl Fn(guard_heard) -> bool) -> Result<u64, Error> {
    let entries: Result<Vec<_>, _> = map.iter().collect();
    let entries = entries.map_err(|error| failed("list what was heard", &error))?;
    let mut left = 0;
    for (key, heard) in entries {
        if fits(heard) {
            left += 1;
        } else {
            map.remove(&key).map_err(|error| failed("forget what was heard", &error))?;
        }
    }
    Ok(left)
}

/// Copies the entries and says how many. One that the kernel has no memory for is made again by its next frame.
fn copy(to: &mut Heard, from: &Heard) -> u64 {
    from.iter().flatten().filter(|(key, heard)| to.insert(key, heard, 0).is_ok()).count() as u64
}
