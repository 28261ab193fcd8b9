//! The properties of links as ports (`dladm set-linkprop ... net1`): how many groups the filter of one can hold.

use std::collections::BTreeMap;

use dlmp_api::{Error, LinkProperty, PropertyChange, PropertyRequest};
use serde::{Deserialize, Serialize};

use crate::control::Control;

const MCAST_LIMIT: &str = "mcast-limit";
const MCAST_MAX: u32 = 1_000_000;
const MCAST_RANGE: &str = "a number of groups from 0 to 1000000";

/// The properties of a link, as far as they are set. They are in force while it is a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PortProperties {
    /// How many multicast groups its filter can hold; not set: what its driver is known for, or what was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcast_limit: Option<McastLimit>,
}

/// A number of multicast groups, 0 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct McastLimit(u32);

impl TryFrom<u32> for McastLimit {
    type Error = String;

    fn try_from(limit: u32) -> Result<Self, String> {
        if limit > MCAST_MAX { Err(MCAST_RANGE.into()) } else { Ok(Self(limit)) }
    }
}

impl PortProperties {
    /// The properties after these changes; without changes, after all were reset.
    ///
    /// # Errors
    /// A property is unknown, or a value is not acceptable; says why.
    fn changed(self, link: &str, changes: &[PropertyChange]) -> Result<Self, Error> {
        let mut changed = if changes.is_empty() { Self::default() } else { self };
        for PropertyChange { property, value } in changes {
            let value = value.as_deref();
            if property != MCAST_LIMIT {
                return Err(Error::refused(
                    format!("{link} is no aggregation and has no property {property:?}; a port has {MCAST_LIMIT}"),
                    format!("dladm show-linkprop {link}"),
                ));
            }
            let number =
                |text: &str| text.parse::<u32>().map_err(|_| MCAST_RANGE.to_owned()).and_then(McastLimit::try_from);
            changed.mcast_limit = value.map(number).transpose().map_err(|reason| {
                Error::refused(
                    format!("{property}={}: {reason}", value.unwrap_or_default()),
                    format!("dladm show-linkprop -p {property} {link}"),
                )
            })?;
        }
        Ok(changed)
    }

    fn limit(self) -> Option<usize> {
        self.mcast_limit.and_then(|McastLimit(limit)| usize::try_from(limit).ok())
    }

    /// The properties for displays. `limit` is what is in force, set or not.
    fn list(self, link: &str, limit: Option<i64>) -> Vec<LinkProperty> {
        let value = self.limit().map(|limit| limit.to_string());
        vec![LinkProperty {
            link: link.to_owned(),
            property: MCAST_LIMIT.to_owned(),
            effective: limit.map(|limit| limit.to_string()).or_else(|| value.clone()),
            value,
            default: None,
            possible: format!("0-{MCAST_MAX}"),
        }]
    }
}

impl Control {
    /// The properties of all ports, and of other links that some are set for.
    ///
    /// # Errors
    /// The monitor does not answer.
    pub(super) async fn list_port_properties(&self) -> Result<Vec<LinkProperty>, Error> {
        let limits: BTreeMap<String, i64> =
            (self.monitor.group_ports().await?.into_iter()).filter_map(|port| Some((port.port, port.limit?))).collect();
        let mut all: BTreeMap<String, PortProperties> = BTreeMap::new();
        for (_, (config, _)) in self.stores.aggregations() {
            all.extend(config.ports.into_iter().map(|port| (port, PortProperties::default())));
        }
        all.extend(self.stores.ports());
        Ok(all.iter().flat_map(|(link, properties)| properties.list(link, limits.get(link).copied())).collect())
    }

    /// Changes properties of a link that is or may become a port; without changes all are reset.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub(super) async fn change_port_properties(&mut self, request: &PropertyRequest) -> Result<(), Error> {
        let link = &request.link;
        let ports = self.stores.ports();
        let is_port = self.stores.aggregations().values().any(|(config, _)| config.ports.contains(link));
        if !is_port && !ports.contains_key(link) {
            let (links, _) = self.look().await?;
            if !links
                .iter()
                .any(|known| known.name == *link && known.ethernet && known.kind.as_deref() != Some("bridge"))
            {
                return Err(Error::refused(
                    format!("there is no aggregation {link}, and no Ethernet link of that name"),
                    "dladm show-link",
                ));
            }
        }
        let changed = ports.get(link).copied().unwrap_or_default().changed(link, &request.changes)?;
        self.stores.commit(|kept, state| {
            let places = [Some(&mut kept.ports).filter(|_| !request.temporary), Some(&mut state.temporary.ports)];
            let [kept, now] = places;
            if let Some(now) = now {
                if kept.is_none() {
                    now.insert(link.clone(), changed);
                } else {
                    now.remove(link);
                }
            }
            match kept {
                Some(kept) if changed == PortProperties::default() => drop(kept.remove(link)),
                Some(kept) => drop(kept.insert(link.clone(), changed)),
                None => {}
            }
        })?;
        self.monitor.set_group_limit(link, changed.limit()).await
    }

    /// Hands the monitor what is set for links.
    pub(crate) async fn send_limits(&self) {
        for (link, properties) in self.stores.ports() {
            if let Err(error) = self.monitor.set_group_limit(&link, properties.limit()).await {
                tracing::error!(link, %error, "the limit of its filter is not followed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(property: &str, value: Option<&str>) -> PropertyChange {
        PropertyChange { property: property.into(), value: value.map(Into::into) }
    }

    #[test]
    fn a_limit_is_set_and_reset_and_anything_else_is_refused() {
        let none = PortProperties::default();
        let set = none.changed("net1", &[change(MCAST_LIMIT, Some("64"))]).unwrap();
        assert_eq!(set.limit(), Some(64));
        assert_eq!(set.list("net1", None)[0].effective.as_deref(), Some("64"));
        let measured = &none.list("net1", Some(30))[0];
        assert_eq!((measured.value.as_deref(), measured.effective.as_deref()), (None, Some("30")));
        assert_eq!(set.changed("net1", &[change(MCAST_LIMIT, None)]).unwrap(), none);
        assert_eq!(set.changed("net1", &[]).unwrap(), none);
        for (property, value, reason) in [
            (MCAST_LIMIT, "1000001", "0 to 1000000"),
            (MCAST_LIMIT, "-1", "0 to 1000000"),
            (MCAST_LIMIT, "many", "0 to 1000000"),
            (MCAST_LIMIT, "", "0 to 1000000"),
            ("probe-fdt", "1", "no aggregation"),
        ] {
            let error = set.changed("net1", &[change(property, Some(value))]).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("try:"), "{property}={value}: {error}");
        }
    }
}
