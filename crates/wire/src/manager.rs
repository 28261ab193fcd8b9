//! The datagram by which managers of virtual networks find each other and look for MAC addresses that are taken:
//! `multicast_msg_t` of Logical Domains Managers (seed 000, "Message Format").
//!
//! 312 bytes, integers as the sender's machine has them: big-endian on SPARC, for which it was made. One in the other order is
//! known by its magic number, and answered in kind.

use core::net::Ipv4Addr;
use core::str;

use crate::MacAddr;

/// Length of every message in bytes: that of the structure with a MAXHOSTNAMELEN of 256, as in Solaris.
pub const LEN: usize = 312;
/// The group that managers listen to (`MAC_MULTI_GROUP`).
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 129, 9, 27);
/// The UDP port (`MAC_MULTI_PORT`).
pub const PORT: u16 = 64535;

/// `MAC_MULTI_MAGIC_NO`.
const MAGIC: u32 = 92_792_004;
/// `MAC_MULTI_VERSION`.
const VERSION: u32 = 1;
/// Where the fields are, as a C compiler lays them out.
mod field {
    use core::ops::Range;

    pub const VERSION: usize = 0;
    pub const MAGIC: usize = 4;
    pub const TYPE: usize = 8;
    pub const MAC: usize = 16;
    pub const SOURCE: Range<usize> = 24..40;
    pub const LDMD_VERSION: Range<usize> = 16..48;
    pub const HOST_NAME: Range<usize> = 48..304;
    pub const ADDRESS: Range<usize> = 304..308;
    pub const PORT: usize = 308;
}
/// Length of a manager's version at most, in bytes.
pub const VERSION_MAX: usize = field::LDMD_VERSION.end - field::LDMD_VERSION.start - 1;
/// Length of a host name at most, in bytes.
pub const HOST_NAME_MAX: usize = field::HOST_NAME.end - field::HOST_NAME.start - 1;

/// A buffer that holds any message.
pub type Buffer = [u8; LEN];

/// The order of the bytes in integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// As on SPARC, and in our own questions.
    Big,
    /// As a sender has it that does not swap on a little-endian machine.
    Little,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// `SEND_MSG`: is this address taken?
    Lookup(Lookup),
    /// `RESPONSE_MSG`: it is.
    Taken(Lookup),
    /// `LDMD_DISC_SEND`: who is there?
    Discover,
    /// `LDMD_DISC_RESP`: a manager.
    Here(Manager<'a>),
}

/// An address that is looked for (`mac_lookup_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup {
    /// The address.
    pub mac: MacAddr,
    /// Who sent the message, by itself; absent when that is no IPv4 address.
    pub source: Option<Ipv4Addr>,
}

/// A manager (`ldmd_discovery_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manager<'a> {
    /// Its version; at most [`VERSION_MAX`] bytes, the rest is cut off.
    pub version: &'a str,
    /// Its host's name; at most [`HOST_NAME_MAX`] bytes, the rest is cut off.
    pub host: &'a str,
    /// Its host's address.
    pub address: Ipv4Addr,
    /// The TCP port of its management interface, 6482 unless configured otherwise.
    pub port: u16,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// They are not as many as a message has.
    Length,
    /// The magic number is another one, in either byte order.
    Magic,
    /// It is of another version.
    Version,
    /// It is of a kind that does not exist.
    Kind,
    /// A text has no end, or is no text.
    Text,
    /// A number is out of its range: an address of more than 48 bits, a port of more than 16.
    Number,
}

impl ByteOrder {
    const fn read(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }

    const fn write(self, number: u32) -> [u8; 4] {
        match self {
            Self::Big => number.to_be_bytes(),
            Self::Little => number.to_le_bytes(),
        }
    }
}

impl<'a> Message<'a> {
    /// Reads a datagram, and in which byte order its sender writes. The reserved field and what is behind a text's end
    /// may hold anything.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, ByteOrder), Refused> {
        let bytes: &Buffer = bytes.try_into().map_err(|_| Refused::Length)?;
        let order = [ByteOrder::Big, ByteOrder::Little];
        let order = order.into_iter().find(|order| order.read(word(bytes, field::MAGIC)) == MAGIC);
        let order = order.ok_or(Refused::Magic)?;
        let number = |at| order.read(word(bytes, at));
        if number(field::VERSION) != VERSION {
            return Err(Refused::Version);
        }
        let message = match number(field::TYPE) {
            0 => Self::Lookup(Lookup::parse(bytes, order)?),
            1 => Self::Taken(Lookup::parse(bytes, order)?),
            2 => Self::Discover,
            3 => Self::Here(Manager::parse(bytes, order)?),
            _ => return Err(Refused::Kind),
        };
        Ok((message, order))
    }

    /// Writes the datagram.
    pub fn emit(&self, order: ByteOrder, buffer: &mut Buffer) {
        buffer.fill(0);
        let kind = match self {
            Self::Lookup(_) => 0,
            Self::Taken(_) => 1,
            Self::Discover => 2,
            Self::Here(_) => 3,
        };
        for (at, number) in [(field::VERSION, VERSION), (field::MAGIC, MAGIC), (field::TYPE, kind)] {
            buffer[at..at + 4].copy_from_slice(&order.write(number));
        }
        match self {
            Self::Lookup(lookup) | Self::Taken(lookup) => lookup.emit(order, buffer),
            Self::Discover => {}
            Self::Here(manager) => manager.emit(order, buffer),
        }
    }
}

