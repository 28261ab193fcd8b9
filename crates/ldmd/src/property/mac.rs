//! MAC addresses: those that are given, and those that are chosen.

use std::collections::BTreeMap;

use dlmp_api::ldm::Error;
use dlmp_wire::MacAddr;

use super::refused;
use crate::config::Config;

/// The first address of the range for automatic ones, 00:14:4F:F8:00:00 to 00:14:4F:FB:FF:FF (reference: the MAC address
/// allocation of Logical Domains).
const FIRST: [u8; 6] = [0x00, 0x14, 0x4f, 0xf8, 0, 0];
/// Random bits of the fourth octet.
const FOURTH: u8 = 0x03;

/// Who has which address on this host.
#[derive(Debug, Default)]
pub struct Taken(BTreeMap<MacAddr, String>);

impl Taken {
    /// All addresses of a configuration.
    pub fn of(config: &Config) -> Self {
        let mut taken = BTreeMap::new();
        for (name, switch) in &config.switches {
            taken.insert(switch.mac_addr, format!("the virtual switch {name}"));
        }
        for (key, vnet) in &config.vnets {
            for mac in std::iter::once(&vnet.mac_addr).chain(&vnet.alt_mac_addrs) {
                taken.insert(*mac, format!("the vnet {} of {}", key.name, key.domain));
            }
        }
        Self(taken)
    }

    /// Gives up an address: of the object that is being changed.
    pub fn release(&mut self, mac: MacAddr) {
        self.0.remove(&mac);
    }

    /// An address as it was typed, taken from now on.
    ///
    /// # Errors
    /// It is no unicast address, or somebody has it.
    pub fn take(&mut self, text: &str, owner: &str) -> Result<MacAddr, Error> {
        let mac: MacAddr = text.parse().map_err(|error| refused(format!("{text:?} is {error}")))?;
        if mac.is_group() {
            return Err(refused(format!("{mac} is a multicast address: a device needs a unicast one")));
        }
        if mac.is_zero() {
            return Err(refused("00:00:00:00:00:00 is no address that a device can have".into()));
        }
        if let Some(other) = self.0.get(&mac) {
            return Err(Error::refused(format!("{mac} is the address of {other}"), "ldm list -o network"));
        }
        self.0.insert(mac, owner.into());
        Ok(mac)
    }

    /// An address of the range for automatic ones, taken from now on.
    ///
    /// # Errors
    /// There are no random numbers, or no free address.
    pub fn choose(&mut self, owner: &str) -> Result<MacAddr, Error> {
        let mac = random_mac(|mac| !self.0.contains_key(&mac))?;
        self.0.insert(mac, owner.into());
        Ok(mac)
    }
}

/// A free address of the range for automatic ones.
///
/// # Errors
/// There are no random numbers, or the range is as good as full.
fn random_mac(is_free: impl Fn(MacAddr) -> bool) -> Result<MacAddr, Error> {
    /// So many taken ones in a row are found by chance only where hardly any is free.
    const ATTEMPTS: usize = 10_000;
    for _ in 0..ATTEMPTS {
        let mut tail = [0; 3];
        getrandom::fill(&mut tail)
            .map_err(|error| Error::failed(format!("no random numbers for an address: {error}")))?;
        let [a, b, c, d, ..] = FIRST;
        let mac = MacAddr([a, b, c, d | tail[0] & FOURTH, tail[1], tail[2]]);
        if is_free(mac) {
            return Ok(mac);
        }
    }
    Err(Error::failed("no automatic MAC address is free on this host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_addresses_are_of_the_range_and_never_the_same() {
        let mut taken = Taken::default();
        let mut all = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            let mac = taken.choose("a vnet").unwrap();
            assert!((MacAddr(FIRST)..=MacAddr([0, 0x14, 0x4f, 0xfb, 0xff, 0xff])).contains(&mac), "{mac}");
            assert!(all.insert(mac), "{mac} twice");
        }
    }

    #[test]
    fn an_address_that_is_none_or_taken_is_refused_with_its_owner() {
        let mut taken = Taken::default();
        for text in ["", "vnet0", "1:0:5e:0:0:1", "0:0:0:0:0:0", "ff:ff:ff:ff:ff:ff"] {
            assert!(taken.take(text, "a").is_err(), "{text}");
        }
        taken.take("0:14:4f:f9:0:1", "the vnet v of g").unwrap();
        let error = taken.take("00:14:4F:F9:00:01", "b").unwrap_err().to_string();
        assert!(error.contains("the vnet v of g"), "{error}");
    }
}
