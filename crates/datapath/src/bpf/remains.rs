//! Programs of an earlier daemon on links that are no ports any more: whose they are, and taking them off without
//! the aggregation that they belong to.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use aya::maps::{Array, HashMap};
use dlmp_netlink::Netlink;
use dlmp_wire::MacAddr;

use super::attach::{self, Attachment, Hook, Place};
use super::previous::{named_maps, open};
use super::sys::Program;
use crate::Error;
use crate::abi::{self, dlmp_address, dlmp_aggregation, dlmp_client, dlmp_port};

/// The aggregation that a program of ours works for, by that program's maps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    /// Index of its link; 0 when the maps are of another layout and nothing can be told.
    pub link: u32,
    /// The ports, by index of their links; none where the program does not know them.
    pub ports: BTreeSet<u32>,
    /// The lower ends of the VNICs over it, by index.
    pub vnics: BTreeSet<u32>,
    /// The addresses that its ports receive.
    pub addresses: BTreeSet<MacAddr>,
}

impl Owner {
    /// Whose program is on the ingress of a link that may have been a port; `None` when none of ours is there.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn of_port(ifindex: u32, name: &str, netlink: &Netlink) -> Result<Option<Self>, Error> {
        Self::of(super::ingress(ifindex, name), netlink).await
    }

    /// What the program on the link of an aggregation tells; `None` when none of ours is there.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn of_link(ifindex: u32, name: &str, netlink: &Netlink) -> Result<Option<Self>, Error> {
        Self::of(Place { ifindex, name, hook: Hook::Egress }, netlink).await
    }

    async fn of(place: Place<'_>, netlink: &Netlink) -> Result<Option<Self>, Error> {
        let program = attach::attached_program(place, netlink).await?;
        // A filter is found by its place alone.
        let Some(program) = program.filter(|program| program.name == place.hook.program()) else { return Ok(None) };
        Ok(Some(Self::read(&program).unwrap_or_default()))
    }

    /// Reads the maps that the program uses, which are not all; `None` when they are of another layout.
    fn read(program: &Program) -> Option<Self> {
        let mut maps = named_maps(program)?;
        let aggregation: Array<_, dlmp_aggregation> = open(&mut maps, "aggregation")?;
        let aggregation = aggregation.get(&0, 0).ok()?;
        if aggregation.abi != abi::DLMP_ABI {
            return None;
        }
        let ports: Option<Array<_, dlmp_port>> = open(&mut maps, "ports");
        let ports = ports.iter().flat_map(|ports| ports.iter().flatten()).map(|port| port.ifindex);
        let addresses: HashMap<_, dlmp_address, dlmp_client> = open(&mut maps, "addresses")?;
        let clients: Vec<_> = (addresses.iter().flatten())
            .filter(|(_, client)| u32::from(client.owner) != abi::DLMP_OWNER_PORT)
            .collect();
        Some(Self {
            link: aggregation.ifindex,
            ports: ports.filter(|&ifindex| ifindex != 0).collect(),
            vnics: clients.iter().map(|(_, client)| client.link).filter(|&lower| lower != 0).collect(),
            addresses: clients.iter().map(|(address, _)| MacAddr(address.mac)).collect(),
        })
    }
}

/// Takes our program off a link that is no port any more, however it was attached, with its pin. `pins` is the
/// directory of this namespace on the bpffs, if there is one.
///
/// # Errors
/// What the kernel refused.
pub async fn free_port(ifindex: u32, name: &str, pins: Option<&Path>, netlink: &Netlink) -> Result<(), Error> {
    free(super::ingress(ifindex, name), pins, netlink).await
}

/// The same of the lower end of a VNIC.
///
/// # Errors
/// What the kernel refused.
pub async fn free_vnic(ifindex: u32, name: &str, pins: Option<&Path>, netlink: &Netlink) -> Result<(), Error> {
    free(Place { ifindex, name, hook: Hook::Vnic }, pins, netlink).await
}

async fn free(place: Place<'_>, pins: Option<&Path>, netlink: &Netlink) -> Result<(), Error> {
    let failed = |error: io::Error| Error::new("remove its pins", error);
    for aggregation in pins.map(attach::read_dir).transpose().map_err(failed)?.unwrap_or_default() {
        attach::remove_file(&place.pin(&aggregation)).map_err(failed)?;
    }
    attach::detach(place, &Attachment::Clsact, netlink).await
}

/// Removes the pins of an aggregation whose link is gone: its own directory on the bpffs.
///
/// # Errors
/// Those of removing files.
pub fn forget_pins(pins: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(pins) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // That of the namespace; fails while another aggregation is in it, which is as it should be.
    let _ = pins.parent().map(std::fs::remove_dir);
    Ok(())
}