impl Lookup {
    fn parse(bytes: &Buffer, order: ByteOrder) -> Result<Self, Refused> {
        let mut octets = [0; 8];
        octets.copy_from_slice(&bytes[field::MAC..field::MAC + 8]);
        if order == ByteOrder::Little {
            octets.reverse();
        }
        let [0, 0, a, b, c, d, e, f] = octets else { return Err(Refused::Number) };
        let source = text(&bytes[field::SOURCE])?.parse().ok();
        Ok(Self { mac: MacAddr([a, b, c, d, e, f]), source })
    }

    fn emit(self, order: ByteOrder, buffer: &mut Buffer) {
        let octets = &mut buffer[field::MAC..field::MAC + 8];
        octets[2..].copy_from_slice(&self.mac.0);
        if order == ByteOrder::Little {
            octets.reverse();
        }
        if let Some(source) = self.source {
            let mut writer = Text { field: &mut buffer[field::SOURCE], length: 0 };
            // It fits always: 15 characters and the end.
            let _ = core::fmt::Write::write_fmt(&mut writer, format_args!("{source}"));
        }
    }
}

impl<'a> Manager<'a> {
    fn parse(bytes: &'a Buffer, order: ByteOrder) -> Result<Self, Refused> {
        let mut address = [0; 4];
        // An address is in the network's order on every machine.
        address.copy_from_slice(&bytes[field::ADDRESS]);
        Ok(Self {
            version: text(&bytes[field::LDMD_VERSION])?,
            host: text(&bytes[field::HOST_NAME])?,
            address: Ipv4Addr::from(address),
            port: order.read(word(bytes, field::PORT)).try_into().map_err(|_| Refused::Number)?,
        })
    }

    fn emit(&self, order: ByteOrder, buffer: &mut Buffer) {
        for (range, text) in [(field::LDMD_VERSION, self.version), (field::HOST_NAME, self.host)] {
            let mut writer = Text { field: &mut buffer[range], length: 0 };
            // What does not fit is cut off.
            let _ = core::fmt::Write::write_str(&mut writer, text);
        }
        buffer[field::ADDRESS].copy_from_slice(&self.address.octets());
        buffer[field::PORT..field::PORT + 4].copy_from_slice(&order.write(self.port.into()));
    }
}

fn word(bytes: &Buffer, at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

/// The text in a field, up to its end.
fn text(field: &[u8]) -> Result<&str, Refused> {
    let end = field.iter().position(|&byte| byte == 0).ok_or(Refused::Text)?;
    str::from_utf8(&field[..end]).map_err(|_| Refused::Text)
}

/// Writes a text into a field, whose last byte stays its end. A text that is too long is cut off between two characters.
struct Text<'a> {
    field: &'a mut [u8],
    length: usize,
}

