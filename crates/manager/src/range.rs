//! The addresses that Logical Domains Managers give out: 00:14:4F:F8:00:00 to 00:14:4F:FF:FF:FF. The lower half is for automatic
//! addresses alone, the upper half for those that administrators choose (Oracle VM Server for SPARC, "Range of MAC Addresses
//! Assigned to Domains").

use dlmp_wire::MacAddr;

/// The first automatic address.
const FIRST: [u8; 6] = [0x00, 0x14, 0x4f, 0xf8, 0, 0];
/// How many addresses are automatic.
pub const AUTOMATIC: u32 = 1 << 18;

/// Whether only managers may choose this address, nobody by hand.
pub const fn is_automatic(mac: MacAddr) -> bool {
    matches!(mac.0, [0x00, 0x14, 0x4f, 0xf8..=0xfb, _, _])
}

/// The automatic address of this number, counted modulo [`AUTOMATIC`].
pub const fn automatic(number: u32) -> MacAddr {
    let [_, high, middle, low] = (number % AUTOMATIC).to_be_bytes();
    let [a, b, c, d, ..] = FIRST;
    MacAddr([a, b, c, d | high, middle, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_addresses_are_exactly_the_lower_half_of_the_block() {
        for (text, is) in [
            ("00:14:4f:f7:ff:ff", false),
            ("00:14:4f:f8:00:00", true),
            ("00:14:4f:fb:ff:ff", true),
            ("00:14:4f:fc:00:00", false),
            ("00:14:4e:f8:00:00", false),
        ] {
            assert_eq!(is_automatic(text.parse().unwrap()), is, "{text}");
        }
        assert_eq!(automatic(0), "00:14:4f:f8:00:00".parse().unwrap());
        assert_eq!(automatic(AUTOMATIC - 1), "00:14:4f:fb:ff:ff".parse().unwrap());
        assert_eq!(automatic(AUTOMATIC), automatic(0));
    }
}
