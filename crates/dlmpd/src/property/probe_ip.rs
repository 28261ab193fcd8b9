//! `probe-ip`: which addresses are sources of probes, and whom they ask. A comma list of
//! `[source][+[target]]`, in every form of Solaris (dladm(8)).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProbeIp(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    source: Source,
    target: Target,
}

/// Which addresses may be sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Every address on the aggregation and its VNICs.
    Any,
    /// `10.130.10.1`: this address.
    Address(IpAddr),
    /// `10.130.10.1/24`: every address in this network.
    Network(IpAddr, u8),
    /// `vnic1/addr1`: the address of this object.
    Object(String),
    /// `[aggr1]`: every address on this interface.
    Interface(String),
    /// `myhost`: the addresses that this name has.
    Host(String),
}

/// Whom a source asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nobody in particular: routers, else hosts that answer a multicast echo.
    Any,
    /// This address.
    Address(IpAddr),
    /// The addresses that this name has.
    Host(String),
}

impl ProbeIp {
    /// The sources, each with its target, in the order given.
    pub fn entries(&self) -> impl Iterator<Item = (&Source, &Target)> {
        self.0.iter().map(|entry| (&entry.source, &entry.target))
    }

    /// The host names in it.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.entries().flat_map(|(source, target)| {
            let source = if let Source::Host(name) = source { Some(name.as_str()) } else { None };
            let target = if let Target::Host(name) = target { Some(name.as_str()) } else { None };
            source.into_iter().chain(target)
        })
    }
}

impl FromIterator<(Source, Target)> for ProbeIp {
    fn from_iter<I: IntoIterator<Item = (Source, Target)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(source, target)| Entry { source, target }).collect())
    }
}

impl FromStr for ProbeIp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries: Vec<Entry> = text.split(',').map(entry).collect::<Result<_, _>>()?;
        Ok(Self(entries))
    }
}

fn entry(text: &str) -> Result<Entry, String> {
    let (source, target) = text.split_once('+').map_or((text, None), |(source, target)| (source, Some(target)));
    if source.is_empty() && target.is_none() {
        return Err("an entry is empty; every entry is [source][+[target]], and + alone is every source".into());
    }
    Ok(Entry {
        source: self::source(source)?,
        target: match target {
            None | Some("") => Target::Any,
            Some(target) => match target.parse() {
                Ok(address) => Target::Address(unicast(address)?),
                Err(_) => Target::Host(host(target)?),
            },
        },
    })
}

fn source(text: &str) -> Result<Source, String> {
    if text.is_empty() {
        return Ok(Source::Any);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let name = rest.strip_suffix(']').filter(|name| is_link_name(name));
        return name
            .map(|name| Source::Interface(name.into()))
            .ok_or_else(|| format!("{text:?} is no interface in brackets, such as [aggr1]"));
    }
    if let Some((first, rest)) = text.split_once('/') {
        if let Ok(address) = first.parse::<IpAddr>() {
            let width = if address.is_ipv4() { 32 } else { 128 };
            let prefix = rest.parse().ok().filter(|&prefix| prefix <= width && !rest.starts_with('+'));
            let prefix = prefix.ok_or_else(|| format!("{rest:?} is no prefix length from 0 to {width}"))?;
            return Ok(Source::Network(unicast(address)?, prefix));
        }
        let is_name = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic()) && is_link_name(name);
        return if is_link_name(first) && is_name(rest) {
            Ok(Source::Object(text.into()))
        } else {
            Err(format!("{text:?} is neither address/prefix nor an address object, such as vnic1/addr1"))
        };
    }
    match text.parse() {
        Ok(address) => Ok(Source::Address(unicast(address)?)),
        Err(_) => Ok(Source::Host(host(text)?)),
    }
}

fn unicast(address: IpAddr) -> Result<IpAddr, String> {
    let broadcast = address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    if address.is_multicast() || address.is_unspecified() || address.is_loopback() || broadcast {
        return Err(format!("{address} is no address that a host on the network has"));
    }
    Ok(address)
}

