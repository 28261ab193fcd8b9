//! The operands of commands that set properties: `[property=value]... name...`, as `ldm`(8) has them.

use std::collections::BTreeSet;

use dlmp_api::ldm::Setting;

use crate::failure::{Failure, Result};

/// Divides the operands into the properties, which come first, and a fixed number of names. What a property
/// may be is the daemon's to judge.
///
/// # Errors
/// There are more or fewer names, a property behind one, or a property twice; the message ends with the usage.
pub fn divide<const NAMES: usize>(mut operands: Vec<String>, usage: &str) -> Result<(Vec<Setting>, [String; NAMES])> {
    let refuse = |reason: String| Err(Failure::Usage(format!("{reason}\n\nUsage: {usage}")));
    let properties = operands.iter().take_while(|operand| operand.contains('=')).count();
    let names = operands.split_off(properties);
    if let Some(late) = names.iter().find(|name| name.contains('=')) {
        return refuse(format!("{late:?} stands behind {:?}, which is no property=value", names[0]));
    }
    let names = match <[String; NAMES]>::try_from(names) {
        Ok(names) => names,
        Err(more) if more.len() > NAMES => return refuse(format!("{:?} is no property=value", more[0])),
        Err(fewer) => return refuse(format!("{} of {NAMES} names are there behind the properties", fewer.len())),
    };
    let mut settings = Vec::new();
    let mut known = BTreeSet::new();
    for (property, value) in operands.iter().filter_map(|operand| operand.split_once('=')) {
        if property.is_empty() {
            return refuse(format!("a property is missing in front of \"={value}\""));
        }
        if !known.insert(property) {
            return refuse(format!("the property {property} is given twice"));
        }
        settings.push(Setting { property: property.into(), value: value.into() });
    }
    Ok((settings, names))
}

/// As [`divide`], for commands that are about nothing but the properties.
///
/// # Errors
/// As [`divide`], and when there is no property.
pub fn divide_change<const NAMES: usize>(
    operands: Vec<String>,
    usage: &str,
) -> Result<(Vec<Setting>, [String; NAMES])> {
    let (settings, names) = divide(operands, usage)?;
    if settings.is_empty() {
        return Err(Failure::Usage(format!("no property=value to set\n\nUsage: {usage}")));
    }
    Ok((settings, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(line: &str) -> Result<(Vec<Setting>, [String; 2])> {
        divide(line.split_whitespace().map(Into::into).collect(), "the usage")
    }

    #[test]
    fn properties_come_first_and_keep_their_values_as_typed() {
        let (settings, names) = divided("net-dev= vid=2,3 custom/max-vlans=1=2 vsw0 primary").unwrap();
        let settings: Vec<_> = settings.iter().map(|setting| (&*setting.property, &*setting.value)).collect();
        assert_eq!(settings, [("net-dev", ""), ("vid", "2,3"), ("custom/max-vlans", "1=2")]);
        assert_eq!(names, ["vsw0", "primary"]);
        assert_eq!(divided("vsw0 primary").unwrap(), (vec![], ["vsw0".into(), "primary".into()]));
    }

    #[test]
    fn what_is_neither_property_nor_name_is_a_usage_error() {
        for (line, reason) in [
            ("vsw0", "1 of 2 names are there behind the properties"),
            ("mtu=9000", "0 of 2 names are there behind the properties"),
            ("mtu vsw0 primary", "\"mtu\" is no property=value"),
            ("vsw0 primary mtu=9000", "\"mtu=9000\" stands behind \"vsw0\", which is no property=value"),
            ("mtu=9000 mtu=1500 vsw0 primary", "the property mtu is given twice"),
            ("=9000 vsw0 primary", "a property is missing in front of \"=9000\""),
        ] {
            let failure = divided(line).unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{line}");
            assert_eq!(failure.to_string(), format!("{reason}\n\nUsage: the usage"), "{line}");
        }
    }

    #[test]
    fn a_change_has_a_property() {
        let operands = |line: &str| line.split_whitespace().map(Into::into).collect();
        assert_eq!(divide_change::<1>(operands("vsw0"), "").unwrap_err().exit_code(), 2);
        assert_eq!(divide_change::<1>(operands("mtu= vsw0"), "").unwrap().1, ["vsw0"]);
    }
}
