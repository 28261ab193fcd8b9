//! The kernel's lists of the multicast addresses that links receive: `/proc/net/dev_mcast`.
//!
//! They hold what hosts have joined (IP groups, packet sockets) and what VLAN devices and macvlans above a
//! link want; filter entries that were added are in them too.

use std::collections::HashMap;
use std::{fs, io};

use dlmp_wire::MacAddr;

/// Of the calling thread's namespace; `/proc/net` is that of the process's first thread.
const PATH: &str = "/proc/thread-self/net/dev_mcast";

/// Multicast addresses of links, by interface index. A link without any has no entry.
pub type MulticastLists = HashMap<u32, Vec<MacAddr>>;

/// The multicast addresses that the links in the namespace of the calling thread receive. The kernel writes a
/// link's list whole, as of one moment.
///
/// # Errors
/// Those of reading the file.
pub fn multicast_lists() -> io::Result<MulticastLists> {
    fs::read(PATH).map(|text| parse(&text, |_| true))
}

/// Those of them that were added to a link's filter itself ([`MulticastFilter`](crate::MulticastFilter),
/// `bridge fdb add`, `ip maddress add`), not joined by the host or wanted by a link above.
///
/// # Errors
/// Those of reading the file.
pub fn added_multicast() -> io::Result<MulticastLists> {
    fs::read(PATH).map(|text| parse(&text, |line| line.added))
}

struct Line {
    index: u32,
    added: bool,
    mac: MacAddr,
}

/// Reads the file. What is no line of an address, as one that is cut short or one of a link that is no Ethernet, is
/// passed over.
fn parse(text: &[u8], wanted: impl Fn(&Line) -> bool) -> MulticastLists {
    let mut lists = MulticastLists::new();
    // Without the end of the line the rest of its address may be missing.
    let lines = text.split_inclusive(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    for line in lines.filter_map(Line::parse).filter(wanted) {
        lists.entry(line.index).or_default().push(line.mac);
    }
    lists
}

impl Line {
    /// Index, name, users, whether it was added (`global_use`), address in hexadecimal digits
    /// (dev_mc_seq_show in net/core/dev_addr_lists.c, older kernels: net/core/net-procfs.c).
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let index = str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let added = words.nth(2)? != b"0";
        let digits: &[u8; 12] = words.next()?.try_into().ok()?;
        let mut mac = MacAddr::default();
        for (byte, pair) in mac.0.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        words.next().is_none().then_some(Self { index, added, mac })
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
1    lo              1     0     333300000001
2    net0            1     0     01005e000001
2    net0            2     1     3333ff8884ba
4711 a_longer_name15 1     0     01005e7ffffa
8    ib0             1     0     00ffffffff12401bffff000000000000ffffffff
";

    fn mac(text: &str) -> MacAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_addresses_of_each_ethernet_link_are_read_in_their_order() {
        let wanted = HashMap::from([
            (1, vec![mac("33:33:00:00:00:01")]),
            (2, vec![mac("01:00:5e:00:00:01"), mac("33:33:ff:88:84:ba")]),
            (4711, vec![mac("01:00:5e:7f:ff:fa")]),
        ]);
        assert_eq!(parse(TEXT.as_bytes(), |_| true), wanted);
        assert!(parse(b"", |_| true).is_empty());
    }

    #[test]
    fn added_addresses_are_told_from_joined_ones() {
        let wanted = HashMap::from([(2, vec![mac("33:33:ff:88:84:ba")])]);
        assert_eq!(parse(TEXT.as_bytes(), |line| line.added), wanted);
    }

    #[test]
    fn a_text_cut_anywhere_gives_its_whole_lines() {
        for len in 0..TEXT.len() {
            let whole = TEXT[..len].rfind('\n').map_or(0, |end| end + 1);
            let read = |text: &str| parse(text.as_bytes(), |_| true);
            assert_eq!(read(&TEXT[..len]), read(&TEXT[..whole]), "{len}");
        }
    }

    #[test]
    fn what_is_no_line_of_an_address_is_passed_over() {
        for line in [
            "",
            "2",
            "2 net0 1 0",
            "2 net0 1 0 01005e00000g",
            "2 net0 1 0 01005e0000012",
            "x net0 1 0 01005e000001",
            "-2 net0 1 0 01005e000001",
            "2 net0 1 0 01005e000001 more",
            "4294967296 net0 1 0 01005e000001",
            "2 net0 1 0 01005e000\u{f6}1",
        ] {
            assert!(Line::parse(line.as_bytes()).is_none(), "{line:?}");
        }
        let strange = Line::parse("2 n\u{f6}t0 1 0 01005e000001".as_bytes()).unwrap();
        assert_eq!((strange.index, strange.mac), (2, mac("01:00:5e:00:00:01")));
    }
}
