//! The MTU of an uplink: raised to what a switch needs, and given back when no switch needs it.

use dlmp_netlink::Link;

use crate::config::{Raised, SwitchConfig};
use crate::control::Control;

impl Control {
    /// Remembers what an uplink was like whose MTU was raised to this.
    pub(super) fn note_mtu(&mut self, name: &str, before: Option<(Link, u64)>, to: u32) {
        let Some((uplink, namespace)) = before.filter(|(uplink, _)| uplink.mtu < to) else { return };
        let from = self.raised(name, &uplink, namespace).map_or(uplink.mtu, |raised| raised.from);
        self.keep_raised(name, Some(Raised { namespace, index: uplink.index, from, to }));
    }

    /// Gives an uplink that the switch has raised the MTU again that it had before, but not less than this. Who has changed it
    /// since has his way.
    pub(super) async fn lower_mtu(&mut self, name: &str, switch: &SwitchConfig, least: u32) {
        let Some((uplink, namespace)) = self.uplink_and_namespace(switch).await else {
            return self.keep_raised(name, None);
        };
        let Some(raised) = self.raised(name, &uplink, namespace) else { return self.keep_raised(name, None) };
        let to = raised.from.max(least);
        if to >= raised.to {
            return;
        }
        if let Some(place) = self.places.get(&switch.domain)
            && let Err(error) = place.netlink.set_mtu(uplink.index, to).await
        {
            tracing::warn!(link = uplink.name, %error, "its MTU stays");
        }
        self.keep_raised(name, (to > raised.from).then_some(Raised { to, ..raised }));
    }

    /// What is remembered of an uplink, if it is the same and still has the MTU that it was given.
    fn raised(&self, name: &str, uplink: &Link, namespace: u64) -> Option<Raised> {
        let raised = self.state.raised.get(name).copied();
        raised.filter(|raised| (raised.namespace, raised.index, raised.to) == (namespace, uplink.index, uplink.mtu))
    }

    pub(super) fn keep_raised(&mut self, name: &str, raised: Option<Raised>) {
        let kept = self.keep(|state| {
            match raised {
                Some(raised) => state.raised.insert(name.into(), raised),
                None => state.raised.remove(name),
            };
        });
        if let Err(error) = kept {
            tracing::warn!(switch = name, %error, "its uplink may keep a raised MTU");
        }
    }

    /// The uplink of a switch as it is now, and the cookie of its namespace.
    pub(super) async fn uplink_and_namespace(&self, switch: &SwitchConfig) -> Option<(Link, u64)> {
        let namespace = self.places.get(&switch.domain)?.namespace.cookie().ok()?;
        Some((self.uplink(switch).await?, namespace))
    }
}
