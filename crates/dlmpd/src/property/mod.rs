//! The properties of aggregations and ports (`dladm set-linkprop`): their names, values and defaults.

mod apply;
mod check;
mod names;
mod port;
mod probe_ip;

use std::time::Duration;

use dlmp_api::{Error, LinkProperty, PropertyChange};
use dlmp_datapath::MAX_LEARNED;
use serde::{Deserialize, Serialize};

pub use apply::Plans;
pub use names::{Resolved, resolve};
pub use port::PortProperties;
pub use probe_ip::{ProbeIp, Source, Target};

const LEARN_LIMIT: &str = "learn-limit";
const PROBE_IP: &str = "probe-ip";
const PROBE_VLAN_ID: &str = "probe-vlan-id";
const PROBE_FDT: &str = "probe-fdt";
/// All of them, as people name them.
const NAMES: &str = "learn-limit, probe-fdt, probe-ip, probe-vlan-id";

/// The highest VLAN id (IEEE 802.1Q reserves 4095).
const VLAN_MAX: u16 = 4094;

/// The properties of an aggregation, as far as they are set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Properties {
    /// How many clients may be learned at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learn_limit: Option<LearnLimit>,
    /// Sources and targets of probes; not set: no probing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_ip: Option<ProbeIp>,
    /// VLAN of the probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_vlan_id: Option<VlanId>,
    /// Failure detection time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_fdt: Option<Fdt>,
}

/// How many clients may be learned at a time, 0 to 4096 (Solaris has a property of this name for bridges).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct LearnLimit(u16);

/// A VLAN id, 0 to 4094; 0 is untagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct VlanId(u16);

/// A failure detection time, 10 ms to 10 min.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fdt(Duration);

impl VlanId {
    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Whether it is 0.
    pub const fn is_untagged(&self) -> bool {
        self.0 == 0
    }
}

impl Properties {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The VLAN of the probes, 0 for none.
    pub fn vlan(&self) -> u16 {
        self.probe_vlan_id.unwrap_or_default().0
    }

    /// How many clients may be learned at a time.
    pub fn learn_limit(&self) -> usize {
        self.learn_limit.unwrap_or_default().0.into()
    }

    /// The failure detection time.
    pub fn fdt(&self) -> Duration {
        self.probe_fdt.unwrap_or_default().0
    }

    /// Makes changes, all or none of them; without any, all properties are reset.
    ///
    /// # Errors
    /// A property is unknown, or a value is not acceptable; says why.
    pub fn change(&mut self, link: &str, changes: &[PropertyChange]) -> Result<(), Error> {
        let mut changed = if changes.is_empty() { Self::default() } else { self.clone() };
        for PropertyChange { property, value } in changes {
            let value = value.as_deref();
            let refused = |reason: String| {
                Error::refused(
                    format!("{property}={}: {reason}", value.unwrap_or_default()),
                    format!("dladm show-linkprop -p {property} {link}"),
                )
            };
            match property.as_str() {
                LEARN_LIMIT => {
                    let number = |text: &str| {
                        text.parse::<u16>().map_err(|_| LEARN_RANGE.to_owned()).and_then(LearnLimit::try_from)
                    };
                    changed.learn_limit = value.map(number).transpose().map_err(refused)?;
                }
                PROBE_IP => changed.probe_ip = value.map(str::parse).transpose().map_err(refused)?,
                PROBE_VLAN_ID => {
                    let number =
                        |text: &str| text.parse::<u16>().map_err(|_| VLAN_RANGE.to_owned()).and_then(VlanId::try_from);
                    changed.probe_vlan_id = value.map(number).transpose().map_err(refused)?;
                }
                PROBE_FDT => {
                    let time = |text: &str| Fdt::try_from(text.to_owned());
                    changed.probe_fdt = value.map(time).transpose().map_err(refused)?;
                }
                _ => {
                    return Err(Error::refused(
                        format!("{link} has no property {property:?}; an aggregation has {NAMES}"),
                        format!("dladm show-linkprop {link}"),
                    ));
                }
            }
        }
        *self = changed;
        Ok(())
    }

    /// All properties for displays.
    pub fn list(&self, link: &str) -> Vec<LinkProperty> {
        let row = |property: &str, value: Option<String>, default: Option<String>, possible: &str| LinkProperty {
            link: link.to_owned(),
            property: property.to_owned(),
            effective: value.clone().or_else(|| default.clone()),
            value,
            default,
            possible: possible.to_owned(),
        };
        vec![
            row(
                LEARN_LIMIT,
                self.learn_limit.map(|LearnLimit(limit)| limit.to_string()),
                Some(MAX_LEARNED.to_string()),
                &format!("0-{MAX_LEARNED}"),
            ),
            row(PROBE_FDT, self.probe_fdt.map(Into::into), Some(Fdt::default().into()), "10ms-10m"),
            row(PROBE_IP, self.probe_ip.as_ref().map(ToString::to_string), None, "[SOURCE][+[TARGET]],..."),
            row(
                PROBE_VLAN_ID,
                self.probe_vlan_id.map(|VlanId(id)| id.to_string()),
                Some("0".into()),
                &format!("0-{VLAN_MAX}"),
            ),
        ]
    }
}