impl core::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for character in text.chars().filter(|character| *character != '\0') {
            let end = self.length + character.len_utf8();
            if end >= self.field.len() {
                return Err(core::fmt::Error);
            }
            character.encode_utf8(&mut self.field[self.length..end]);
            self.length = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    const MAC: MacAddr = MacAddr([0x00, 0x14, 0x4f, 0xf9, 0xcf, 0x47]);
    const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 168, 84, 1);

    fn emitted(message: Message<'_>, order: ByteOrder) -> Buffer {
        let mut buffer = [0xaa; LEN];
        message.emit(order, &mut buffer);
        buffer
    }

    #[test]
    fn a_question_for_an_address_is_laid_out_as_the_published_structure() {
        let mut wanted = [0; LEN];
        wanted[..12].copy_from_slice(&[0, 0, 0, 1, 0x05, 0x87, 0xe4, 0xc4, 0, 0, 0, 0]);
        wanted[16..24].copy_from_slice(&[0, 0, 0x00, 0x14, 0x4f, 0xf9, 0xcf, 0x47]);
        wanted[24..36].copy_from_slice(b"192.168.84.1");
        let lookup = Lookup { mac: MAC, source: Some(SOURCE) };
        assert_eq!(emitted(Message::Lookup(lookup), ByteOrder::Big), wanted);
        wanted[11] = 1;
        assert_eq!(emitted(Message::Taken(lookup), ByteOrder::Big), wanted);

        wanted[..12].copy_from_slice(&[1, 0, 0, 0, 0xc4, 0xe4, 0x87, 0x05, 1, 0, 0, 0]);
        wanted[16..24].copy_from_slice(&[0x47, 0xcf, 0xf9, 0x4f, 0x14, 0x00, 0, 0]);
        assert_eq!(emitted(Message::Taken(lookup), ByteOrder::Little), wanted);
    }

    #[test]
    fn a_manager_is_laid_out_as_the_published_structure() {
        let mut wanted = [0; LEN];
        wanted[..12].copy_from_slice(&[0, 0, 0, 1, 0x05, 0x87, 0xe4, 0xc4, 0, 0, 0, 3]);
        wanted[16..19].copy_from_slice(b"3.6");
        wanted[48..55].copy_from_slice(b"primary");
        wanted[304..].copy_from_slice(&[192, 168, 84, 1, 0, 0, 0x19, 0x52]);
        let manager = Manager { version: "3.6", host: "primary", address: SOURCE, port: 6482 };
        assert_eq!(emitted(Message::Here(manager), ByteOrder::Big), wanted);
        wanted[..12].copy_from_slice(&[1, 0, 0, 0, 0xc4, 0xe4, 0x87, 0x05, 3, 0, 0, 0]);
        wanted[308..].copy_from_slice(&[0x52, 0x19, 0, 0]);
        assert_eq!(emitted(Message::Here(manager), ByteOrder::Little), wanted);
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_reason() {
        let manager = Manager { version: "3.6", host: "primary", address: SOURCE, port: 6482 };
        let here = emitted(Message::Here(manager), ByteOrder::Big);
        let lookup = emitted(Message::Lookup(Lookup { mac: MAC, source: None }), ByteOrder::Big);
        let changed = |mut bytes: Buffer, range: core::ops::Range<usize>, value: u8| {
            bytes[range].fill(value);
            bytes
        };
        for (bytes, reason) in [
            (changed(here, 4..8, 0), Refused::Magic),
            (changed(here, 3..4, 2), Refused::Version),
            (changed(here, 11..12, 4), Refused::Kind),
            (changed(here, 16..48, b'x'), Refused::Text),
            (changed(here, 48..304, b'x'), Refused::Text),
            (changed(here, 48..50, 0xff), Refused::Text),
            (changed(here, 308..309, 1), Refused::Number),
            (changed(lookup, 16..17, 1), Refused::Number),
            (changed(lookup, 24..40, b'1'), Refused::Text),
        ] {
            assert_eq!(Message::parse(&bytes), Err(reason), "{reason:?}");
        }
        for length in [0, 16, 40, 120, LEN - 1] {
            assert_eq!(Message::parse(&here[..length]), Err(Refused::Length));
        }
        let mut longer = [0; LEN + 1];
        longer[..LEN].copy_from_slice(&here);
        assert_eq!(Message::parse(&longer), Err(Refused::Length));
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_off_between_two_characters() {
        let version = String::from_iter(["v"; 40]);
        let host = String::from_iter(["\u{fc}"; 200]);
        let manager = Manager { version: &version, host: &host, address: SOURCE, port: 1 };
        let bytes = emitted(Message::Here(manager), ByteOrder::Big);
        let Ok((Message::Here(parsed), _)) = Message::parse(&bytes) else { panic!("it is one") };
        assert_eq!((parsed.version, parsed.host), (&version[..VERSION_MAX], &host[..HOST_NAME_MAX - 1]));
    }

    fn order() -> impl Strategy<Value = ByteOrder> {
        prop_oneof![Just(ByteOrder::Big), Just(ByteOrder::Little)]
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed_back(
            octets: [u8; 6], source: Option<[u8; 4]>, version in "[ -~]{0,31}", host in "[ -~]{0,255}",
            address: [u8; 4], port: u16, order in order(),
        ) {
            let lookup = Lookup { mac: MacAddr(octets), source: source.map(Ipv4Addr::from) };
            let manager = Manager { version: &version, host: &host, address: address.into(), port };
            for message in [Message::Lookup(lookup), Message::Taken(lookup), Message::Discover, Message::Here(manager)] {
                let bytes = emitted(message, order);
                prop_assert_eq!(Message::parse(&bytes), Ok((message, order)));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u8..5, whole: bool) {
            if whole {
                bytes.resize(LEN, 0);
                bytes[..12].copy_from_slice(&[0, 0, 0, 1, 0x05, 0x87, 0xe4, 0xc4, 0, 0, 0, kind]);
            }
            let _ = Message::parse(&bytes);
        }
    }
}
