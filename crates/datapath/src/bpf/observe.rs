//! What the programs tell the daemon: the ring of events.

use std::mem::size_of;

use aya::maps::{MapData, RingBuf};

use super::Bpf;
use super::clients::{client_address, port_index};
use crate::abi::{self, dlmp_event};
use crate::{Error, Learned, Observation, SlotIndex};

impl Bpf {
    /// The ring of events. Can be taken once.
    ///
    /// # Errors
    /// It was taken already, or the kernel refused.
    pub fn take_events(&mut self) -> Result<Events, Error> {
        self.events.take().map(Events).ok_or_else(|| Error::new("find its map", "events"))
    }

    /// What an event says, with the links that it names as this datapath knows them.
    pub fn understand(&self, event: Event) -> Option<Observation> {
        let event = event.0;
        let slot = SlotIndex(u16::try_from(event.slot).ok()?);
        match event.kind {
            abi::DLMP_EVENT_STRAY => Some(Observation::Stray { slot, port: port_index(event.port)? }),
            abi::DLMP_EVENT_LEARNED => Some(Observation::Learned(Learned {
                client: client_address(event.address),
                slot,
                port: port_index(event.port),
                above: self.above(event.link),
            })),
            abi::DLMP_EVENT_RELEASED => Some(Observation::Released { slot, client: client_address(event.address) }),
            _ => None,
        }
    }
}

/// An entry of the ring; [`Bpf::understand`] says what it is.
#[derive(Debug, Clone, Copy)]
pub struct Event(dlmp_event);

/// The ring of events of one datapath. Becomes readable when there is one.
pub struct Events(RingBuf<MapData>);

impl Events {
    /// The next event, if there is one.
    pub fn poll(&mut self) -> Option<Event> {
        let item = self.0.next()?;
        let word = |at: usize| Some(u32::from_ne_bytes(*item.get(at..)?.first_chunk()?));
        let address = item.get(16..size_of::<dlmp_event>())?;
        Some(Event(dlmp_event {
            kind: word(0)?,
            slot: word(4)?,
            port: word(8)?,
            link: word(12)?,
            address: abi::dlmp_address {
                mac: *address.first_chunk()?,
                vlan: u16::from_ne_bytes(*address.get(6..)?.first_chunk()?),
            },
        }))
    }
}

impl std::os::fd::AsRawFd for Events {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}
