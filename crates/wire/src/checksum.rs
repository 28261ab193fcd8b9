//! The Internet checksum (RFC 1071).

/// The checksum over parts, each of an even length but perhaps the last; zero over what has the right one
/// in it.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum: u32 = parts.iter().flat_map(|part| part.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The checksum of an ICMPv6 message, over the pseudo header of its IPv6 header too (RFC 8200, 8.1).
pub(crate) fn icmpv6_checksum(ip: &[u8], message: &[u8]) -> u16 {
    const ICMPV6: u8 = 58;
    let len = (message.len() as u32).to_be_bytes();
    checksum(&[&ip[8..40], &len, &[0, 0, 0, ICMPV6], message])
}