/// A host name by RFC 1123, section 2.1: labels of letters, digits and hyphens, the last one not all
/// digits, so that a mistyped address is no name.
fn host(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    let last_is_number = labels.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    if text.len() <= 253 && labels.split('.').all(label) && !last_is_number {
        Ok(text.into())
    } else {
        Err(format!("{text:?} is neither an address nor a host name"))
    }
}

/// What Linux takes for the name of a link, without what has a meaning here.
fn is_link_name(name: &str) -> bool {
    (1..=15).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

impl fmt::Display for ProbeIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Entry { source, target }) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match source {
                Source::Any => {}
                Source::Address(address) => write!(f, "{address}")?,
                Source::Network(address, prefix) => write!(f, "{address}/{prefix}")?,
                Source::Object(name) | Source::Host(name) => f.write_str(name)?,
                Source::Interface(name) => write!(f, "[{name}]")?,
            }
            match target {
                Target::Any => f.write_str("+")?,
                Target::Address(address) => write!(f, "+{address}")?,
                Target::Host(name) => write!(f, "+{name}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for ProbeIp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ProbeIp> for String {
    fn from(list: ProbeIp) -> Self {
        list.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_documented_form_is_understood() {
        for (text, source, target) in [
            ("+", Source::Any, Target::Any),
            ("+10.130.10.1", Source::Any, Target::Address(ip("10.130.10.1"))),
            ("10.130.10.1/24+", Source::Network(ip("10.130.10.1"), 24), Target::Any),
            ("10.130.10.1", Source::Address(ip("10.130.10.1")), Target::Any),
            ("vnic1/addr1+192.168.0.1", Source::Object("vnic1/addr1".into()), Target::Address(ip("192.168.0.1"))),
            ("[aggr1]+", Source::Interface("aggr1".into()), Target::Any),
            ("[aggr1]+router.example", Source::Interface("aggr1".into()), Target::Host("router.example".into())),
            ("myhost+", Source::Host("myhost".into()), Target::Any),
            ("fe80::1+fe80::2", Source::Address(ip("fe80::1")), Target::Address(ip("fe80::2"))),
            ("fe80::/64", Source::Network(ip("fe80::"), 64), Target::Any),
        ] {
            let list: ProbeIp = text.parse().unwrap();
            assert_eq!(list, ProbeIp(vec![Entry { source, target }]), "{text}");
        }
        let list: ProbeIp = "+10.0.0.1,[aggr0],vnic1/v4+gw".parse().unwrap();
        assert_eq!(list.to_string(), "+10.0.0.1,[aggr0]+,vnic1/v4+gw");
        assert_eq!(list.hosts().collect::<Vec<_>>(), ["gw"]);
    }

    #[test]
    fn a_malformed_list_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("10.0.0.1,,+", "empty"),
            ("10.0.0.1/33", "prefix length"),
            ("10.0.0.1/", "prefix length"),
            ("10.0.0.1/+8", "prefix length"),
            ("10.0.0.256", "neither an address nor a host name"),
            ("+10.0.0", "neither an address nor a host name"),
            ("+a b", "neither an address nor a host name"),
            ("+-x", "neither an address nor a host name"),
            ("a/b/c", "neither address/prefix nor an address object"),
            ("[aggr1", "brackets"),
            ("[]", "brackets"),
            ("[a b]+", "brackets"),
            ("+224.0.0.1", "no address that a host"),
            ("0.0.0.0+", "no address that a host"),
            ("+127.0.0.1", "no address that a host"),
            ("+10.0.0.1+10.0.0.2", "neither an address nor a host name"),
            ("+fe80::1%eth0", "neither an address nor a host name"),
        ] {
            let error = text.parse::<ProbeIp>().unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_shows_it_understands(text in r"[a-z0-9.:/+,\[\]\-]{0,40}") {
            if let Ok(list) = text.parse::<ProbeIp>() {
                prop_assert_eq!(list.to_string().parse::<ProbeIp>(), Ok(list));
            }
        }

        #[test]
        fn no_characters_make_it_panic(text in ".{0,60}") {
            let _ = text.parse::<ProbeIp>();
        }
    }
}