const VLAN_RANGE: &str = "a VLAN id is a number from 0 to 4094, 0 for untagged";

const LEARN_RANGE: &str = "a number of clients from 0 to 4096";

impl Default for LearnLimit {
    fn default() -> Self {
        Self(MAX_LEARNED as u16)
    }
}

impl TryFrom<u16> for LearnLimit {
    type Error = String;

    fn try_from(limit: u16) -> Result<Self, String> {
        if usize::from(limit) > MAX_LEARNED { Err(LEARN_RANGE.into()) } else { Ok(Self(limit)) }
    }
}

impl TryFrom<u16> for VlanId {
    type Error = String;

    fn try_from(id: u16) -> Result<Self, String> {
        if id > VLAN_MAX { Err(VLAN_RANGE.into()) } else { Ok(Self(id)) }
    }
}

impl Default for Fdt {
    /// One second. Solaris has 10: there only losses of slow echoes tell, and here fast transitive probes do.
    fn default() -> Self {
        Self(Duration::from_secs(1))
    }
}

impl TryFrom<String> for Fdt {
    type Error = String;

    /// Reads `50ms`, `10s`, `2m`; a bare number is seconds, as in Solaris.
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || "a time from 10ms to 10m: a number of seconds, or with a unit of ms, s or m".to_owned();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = match unit {
            "ms" => Duration::from_millis(1),
            "" | "s" => Duration::from_secs(1),
            "m" | "min" => Duration::from_secs(60),
            _ => return Err(wrong()),
        };
        let time = u32::try_from(number).ok().and_then(|number| unit.checked_mul(number)).ok_or_else(wrong)?;
        if (Duration::from_millis(10)..=Duration::from_secs(600)).contains(&time) {
            Ok(Self(time))
        } else {
            Err(wrong())
        }
    }
}

impl From<Fdt> for String {
    fn from(Fdt(time): Fdt) -> Self {
        match (time.as_secs(), time.subsec_millis()) {
            (seconds, 0) if seconds % 60 == 0 => format!("{}m", seconds / 60),
            (seconds, 0) => format!("{seconds}s"),
            _ => format!("{}ms", time.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(property: &str, value: &str) -> Result<Properties, Error> {
        let mut properties = Properties::default();
        let change = PropertyChange { property: property.into(), value: Some(value.into()) };
        properties.change("aggr0", &[change]).map(|()| properties)
    }

    #[test]
    fn a_time_takes_units_and_a_bare_number_is_seconds() {
        for (text, shown) in [
            ("1", "1s"),
            ("50ms", "50ms"),
            ("1500ms", "1500ms"),
            ("2000ms", "2s"),
            ("60", "1m"),
            ("10min", "10m"),
            ("600s", "10m"),
            ("10ms", "10ms"),
        ] {
            let properties = change(PROBE_FDT, text).unwrap();
            assert_eq!(properties.list("aggr0")[1].value.as_deref(), Some(shown), "{text}");
        }
    }

    #[test]
    fn what_is_not_acceptable_is_refused_with_the_reason_and_changes_nothing() {
        for (property, value, reason) in [
            (PROBE_FDT, "9ms", "10ms to 10m"),
            (PROBE_FDT, "11m", "10ms to 10m"),
            (PROBE_FDT, "1.5s", "10ms to 10m"),
            (PROBE_FDT, "", "10ms to 10m"),
            (PROBE_FDT, "-1", "10ms to 10m"),
            (PROBE_FDT, "99999999999999999999", "10ms to 10m"),
            (PROBE_FDT, "18446744073709551615m", "10ms to 10m"),
            (PROBE_FDT, "1 s", "10ms to 10m"),
            (PROBE_FDT, "\u{0661}s", "10ms to 10m"),
            (PROBE_VLAN_ID, "4095", "0 to 4094"),
            (PROBE_VLAN_ID, "70000", "0 to 4094"),
            (PROBE_VLAN_ID, "-1", "0 to 4094"),
            (LEARN_LIMIT, "4097", "0 to 4096"),
            (LEARN_LIMIT, "many", "0 to 4096"),
            ("mtu", "1500", "learn-limit, probe-fdt, probe-ip, probe-vlan-id"),
        ] {
            let error = change(property, value).unwrap_err().to_string();
            assert!(error.contains(reason), "{property}={value}: {error}");
        }
        let mut properties = change(PROBE_FDT, "2s").unwrap();
        let before = properties.clone();
        let changes = [(PROBE_VLAN_ID, "7"), (PROBE_FDT, "never")]
            .map(|(property, value)| PropertyChange { property: property.into(), value: Some(value.into()) });
        assert!(properties.change("aggr0", &changes).is_err());
        assert_eq!(properties, before);
    }

    #[test]
    fn what_is_reset_has_its_default_again() {
        let mut properties = change(PROBE_VLAN_ID, "7").unwrap();
        assert_eq!(properties.vlan(), 7);
        properties.change("aggr0", &[PropertyChange { property: PROBE_VLAN_ID.into(), value: None }]).unwrap();
        assert!(properties.is_empty());
        let row = &properties.list("aggr0")[3];
        assert_eq!((row.value.as_deref(), row.effective.as_deref()), (None, Some("0")));
    }
}
