//! MAC addresses: those that are given, and those that are chosen.

use std::collections::{BTreeMap, BTreeSet};

use dlmp_api::ldm::Error;
use dlmp_manager::range;
use dlmp_wire::MacAddr;

use super::refused;
use crate::config::Config;

/// Who has which address on this host.
#[derive(Debug, Default)]
pub struct Taken {
    owners: BTreeMap<MacAddr, String>,
    /// Addresses of the object that is being changed, which it may keep.
    own: BTreeSet<MacAddr>,
    /// Addresses that were claimed for what is being changed.
    claimed: Vec<MacAddr>,
    /// How many were missing.
    short: usize,
}

/// So many more addresses must be claimed first.
#[derive(Debug)]
pub struct Short(pub usize);

impl Taken {
    /// All addresses of a configuration, and those that were claimed for a change of it.
    pub fn of(config: &Config, claimed: &[MacAddr]) -> Self {
        let mut owners = BTreeMap::new();
        for (name, switch) in &config.switches {
            owners.insert(switch.mac_addr, format!("the virtual switch {name}"));
        }
        for (key, vnet) in &config.vnets {
            for mac in std::iter::once(&vnet.mac_addr).chain(&vnet.alt_mac_addrs) {
                owners.insert(*mac, format!("the vnet {} of {}", key.name, key.domain));
            }
        }
        Self { owners, claimed: claimed.to_vec(), ..Self::default() }
    }

    /// Gives up an address: of the object that is being changed.
    pub fn release(&mut self, mac: MacAddr) {
        self.owners.remove(&mac);
        self.own.insert(mac);
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
        if range::is_automatic(mac) && !self.own.contains(&mac) {
            return Err(Error::refused(
                format!("{mac} is one of the addresses that managers choose, 00:14:4f:f8:00:00 to 00:14:4f:fb:ff:ff"),
                "an address from 00:14:4f:fc:00:00 to 00:14:4f:ff:ff:ff or of another maker, or none: then one is chosen",
            ));
        }
        if let Some(other) = self.owners.get(&mac) {
            return Err(Error::refused(format!("{mac} is the address of {other}"), "ldm list -o network"));
        }
        self.owners.insert(mac, owner.into());
        Ok(mac)
    }

    /// What an object has instead of this address when that was typed, and whether it is an automatic one. After an empty text one
    /// is [missing](Self::choose_missing).
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn instead_of(&mut self, old: MacAddr, text: &str, owner: &str) -> Result<(MacAddr, bool), Error> {
        self.release(old);
        if text.is_empty() {
            return Ok((MacAddr::default(), true));
        }
        let mac = self.take(text, owner)?;
        Ok((mac, range::is_automatic(mac)))
    }

    /// Chooses the address of an object that is new, or whose address was reset.
    pub fn choose_missing(&mut self, mac: &mut MacAddr, owner: &str) {
        if mac.is_zero() {
            *mac = self.choose(owner);
        }
    }

    /// An automatic address, taken from now on. Where none was claimed it is noted as missing, and what is returned means
    /// nothing: see [`enough`](Self::enough).
    pub fn choose(&mut self, owner: &str) -> MacAddr {
        let mac = self.claimed.pop().unwrap_or_else(|| {
            self.short += 1;
            MacAddr::default()
        });
        self.owners.insert(mac, owner.into());
        mac
    }

    /// Whether all addresses that were chosen had been claimed. To be asked when all else was checked, before anything is done.
    ///
    /// # Errors
    /// How many more must be.
    pub fn enough(&self) -> Result<(), Short> {
        if self.short == 0 { Ok(()) } else { Err(Short(self.short)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_addresses_are_those_that_were_claimed_and_what_is_missing_is_counted() {
        let claimed = [range::automatic(7), range::automatic(9)];
        let mut taken = Taken::of(&Config::default(), &claimed);
        let chosen = BTreeSet::from([taken.choose("a"), taken.choose("b")]);
        assert_eq!(chosen, claimed.into());
        assert!(taken.enough().is_ok());
        taken.choose("c");
        taken.choose("d");
        assert_eq!(taken.enough().unwrap_err().0, 2);
    }

    #[test]
    fn an_automatic_address_is_given_by_hand_only_to_what_has_it() {
        let own = range::automatic(7);
        let mut taken = Taken::default();
        taken.release(own);
        assert_eq!(taken.take(&own.to_string(), "a").unwrap(), own);
        let error = taken.take("0:14:4f:fb:ff:ff", "a").unwrap_err().to_string();
        assert!(error.contains("00:14:4f:f8:00:00"), "{error}");
        for free in ["0:14:4f:fc:0:0", "0:14:4f:ff:ff:ff", "0:14:4f:f7:ff:ff", "2:8:20:0:0:1"] {
            taken.take(free, "a").unwrap();
        }
    }

    #[test]
    fn an_address_that_is_none_or_taken_is_refused_with_its_owner() {
        let mut taken = Taken::default();
        for text in ["", "vnet0", "1:0:5e:0:0:1", "0:0:0:0:0:0", "ff:ff:ff:ff:ff:ff"] {
            assert!(taken.take(text, "a").is_err(), "{text}");
        }
        taken.take("0:14:4f:fc:0:1", "the vnet v of g").unwrap();
        let error = taken.take("00:14:4F:FC:00:01", "b").unwrap_err().to_string();
        assert!(error.contains("the vnet v of g"), "{error}");
    }
}
