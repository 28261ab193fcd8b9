//! The guard on the switch end of a vnet: what its guest may send, how much, and as whom.

use std::time::Duration;

use dlmp_guard::{Guard, Limits, MAX_VLANS, Protection as Checks, SILENCE, Settings, SwitchEnd};

use super::Built;
use crate::config::{VnetConfig, VnetKey};
use crate::control::Control;
use crate::property::{Priority, Protection};

/// How often addresses and VLANs that were silent for long are forgotten.
pub const AGEING: Duration = Duration::from_secs(10);

impl Control {
    /// Has a guard hold the guest to its properties, on this switch end.
    ///
    /// # Errors
    /// The guest uses more than it would be allowed, or the kernel's refusal.
    pub(super) async fn build_guard(&mut self, key: &VnetKey, vnet: &VnetConfig, end: &Built) -> Result<(), String> {
        // Not by `place_of`: only the guards are changed.
        let place = self.places.get(&end.domain).ok_or_else(|| format!("the domain {} is not there", end.domain))?;
        let end = SwitchEnd::new(&place.namespace, &place.netlink, end.index);
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
        Ok(())
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
