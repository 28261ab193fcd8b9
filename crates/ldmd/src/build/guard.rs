//! The guard on the switch end of a vnet: what its guest may send, how much, and as whom.

use std::time::{Duration, Instant};

use dlmp_guard::{Guard, Limits, MAX_VLANS, Protection as Checks, SILENCE, Settings, SwitchEnd};

use super::Built;
use crate::config::{VnetConfig, VnetKey};
use crate::control::Control;
use crate::place::Place;
use crate::property::{Priority, Protection};

/// How often addresses and VLANs that were silent for long are forgotten.
pub const AGEING: Duration = Duration::from_secs(10);

/// How long no vnet may have been made until guards settle.
pub const CALM: Duration = Duration::from_secs(1);

impl Control {
    /// Has a guard hold the guest to its properties, on this switch end.
    ///
    /// # Errors
    /// The guest uses more than it would be allowed, or the kernel's refusal.
    pub(super) async fn build_guard(&mut self, key: &VnetKey, vnet: &VnetConfig, end: &Built) -> Result<(), String> {
        // Not by `place_of`: only the guards are changed.
        let place = self.places.get(&end.domain).ok_or_else(|| format!("the domain {} is not there", end.domain))?;
        let end = switch_end(place, end.index);
        let settings = settings(vnet);
        let text = |error: dlmp_guard::Error| error.to_string();
        match self.guards.get_mut(key) {
            Some(guard) => {
                guard.set(&settings).map_err(text)?;
                // Also where it hangs already: somebody may have taken it off.
                guard.hang(end).await.map_err(text)?;
            }
            None => {
                let guard = Guard::attach(end, &settings).await.map_err(text)?;
                self.guards.insert(key.clone(), guard);
            }
        }
        self.unsettled.0.insert(key.clone());
        self.unsettled.1 = Instant::now();
        Ok(())
    }

    /// Has the guard of one more vnet settle, unless vnets are just being made; whether there was one.
    pub async fn settle_guard(&mut self) -> bool {
        if self.unsettled.1.elapsed() < CALM {
            return false;
        }
        let Some(key) = self.unsettled.0.pop_first() else { return false };
        let built = self.built.get(&key).and_then(|built| Some((self.places.get(&built.domain)?, built.index)));
        if let (Some(guard), Some((place, index))) = (self.guards.get(&key), built)
            && let Err(error) = guard.settle(switch_end(place, index)).await
        {
            tracing::warn!(vnet = %key, %error, "its frames take a little longer");
        }
        true
    }

    /// Forgets what guests have not used for long.
    pub fn age_guards(&mut self) {
        for (key, guard) in &mut self.guards {
            if let Err(error) = guard.age(SILENCE) {
                tracing::warn!(vnet = %key, %error, "what the guest does not use any more is not forgotten");
            }
        }
    }
}

const fn switch_end(place: &Place, index: u32) -> SwitchEnd<'_> {
    SwitchEnd { namespace: &place.namespace, netlink: &place.netlink, index }
}

/// The properties of a vnet as its guard has them.
fn settings(vnet: &VnetConfig) -> Settings {
    let checks = |protection| vnet.protection.contains(&protection);
    Settings {
        alternates: vnet.alt_mac_addrs.iter().copied().collect(),
        vlans: vnet.vid.iter().map(|vid| vid.number()).collect(),
        custom: vnet.custom.then(|| Limits {
            macs: vnet.max_mac_addrs.number().into(),
            // There are not more VLANs than that.
            vlans: u32::from(vnet.max_vlans.number()).min(MAX_VLANS),
        }),
        protection: Checks {
            mac_nospoof: checks(Protection::MacNospoof),
            ip_nospoof: checks(Protection::IpNospoof),
            dhcp_nospoof: checks(Protection::DhcpNospoof),
            restricted: checks(Protection::Restricted),
        },
        allowed_ips: vnet.allowed_ips.iter().copied().collect(),
        maxbw: vnet.maxbw,
        cos: vnet.cos,
        priority: vnet.priority.map(|priority| match priority {
            Priority::High => dlmp_guard::Priority::High,
            Priority::Medium => dlmp_guard::Priority::Medium,
            Priority::Low => dlmp_guard::Priority::Low,
        }),
        ..Settings::new(vnet.mac_addr)
    }
}
