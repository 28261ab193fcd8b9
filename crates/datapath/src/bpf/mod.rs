//! The real datapath: the loaded programs, their maps, and taking over those of an earlier daemon.

mod attach;
mod clients;
mod groups;
mod observe;
mod own;
mod pairs;
mod previous;
mod programs;
mod remains;
mod reporting;
mod sys;
mod test_run;
mod write;

use std::collections::BTreeMap;
use std::mem::size_of;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use aya::maps::stack::Stack;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfLoader};
use dlmp_netlink::Netlink;
use dlmp_wire::MacAddr;

pub use attach::{Attachment, clear_stale_pins, kernel_has_tcx};
use attach::{Hook, Place};
pub use observe::{Event, Events};
use previous::read_row;
pub use previous::{Previous, PreviousClient};
pub use remains::{Owner, forget_pins, free_port, free_vnic};
pub use sys::{Program, attach_program, attached_programs, detach_program, open_program, program};
pub use test_run::Entry;

use crate::abi::{self, dlmp_aggregation, dlmp_client, dlmp_counters, dlmp_port, dlmp_slot};
use crate::{
    ANNOUNCE_INTERVAL, ClientAddress, Counters, Error, FRESH_MOVE, MAX_LEARNED, PortIndex, Probing, Vnic, VnicIndex,
};

/// The link that a datapath serves.
#[derive(Debug, Clone)]
pub struct Served {
    /// Name of the aggregation, at most 15 bytes.
    pub name: String,
    /// Index of its link.
    pub ifindex: u32,
    /// Index of the other end of that link: what misses the program on the link itself is sent from there, and reports of
    /// group membership are held there for the daemon (the group rule).
    pub lower: u32,
    /// Name of that end.
    pub lower_name: String,
    /// Cookie of the network namespace.
    pub netns_cookie: u64,
}

/// The programs of one aggregation with their maps.
pub struct Bpf {
    served: Served,
    attachment: Attachment,
    programs: programs::Programs,
    aggregation: Array<MapData, dlmp_aggregation>,
    ports: Array<MapData, dlmp_port>,
    port_by_ifindex: HashMap<MapData, u32, u32>,
    addresses: HashMap<MapData, abi::dlmp_address, dlmp_client>,
    own: sys::Words,
    slots: Array<MapData, dlmp_slot>,
    vnics: sys::Words,
    reporting: sys::Words,
    vnic_by_ifindex: HashMap<MapData, u32, u32>,
    free_slots: Stack<MapData, u32>,
    seating: sys::Words,
    used: Array<MapData, u64>,
    counters: PerCpuArray<MapData, dlmp_counters>,
    carried: Array<MapData, dlmp_counters>,
    pairs: pairs::Pairs,
    groups: groups::Groups,
    /// Until it is taken.
    events: Option<RingBuf<MapData>>,
    multicast_port: Option<PortIndex>,
    /// The address of the primary interface.
    primary: Option<ClientAddress>,
    known_vnics: BTreeMap<VnicIndex, Vnic>,
    bridged: bool,
    learn_limit: usize,
    probing: Option<Probing>,
}

impl Bpf {
    /// Loads the programs with empty maps. Nothing is attached yet.
    ///
    /// # Errors
    /// What the kernel refused: often a missing capability, or a kernel without the needed features.
    pub fn load(served: Served, attachment: Attachment) -> Result<Self, Error> {
        let mut object = EbpfLoader::new().load(abi::OBJECT).map_err(|error| failed("load its programs", &error))?;
        let mut programs = programs::Programs::load(&mut object)?;
        bind_carried(&mut programs, &object)?;
        let mut bpf = Self {
            own: look_into(&object, "own", own::BYTES)?,
            seating: look_into(&object, "seating", size_of::<abi::dlmp_seating>())?,
            vnics: look_into(&object, "vnics", size_of::<abi::dlmp_vnics>())?,
            reporting: look_into(&object, "reporting", size_of::<abi::dlmp_reporting>())?,
            aggregation: map(&mut object, "aggregation")?,
            ports: map(&mut object, "ports")?,
            port_by_ifindex: map(&mut object, "port_by_ifindex")?,
            addresses: map(&mut object, "addresses")?,
            slots: map(&mut object, "slots")?,
            used: map(&mut object, "used")?,
            vnic_by_ifindex: map(&mut object, "vnic_by_ifindex")?,
            free_slots: map(&mut object, "free_slots")?,
            counters: map(&mut object, "counters")?,
            carried: map(&mut object, "carried")?,
            pairs: pairs::Pairs::new(object.take_map("pairs"))?,
            groups: groups::Groups::new(object.take_map("groups"))?,
            events: Some(map(&mut object, "events")?),
            multicast_port: None,
            primary: None,
            known_vnics: BTreeMap::new(),
            bridged: false,
            learn_limit: MAX_LEARNED,
            probing: None,
            served,
            attachment,
            programs,
        };
        bpf.write_aggregation()?;
        bpf.seat_nobody();
        Ok(bpf)
    }

