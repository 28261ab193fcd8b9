//! What a virtual machine is told of a virtual network device of its: a line of text, from the host's `ldmd` to the machine's
//! `dlmpd`.
//!
//! Ours alone, as `docs/protocol.md` lays it out. It goes to a group that no bridge forwards (IEEE 802.1D, 7.12.6): only
//! who has the other end of the link can have sent it.

use crate::MacAddr;
use crate::ethernet::{self, Frame, HEADER_LEN, ethertype};

/// The group that it is sent to.
pub const GROUP: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e]);
/// The longest text in bytes, as long as the alias of a link may be (`IFALIASZ` of the kernel).
pub const TEXT_MAX: usize = 255;

/// The other frame of this type, by which a port's filter is measured, begins with a random number.
const MAGIC: [u8; 4] = *b"DLMV";
const VERSION: u8 = 1;
/// Magic, version and the length of the text.
const PREFIX_LEN: usize = 6;
/// The least Ethernet frame without checksum.
const MIN_FRAME: usize = 60;

/// A buffer that holds any such frame.
pub type Buffer = [u8; HEADER_LEN + PREFIX_LEN + TEXT_MAX];

/// Writes the frame into `buffer` and returns the part that it fills, without checksum; `None` when the text cannot be sent:
/// it is empty, longer than [`TEXT_MAX`], or not printable ASCII.
pub fn emit<'a>(source: MacAddr, text: &str, buffer: &'a mut Buffer) -> Option<&'a [u8]> {
    let len = u8::try_from(text.len()).ok().filter(|_| is_plain(text.as_bytes()))?;
    buffer.fill(0);
    let at = ethernet::emit(buffer, GROUP, source, 0, ethertype::VNET);
    buffer[at..at + MAGIC.len()].copy_from_slice(&MAGIC);
    buffer[at + 4] = VERSION;
    buffer[at + 5] = len;
    let end = at + PREFIX_LEN + text.len();
    buffer[at + PREFIX_LEN..end].copy_from_slice(text.as_bytes());
    Some(&buffer[..end.max(MIN_FRAME)])
}

/// The text of a frame that [`emit`] wrote; `None` for any other.
pub fn parse<'a>(frame: &Frame<'a>) -> Option<&'a str> {
    if frame.destination() != GROUP || frame.ethertype() != ethertype::VNET || frame.vlan() != 0 {
        return None;
    }
    let (&[m0, m1, m2, m3, version, len], rest) = frame.payload().split_first_chunk::<PREFIX_LEN>()?;
    let text = rest.get(..usize::from(len)).filter(|text| is_plain(text))?;
    ([m0, m1, m2, m3] == MAGIC && version == VERSION).then(|| core::str::from_utf8(text).ok())?
}

fn is_plain(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    const SOURCE: MacAddr = MacAddr([2, 8, 0x20, 0x88, 0x84, 0xba]);

    #[test]
    fn the_frame_is_the_one_in_the_protocol_document() {
        let mut buffer = [0xaa; _];
        let frame = emit(SOURCE, "dlmp vnet vnet6 vsw0", &mut buffer).unwrap();
        let mut wanted = [0; 60];
        wanted[..20].copy_from_slice(&[
            0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 8, 0x20, 0x88, 0x84, 0xba, 0x88, 0xb6, b'D', b'L', b'M', b'V', 1, 20,
        ]);
        wanted[20..40].copy_from_slice(b"dlmp vnet vnet6 vsw0");
        assert_eq!(frame, wanted);
    }

    #[test]
    fn a_text_that_is_no_alias_is_not_sent() {
        let mut buffer = [0; _];
        let long = "x".repeat(TEXT_MAX);
        assert_eq!(emit(SOURCE, &long, &mut buffer).map(<[u8]>::len), Some(buffer.len()));
        for text in ["", "a\nb", "caf\u{e9}", &(long + "x")] {
            assert_eq!(emit(SOURCE, text, &mut [0; _]), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed_back(text in "[ -~]{1,255}") {
            let mut buffer = [0; _];
            let frame = Frame::parse(emit(SOURCE, &text, &mut buffer).unwrap()).unwrap();
            prop_assert_eq!(parse(&frame), Some(&text[..]));
        }

        #[test]
        fn a_cut_or_changed_frame_is_none_or_another_plain_text(text in "[ -~]{1,60}", len in 14usize..80, at in 0usize..80, byte: u8) {
            let mut buffer = [0; _];
            let mut frame = emit(SOURCE, &text, &mut buffer).unwrap().to_vec();
            if let Some(changed) = frame.get_mut(at) {
                *changed = byte;
            }
            frame.truncate(len);
            if let Some(text) = parse(&Frame::parse(&frame).unwrap()) {
                prop_assert!(is_plain(text.as_bytes()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), ours: bool) {
            let mut frame = [0; HEADER_LEN].to_vec();
            if ours {
                frame[..6].copy_from_slice(&GROUP.0);
                frame[12..].copy_from_slice(&ethertype::VNET.to_be_bytes());
                frame.extend_from_slice(&MAGIC);
                frame.push(VERSION);
            }
            frame.extend(bytes);
            let text: Option<String> = parse(&Frame::parse(&frame).unwrap()).map(Into::into);
            prop_assert!(text.is_none_or(|text| is_plain(text.as_bytes())));
        }
    }
}
