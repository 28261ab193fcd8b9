//! The program that drops what the filter does not admit, and its maps.

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::{SchedClassifier, TcAttachType, tc};

use super::{Address, Dropped};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/port_filter.o"));

/// What a card is told (`enum mode` of the program).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// To admit every group, not only those that are admitted one by one.
    AllGroups,
    /// To admit everything.
    Everything,
    /// To drop VLANs that are not registered.
    FilterVlans,
}

/// It is at work from its loading until it is dropped.
pub(super) struct Program {
    admitted: HashMap<MapData, [u8; 8], u8>,
    modes: Array<MapData, u32>,
    vlans: Array<MapData, u32>,
    dropped: Array<MapData, u64>,
    /// Owns the attachment.
    _object: Ebpf,
}

impl Program {
    /// Attaches it to what leaves through `link` of the calling thread's namespace. It admits nothing yet.
    pub(super) fn attach(link: &str) -> Result<Self> {
        let mut object = Ebpf::load(OBJECT).context("the kernel refuses the program of the port filter")?;
        let mut map = |name| object.take_map(name).with_context(|| format!("the program has no map {name}"));
        let [admitted, modes, vlans, dropped] = [map("admitted")?, map("modes")?, map("vlans")?, map("dropped")?];
        let program: &mut SchedClassifier =
            object.program_mut("port_filter").context("the object has no program")?.try_into()?;
        program.load().context("the kernel refuses the program of the port filter")?;
        // Before Linux 6.6 a program needs this qdisc; an error is that it is there already.
        let _ = tc::qdisc_add_clsact(link);
        program.attach(link, TcAttachType::Egress).with_context(|| format!("cannot filter what leaves {link}"))?;
        Ok(Self {
            admitted: HashMap::try_from(admitted)?,
            modes: array(modes)?,
            vlans: array(vlans)?,
            dropped: array(dropped)?,
            _object: object,
        })
    }

    /// Admits an address or does no more.
    pub(super) fn admit(&mut self, address: Address, admitted: bool) -> Result<()> {
        let key = key(address);
        let done = if admitted { self.admitted.insert(key, 1, 0) } else { self.admitted.remove(&key) };
        done.with_context(|| format!("cannot change the filter for {address:02x?}"))
    }

    /// Follows what the card is told, or no longer.
    pub(super) fn set(&mut self, mode: Mode, told: bool) -> Result<()> {
        self.modes.set(mode as u32, u32::from(told), 0).with_context(|| format!("cannot set the filter to {mode:?}"))
    }

    /// Registers a VLAN or does no more.
    pub(super) fn register(&mut self, vlan: u16, registered: bool) -> Result<()> {
        (self.vlans.set(vlan.into(), u32::from(registered), 0))
            .with_context(|| format!("cannot change the filter for VLAN {vlan}"))
    }

    /// Whether an address is admitted as such.
    pub(super) fn admits(&self, address: Address) -> bool {
        self.admitted.get(&key(address), 0).is_ok()
    }

    /// What it has dropped so far.
    pub(super) fn dropped(&self) -> Result<Dropped> {
        let count = |reason| self.dropped.get(&reason, 0);
        Ok(Dropped { others: count(0)?, groups: count(1)?, vlans: count(2)? })
    }
}

fn array<T: aya::Pod>(map: Map) -> Result<Array<MapData, T>> {
    Array::try_from(map).map_err(|error| anyhow!(error).context("a map of the port filter is no array"))
}

fn key(address: Address) -> [u8; 8] {
    let [a, b, c, d, e, f] = address;
    [a, b, c, d, e, f, 0, 0]
}
