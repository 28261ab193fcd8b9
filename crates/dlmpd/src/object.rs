//! The texts of address objects: `interface/name` and `address/prefix`.

use std::net::IpAddr;

use dlmp_api::Error;

/// The interface of an object.
pub fn interface_of(object: &str) -> &str {
    object.split_once('/').map_or(object, |(interface, _)| interface)
}

/// Reads `address[/prefix]`. Without a prefix: that of the address's class (RFC 791) or 64.
pub fn split(text: &str) -> Result<(IpAddr, u8), Error> {
    let refused = |why: &str| {
        Error::refused(format!("{text:?} is no address: {why}"), "ipadm create-addr -T static -a 192.0.2.1/24 aggr0/v4")
    };
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let ip: IpAddr = address.parse().map_err(|_| refused("wanted is address[/prefix length]"))?;
    if ip.is_multicast() || ip.is_unspecified() {
        return Err(refused("it is not the address of one host"));
    }
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let prefix_len = match prefix {
        Some(prefix) => prefix.parse().ok().filter(|&len| len >= 1 && len <= longest),
        None => Some(default_prefix(ip)),
    };
    Ok((ip, prefix_len.ok_or_else(|| refused(&format!("the prefix length is 1 to {longest}")))?))
}

const fn default_prefix(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) => match ip.octets()[0] {
            0..=127 => 8,
            128..=191 => 16,
            _ => 24,
        },
        IpAddr::V6(_) => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_prefix_length_is_that_of_the_class() {
        for (text, wanted) in
            [("10.1.2.3", 8), ("172.16.0.1", 16), ("192.0.2.1", 24), ("192.0.2.1/29", 29), ("2001:db8::1", 64)]
        {
            assert_eq!(split(text).map(|(_, len)| len), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "net0", "192.0.2.1/33", "192.0.2.1/0", "192.0.2.1/x", "224.0.0.1/4", "::/64", "192.0.2/24"] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