    /// How the programs are attached.
    pub const fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Reads the state of an earlier daemon's programs on the same link, if they are still there.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn previous(&self, netlink: &Netlink) -> Result<Option<Previous>, Error> {
        for place in [self.egress(), self.lower()] {
            if let Some(program) = attach::attached_program(place, netlink).await? {
                return Ok(Previous::read(&program));
            }
        }
        Ok(None)
    }

    /// Hangs the egress program on the aggregation's link and on its lower end, in place of earlier ones.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn attach_link(&mut self, netlink: &Netlink) -> Result<(), Error> {
        if let Attachment::Tcx(pins) = self.attachment.clone() {
            self.pin_maps(&pins)?;
        }
        let Self { served, programs, attachment, .. } = self;
        let program = programs.get(Hook::Egress);
        // The lower end first: whatever leaves the link from then on is sent.
        attach::attach(program, lower(served), attachment, netlink).await?;
        attach::attach(program, egress(served), attachment, netlink).await
    }

    /// Hangs the ingress program on a port, in place of an earlier one.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn attach_port(&mut self, ifindex: u32, name: &str, netlink: &Netlink) -> Result<(), Error> {
        let program = self.programs.get(Hook::Ingress);
        attach::attach(program, ingress(ifindex, name), &self.attachment, netlink).await
    }

    /// Takes the ingress program off a port.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn detach_port(&mut self, ifindex: u32, name: &str, netlink: &Netlink) -> Result<(), Error> {
        attach::detach(ingress(ifindex, name), &self.attachment, netlink).await
    }

    /// Hangs the VNICs' program on the lower end of one, in place of an earlier one.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn attach_vnic(&mut self, ifindex: u32, name: &str, netlink: &Netlink) -> Result<(), Error> {
        let program = self.programs.get(Hook::Vnic);
        attach::attach(program, Place { ifindex, name, hook: Hook::Vnic }, &self.attachment, netlink).await
    }

    /// Takes the VNICs' program off the lower end of one.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn detach_vnic(&mut self, ifindex: u32, name: &str, netlink: &Netlink) -> Result<(), Error> {
        attach::detach(Place { ifindex, name, hook: Hook::Vnic }, &self.attachment, netlink).await
    }

    /// Takes the egress program off both ends of the link and removes the pins. The ports are to be detached before.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn remove(&mut self, netlink: &Netlink) -> Result<(), Error> {
        for place in [self.egress(), self.lower()] {
            attach::detach(place, &self.attachment, netlink).await?;
        }
        match &self.attachment {
            Attachment::Tcx(pins) => forget_pins(pins).map_err(|error| Error::new("remove its pins", error)),
            Attachment::Clsact => Ok(()),
        }
    }

    /// Whether our programs still hang where they were attached; names of the links where not. The ports and
    /// the lower ends of the VNICs are named by index and name.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn detached(
        &mut self,
        ports: &[(u32, String)],
        vnics: &[(u32, String)],
        netlink: &Netlink,
    ) -> Result<Vec<String>, Error> {
        let mut missing = Vec::new();
        let (egress_id, ingress_id) = (self.programs.id(Hook::Egress)?, self.programs.id(Hook::Ingress)?);
        let vnic_id = self.programs.id(Hook::Vnic)?;
        let mut places = vec![(self.egress(), egress_id), (self.lower(), egress_id)];
        places.extend(ports.iter().map(|(ifindex, name)| (ingress(*ifindex, name), ingress_id)));
        let vnic = |(ifindex, name)| (Place { ifindex, name, hook: Hook::Vnic }, vnic_id);
        places.extend(vnics.iter().map(|(ifindex, name)| vnic((*ifindex, name))));
        for (place, wanted) in places {
            let found = attach::attached_program(place, netlink).await?;
            if found.is_none_or(|program| program.id != wanted) {
                missing.push(place.name.to_owned());
            }
        }
        Ok(missing)
    }

    /// Follows a port whose own address somebody changed.
    ///
    /// # Errors
    /// The write did not happen.
    pub fn set_address(&mut self, port: PortIndex, mac: MacAddr) -> Result<(), Error> {
        let old = self.port(port)?;
        self.forget_address(key(MacAddr(old.mac), 0));
        (self.ports.set(port.0.into(), dlmp_port { mac: mac.0, ..old }, 0))
            .map_err(|error| failed("set a port's address", &error))?;
        self.know_address(key(mac, 0), port_owner(port))
    }

    /// The counters of a port, over all CPUs and over restarts of the daemon.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn counters(&self, port: PortIndex) -> Result<Counters, Error> {
        read_row(&self.counters, &self.carried, port.0.into())
    }

    /// The counters that belong to no port.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn aggregation_counters(&self) -> Result<Counters, Error> {
        read_row(&self.counters, &self.carried, abi::DLMP_ROW_AGGREGATION)
    }

    fn egress(&self) -> Place<'_> {
        egress(&self.served)
    }

    fn lower(&self) -> Place<'_> {
        lower(&self.served)
    }

    /// Pins the maps too, under their names, so that they can be looked at with bpftool.
    fn pin_maps(&mut self, pins: &Path) -> Result<(), Error> {
        let failed = |error: &dyn std::fmt::Display| Error::new("pin its maps", format!("{}: {error}", pins.display()));
        std::fs::create_dir_all(pins).map_err(|error| failed(&error))?;
        let info = self.programs.get(Hook::Egress).info();
        let ids = info.and_then(|info| info.map_ids()).map_err(|error| failed(&error))?;
        for id in ids.unwrap_or_default() {
            let map = MapData::from_id(id).map_err(|error| failed(&error))?;
            let info = map.info().map_err(|error| failed(&error))?;
            let path = pins.join(info.name_as_str().unwrap_or_default());
            attach::remove_file(&path)
                .and_then(|()| sys::pin(map.fd().as_fd(), &path))
                .map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    fn write_aggregation(&mut self) -> Result<(), Error> {
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().take(15).zip(self.served.name.bytes()) {
            *to = from as _;
        }
        let value = dlmp_aggregation {
            abi: abi::DLMP_ABI,
            ifindex: self.served.ifindex,
            multicast_port: self.multicast_port.map_or(abi::DLMP_NO_PORT, |port| port.0.into()),
            probing: self.probing.is_some().into(),
            probe_vlan: self.probing.map_or(0, |probing| probing.vlan),
            netns_cookie: self.served.netns_cookie,
            fresh_ns: nanoseconds(FRESH_MOVE),
            announce_ns: nanoseconds(ANNOUNCE_INTERVAL),
            vnics: self.known_vnics.keys().next_back().map_or(0, |last| u32::from(last.0) + 1),
            learn_limit: self.learn_limit as u32,
            lower: self.served.lower,
            bridged: self.bridged.into(),
            vlans: self.known_vnics.values().filter(|vnic| vnic.vlan != 0).count() as u16,
            primary: self.primary.map_or_else(Default::default, |client| key(client.mac, client.vlan)),
            probe_key: self.probing.map_or([0; 2], |probing| key_words(probing.key)),
            name,
        };
        (self.aggregation.set(0, value, 0)).map_err(|error| failed("set what it is to do", &error))
    }

    fn port(&self, port: PortIndex) -> Result<dlmp_port, Error> {
        (self.ports.get(&port.0.into(), 0)).map_err(|error| failed("read a port", &error))
    }
}

fn egress(served: &Served) -> Place<'_> {
    Place { ifindex: served.ifindex, name: &served.name, hook: Hook::Egress }
}

