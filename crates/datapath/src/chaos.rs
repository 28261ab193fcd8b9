//! A datapath that fails on purpose: any write can be made to fail, for tests of what its users do then.

use dlmp_wire::MacAddr;

use crate::{ClientAddress, Datapath, Error, Placement, PortIndex, SlotIndex};

/// Hands every write to another datapath, except those that it was told to fail.
#[derive(Debug)]
pub struct Chaos<D> {
    /// The datapath behind it.
    pub inner: D,
    writes: u64,
    fail_at: Option<u64>,
}

impl<D> Chaos<D> {
    /// Fails no write until [`fail_write`](Self::fail_write) is called.
    pub const fn new(inner: D) -> Self {
        Self { inner, writes: 0, fail_at: None }
    }

    /// Fails the `nth` write from now, counted from 0, and no other.
    pub const fn fail_write(&mut self, nth: u64) {
        self.fail_at = Some(self.writes + nth);
    }

    /// How many writes were asked for so far.
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    fn write<T>(&mut self, write: impl FnOnce(&mut D) -> Result<T, Error>) -> Result<T, Error> {
        let number = self.writes;
        self.writes += 1;
        if self.fail_at == Some(number) {
            return Err(Error::new("write", "it was told to fail"));
        }
        write(&mut self.inner)
    }
}

impl<D: Datapath> Datapath for Chaos<D> {
    fn set_port(&mut self, port: PortIndex, ifindex: u32, mac: MacAddr) -> Result<(), Error> {
        self.write(|inner| inner.set_port(port, ifindex, mac))
    }

    fn clear_port(&mut self, port: PortIndex) -> Result<(), Error> {
        self.write(|inner| inner.clear_port(port))
    }

    fn set_usable(&mut self, port: PortIndex, usable: bool) -> Result<(), Error> {
        self.write(|inner| inner.set_usable(port, usable))
    }

    fn set_client(&mut self, client: ClientAddress, slot: SlotIndex) -> Result<(), Error> {
        self.write(|inner| inner.set_client(client, slot))
    }

    fn place(&mut self, slot: SlotIndex, placement: Placement) -> Result<(), Error> {
        self.write(|inner| inner.place(slot, placement))
    }

    fn set_multicast_port(&mut self, port: Option<PortIndex>) -> Result<(), Error> {
        self.write(|inner| inner.set_multicast_port(port))
    }
}