fn lower(served: &Served) -> Place<'_> {
    Place { ifindex: served.lower, name: &served.lower_name, hook: Hook::Lower }
}

fn ingress(ifindex: u32, name: &str) -> Place<'_> {
    Place { ifindex, name, hook: Hook::Ingress }
}

/// Only the daemon uses the map of carried counts; tied to a program, the next daemon finds it.
fn bind_carried(programs: &mut programs::Programs, object: &Ebpf) -> Result<(), Error> {
    let Some(Map::Array(carried)) = object.map("carried") else {
        return Err(Error::new("find its map", "carried"));
    };
    let program = programs.get(Hook::Egress).fd().map_err(|error| failed("bind its map", &error))?;
    sys::bind_map(program.as_fd(), carried.fd().as_fd()).map_err(|error| failed("bind its map", &error))
}

/// Sees a map as memory.
fn look_into(object: &Ebpf, name: &str, bytes: usize) -> Result<sys::Words, Error> {
    let Some(Map::Array(map)) = object.map(name) else {
        return Err(Error::new("find its map", name));
    };
    sys::Words::map(map.fd().as_fd(), 0, bytes).map_err(|error| failed("look into its maps", &error))
}

/// Takes a map out of the loaded object and gives it its type.
fn map<M: TryFrom<Map>>(object: &mut Ebpf, name: &str) -> Result<M, Error> {
    (object.take_map(name)).and_then(|map| M::try_from(map).ok()).ok_or_else(|| Error::new("find its map", name))
}

/// The key as the program has it in memory.
fn key_words(key: [u8; 16]) -> [u64; 2] {
    let word = |at: usize| u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| key[at + byte]));
    [word(0), word(8)]
}

/// The entry of a port's own address.
fn port_owner(port: PortIndex) -> dlmp_client {
    dlmp_client { owner: abi::DLMP_OWNER_PORT as u16, place: port.0.into(), link: 0 }
}

const fn key(mac: MacAddr, vlan: u16) -> abi::dlmp_address {
    abi::dlmp_address { mac: mac.0, vlan }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// CLOCK_MONOTONIC in nanoseconds, as the programs read it.
fn now() -> Result<u64, Error> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map(|now| nanoseconds(now.into())).map_err(|error| failed("read the clock", &error))
}

/// The error with its causes: aya's say what the kernel refused only in those.
fn failed(what: &'static str, error: &dyn std::error::Error) -> Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    Error::new(what, text)
}
